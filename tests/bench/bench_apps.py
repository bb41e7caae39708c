"""What a reader of an app waits for: from a key on its first slider to the changed picture in a real browser, wall time; no peer.

    python -m tests.bench apps

Chromium and Voila on this machine, one page at a time; POSELAB_CHROMIUM names the browser if it is not on the path. The median of ten keys, the
slowest behind it. A page without a slider is asked by its first menu. Nothing is demanded here: a busy machine is slow.
"""
import os, shutil, tempfile
import numpy as np

MEASURE = """() => { window.answer = new Promise(done => { // ms from the key to the frame after the picture has changed; 0: nothing changed
  let start = 0;
  addEventListener("keydown", () => { start = performance.now(); }, {once: true, capture: true});
  const seen = new MutationObserver(found => {
    if (!start || !found.some(m => m.target.closest?.(".js-plotly-plot, .poselab-title, img.widget-image"))) return;
    seen.disconnect();
    requestAnimationFrame(() => requestAnimationFrame(now => done(performance.now() - start)));
  });
  seen.observe(document.body, {subtree: true, childList: true, attributes: true});
  setTimeout(() => done(0), 4000);
}); }"""
PICTURE = 'document.querySelector(".js-plotly-plot .main-svg") || document.querySelector("img.widget-image")?.naturalWidth > 0'


def answer_times(page, presses=10):
    "Name of the first control of an open app, and ms of each key"
    page.wait_for_function(PICTURE)
    page.wait_for_timeout(1500) # what comes with the page is there
    if page.locator('.widget-slider').count():
        box,keys = page.locator('.widget-slider').first,('ArrowRight', 'ArrowLeft')
        control = box.locator('.noUi-handle')
    else:
        box,keys = page.locator('.widget-dropdown').first,('ArrowDown', 'ArrowUp')
        control = box.locator('select')
    took = []
    for i in range(presses + 2):
        page.evaluate(MEASURE)
        control.focus(); page.keyboard.press(keys[i % 2])
        took.append(page.evaluate('window.answer'))
    return box.locator('label').first.text_content(), [t for t in took[2:] if t] # the first two warm up


def run(peer_python=None) -> list: # rows of dict(what, ours_ms, peer_ms, ratio, n, unit)
    "Press one control of every app"
    from poselab.apps import APPS, start_apps
    chrome = os.environ.get('POSELAB_CHROMIUM') or next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome', 'chrome'))), None)
    try: from playwright.sync_api import Error, sync_playwright
    except ImportError: chrome = None
    if not chrome: print('  no Chromium or no Playwright: nothing measured'); return []
    rows = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play:
        server,url = start_apps(folder)
        try:
            browser = play.chromium.launch(executable_path=chrome, args=['--no-sandbox', '--disable-gpu'])
            for app in APPS:
                page = browser.new_page(viewport=dict(width=1140, height=900)); page.set_default_timeout(240_000)
                page.goto(f'{url.rpartition("/")[0]}/{app.name}.ipynb', wait_until='commit')
                try: control,ms = answer_times(page)
                except Error as e: print(f'  {app.name}: {str(e).splitlines()[0]}'); continue
                finally: page.close()
                if ms: print(f'  {app.name}: {np.median(ms):.0f} ms', flush=True)
                if ms: rows.append(dict(what=f'{app.name}, {control}', ours_ms=float(np.median(ms)), peer_ms=None, ratio=None, unit='ms, wall', n=f'{len(ms)} keys, slowest {max(ms):.0f} ms'))
            browser.close()
        finally: server.terminate(); server.wait(20)
    return rows


if __name__ == '__main__':
    for r in run(): print(f"{r['what']:50} {r['ours_ms']:8.0f}  {r['n']}")
