"The App in a real browser: tiles in the grid, saved views by name, a view that changes the grid"
import os, re, shutil
from pathlib import Path
from urllib.parse import urlparse
from test_browse import built, fo  # noqa: F401  fixtures; first, because it sets the database's name
import cv2, numpy as np, pytest
from poselab import browse

CHROMIUM = os.environ.get('POSELAB_CHROMIUM') or next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update',
         '--disable-sync']


@pytest.fixture(scope='module')
def page():
    playwright = pytest.importorskip('playwright.sync_api')
    if not CHROMIUM: pytest.skip('no Chromium: install it or set POSELAB_CHROMIUM')
    with playwright.sync_playwright() as p:
        chrome = p.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = chrome.new_page(viewport=dict(width=1400, height=900))
        page.set_default_timeout(120_000)
        yield page
        chrome.close()


def shot(page, folder, name):
    "Screenshot as an array; kept in POSELAB_SHOTS where that is set"
    file = Path(os.environ.get('POSELAB_SHOTS') or folder)/f'{name}.png'
    page.screenshot(path=str(file))
    return cv2.imread(str(file))


def count(page, n):
    "Wait until the App says that n samples are in the grid"
    page.get_by_test_id('entry-counts').or_(page.locator('[data-cy=entry-counts]')).filter(has_text=re.compile(rf'\b{n} samples?')).first.wait_for()


def test_the_app_shows_crops_and_opens_a_saved_view(page, built, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.delenv('POSELAB_NO_APP', raising=False)
    _, _, _, people = built
    asked = set()
    page.on('request', lambda r: asked.add(urlparse(r.url).hostname))
    session = browse.open_app(people, show=False)
    try:
        assert session.url.startswith('http://127.0.0.1:')
        page.goto(session.url, wait_until='domcontentloaded')
        page.locator('[data-cy=looker]').first.wait_for()
        count(page, len(people))
        card = page.get_by_text('Dismiss', exact=True)
        if card.count(): card.first.click()
        page.wait_for_timeout(3000)
        grid = shot(page, tmp_path, 'app_grid')[200:, 320:]
        assert len(np.unique(grid.reshape(-1, 3), axis=0)) > 2000, 'the tiles are empty'

        page.locator('[data-cy=saved-views-selection]').click()
        for name in ('lowest OKS first', 'error: swap', 'missed people'): page.get_by_text(name, exact=True).first.wait_for()
        shot(page, tmp_path, 'app_views')
        page.get_by_text('error: swap', exact=True).first.click()
        count(page, len(people.load_saved_view('error: swap')))
        page.wait_for_timeout(2000)
        shot(page, tmp_path, 'app_swaps')
    finally: session.close()
    local = {'127.0.0.1', 'localhost', None}
    assert not [h for h in asked - local if 'font' not in h], f'the page asked other machines: {asked - local}'
