"What several test files need"
import os, shutil
os.environ.setdefault('OMP_NUM_THREADS', '1') # before torch: threads that compete for two cores wait more than they work
from dataclasses import replace
import pytest
from hypothesis import settings

# Every run draws the same examples; `pytest --hypothesis-profile default` looks for new ones.
settings.register_profile('same', derandomize=True, deadline=None) # a busy machine is no bug
settings.load_profile('same')

@pytest.fixture(scope='session')
def small_weights(tmp_path_factory):
    "Untrained weights for 17 keypoints, small enough to run in a moment"
    import torch
    from poselab.models.rtmpose import LAB, RTMPose
    from poselab.predict import save_weights
    torch.manual_seed(0)
    net = RTMPose(replace(LAB, input_size=(64,64), widen=.125))
    return save_weights(tmp_path_factory.mktemp('weights')/'small.safetensors', net, 'rendered')

@pytest.fixture(scope='session')
def dancers(tmp_path_factory):
    "Eight rendered pictures as files: folder with truth.json, images/, perfect.json"
    import cv2
    from poselab.data.datasets import write_coco, write_results
    from poselab.data.figures import rendered_dataset
    home = tmp_path_factory.mktemp('dancers')
    data = rendered_dataset(8, seed=1, people=(1,2))
    (home/'images').mkdir()
    for im in data.images:
        pixels = data.image(im.id)
        im.file = f'{im.id:03d}.png'
        cv2.imwrite(str(home/'images'/im.file), pixels[..., ::-1])
    write_coco(data, home/'truth.json')
    write_results(data.instances.replace(score=1., confidence=1.), home/'perfect.json')
    return home

@pytest.fixture(scope='module')
def chrome():
    "Chromium, or the browser that POSELAB_CHROMIUM names"
    names = 'chromium', 'chromium-browser', 'google-chrome', 'chrome'
    path = os.environ.get('POSELAB_CHROMIUM') or next(filter(None, map(shutil.which, names)), None)
    if not path: pytest.skip('no Chromium: install it or set POSELAB_CHROMIUM')
    api = pytest.importorskip('playwright.sync_api', reason='no Playwright: pip install playwright')
    flags = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update',
             '--disable-sync']
    with api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path, args=flags)
        yield browser
        browser.close()

@pytest.hookimpl(tryfirst=True) # before `-m` chooses
def pytest_collection_modifyitems(items):
    "Whatever drives a browser runs alone: two of them on two cores starve each other"
    for item in items:
        if 'chrome' in item.fixturenames: item.add_marker(pytest.mark.browser)
