"""The app pages, served by Voila and driven in a real browser: a control moves, the picture changes.

POSELAB_CHROMIUM names the browser if it is not on the path. POSELAB_STILLS=nbs/images takes the still pictures of the
widgets page again.
"""
import os, shutil, socket, subprocess, sys, time
from pathlib import Path
import pytest

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parent.parent
FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
         '--disable-component-update', '--disable-sync']
WAIT = 420_000 # ms: a bound for a busy machine, not a pause

def find_chromium():
    names = 'chromium', 'chromium-browser', 'google-chrome', 'chrome'
    return os.environ.get('POSELAB_CHROMIUM') or next(filter(None, map(shutil.which, names)), None)

def answers(port):
    with socket.socket() as s: return s.connect_ex(('127.0.0.1', port)) == 0

@pytest.fixture(scope='module')
def server(tmp_path_factory):
    "One Voila for all pages, on a free port of this machine"
    pytest.importorskip('voila', reason='no Voila: pip install voila')
    with socket.socket() as s: s.bind(('127.0.0.1', 0)); port = s.getsockname()[1]
    log = tmp_path_factory.mktemp('voila')/'log.txt'
    cmd = [sys.executable, '-m', 'voila', str(ROOT/'nbs/apps'), f'--port={port}', '--no-browser', '--show_tracebacks=True']
    env = os.environ | dict(OMP_NUM_THREADS='1', PYTHONPATH=os.pathsep.join(filter(None, [str(ROOT), os.environ.get('PYTHONPATH')])))
    with open(log, 'w') as f: p = subprocess.Popen(cmd, stdout=f, stderr=f, env=env, cwd=ROOT)
    try:
        end = time.monotonic() + WAIT/1000
        while not answers(port):
            if p.poll() is not None or time.monotonic() > end: pytest.fail(f'Voila did not start:\n{log.read_text()[-2000:]}')
            time.sleep(.1)
        yield f'http://127.0.0.1:{port}/voila/render'
    finally:
        p.terminate()
        try: p.wait(20)
        except subprocess.TimeoutExpired: p.kill()

@pytest.fixture(scope='module')
def pages(server):
    "All pages, loading at the same time"
    path = find_chromium()
    if not path: pytest.skip('no Chromium: install it or set POSELAB_CHROMIUM')
    api = pytest.importorskip('playwright.sync_api', reason='no Playwright: pip install playwright')
    with api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path, args=FLAGS)
        context = browser.new_context(viewport=dict(width=1140, height=900))
        context.set_default_timeout(WAIT)
        found = {name: context.new_page() for name in ('soft_labels', 'gate', 'score', 'tag_space', 'receptive_field')}
        for name, page in found.items(): page.goto(f'{server}/{name}.ipynb', wait_until='commit')
        yield found
        browser.close()

@pytest.fixture
def open_page(pages):
    "A page whose plot and controls are on the screen"
    def get(name):
        page = pages[name]; page.bring_to_front()
        page.wait_for_function('document.querySelector(".js-plotly-plot .gtitle") || document.querySelector(".jp-RenderedText[data-mime-type*=error], .voila-traceback")')
        assert page.locator('.js-plotly-plot .gtitle').count() == 1, page.inner_text('body')[-2000:]
        page.locator('.widget-inline-hbox').first.wait_for()
        return page
    return get

PICTURE = '[...document.querySelectorAll(".js-plotly-plot .main-svg")].map(e => e.outerHTML).join("")'

def title(page): return page.locator('.js-plotly-plot .gtitle').text_content()
def slider(page, text): return page.locator('.widget-slider', has_text=text).locator('.noUi-handle')
def choose(page, text, option): page.locator('.widget-dropdown', has_text=text).locator('select').select_option(label=option)

def look(page, expected=None):
    "Remember the picture; the returned function waits until it is another one (with `expected` in its text)"
    page.evaluate(f'window.before = {PICTURE}')
    def changed(expected=''):
        page.wait_for_function(f'text => {PICTURE} !== window.before && document.querySelector(".js-plotly-plot").textContent.includes(text)', arg=expected)
        return title(page)
    return changed

