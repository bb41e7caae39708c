"Diagnosis and audit in pieces: the numbers of the whole, however it is cut and whoever works, also when a worker is killed"
import json, os, signal, socket, subprocess, sys, time
from dataclasses import fields, replace
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from poselab.audit import audit, plant
from poselab.data.datasets import write_coco, write_results
from poselab.data.figures import rendered_dataset
from poselab.evaluate.errors import diagnose, plant_faults
from poselab.evaluate.impact import impact_report, plant_people
from poselab.records import Instances
from poselab.shards import audit_pieces, diagnose_pieces, in_turn, ray_workers, rows_of, runs

@pytest.fixture(scope='module')
def crowd():
    "Truth in an order in which pictures alternate, and predictions with every kind of fault"
    data = rendered_dataset(60, seed=5, people=(1, 3))
    order = np.random.default_rng(0).permutation(len(data.instances))
    data = replace(data, instances=data.instances[order])
    pred,_ = plant_people(data, plant_faults(data, seed=0)[0], seed=0)
    return data, pred[np.random.default_rng(1).permutation(len(pred))]

@pytest.fixture(scope='module')
def spoilt(crowd):
    data,k = crowd[0],0
    for kind in ('swap_legs', 'swap_arms', 'limb', 'origin', 'duplicate', 'mixed', 'box', 'area', 'flag'): data = plant(data, kind, .1, seed=(k := k + 1))[0]
    return data

@pytest.fixture(scope='module')
def run():
    pytest.importorskip('ray.data', reason='pip install "poselab[scale]"')
    with ray_workers(workers=2) as run: yield run

def same_diagnosis(a, b):
    for f in fields(a)[2:-1]: np.testing.assert_array_equal(getattr(a, f.name), getattr(b, f.name), err_msg=f.name)
    assert impact_report(a, legacy=True) == impact_report(b, legacy=True) # every number, to the last bit

# --- cutting -------------------------------------------------------------------------------------------------

@given(st.integers(0, 50), st.integers(1, 60))
def test_runs_hold_everything_once_and_none_is_empty(n, count):
    found = runs(n, count)
    assert [i for r in found for i in range(n)[r]] == list(range(n)) and all(len(range(n)[r]) for r in found)
    assert len(found) == min(n, count)

def test_rows_of_a_picture_stay_together_in_file_order(crowd):
    data,_ = crowd
    rows = rows_of(data, data.instances.image_id, 7)
    assert all((np.diff(r) > 0).all() for r in rows)
    pictures = [set(data.instances.image_id[r]) for r in rows]
    assert not any(a & b for i,a in enumerate(pictures) for b in pictures[:i])

# --- the same numbers ----------------------------------------------------------------------------------------

@settings(max_examples=12, deadline=None)
@given(count=st.integers(1, 70))
def test_a_diagnosis_in_pieces_is_the_diagnosis(crowd, count):
    same_diagnosis(diagnose_pieces(*crowd, count=count), diagnose(*crowd))

@settings(max_examples=12, deadline=None)
@given(count=st.integers(1, 70))
def test_an_audit_in_pieces_is_the_audit(crowd, spoilt, count):
    pred = plant_faults(crowd[0], seed=2)[0]
    whole = audit(spoilt, pred)
    assert len(whole.counts()) > 8
    assert tuple(audit_pieces(spoilt, pred, count=count)) == tuple(whole)

def test_pictures_read_in_pieces_are_compared_with_all_others(spoilt):
    other = rendered_dataset(60, seed=5, people=(1, 3), split='val').subset(range(1, 20))
    other = replace(other, images=[replace(im, split='val') for im in other.images])
    whole = audit(spoilt, others=[spoilt.subset([im.id for im in spoilt.images[:9]]), other])
    cut = audit_pieces(spoilt, others=[spoilt.subset([im.id for im in spoilt.images[:9]]), other], count=11)
    assert tuple(cut) == tuple(whole) and whole.counts()['near_duplicate'] >= 9 and cut.skipped == whole.skipped

def test_nobody_and_nothing_are_no_error(crowd):
    data,pred = crowd
    none = replace(data, images=[], instances=data.instances[:0])
    for d,p in ((data, pred[:0]), (replace(data, instances=data.instances[:0]), pred), (none, pred[:0])):
        same_diagnosis(diagnose_pieces(d, p, count=5), diagnose(d, p))
        assert tuple(audit_pieces(d, count=5)) == tuple(audit(d))
    assert not len(audit_pieces(none, pictures=True))

