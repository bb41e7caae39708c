"""JupyterLab, as a student opens it: a notebook runs, a slider moves by keyboard, the picture changes.

POSELAB_CHROMIUM names the browser if it is not on the path; POSELAB_WAIT is how many seconds a busy machine may take.
"""
import os, signal, socket, subprocess, sys, time
import urllib.request
import nbformat, pytest
from nbformat.v4 import new_code_cell, new_notebook

WAIT = int(os.environ.get('POSELAB_WAIT', 420)) # s: a bound, not a pause
CELLS = ['from poselab.widgets import soft_label_explorer', 'soft_label_explorer()']
PICTURE = '[...document.querySelectorAll(".jp-OutputArea-output .poselab-title, .jp-OutputArea-output .js-plotly-plot .main-svg")].map(e => e.outerHTML).join("")'

def free_port():
    with socket.socket() as s: s.bind(('127.0.0.1', 0)); return s.getsockname()[1]

def answers(url):
    try: return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f'{url}/api', timeout=5).status == 200
    except OSError: return False

@pytest.fixture(scope='module')
def lab(tmp_path_factory):
    "A JupyterLab of its own on a free port: no token, nobody's settings, one notebook of two cells"
    for name in ('jupyterlab', 'ipykernel', 'anywidget', 'jupyterlab_widgets'): pytest.importorskip(name, reason=f"no {name}: pip install 'poselab[lab]'")
    home = tmp_path_factory.mktemp('lab'); folder = home/'nbs'; folder.mkdir()
    kernel = dict(kernelspec=dict(name='python3', display_name='python3', language='python'))
    nbformat.write(new_notebook(cells=list(map(new_code_cell, CELLS)), metadata=kernel), folder/'widget.ipynb')
    port,log = free_port(),home/'lab.txt'
    url = f'http://127.0.0.1:{port}'
    places = {f'JUPYTER{k}': str(home/k.strip('_').lower()) for k in ('_CONFIG_DIR', '_DATA_DIR', '_RUNTIME_DIR', 'LAB_SETTINGS_DIR', 'LAB_WORKSPACES_DIR')}
    with open(log, 'w') as out:
        p = subprocess.Popen([sys.executable, '-m', 'jupyterlab', '--no-browser', '--allow-root', '--ServerApp.ip=127.0.0.1', f'--ServerApp.port={port}', '--ServerApp.port_retries=0',
            f'--ServerApp.root_dir={folder}', '--IdentityProvider.token=', '--LabApp.extension_manager=readonly', '--LabApp.news_url=None'], stdout=out, stderr=out,
            env=os.environ | places | dict(OMP_NUM_THREADS='1'), start_new_session=True)
    try:
        end = time.monotonic() + WAIT
        while not answers(url):
            assert p.poll() is None and time.monotonic() < end, f'JupyterLab does not answer:\n{log.read_text()[-3000:]}'
            time.sleep(.3)
        yield url
    finally: # its kernels as well
        try: os.killpg(p.pid, signal.SIGTERM); p.wait(20)
        except ProcessLookupError: pass
        except subprocess.TimeoutExpired: os.killpg(p.pid, signal.SIGKILL)

def kernel_states(url):
    import json
    got = json.load(urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f'{url}/api/kernels', timeout=30))
    return [k['execution_state'] for k in got]

def run_all(page, tries=8):
    "From the menu, again until there is a picture: a lab that has just opened may not hear the first time"
    from playwright.sync_api import TimeoutError
    for left in reversed(range(tries)):
        page.keyboard.press('Escape')
        page.locator('.jp-Notebook .jp-CodeCell .cm-content').first.click() # the menu is about the notebook that has the focus
        page.locator('.lm-MenuBar-itemLabel', has_text='Run').first.click()
        page.locator('li[data-command="runmenu:run-all"]').click()
        try: return page.wait_for_function('document.querySelector(".jp-OutputArea-output .js-plotly-plot .main-svg, .jp-RenderedText[data-mime-type*=error]")',
                                           timeout=WAIT*1000/tries)
        except TimeoutError:
            if not left: raise

@pytest.fixture(scope='module')
def page(chrome, lab):
    "The notebook, opened and run from the menu"
    context = chrome.new_context(viewport=dict(width=1500, height=1200))
    context.set_default_timeout(WAIT*1000)
    page = context.new_page()
    page.goto(f'{lab}/lab/tree/widget.ipynb', wait_until='commit')
    page.locator('.jp-Notebook .jp-CodeCell').nth(1).wait_for()
    page.wait_for_function('document.querySelector(".jp-NotebookPanel .jp-Notebook-ExecutionIndicator")?.dataset.status === "idle"')
    run_all(page)
    yield page
    context.close()

def test_a_slider_of_a_notebook_moves_by_keyboard_and_the_picture_changes(page):
    assert page.locator('.jp-RenderedText[data-mime-type*=error]').count() == 0, page.locator('.jp-RenderedText').all_inner_texts()
    title = page.locator('.jp-OutputArea-output .poselab-title')
    handle = page.locator('.widget-slider', has_text='β').locator('.noUi-handle')
    assert 'Peak 0.2455' in title.text_content() and float(handle.get_attribute('aria-valuenow')) == 10
    page.evaluate(f'window.before = {PICTURE}')
    for _ in range(60): # until the slider has heard the key
        handle.focus(); page.keyboard.press('Home')
        if float(handle.get_attribute('aria-valuenow')) == 1: break
        page.wait_for_timeout(500)
    page.wait_for_function(f'{PICTURE} !== window.before && document.querySelector(".jp-OutputArea-output .poselab-title").textContent.includes("Peak 0.0068")')

def test_the_notebook_says_no_error_and_its_kernel_is_alive(page, lab):
    assert kernel_states(lab) and page.locator('.jp-Dialog').count() == 0
    assert page.locator('.jp-OutputArea-output', has_text='Error displaying widget').count() == 0
