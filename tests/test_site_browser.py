"""The whole site, built and opened from disk at two sizes: nothing is fetched from outside, formulas and sliders live, search finds.

POSELAB_CHROMIUM names the browser if it is not on the path, POSELAB_SHOTS a folder for screenshots, POSELAB_SITE a site
that is built already.
"""
import os, re
from pathlib import Path
import pytest
for name in ('sphinx', 'myst_nb', 'nbdev', 'nbgrader'): pytest.importorskip(name)
from poselab import site

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parents[1]
WAIT = 60_000 # ms: a bound for a busy machine, not a pause

@pytest.fixture(scope='module')
def built(tmp_path_factory, chrome): # no browser, no build
    if there := os.environ.get('POSELAB_SITE'): return Path(there)
    home = tmp_path_factory.mktemp('site')
    site.build(ROOT, home/'docs', home/'work')
    return home/'docs'

@pytest.fixture(params=[(1280, 850), (390, 844)], ids=['desk', 'phone'])
def tab(chrome, built, request):
    "A tab, and whatever it asks of other machines"
    page = chrome.new_page(viewport=dict(zip(('width', 'height'), request.param)))
    page.set_default_timeout(WAIT)
    page.left,page.wide = [],request.param[0]
    page.on('request', lambda r: None if r.url.startswith(('file:', 'data:', 'blob:')) else page.left.append(r.url))
    page.to = lambda name: page.goto(f'{built.as_uri()}/{name}')
    yield page
    assert page.left == []
    page.close()

def shot(page, name):
    if folder := os.environ.get('POSELAB_SHOTS'): page.screenshot(path=str(Path(folder)/f'site_{name}_{page.wide}.png'))

def fits(page): return page.evaluate('document.documentElement.scrollWidth <= document.documentElement.clientWidth')

def test_everything_is_built_and_every_link_leads_somewhere(built):
    links = site.check_links(built)
    assert links.broken == [] and links.loaded == []
    def names(folder, end): return {p.stem for p in folder.glob(f'*.{end}')}
    assert names(built/'nbs', 'html') == names(ROOT/'nbs', 'ipynb') and names(built/'nbs'/'labs', 'html') == names(ROOT/'nbs'/'labs', 'ipynb')
    assert len(names(built/'reference', 'html')) > 60 and names(built/'data_cards', 'html') > names(ROOT/'data_cards', 'md')
    for lab in (built/'nbs'/'labs').glob('*.html'): assert 'BEGIN SOLUTION' not in lab.read_text()

def test_the_first_page_shows_what_it_is(tab):
    tab.to('index.html')
    assert 'Learn 2D human pose estimation' in tab.locator('article').inner_text() and fits(tab)
    assert tab.evaluate('[...document.querySelectorAll("article img")].every(i => i.complete && i.naturalWidth > 100)')
    shot(tab, 'index')

def test_formulas_are_drawn(tab):
    tab.to('nbs/14a_polarized.html')
    box = tab.locator('article div.formula math').first.bounding_box()
    assert box['width'] > 100 and box['height'] > 15 and box['x'] >= 0 and fits(tab) # its beginning is on the screen
    assert '\\frac' not in tab.locator('article').inner_text()
    tab.locator('article div.formula').first.scroll_into_view_if_needed()
    shot(tab, 'formula')

def test_a_slider_moves_without_a_kernel(tab):
    tab.to('nbs/29_widgets.html')
    plot = tab.locator('.plotly-graph-div').first
    plot.scroll_into_view_if_needed()
    title = plot.locator('.gtitle')
    title.wait_for()
    before = title.text_content()
    tab.evaluate('p => { const s = p._fullLayout.sliders[0].steps; return Plotly.animate(p, s[s.length - 1].args[0], s[s.length - 1].args[1]); }', plot.element_handle())
    tab.wait_for_function('([p, t]) => p.querySelector(".gtitle").textContent !== t', arg=[plot.element_handle(), before])
    assert fits(tab)
    shot(tab, 'slider')

def test_a_widget_says_how_to_run_it(tab):
    tab.to('nbs/29e_explorers.html')
    button = tab.locator('.run summary').first
    button.click()
    assert 'make lab' in tab.locator('.run details').first.inner_text()
    assert tab.evaluate('document.querySelector(".run img").naturalWidth') > 100 and fits(tab)
    button.scroll_into_view_if_needed()
    shot(tab, 'widget')

def test_search_finds_a_gate(tab):
    tab.to('index.html')
    tab.keyboard.press('Control+k')
    tab.locator('#pst-search-dialog input').fill('LGAG')
    tab.keyboard.press('Enter')
    tab.wait_for_url('**/search.html?q=LGAG')
    tab.wait_for_function('document.querySelectorAll("#search-results li").length > 3')
    assert 'LGAG: a gate' in tab.locator('#search-results li').first.inner_text()
    shot(tab, 'search')

@pytest.mark.parametrize('name', ['course', 'nbs/labs/lab02_simcc', 'themes/04_attention', 'reference/modules.lgag', 'data_cards/coco', 'poselab/weights/lspet',
                                  'tests/bench/README', 'nbs/33a_teaching', 'nbs/31_cli'])
def test_pages_fit_the_screen(tab, name):
    tab.to(f'{name}.html')
    assert fits(tab), name
    shot(tab, name.replace('/', '_'))
