"The panel in a real browser: a bar filters the grid, a finding is accepted and undone, the corrected labels are exported"
import time
from test_browse import fo  # noqa: F401  fixtures; first, because it sets the database's name
from test_browse_app import count, page, shot  # noqa: F401
from test_plugin import person, shown  # noqa: F401
import pytest
from poselab import browse, plugin
from poselab.records import read_json


def click_bar(page, want):
    "Click the bar with this id, wherever plotly drew it"
    script = """want => { for (const plot of document.querySelectorAll('.js-plotly-plot')) for (const [t, trace] of plot.data.entries()) {
        const i = (trace.ids || []).indexOf(want); if (i < 0) continue;
        const traces = plot.querySelectorAll('.barlayer .trace.bars'); const r = traces[t].querySelectorAll('.point path')[i].getBoundingClientRect();
        return [r.x + r.width/2, r.y + r.height/2]; } return null }"""
    page.wait_for_function(script, arg=want)
    page.mouse.click(*page.evaluate(script, want))


def wait(condition, seconds=60):
    end = time.time() + seconds
    while not condition():
        assert time.time() < end, 'the App did nothing'
        time.sleep(.2)


def test_click_filter_accept_undo_export(page, shown, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.delenv('POSELAB_NO_APP', raising=False)
    _, truth, rows, _, images, people, file = shown
    session = browse.open_app(people, show=False)
    session.spaces = plugin.workspace()
    try:
        page.goto(session.url, wait_until='domcontentloaded')
        page.locator('[data-cy=looker]').first.wait_for()
        count(page, len(people))
        card = page.get_by_text('Dismiss', exact=True)
        if card.count(): card.first.click()
        page.locator('.js-plotly-plot').first.wait_for()
        page.wait_for_timeout(1000)
        shot(page, tmp_path, 'plugin_errors')

        joint, errors = max(plugin.error_counts_of(people).items(), key=lambda c: sum(c[1].values()))
        error = max(errors, key=errors.get)
        start = time.time()
        click_bar(page, f'{error}|{joint}')
        count(page, len(plugin.view_of(people, 'errors', f'{error}|{joint}')))
        print(f'click to filtered grid: {time.time() - start:.1f} s')
        page.wait_for_timeout(1500)
        shot(page, tmp_path, 'plugin_filtered')
        page.get_by_text('Show all', exact=True).click()
        count(page, len(people))

        page.get_by_text('What to mend', exact=True).click()
        page.locator('.js-plotly-plot').nth(1).wait_for()
        click_bar(page, 'miss')
        page.get_by_text('as predicted and mended').wait_for(timeout=30_000)
        count(page, len(plugin.view_of(people, 'gains', 'miss')))
        page.wait_for_timeout(1500)
        shot(page, tmp_path, 'plugin_gains')

        page.get_by_text('Labels', exact=True).first.click()
        page.get_by_text('Nobody has asked the audit yet').wait_for()
        page.get_by_role('button', name='Audit the labels').click()
        page.get_by_text('open', exact=True).first.wait_for(timeout=60_000) # the legend of the bars
        people.reload(); images.reload()
        before = plugin.finding_counts_of(people)['swap_arms']
        click_bar(page, 'open|swap_arms')
        count(page, before['open'])
        page.get_by_text('swap arms', exact=True).first.wait_for()
        page.wait_for_timeout(1500)
        shot(page, tmp_path, 'plugin_finding')
        start = time.time()
        page.get_by_role('button', name='Accept').click()
        wait(lambda: plugin.finding_counts_of(people)['swap_arms'].get('accepted'))
        page.get_by_text('accepted: swap arms').first.wait_for()
        print(f'accepted: {time.time() - start:.1f} s')
        page.wait_for_timeout(2500)
        shot(page, tmp_path, 'plugin_accepted')
        assert len(plugin.log_of(people).standing()) == 1

        page.get_by_role('button', name='Undo').click()
        wait(lambda: plugin.finding_counts_of(people)['swap_arms'] == before)
        page.wait_for_timeout(2000)
        shot(page, tmp_path, 'plugin_undone')
        page.get_by_role('button', name='Reject').click()
        wait(lambda: plugin.finding_counts_of(people)['swap_arms'].get('rejected'))
        page.get_by_text('rejected: swap arms').first.wait_for()
        page.wait_for_timeout(2000)
        page.get_by_role('button', name='Undo').click()
        wait(lambda: plugin.finding_counts_of(people)['swap_arms'] == before)
        page.wait_for_timeout(2000)
        page.get_by_role('button', name='Accept').click()
        wait(lambda: plugin.finding_counts_of(people)['swap_arms'].get('accepted'))
        page.wait_for_timeout(2000)

        page.get_by_role('button', name='Fix otherwise').click()
        page.get_by_text('What to do').first.wait_for()
        page.wait_for_timeout(1000)
        shot(page, tmp_path, 'plugin_fix')
        page.get_by_role('button', name='Execute').click()
        wait(lambda: plugin.finding_counts_of(people)['swap_arms'].get('fixed'))
        page.get_by_text('swap: person').first.wait_for()
        page.wait_for_timeout(2000)
        page.get_by_role('button', name='Undo').click()
        wait(lambda: not plugin.finding_counts_of(people)['swap_arms'].get('fixed'))
        page.wait_for_timeout(2000)

        page.get_by_role('button', name='Export').click()
        page.get_by_text('is never touched').first.wait_for()
        page.get_by_role('dialog').or_(page.locator('form, .MuiDialog-root, .MuiPaper-root')).get_by_role('textbox').last.fill(str(tmp_path/'out.json'))
        page.wait_for_timeout(1500)
        shot(page, tmp_path, 'plugin_export')
        page.get_by_role('button', name='Execute').click()
        wait((tmp_path/'out.changes.csv').exists)
        page.wait_for_timeout(1000)
        shot(page, tmp_path, 'plugin_exported')
    except BaseException: shot(page, tmp_path, 'plugin_failed'); raise
    finally: session.close()
    old, new = read_json(file), read_json(tmp_path/'out.json')
    changed = [a['id'] for a, b in zip(old['annotations'], new['annotations']) if a != b]
    assert changed == [plugin.log_of(people).standing()[0].annotation] and [k for k in old if old[k] != new[k]] == ['annotations']
