"""The app pages, served by Voila and driven in a real browser: a control moves, the picture changes.

POSELAB_CHROMIUM names the browser if it is not on the path. POSELAB_STILLS=nbs/images takes the still pictures of the
widgets page again.
"""
import os, subprocess
from pathlib import Path
import pytest
from poselab.apps import APPS

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parent.parent
WAIT = int(os.environ.get("POSELAB_WAIT", 420))*1000 # ms: a bound for a busy machine, not a pause

@pytest.fixture(scope='module')
def server(tmp_path_factory):
    "One Voila for all pages, on a free port of this machine"
    pytest.importorskip('voila', reason='no Voila: pip install voila')
    from poselab.apps import start_apps
    folder = tmp_path_factory.mktemp('apps')
    p,url = start_apps(folder, log=folder.parent/'voila.txt', seconds=WAIT/1000)
    try: yield url.rpartition('/')[0]
    finally:
        p.terminate()
        try: p.wait(20)
        except subprocess.TimeoutExpired: p.kill()

@pytest.fixture(scope='module')
def pages(chrome, server):
    "Each page, from the first time that somebody asks for it"
    context = chrome.new_context(viewport=dict(width=1140, height=900))
    context.set_default_timeout(WAIT)
    class Pages(dict):
        def __missing__(self, name):
            self[name] = page = context.new_page()
            page.goto(f'{server}/{name}.ipynb', wait_until='commit')
            return page
    return Pages()

@pytest.fixture
def open_page(pages):
    "A page whose plot and controls are on the screen"
    def get(name):
        page = pages[name]; page.bring_to_front()
        page.wait_for_function('document.querySelector(".js-plotly-plot .main-svg") || document.querySelector(".jp-RenderedText[data-mime-type*=error], .voila-traceback")')
        assert page.locator('.poselab-title').count() == 1, page.inner_text('body')[-2000:]
        page.locator('.widget-inline-hbox').first.wait_for()
        return page
    return get

PICTURE = '[...document.querySelectorAll(".poselab-title, .js-plotly-plot .main-svg")].map(e => e.outerHTML).join("")'
SAID = '[...document.querySelectorAll(".poselab-title, .js-plotly-plot")].map(e => e.textContent).join(" ")'

def title(page): return page.locator('.poselab-title').text_content()
def slider(page, text): return page.locator('.widget-slider', has_text=text).locator('.noUi-handle')
def press(page, text, key):
    "A key on a slider, again until the slider has heard it"
    handle = slider(page, text); before = handle.get_attribute('aria-valuenow')
    for _ in range(60):
        handle.focus(); page.keyboard.press(key); page.wait_for_timeout(500)
        if handle.get_attribute('aria-valuenow') != before: return
    raise AssertionError(f'{text} stays at {before}')
def upload(page, file):
    with page.expect_file_chooser() as asked: page.locator('button', has_text='Upload').first.click()
    asked.value.set_files(file)
def choose(page, text, option): page.locator('.widget-dropdown', has_text=text).locator('select').select_option(label=option)

def look(page, expected=None):
    "Remember the picture; the returned function waits until it is another one (with `expected` in its text)"
    page.evaluate(f'window.before = {PICTURE}')
    def changed(expected=''):
        page.wait_for_function(f'text => {PICTURE} !== window.before && {SAID}.includes(text)', arg=expected)
        return title(page)
    return changed

def still(page, name):
    if 'POSELAB_STILLS' not in os.environ: return
    page.mouse.move(0, 0)
    kind = dict(type='jpeg', quality=85) if name.endswith('jpg') else {}
    page.locator('.widget-vbox').first.screenshot(path=str(ROOT/os.environ['POSELAB_STILLS']/name), **kind)

def thumb(page, name):
    "The thumbnail on the index"
    if 'POSELAB_STILLS' not in os.environ: return
    import cv2, numpy as np
    page.mouse.move(0, 0)
    shot = cv2.imdecode(np.frombuffer(page.locator('.widget-vbox').first.screenshot(), np.uint8), cv2.IMREAD_COLOR)
    small = cv2.resize(shot, (560, round(shot.shape[0]*560/shot.shape[1])), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(ROOT/f'poselab/thumbnails/{name}.jpg'), small[:350], [cv2.IMWRITE_JPEG_QUALITY, 78])

