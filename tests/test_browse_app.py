"The App in a real browser: tiles in the grid, saved views by name, a view that changes the grid"
import os, re
from pathlib import Path
from urllib.parse import urlparse
from test_browse import built, fo, rich  # noqa: F401  fixtures; first, because it sets the database's name
import cv2, numpy as np, pytest
from poselab import browse


@pytest.fixture(scope='module')
def page(chrome):
    page = chrome.new_page(viewport=dict(width=1400, height=900))
    page.set_default_timeout(120_000)
    return page


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


def shown(page):
    "The number of samples the App says are in the grid"
    text = page.get_by_test_id('entry-counts').or_(page.locator('[data-cy=entry-counts]')).first.inner_text()
    return int(re.search(r'(\d+)( of \d+)? sample', text.replace(',', ''))[1])


def dismiss(page):
    card = page.get_by_text('Dismiss', exact=True)
    if card.count(): card.first.click()


def test_findings_and_a_second_model_are_views_and_a_lasso_in_the_pose_plot_filters_the_grid(page, rich, tmp_path, monkeypatch):  # noqa: F811
    from poselab.posespace import add_pose_space
    monkeypatch.delenv('POSELAB_NO_APP', raising=False)
    _, _, _, _, name, _, people = rich
    placed = len(add_pose_space(name, 'pca'))
    people.reload()
    session = browse.open_app(people, show=False)
    try:
        page.goto(session.url, wait_until='domcontentloaded')
        page.locator('[data-cy=looker]').first.wait_for()
        count(page, len(people)); dismiss(page)
        for view in ('audit: swap legs', 'A and Model B disagree'):
            session.view = people.load_saved_view(view)
            count(page, len(session.view))
            page.wait_for_timeout(2500)
            shot(page, tmp_path, f'app_{view.split(":")[0].split()[0]}')
        session.view = None
        count(page, len(people))
        session.load_workspace('pose space')
        page.get_by_text('pose', exact=True).first.click()
        page.get_by_text(re.compile(rf'{placed} points')).wait_for()
        page.wait_for_timeout(1500)
        shot(page, tmp_path, 'app_poses')
        page.get_by_text('Select', exact=True).first.click()
        box = page.get_by_text(re.compile(rf'{placed} points')).bounding_box()  # at the lower left of the plot
        left, bottom = box['x'], box['y'] - 10
        page.mouse.move(left, bottom); page.mouse.down()
        for x, y in ((left + 250, bottom), (left + 250, 260), (left, 260), (left, bottom)): page.mouse.move(x, y, steps=12)
        page.mouse.up()
        for _ in range(60):
            page.wait_for_timeout(500)
            if shown(page) < len(people): break
        shot(page, tmp_path, 'app_lasso')
        assert 0 < shown(page) < len(people)
    finally: session.close()


def test_films_open_as_one_tile_per_film(page, fo, tmp_path, monkeypatch):  # noqa: F811
    from dataclasses import replace
    from poselab.data.figures import rendered_dataset
    from poselab.evaluate.errors import plant_faults
    from poselab.records import PoseData
    monkeypatch.delenv('POSELAB_NO_APP', raising=False)
    truth = rendered_dataset(8, seed=2, people=(2, 2))
    infos = [replace(im, video='waltz' if i < 5 else 'tango', frame=i) for i, im in enumerate(truth.images)]
    truth = PoseData('films', truth.schema, infos, truth.instances.replace(track_id=np.arange(16) % 2), truth.source)
    name = f'filmapp_{os.getpid()}'
    browse.build(truth, plant_faults(truth, seed=0, rate=.1)[0], None, name, tmp_path)
    session = browse.open_app(name, show=False)
    try:
        page.goto(session.url, wait_until='domcontentloaded')
        page.locator('[data-cy=looker]').first.wait_for()
        page.get_by_text(re.compile(r'2 groups')).first.wait_for(); dismiss(page)
        page.wait_for_timeout(2500)
        shot(page, tmp_path, 'app_films')
        page.locator('[data-cy=looker]').first.click()
        page.wait_for_timeout(4000)
        shot(page, tmp_path, 'app_film_open')
    finally:
        session.close()
        browse.delete_built(name)
