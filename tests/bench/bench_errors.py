"""Diagnosis with AP gains against a plain loop over people and keypoints that evaluates with pycocotools

    python tests/bench/bench_errors.py
"""
import importlib.util, sys
from pathlib import Path
import numpy as np


def load(name):
    "A file of this folder as a module"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f'{name}.py'))
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def ours(truth, pred):
    "What the plain loop does: names, statuses, scoring errors, sixteen APs"
    from poselab.evaluate.errors import diagnose
    from poselab.evaluate.impact import ap_gains, scoring_errors
    d = diagnose(truth, pred)
    return d, scoring_errors(d), ap_gains(d)


def same(result, plain):
    "Refuse to compare what is not equal"
    from poselab.evaluate.impact import false_alarms
    d, wrong, gains = result
    for e, n in plain['errors'].items(): assert (d.error == e).sum() == n, (e, n)
    assert (d.gt_status == 'missed').sum() == plain['missed'] and len(wrong['person']) == plain['scoring']
    for kind, status in (('background', 'background'), ('duplicates', 'duplicate')):
        assert false_alarms(d, kind).sum() == plain['status'].get(status, 0)
    np.testing.assert_allclose(gains['ap'], plain['gains']['ap'], rtol=0, atol=1e-9)
    for part in ('alone', 'steps'):
        for k, x in plain['gains'][part].items(): np.testing.assert_allclose(gains[part][k], x, rtol=0, atol=1e-9, err_msg=f'{part} {k}')


def run(peer_python=None) -> list: # rows of dict(what, ours_ms, peer_ms, ratio, n, unit); ratio above 1: ours is faster
    "Ours best of two around one run of the peer; all counts and all gains must be equal. No other python is needed"
    from poselab.evaluate.errors import diagnose
    from poselab.evaluate.impact import impact_report
    ap = load('bench_ap')
    truth, pred = ap.scene()
    first = ap.cpu(lambda: ours(truth, pred))
    peer, plain = ap.cpu(lambda: load('plain_errors').plain_diagnosis(truth, pred))
    ms = min(first[0], ap.cpu(lambda: ours(truth, pred))[0])
    same(first[1], plain)
    full = min(ap.cpu(lambda: impact_report(diagnose(truth, pred)))[0] for _ in range(2))
    n = f'{ap.IMAGES} images, {ap.PEOPLE} people, {ap.DETS} predictions'
    return [dict(what='names, scoring errors and 16 APs, plain loops with pycocotools', ours_ms=round(ms, 1), peer_ms=round(peer, 1),
                 ratio=round(peer/ms, 2), n=n, unit='CPU ms'),
            dict(what='whole report with groups of people (no peer)', ours_ms=round(full, 1), peer_ms=None, ratio=None, n=n, unit='CPU ms')]


if __name__ == '__main__':
    for r in run(): print(r)
