"""The score page in a real browser, opened from disk: it plays, the curve scrubs, a worst moment jumps, a telephone can show it.

POSELAB_CHROMIUM names the browser if it is not on the path.
"""
from pathlib import Path
import numpy as np, pytest
pytest.importorskip('jinja2')
from poselab.data.figures import Mistake, choreography, render_clip
from poselab.player import Footage, score_report
from poselab.records import Instances
from poselab.schema import load_schema

pytestmark = pytest.mark.browser
WAIT = 120_000 # ms: a bound for a busy machine, not a pause

@pytest.fixture(scope='module')
def page_file(tmp_path_factory):
    "Two rendered dances of two seconds"
    def footage(seed, name, mistakes=()):
        m = choreography('disco', 2.4, size=(96,128), body_seed=seed, mistakes=mistakes)
        frames,_ = render_clip(m, seed=seed)
        people = Instances.make(m.keypoints, image_id=np.arange(len(m)), track_id=1)
        return Footage(name, people, m.times, 25., load_schema('coco'), m.size, (), lambda: ((i/25, f) for i,f in enumerate(frames)))
    out = tmp_path_factory.mktemp('page')/'score.html'
    long = 'a_pupil_with_a_long_name_and_no_spaces_'*3
    score_report(footage(3, 'teacher.mp4'), footage(8, long, [Mistake('left_forearm', 1., 2., degrees=60)]), out, progress=False)
    return out

@pytest.fixture(scope='module')
def tab(chrome, page_file):
    "The page at 1280 px, and everything that went wrong or went out"
    page = chrome.new_page(viewport=dict(width=1280, height=900))
    page.set_default_timeout(WAIT)
    page.faults = []
    page.on('pageerror', lambda e: page.faults.append(str(e)))
    page.on('console', lambda m: page.faults.append(m.text) if m.type == 'error' else None)
    page.on('request', lambda r: page.faults.append(r.url) if not r.url.startswith(('data:', 'file:')) else None)
    page.goto(page_file.as_uri())
    page.wait_for_function('document.querySelector("#time").textContent.includes("score")')
    return page

LOOK = 's => document.getElementById("stage" + s).toDataURL()'

def changed(page, before):
    "Both stages show something else than before"
    page.wait_for_function('b => [0, 1].every(s => document.getElementById("stage" + s).toDataURL() !== b[s])', arg=before)

def both(page): return [page.evaluate(LOOK, s) for s in (0, 1)]
def line_box(page): page.locator('#line').scroll_into_view_if_needed(); return page.locator('#line').bounding_box()
def now(page): return float(page.locator('#line').get_attribute('aria-valuenow'))

def test_the_film_and_the_skeleton_are_on_the_stages(tab):
    spread = """s => { // how many colours a stage shows
        const c = document.getElementById("stage" + s), d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
        const found = new Set();
        for (let i = 0; i < d.length; i += 4) found.add(d[i] << 16 | d[i+1] << 8 | d[i+2]);
        return found.size; }"""
    tab.wait_for_function(f'[0, 1].every(s => ({spread})(s) > 500)')
    assert tab.faults == []

def test_it_opens_at_the_worst_moment_and_plays(tab):
    assert 1. <= now(tab) <= 2.
    before = both(tab)
    tab.keyboard.press('Home'); tab.keyboard.press('Space')
    assert 'Pause' in tab.locator('#play').inner_text()
    tab.wait_for_function('+document.querySelector("#line").getAttribute("aria-valuenow") > .2')
    tab.locator('#play').click()
    assert 'Play' in tab.locator('#play').inner_text() and both(tab) != before

def test_dragging_in_the_curve_moves_both_dancers(tab):
    box = line_box(tab)
    tab.mouse.move(box['x'] + .3*box['width'], box['y'] + 40); tab.mouse.down()
    first,before = now(tab),both(tab)
    tab.mouse.move(box['x'] + .8*box['width'], box['y'] + 40, steps=4); tab.mouse.up()
    changed(tab, before)
    assert now(tab) > first + .8

def test_arrows_step_one_frame(tab):
    tab.keyboard.press('Home'); tab.keyboard.press('ArrowRight'); tab.keyboard.press('ArrowRight')
    assert now(tab) == .08
    tab.keyboard.press('Shift+ArrowRight')
    assert now(tab) == 1.08

def test_a_worst_moment_and_a_row_of_the_table_jump(tab):
    for what in ('.moment', 'tr[data-t]'):
        tab.keyboard.press('Home'); before = both(tab)
        wanted = float(tab.locator(what).first.get_attribute('data-t'))
        tab.locator(what).first.click()
        changed(tab, before)
        assert abs(now(tab) - wanted) <= .021

def test_the_teacher_can_be_laid_over_the_pupil(tab):
    before = both(tab)
    tab.locator('#ghost').check()
    tab.wait_for_function('b => document.getElementById("stage1").toDataURL() !== b', arg=before[1])
    assert tab.evaluate(LOOK, 0) == before[0]
    tab.locator('#ghost').uncheck()

def test_a_telephone_shows_it_without_scrolling_sideways(tab):
    tab.set_viewport_size(dict(width=390, height=844))
    tab.wait_for_function('document.getElementById("curve").clientWidth < 390')
    tab.wait_for_function('document.documentElement.scrollWidth <= 390', timeout=10_000)
    widest = tab.evaluate('Math.max(...[...document.querySelectorAll("main *")].map(e => e.getBoundingClientRect().right))')
    assert widest <= 391
    box = line_box(tab); before = both(tab)
    tab.mouse.click(box['x'] + .9*box['width'], box['y'] + 60)
    changed(tab, before)

def test_nothing_went_wrong_and_nothing_went_out(tab): assert tab.faults == []
