"Pages for error hunters, and the two commands that write them"
import json
import numpy as np, pytest
from click.testing import CliRunner
from poselab.audit import audit
from poselab.cli import main
from poselab.data.datasets import write_coco, write_results
from poselab.data.figures import rendered_dataset
from poselab.evaluate.errors import diagnose, plant_faults
from poselab.evaluate.impact import impact_report
from poselab.evaluate.metrics import evaluate
from poselab.inspection import audit_page, diagnosis_page, doubt_tile, gain_bars

@pytest.fixture(scope='module')
def judged():
    truth = rendered_dataset(12, 5, split='val')
    pred,_ = plant_faults(truth, rate=.2)
    return truth, pred, diagnose(truth, pred)

def ask(*args): return CliRunner().invoke(main, [str(a) for a in args])

def test_every_mend_has_its_bar(judged):
    gains = impact_report(judged[2])['gains']
    (bar,) = gain_bars(gains).data
    assert dict(zip(bar.y, bar.x)) == gains['alone'] and list(bar.x) == sorted(bar.x)

def test_a_page_without_pictures_has_its_numbers(judged, tmp_path):
    truth,pred,d = judged
    from dataclasses import replace
    blind = diagnose(replace(truth, source=None), pred)
    page = diagnosis_page(blind, impact_report(blind), evaluate(truth, pred), tmp_path/'page.html').read_text('utf-8')
    assert 'What to mend first' in page and 'as predicted, and mended' not in page

def test_the_command_says_what_the_library_says(judged, tmp_path):
    truth,pred,d = judged
    gt,found = write_coco(truth, tmp_path/'gt.json'),tmp_path/'pred.json'
    write_results(pred, found)
    out = ask('diagnose', '--gt', tmp_path/'gt.json', '--pred', found, '--json', '--legacy')
    assert out.exit_code == 0, out.output
    said = json.loads(out.stdout)
    assert abs(said['gains']['ap'] - evaluate(truth, pred)['AP']) < .01 and 'legacy' in said
    text = ask('diagnose', '--gt', tmp_path/'gt.json', '--pred', found).stdout
    assert 'gained by mending' in text and 'inversion' in text

def test_a_swapped_person_is_doubted_by_the_command(tmp_path):
    data = rendered_dataset(60, 6, split='val')
    g = data.instances
    p = int(np.flatnonzero((g.visible == 2).all(1))[0])
    g.keypoints[p] = g.keypoints[p][list(data.schema.flip)]
    write_coco(data, tmp_path/'labels.json')
    out = ask('audit', tmp_path/'labels.json', '--json')
    assert out.exit_code == 0, out.output
    said = json.loads(out.stdout)
    assert any(f['person'] == int(g.id[p]) and f['check'].startswith('swap') for f in said['findings'])
    assert str(int(g.id[p])) in ask('audit', tmp_path/'labels.json').stdout

def test_tiles_for_people_pictures_and_keypoints_far_outside():
    data = rendered_dataset(4, 5, split='val')
    from poselab.audit import Finding
    g = data.instances
    g.keypoints[0, 3] = (-5000., 9000.)
    for person,keypoint in ((int(g.id[0]), data.schema.names[3]), (int(g.id[0]), None), (-1, None)):
        tile = doubt_tile(data, Finding('outside_image', int(g.image_id[0]), person, keypoint, .5, 0., 0., 'why'), 64)
        assert tile.shape == (64, 64, 3) and tile.std() > 5

def test_every_point_of_an_exchange_is_ringed_and_no_other():
    data = rendered_dataset(4, 5, split='val')
    from poselab.audit import Finding
    from poselab.inspection import ASKED
    g,ks = data.instances,[data.schema.index(n) for n in ('left_hip', 'right_hip', 'left_knee', 'right_knee')]
    def rings(points): # how many pixels have the colour of a ring
        f = Finding('swap_legs', int(g.image_id[0]), int(g.id[0]), None, .5, 0., 0., 'why', dict(do='swap', keypoints=points) if points else None)
        return (np.abs(doubt_tile(data, f, 480).astype(int) - ASKED).max(-1) < 12).sum()
    assert rings([]) == 0 and 0 < rings(ks[:2]) < rings(ks)

def test_nothing_to_doubt_is_a_page_too(tmp_path):
    data = rendered_dataset(3, 5, split='val')
    assert 'Nothing to doubt' in audit_page(data, audit(data)[:0], tmp_path/'a.html').read_text('utf-8')

def test_a_missing_file_is_named():
    out = ask('audit', 'nowhere.json')
    assert out.exit_code and 'nowhere.json' in out.output

def test_every_check_has_its_bar_in_the_colour_of_its_severity(tmp_path):
    from poselab.audit import CHECKS, plant
    from poselab.inspection import GRAVE, doubt_bars
    data = plant(rendered_dataset(60, 6, split='val'), 'swap_legs', .3, 0)[0]
    found = audit(data)
    bars = doubt_bars(found.counts()).data
    assert {y: x for b in bars for y,x in zip(b.y, b.x)} == {c.replace('_', ' '): n for c,n in found.counts().items()}
    for b in bars: assert b.marker.color == GRAVE[b.name] and all(CHECKS[y.replace(' ', '_')][0] == b.name for y in b.y)
    page = audit_page(data, found, tmp_path/'a.html').read_text('utf-8')
    assert 'How many, and how grave' in page and 'Plotly' in page and '<script src=' not in page