def test_beta_of_1_flattens_the_label(open_page):
    page = open_page('soft_labels')
    assert 'Peak 0.2455' in title(page)
    changed = look(page); slider(page, 'β').focus(); page.keyboard.press('Home')
    assert 'Peak 0.0068' in changed('Peak 0.0068')
    track = page.locator('.widget-slider', has_text='keypoint x').locator('.noUi-target').bounding_box()
    changed = look(page); page.mouse.click(track['x'] + .1*track['width'], track['y'] + track['height']/2)
    assert 'mean of the label 0' not in changed()
    still(page, 'widget_soft_labels.png')
    thumb(page, 'soft_labels')

def test_dragging_the_split_makes_the_bins_coarser_or_finer(open_page):
    page = open_page('soft_labels'); handle = slider(page, 'bins per pixel').bounding_box()
    x, y = handle['x'] + handle['width']/2, handle['y'] + handle['height']/2
    changed = look(page)
    page.mouse.move(x, y); page.mouse.down(); page.mouse.move(x + 200, y, steps=4); page.mouse.up()
    changed('label over all 768 bins')

def test_another_gate_has_other_cells_and_another_picture(open_page):
    page = open_page('gate')
    still(page, 'widget_gate.jpg')
    thumb(page, 'gate')
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
    thumb(page, 'score')
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

def test_time_is_set_right_where_the_reader_asks(open_page):
    page = open_page('score')
    choose(page, 'tested', 'drags, then hurries'); changed = look(page); choose(page, 'align', 'lag')
    assert 's late' in changed('late, s')
    changed = look(page); choose(page, 'align', 'dtw')
    assert 'then warped' in changed('then warped')
    if 'POSELAB_SHOT' in os.environ: page.screenshot(path=os.environ['POSELAB_SHOT'].replace('.', '_score.'))
    changed = look(page); choose(page, 'align', 'stretch'); changed()
    assert 'late, s' not in page.evaluate(SAID)

def test_learning_separates_people_and_noise_mixes_them(open_page):
    page = open_page('tag_space')
    still(page, 'widget_tag_space.jpg')
    thumb(page, 'tag_space')
    changed = look(page); slider(page, 'step').focus(); page.keyboard.press('End')
    assert '100% of the keypoints' in changed('100% of the keypoints')
    changed = look(page); slider(page, 'noise').focus(); page.keyboard.press('End')
    assert '100% of the keypoints' not in changed('taken for somebody else')

def test_dilation_widens_what_a_cell_can_see(pages):
    page = pages['receptive_field']; page.bring_to_front()
    words = page.locator('.widget-html', has_text='It can see')
    words.wait_for()
    assert 'It can see 11×11 cells' in words.inner_text()
    thumb(page, 'receptive_field')
    before = page.locator('img.widget-image').get_attribute('src')
    slider(page, 'visual').focus(); page.keyboard.press('ArrowRight'); page.keyboard.press('ArrowRight')
    page.locator('.widget-html', has_text='It can see 19×19 cells').wait_for()
    page.wait_for_function('before => document.querySelector("img.widget-image").src !== before', arg=before)
    choose(page, 'block', 'SimSPPF')
    page.locator('.widget-html', has_text='It can see 13×13 cells').wait_for()

def test_the_gates_of_a_network_on_a_picture_of_ones_own(open_page, tmp_path):
    import cv2, numpy as np
    page = open_page('attention')
    assert 'open between' in title(page)
    changed = look(page); choose(page, 'picture', 'cat'); changed()
    thumb(page, 'attention')
    cv2.imwrite(str(tmp_path/'mine.png'), np.random.default_rng(0).integers(0, 255, (90, 160, 3), np.uint8))
    changed = look(page); upload(page, tmp_path/'mine.png'); changed()
    assert 'my own' in page.locator('.widget-dropdown', has_text='picture').locator('select option:checked').inner_text().replace('\xa0', ' ')
    (tmp_path/'words.png').write_text('no picture')
    upload(page, tmp_path/'words.png')
    page.locator('.widget-html', has_text='no picture that OpenCV can read').wait_for()
    choose(page, 'network', 'rendered')
    page.wait_for_function(f'{SAID}.includes("rendered: ")')

