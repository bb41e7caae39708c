"""What every user waits for: the import, rendered dancers, COCO AP beside pycocotools"""
import contextlib, io, subprocess, sys, time

def best(f, n=3):
    "Shortest CPU time of n calls, ms"
    times = []
    for _ in range(n):
        t = time.process_time(); f(); times.append(1e3*(time.process_time() - t))
    return min(times)

def row(what, ours, peer, unit, n):
    return dict(what=what, ours_ms=ours, peer_ms=peer, ratio=None if peer is None else peer/ours, unit=unit, n=n)

IMPORT = 'import time; t = time.process_time(); import {}; print(1e3*(time.process_time() - t))'

def importing(peer_python):
    def took(python, name): return min(float(subprocess.run([python, '-W', 'ignore', '-c', IMPORT.format(name)], capture_output=True, text=True,
                                                            check=True).stdout.split()[-1]) for _ in range(3))
    peer = took(peer_python, 'mmpose.apis') if peer_python else None
    return [row('import poselab', took(sys.executable, 'poselab'), None, 'CPU ms', ''),
            row('ready to predict: poselab.predict, mmpose.apis', took(sys.executable, 'poselab.predict'), peer, 'CPU ms', '')]

def rendering():
    from poselab.data.figures import render_scene
    render_scene(0)
    ms = best(lambda: [render_scene(i) for i in range(100)])/100
    return [row('render a dancer, 256×192, with truth', ms, None, 'CPU ms per image', f'{1e3/ms:.0f} images/s')]

def crowd(images=1000):
    "Truth, and predictions around it"
    import numpy as np
    from poselab.records import ImageInfo, Instances, PoseData
    from poselab.schema import load_schema
    rng = np.random.default_rng(0)
    of = np.repeat(np.arange(images), rng.integers(1, 4, images)) + 1
    xy = rng.uniform(0, 400, (len(of), 1, 2)) + rng.normal(0, 40, (len(of), 17, 2))
    truth = Instances.make(xy, image_id=of)
    again = np.repeat(np.arange(len(of)), 3)
    off = rng.gamma(1., 6., (len(again), 1, 1))*rng.normal(0, 1, (len(again), 17, 2))
    pred = Instances.make(xy[again] + off, image_id=of[again], score=rng.random(len(again)), confidence=1.)
    return PoseData('crowd', load_schema('coco'), [ImageInfo(i + 1, '', 640, 480) for i in range(images)], truth), pred

def precision():
    import json, tempfile
    from pathlib import Path
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval
    from poselab.data.datasets import read_coco, read_results, write_coco, write_results
    from poselab.evaluate.metrics import AP_NAMES, coco_ap
    truth,pred = crowd()
    found = {}
    with tempfile.TemporaryDirectory() as tmp, contextlib.redirect_stdout(io.StringIO()):
        gt,dt = Path(tmp)/'gt.json',Path(tmp)/'dt.json'
        write_coco(truth, gt); write_results(pred, dt)
        def ours():
            data = read_coco(gt, False); found['ours'] = coco_ap(data, read_results(dt, data))
        def peer():
            g = COCO(str(gt)); e = COCOeval(g, g.loadRes(str(dt)), 'keypoints'); e.evaluate(); e.accumulate(); e.summarize(); found['peer'] = e.stats
        a,b = best(ours, 2),best(peer, 2)
    assert max(abs(found['ours'][k] - x) for k,x in zip(AP_NAMES, found['peer'])) < 1e-6
    return [row('COCO AP from files, all ten numbers equal to pycocotools', a, b, 'CPU ms', f'{len(truth)} images, {len(truth.instances)} people, {len(pred)} predictions')]

def run(peer_python): return importing(peer_python) + rendering() + precision()

if __name__ == '__main__':
    for r in run(sys.argv[1] if len(sys.argv) > 1 else None): print(r)