def still(page, name):
    if 'POSELAB_STILLS' not in os.environ: return
    page.mouse.move(0, 0)
    kind = dict(type='jpeg', quality=85) if name.endswith('jpg') else {}
    page.locator('.widget-vbox').first.screenshot(path=str(ROOT/os.environ['POSELAB_STILLS']/name), **kind)

def test_beta_of_1_flattens_the_label(open_page):
    page = open_page('soft_labels')
    assert 'Peak 0.2455' in title(page)
    changed = look(page); slider(page, 'β').focus(); page.keyboard.press('Home')
    assert 'Peak 0.0068' in changed('Peak 0.0068')
    track = page.locator('.widget-slider', has_text='keypoint x').locator('.noUi-target').bounding_box()
    changed = look(page); page.mouse.click(track['x'] + .1*track['width'], track['y'] + track['height']/2)
    assert 'mean of the label 0' not in changed()
    still(page, 'widget_soft_labels.png')

def test_dragging_the_split_makes_the_bins_coarser_or_finer(open_page):
    page = open_page('soft_labels'); handle = slider(page, 'bins per pixel').bounding_box()
    x, y = handle['x'] + handle['width']/2, handle['y'] + handle['height']/2
    changed = look(page)
    page.mouse.move(x, y); page.mouse.down(); page.mouse.move(x + 200, y, steps=4); page.mouse.up()
    changed('label over all 768 bins')

def test_another_gate_has_other_cells_and_another_picture(open_page):
    page = open_page('gate')
    still(page, 'widget_gate.jpg')
    choose(page, 'gate', 'C5 gates C4, untrained'); changed = look(page)
    choose(page, 'gate', 'C5 gates itself, untrained')
    assert 'never trained' in changed('cells of 32 px')

def test_another_dancer_is_another_input(open_page):
    page = open_page('gate'); changed = look(page)
    before = title(page)
    slider(page, 'dancer').focus(); page.keyboard.press('ArrowRight')
    assert changed() != before

def test_the_frame_moves_the_dancers_and_the_cursor(open_page):
    page = open_page('score')
    assert 'left forearm' in title(page)
    still(page, 'widget_score.png')
    changed = look(page); slider(page, 'frame').focus(); page.keyboard.press('End')
    assert 'at 3.96 s' in changed('at 3.96 s')
    changed = look(page); page.keyboard.press('Home')
    assert 'at 0.00 s' in changed('at 0.00 s')

def test_play_plays(open_page):
    page = open_page('score'); changed = look(page)
    play = page.locator('.widget-play button').first
    play.click(); changed(); play.click()

def test_another_dancer_has_another_mistake(open_page):
    page = open_page('score'); changed = look(page)
    choose(page, 'tested', 'right thigh 35° off, 2.4 s to 3.2 s')
    assert 'right thigh' in changed('right thigh:')
    changed = look(page); choose(page, 'tested', 'no mistake')
    assert 'no limb is off' in changed('no limb is off')
    assert page.locator('.js-plotly-plot .shapelayer path').count() == 0

def test_learning_separates_people_and_noise_mixes_them(open_page):
    page = open_page('tag_space')
    still(page, 'widget_tag_space.jpg')
    changed = look(page); slider(page, 'step').focus(); page.keyboard.press('End')
    assert '100% of the keypoints' in changed('100% of the keypoints')
    changed = look(page); slider(page, 'noise').focus(); page.keyboard.press('End')
    assert '100% of the keypoints' not in changed('taken for somebody else')

def test_dilation_widens_what_a_cell_can_see(pages):
    page = pages['receptive_field']; page.bring_to_front()
    words = page.locator('.widget-html', has_text='It can see')
    words.wait_for()
    assert 'It can see 11×11 cells' in words.inner_text()
    before = page.locator('img.widget-image').get_attribute('src')
    slider(page, 'visual').focus(); page.keyboard.press('ArrowRight'); page.keyboard.press('ArrowRight')
    page.locator('.widget-html', has_text='It can see 19×19 cells').wait_for()
    page.wait_for_function('before => document.querySelector("img.widget-image").src !== before', arg=before)
    choose(page, 'block', 'SimSPPF')
    page.locator('.widget-html', has_text='It can see 13×13 cells').wait_for()