def test_rows_and_columns_of_a_picture_of_ones_own(pages, tmp_path):
    import cv2, numpy as np
    page = pages['coordinate']; page.bring_to_front()
    words = page.locator('.widget-html', has_text='columns are open')
    words.wait_for()
    assert 'of what is orange passes' in words.inner_text()
    page.wait_for_function('document.querySelector("img.widget-image").naturalWidth > 500')
    thumb(page, 'coordinate'); still(page, 'widget_coordinate.jpg')
    before = page.locator('img.widget-image').get_attribute('src')
    slider(page, 'threshold').focus(); page.keyboard.press('Home')
    page.wait_for_function('before => document.querySelector("img.widget-image").src !== before', arg=before)
    choose(page, 'feature', 'blue')
    page.locator('.widget-html', has_text='of what is blue passes').wait_for()
    img = np.zeros((48, 64, 3), np.uint8); img[10, 20] = 255, 0, 0 # one blue dot, BGR
    cv2.imwrite(str(tmp_path/'mine.png'), img)
    slider(page, 'threshold').focus()
    for _ in range(10): page.keyboard.press('ArrowRight') # 0 to one half
    upload(page, tmp_path/'mine.png')
    page.locator('.widget-html', has_text='1 of 48 rows and 1 of 64 columns are open').wait_for()
    (tmp_path/'words.png').write_text('no picture')
    upload(page, tmp_path/'words.png')
    page.locator('.widget-html', has_text='no picture that OpenCV can read').wait_for()

def test_the_index_leads_to_every_app(pages):
    page = pages['index']; page.bring_to_front()
    page.locator('a[href="score.ipynb"]').wait_for()
    links = page.locator('a[href$=".ipynb"]').evaluate_all('found => found.map(a => a.getAttribute("href"))')
    assert [f'{a.name}.ipynb' for a in APPS] == links
    assert page.locator('a img').count() == len(APPS) # each with its thumbnail
    if 'POSELAB_STILLS' in os.environ: page.screenshot(path=str(ROOT/os.environ['POSELAB_STILLS']/'apps_index.jpg'), type='jpeg', quality=80, full_page=True)
    page.locator('a[href="skeletons.ipynb"]').click()
    page.wait_for_function('document.querySelector(".js-plotly-plot .main-svg")')

def test_a_coarser_grid_is_further_off(open_page):
    page = open_page('grids'); thumb(page, 'grids')
    assert 'Heatmap 1.30 px off, SimCC 0.28 px' in title(page)
    changed = look(page); choose(page, 'px per cell', '16'); changed('Heatmap')
    assert 'SimCC 0.28 px' in title(page)

def test_a_keypoint_leaves_its_rings(open_page):
    page = open_page('oks'); thumb(page, 'oks')
    assert 'Similarity 1.00' in title(page)
    changed = look(page); press(page, 'dx', 'End')
    assert 'Similarity 0.0' in changed('40.0 px away')

def test_a_keypoint_is_dragged_by_hand(open_page):
    page = open_page('oks')
    press(page, 'dx', 'Home'); changed = look(page); press(page, 'dx', 'End'); changed('40.0 px away')
    x,y = page.evaluate("""() => { // where the figure says that a hand can take it, px of the screen
      const box = document.querySelector(".js-plotly-plot"), {xaxis: x, yaxis: y, meta} = box._fullLayout, r = box.getBoundingClientRect();
      return [r.left + x._offset + x.d2p(meta.grab[0]), r.top + y._offset + y.d2p(meta.grab[1])]; }""")
    changed = look(page)
    page.mouse.move(x, y); page.mouse.down(); page.mouse.move(x - 30, y + 12, steps=6)
    changed() # while it is held
    before = title(page); page.mouse.move(x - 45, y + 30, steps=6); page.mouse.up()
    page.wait_for_function('before => document.querySelector(".poselab-title").textContent !== before', arg=before)
    def sliders(): return {k: float(slider(page, k).get_attribute('aria-valuenow')) for k in ('dx', 'dy')}
    at,then = sliders(),None
    while at != then: page.wait_for_timeout(1000); at,then = sliders(),at # the last of several answers has come
    assert at['dx'] < 39 and at['dy'] > 3, at # the sliders follow
    if 'POSELAB_SHOT' in os.environ: page.screenshot(path=os.environ['POSELAB_SHOT'])
    changed = look(page); page.mouse.move(x + 120, y - 90); page.mouse.down(); page.mouse.move(x + 150, y - 90, steps=3); page.mouse.up()
    page.wait_for_timeout(400)
    assert sliders() == at # beside the point nothing is taken hold of

