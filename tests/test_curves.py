"Runs beside each other: what is read, what a difference allows to say, and the figure"
import csv, json
import numpy as np, pytest
from poselab.curves import Runs, compared, curve_figure, pack, read_runs, run_comparer, shipped_runs, smoothed, unpack

A = np.array([.61, .55, .70])
def runs(*rows, **more): return Runs('by hand', tuple('abcdef'[:len(rows)]), tuple(range(len(rows[0]))), {'loss': np.ones((len(rows), len(rows[0]), 4))}, {'PCK': np.array(rows, float)}, **more)

def test_a_steady_gain_is_better_and_a_changing_one_undecided():
    steady,changing = compared(runs(A, A + [.02, .021, .019], A + [.05, -.04, .01]))
    assert steady['verdict'] == 'better' and steady['low'] > 0 and changing['verdict'] == 'undecided'
    assert compared(runs(A, A - .02 + [.001, 0, -.001]))[0]['verdict'] == 'worse'

def test_turning_the_comparison_round_turns_the_difference_round():
    r = runs(A, A + [.02, .03, .01])
    (x,),(y,) = compared(r),compared(r, against='b')
    assert np.allclose(x['differences'], -y['differences']) and x['low'] == pytest.approx(-y['high'])

def test_a_smaller_loss_is_better():
    r = Runs('x', ('a', 'b'), (0, 1, 2), {'loss': np.stack([np.ones((3, 2)), np.full((3, 2), .5) + [[0], [.01], [.02]]])}, {})
    assert compared(r)[0]['verdict'] == 'better' # the last value of the curve counts

def test_one_run_each_says_nothing_and_a_missing_run_is_left_out():
    assert 'nothing can be said' in compared(runs([.5], [.9]))[0]['verdict']
    x = compared(runs(A, [.63, np.nan, .71]))[0]
    assert np.isnan(x['differences'][1]) and x['mean'] == pytest.approx(.015)

@pytest.mark.parametrize('ask, words', [(dict(metric='AR'), "has no 'AR'; there are PCK, loss"), (dict(against='z'), "no variant 'z'; there are a, b")])
def test_what_is_not_there_is_named(ask, words):
    with pytest.raises(ValueError, match=words): compared(runs(A, A), **ask)

def log(folder, version, rows):
    d = folder/'log'/f'version_{version}'; d.mkdir(parents=True)
    with (d/'metrics.csv').open('w', newline='') as f:
        w = csv.DictWriter(f, ['epoch', 'step', 'loss', 'val_hit']); w.writeheader(); w.writerows(rows)

def test_folders_of_runs_are_read_also_when_they_went_on_after_a_break(tmp_path):
    log(tmp_path/'one', 0, [dict(epoch=0, step=9, loss=2.), dict(epoch=0, step=9, val_hit=.1)])
    log(tmp_path/'one', 1, [dict(epoch=1, step=19, loss=1., val_hit=.2)])
    log(tmp_path/'deep'/'two', 0, [dict(epoch=0, step=9, loss=3.)])
    r = read_runs(tmp_path)
    assert r.variants == ('deep/two', 'one') and r.curves['loss'][1].tolist() == [[2., 1.]] and np.isnan(r.curves['loss'][0, 0, 1])
    assert read_runs(tmp_path/'one').variants == ('one',)
    assert len(curve_figure(r, 'loss').data) > 2

def test_no_folder_and_no_runs_are_said(tmp_path):
    with pytest.raises(ValueError, match='is no folder'): read_runs(tmp_path/'no')
    with pytest.raises(ValueError, match='holds no run'): read_runs(tmp_path)

def test_shipped_runs_survive_packing_and_are_small():
    for r in shipped_runs().values():
        again = unpack(json.loads(json.dumps(pack(r))))
        assert all(np.array_equal(v, again.curves[k], equal_nan=True) for k,v in r.curves.items()) and r.params == again.params
        assert {x.shape[:2] for x in [*r.curves.values(), *r.scores.values()]} == {(len(r.variants), len(r.seeds))}
    assert len(json.dumps([pack(r) for r in shipped_runs().values()])) < 20_000

@pytest.mark.parametrize('each', [True, False])
@pytest.mark.parametrize('name', shipped_runs())
def test_every_shipped_study_can_be_drawn(name, each):
    r = shipped_runs()[name]
    for curve in r.curves:
        f = curve_figure(name, curve, against=r.variants[-1], smooth=.5, each=each)
        assert f.layout.title.text.startswith(f'<b>{name}') and {t.name for t in f.data if t.name} == set(r.variants)

def test_smoothing_keeps_a_flat_line_and_gaps():
    x = np.array([[3., 3, 3, 3], [1, np.nan, 3, 5]])
    assert smoothed(x, .9)[0].tolist() == [3]*4 and np.isnan(smoothed(x, .9)[1, 1]) and smoothed(x, 0.)[1, 3] == 5
    assert smoothed(x, .5)[1, 2] == 2

def test_the_comparer_follows_its_boxes_and_says_what_a_folder_lacks(tmp_path):
    import time
    box = run_comparer(); c = {x.description: x for x in box.children[0].children}; screen = box.children[1]
    c['study'].value = 'shipped weights'
    assert 'shipped weights' in screen.shown.layout.title.text and c['compare'].value == 'val_hit'
    c['study'].value = 'study-optimiser'
    c['with'].value = 'SGD'
    assert 'against SGD' in screen.shown.layout.title.text
    took = []
    for x in (.1, .2, .3, .4, .5): start = time.process_time(); c['smooth'].value = x; took.append(time.process_time() - start)
    assert min(took) < .15, f'{took} s for a control' # of processor time: others may use the machine
    c['each seed'].value = True
    c['folder'].value = str(tmp_path/'no')
    assert any('is no folder' in x.value for x in box.children[0].children if hasattr(x, 'value') and isinstance(x.value, str))
    log(tmp_path/'mine'/'one', 0, [dict(epoch=0, step=9, loss=2.)])
    c['folder'].value = str(tmp_path/'mine')
    assert c['study'].value == 'mine' and 'one variant only' in screen.shown.layout.title.text