def test_what_cannot_be_judged_is_refused_before_it_is_cut(crowd):
    data,pred = crowd
    with pytest.raises(ValueError, match='not in'): diagnose_pieces(data, pred.replace(image_id=pred.image_id + 10**6))
    with pytest.raises(ValueError, match='has no score'): diagnose_pieces(data, pred.replace(score=np.nan))
    with pytest.raises(ValueError, match='17 keypoints'): diagnose_pieces(data, Instances.make(pred.keypoints[:,:5], image_id=pred.image_id, score=.5))

# --- on Ray --------------------------------------------------------------------------------------------------

def test_two_workers_give_the_same_numbers(crowd, spoilt, run):
    same_diagnosis(diagnose_pieces(*crowd, run=run, count=8), diagnose(*crowd))
    assert tuple(audit_pieces(spoilt, run=run, count=8, pictures=True)) == tuple(audit(spoilt, pictures=True))

def test_a_worker_killed_in_the_middle_costs_nothing_but_time(crowd, run, tmp_path):
    def mortal(work):
        "The third piece takes its worker with it, once"
        def one(x):
            place,piece = x
            (tmp_path/f'pid-{os.getpid()}').touch()
            if place == 3 and not (tmp_path/'killed').exists():
                (tmp_path/'killed').write_text(str(os.getpid()))
                os.kill(os.getpid(), signal.SIGKILL)
            return work(piece)
        return one
    cut = diagnose_pieces(*crowd, run=lambda work, pieces: run(mortal(work), list(enumerate(pieces))), count=8)
    dead = (tmp_path/'killed').read_text()
    assert (tmp_path/f'pid-{dead}').exists() and len(list(tmp_path.glob('pid-*'))) > 1, 'somebody else went on'
    with pytest.raises(ProcessLookupError): os.kill(int(dead), 0)
    same_diagnosis(cut, diagnose(*crowd))

def test_a_piece_that_kills_every_worker_is_given_up(run):
    def deadly(piece): os.kill(os.getpid(), signal.SIGKILL)
    with pytest.raises(RuntimeError, match='took 4 workers with it'): run(deadly, [0])

def test_an_error_of_a_piece_comes_home_as_it_is(run):
    def sour(piece): raise ValueError(f'piece {piece} is sour')
    with pytest.raises(ValueError, match='piece 1 is sour'): run(sour, [1, 2])

def test_the_doors_of_local_workers_open_to_this_machine_only(run):
    import ray
    assert [n['NodeManagerAddress'] for n in ray.nodes()] == ['127.0.0.1'] and ray.get_runtime_context().gcs_address.startswith('127.0.0.1:')
    assert os.environ['RAY_USAGE_STATS_ENABLED'] == '0'

def test_a_shell_asks_a_cluster_by_its_address_and_gets_the_same(crowd, spoilt, run, tmp_path):
    import ray
    at = ray.get_runtime_context().gcs_address
    data,pred = crowd
    write_coco(data, tmp_path/'truth.json'); write_results(pred, tmp_path/'pred.json'); write_coco(spoilt, tmp_path/'spoilt.json')
    def poselab(*words): return json.loads(subprocess.run([sys.executable, '-c', 'from poselab.cli import main; main()', *map(str, words), '--json'], capture_output=True,
        text=True, check=True, env=os.environ | {'OMP_NUM_THREADS': '1'}).stdout)
    for words in (('diagnose', '--gt', tmp_path/'truth.json', '--pred', tmp_path/'pred.json'), ('audit', tmp_path/'spoilt.json')):
        assert poselab(*words, '--ray', at) == poselab(*words)

@pytest.mark.parametrize('address', ['127.0.0.1:9', 'nonsense', 'ray://127.0.0.1:9'])
def test_an_address_where_nobody_answers_is_named_at_once(address):
    with pytest.raises(ValueError, match=f'No Ray cluster answers at .*{address.removeprefix("ray://")}'):
        with ray_workers(address): pass

@pytest.mark.parametrize('way', ['', 'ray://'])
def test_a_port_where_something_else_listens_is_named_after_a_while(way, monkeypatch):
    from poselab import shards
    monkeypatch.setattr(shards, 'PATIENCE', 8)
    with socket.create_server(('127.0.0.1', 0)) as door:
        began = time.monotonic()
        with pytest.raises(ValueError, match='No Ray cluster answers at .*127.0.0.1'):
            with ray_workers(f'{way}127.0.0.1:{door.getsockname()[1]}'): pass
        assert time.monotonic() - began < 60