def test_without_knobs_all_views_are_the_same(open_page):
    page = open_page('augment'); thumb(page, 'augment')
    changed = look(page); press(page, 'erase', 'Home'); changed()

def test_a_smaller_box_is_answered_for_by_finer_cells(open_page):
    page = open_page('anchors'); thumb(page, 'anchors')
    assert '21 of 4,080 candidates' in title(page)
    changed = look(page); press(page, 'width', 'Home')
    changed('0 of 4,080')

def test_a_generous_share_keeps_doubles(open_page):
    page = open_page('candidates'); thumb(page, 'candidates')
    assert '3 there' in title(page)
    changed = look(page); press(page, 'noise', 'Home')
    assert '60 sure enough, 3 believed' in changed('3 believed')

def test_the_same_keypoint_has_another_number_in_another_card(open_page):
    page = open_page('skeletons'); thumb(page, 'skeletons')
    assert 'coco: 17 keypoints' in title(page)
    changed = look(page); choose(page, 'card', 'mpii')
    assert 'mpii: 16 keypoints' in changed('mpii: 16')

def test_a_picture_of_ones_own_is_looked_at(open_page, tmp_path):
    import cv2
    from poselab.attend import chosen_picture
    page = open_page('poses'); thumb(page, 'poses')
    assert 'keypoints' in title(page)
    changed = look(page); press(page, 'sure', 'End')
    assert 'Nobody' in changed('Nobody')
    page.keyboard.press('Home')
    cv2.imwrite(str(tmp_path/'mine.png'), chosen_picture('dancer 3')[..., ::-1])
    changed = look(page); upload(page, tmp_path/'mine.png'); changed('keypoints')

def test_a_film_of_ones_own_is_looked_at_and_played(pages, tmp_path):
    from poselab.explorers import demo_film
    from poselab.records import write_video
    page = pages['film']; page.bring_to_front()
    words = page.locator('.widget-html', has_text='32 frames')
    words.wait_for()
    press(page, 'frame', 'ArrowRight')
    thumb(page, 'film')
    before = page.locator('img.widget-image').get_attribute('src')
    press(page, 'frame', 'End')
    page.wait_for_function('before => document.querySelector("img.widget-image").src !== before', arg=before)
    (tmp_path/'words.mp4').write_text('no film')
    upload(page, tmp_path/'words.mp4')
    page.locator('.widget-html', has_text='cannot be read as a film').wait_for()
    upload(page, write_video(tmp_path/'mine.mp4', demo_film('robot', 12), 12.5))
    page.locator('.widget-html', has_text='mine.mp4: 12 frames').wait_for()
    page.locator('.widget-html', has_text='0.00 s').wait_for(timeout=60_000)

def test_another_kind_of_error_shows_other_cases(pages):
    page = pages['errors']; page.bring_to_front()
    page.locator('.widget-html', has_text='all mended').wait_for()
    page.wait_for_function('document.querySelector("img.widget-image").naturalWidth > 500')
    thumb(page, 'errors')
    before = page.locator('img.widget-image').get_attribute('src')
    press(page, 'case', 'ArrowRight')
    page.wait_for_function('before => document.querySelector("img.widget-image").src !== before', arg=before)
    choose(page, 'mend', 'background')
    page.locator('.widget-html', has_text='taken away').wait_for()

