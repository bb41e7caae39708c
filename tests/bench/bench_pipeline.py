"""Top-down training inputs against mmpose's RTMPose-s pipeline: same JPEG files, same boxes, one process, one thread, CPU time.

    python tests/bench/bench_pipeline.py PEER_PYTHON
"""
import json, os, subprocess, sys, tempfile, time, warnings
from pathlib import Path

N, SIZE = 64, (192,256)


def pictures(folder):
    "N JPEG files of 640 x 480 px with one rendered dancer each -> names, instances, schema"
    import cv2
    from poselab.data.figures import rendered_dataset
    data = rendered_dataset(N, seed=5, size=(640,480), people=1)
    names = [f'{folder}/{im.id:03d}.jpg' for im in data.images]
    for name,im in zip(names, data.images): cv2.imwrite(name, data.image(im.id)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    return names, data.instances, data.schema


def ours(names, inst, schema, cached):
    "One epoch: read (or not), augment, stack, encode the batch"
    import numpy as np, torch
    from poselab.records import read_image
    from poselab.data.augment import AugmentConfig, augment
    from poselab.codecs.simcc import SimCC
    codec,held = SimCC(SIZE),[read_image(n) for n in names] if cached else None
    def epoch():
        out = [augment(held[i] if cached else read_image(names[i]), inst.bbox[i], inst.keypoints[i], inst.visible[i], schema, SIZE,
            AugmentConfig(), np.random.default_rng(i)) for i in range(N)]
        x = torch.from_numpy(np.stack([o[0] for o in out])).permute(0, 3, 1, 2)
        return x, codec.encode(torch.from_numpy(np.stack([o[1] for o in out])).float(), torch.from_numpy(np.stack([o[2] for o in out])))
    return epoch


def theirs(names, inst, schema):
    "One epoch of mmpose's transforms from LoadImage to GenerateTarget (its optional blur and dropout left out)"
    import copy, numpy as np
    from mmengine.config import Config
    from mmengine.dataset import Compose
    from mmengine.registry import init_default_scope
    import mmpose, mmpose.datasets, mmpose.codecs
    init_default_scope('mmpose')
    config = Path(mmpose.__file__).parent/'.mim/configs/body_2d_keypoint/rtmpose/coco/rtmpose-s_8xb256-420e_coco-256x192.py'
    steps = [copy.deepcopy(dict(t)) for t in Config.fromfile(str(config)).train_pipeline]
    steps = [t for t in steps if t['type'].split('.')[-1] not in ('Albumentation', 'PackPoseInputs')]
    for t in steps: t.pop('backend_args', None)
    run = Compose(steps)
    def info(i):
        x,y,w,h = inst.bbox[i]
        return dict(img_path=names[i], id=i, img_id=i, bbox=np.array([[x,y,x + w,y + h]], np.float32), bbox_score=np.ones(1, np.float32),
            keypoints=inst.keypoints[i][None].astype(np.float32), keypoints_visible=(inst.visible[i][None] > 0).astype(np.float32),
            flip_indices=list(schema.flip), upper_body_ids=list(schema.upper), lower_body_ids=list(schema.lower))
    return lambda: [run(info(i)) for i in range(N)]


def cpu_ms(f):
    "CPU time of one call of f, ms"
    t = time.thread_time()
    f()
    return (time.thread_time() - t)*1e3


def measure():
    "Rows, printed as json"
    warnings.filterwarnings('ignore')
    import cv2, torch
    cv2.setNumThreads(1); torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        args = pictures(folder)
        runs = dict(peer=theirs(*args), read=ours(*args, False), held=ours(*args, True))
        for f in runs.values(): f()
        ms = {k: min(cpu_ms(f) for _ in range(5)) for k,f in runs.items()}
    def row(what, key): return dict(what=what, ours_ms=round(ms[key]/N, 3), peer_ms=round(ms['peer']/N, 3),
        ratio=round(ms['peer']/ms[key], 2), n=f'{N} JPEGs of 640 x 480', unit='CPU ms per input')
    print(json.dumps([row('training inputs, pictures decoded each time', 'read'), row('training inputs, decoded pictures held (our default)', 'held')]))


def run(peer_python):
    "Rows measured in the peer's python; an empty list without one"
    if not peer_python: return []
    env = {**os.environ, 'PYTHONPATH': str(Path(__file__).parents[2]), 'OMP_NUM_THREADS': '1'}
    done = subprocess.run([peer_python, '-W', 'ignore', __file__, 'measure'], env=env, capture_output=True, text=True)
    if done.returncode: raise RuntimeError(f'bench_pipeline: the peer failed:\n{done.stderr[-2000:]}')
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == '__main__':
    if sys.argv[1:] == ['measure']: measure()
    else: print(json.dumps(run(sys.argv[1] if len(sys.argv) > 1 else None), indent=1))