def test_runs_are_compared_with_another_one(open_page, tmp_path):
    page = open_page('curves')
    assert 'study-rfsp: 8 variants, 3 seeds' in title(page)
    changed = look(page); choose(page, 'study', 'study-optimiser'); changed('study-optimiser')
    thumb(page, 'curves'); still(page, 'widget_curves.png')
    changed = look(page); choose(page, 'with', 'SGD'); changed('against SGD')
    changed = look(page); page.locator('.widget-checkbox', has_text='each seed').locator('input').check(); changed()
    box = page.locator('.widget-text', has_text='folder').locator('input')
    box.fill(str(tmp_path/'no')); box.press('Enter')
    page.locator('.widget-html', has_text='is no folder').wait_for()

READABLE = """() => { // words that lie outside the screen (also partly), and pairs of panel titles that overlap
  const boxes = e => { const r = document.createRange(); r.selectNodeContents(e); return [...r.getClientRects()]; };
  const words = [...document.querySelectorAll(".poselab-title, .widget-html, .js-plotly-plot text")].filter(e => e.textContent.trim());
  const hidden = words.flatMap(e => boxes(e).map(b => [e.textContent.slice(0, 40), b.left, b.right])).filter(([w, a, b]) => b > a && (a < -1 || b > innerWidth + 1));
  const titles = [...document.querySelectorAll(".js-plotly-plot .annotation-text")].map(e => [e.textContent, e.getBoundingClientRect()]);
  const cross = (a, b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1;
  return [hidden, titles.flatMap(([w, a], i) => titles.slice(i + 1).filter(([v, b]) => cross(a, b)).map(([v]) => [w, v]))];
}"""

@pytest.mark.parametrize('name', [a.name for a in APPS])
def test_every_app_fits_a_phone(open_page, pages, name):
    page = pages[name]; page.bring_to_front()
    page.locator('.widget-vbox').first.wait_for()
    before = page.viewport_size
    page.set_viewport_size(dict(width=390, height=844))
    try:
        page.wait_for_function('document.documentElement.scrollWidth <= innerWidth + 2', timeout=20_000)
        page.wait_for_function('[...document.querySelectorAll(".main-svg")].every(e => e.clientWidth <= innerWidth)', timeout=20_000)
        inside,apart = page.evaluate(READABLE)
        assert inside == [] and apart == []
    finally: page.set_viewport_size(before)

def test_a_query_that_is_moved_looks_elsewhere_also_in_a_picture_of_ones_own(pages, tmp_path):
    import cv2, numpy as np
    page = pages['sampling']; page.bring_to_front()
    words = page.locator('.widget-html', has_text='The query looks')
    words.wait_for()
    thumb(page, 'sampling')
    def source(): return page.locator('img.widget-image').get_attribute('src')
    def another(before): page.wait_for_function('before => document.querySelector("img.widget-image").src !== before', arg=before)
    before,said = source(),words.inner_text()
    press(page, 'row', 'ArrowUp'); another(before)
    before = source(); press(page, 'reach', 'End'); another(before)
    page.wait_for_function('said => [...document.querySelectorAll(".widget-html")].some(e => e.innerText.includes("The query looks") && e.innerText !== said)', arg=said)
    before = source(); choose(page, 'weights', 'as made, never trained'); another(before)
    before = source(); choose(page, 'picture', 'cup'); another(before)
    page.locator('.widget-html', has_text='turned by 3°').wait_for()
    cv2.imwrite(str(tmp_path/'mine.png'), np.random.default_rng(0).integers(0, 255, (90, 60, 3), np.uint8))
    before = source(); upload(page, tmp_path/'mine.png'); another(before)
    page.wait_for_function('document.querySelector("img.widget-image").naturalWidth < 400') # higher than wide, the cup is not
    choose(page, 'weights', 'fitted here, 120 steps'); page.locator('.widget-html', has_text='turned by 3°').wait_for()
    if 'POSELAB_SHOT' in os.environ: page.wait_for_timeout(3000); page.screenshot(path=os.environ['POSELAB_SHOT'].replace('.', '_sampling.'))
    cv2.imwrite(str(tmp_path/'huge.png'), np.zeros((14000, 14000), np.uint8)) # 0.2 MB
    upload(page, tmp_path/'huge.png')
    page.locator('.widget-html', has_text='take one of at most 50 million').wait_for()
