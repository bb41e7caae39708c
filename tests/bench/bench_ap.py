"""COCO AP against pycocotools and plain faster-coco-eval: 5,000 images, 11,000 people, 30,000 predictions.

    python tests/bench/bench_ap.py
"""
import contextlib, io, time
import numpy as np

IMAGES, PEOPLE, DETS = 5_000, 11_000, 30_000


def scene(seed=0):
    "PoseData and Instances of random people, some crowded, some without labels, and noisy predictions of them"
    from poselab.records import ImageInfo, Instances, PoseData
    from poselab.schema import load_schema
    rng = np.random.default_rng(seed)
    img, area = rng.integers(0, IMAGES, PEOPLE), rng.uniform(400, 60000, PEOPLE).round(2)
    side, corner = np.sqrt(area)*1.4, rng.uniform(0, 500, (PEOPLE, 2))
    v = (rng.random((PEOPLE, 17)) < .75)*2
    v[rng.random(PEOPLE) < .1] = 0
    xy = (corner[:,None] + rng.random((PEOPLE, 17, 2))*side[:,None,None]).round(2)*(v > 0)[...,None]
    people = Instances.make(xy, v, area=area, bbox=np.c_[corner, side, side].round(2), image_id=img, iscrowd=rng.random(PEOPLE) < .02)
    src = rng.integers(0, PEOPLE, DETS)
    noise = rng.normal(0, 1, (DETS, 17, 2))*(side[src]*rng.choice([.01, .04, .15], DETS))[:,None,None]
    pred = Instances.make((xy[src] + noise).round(2), image_id=img[src], score=rng.random(DETS))
    return PoseData('synthetic', load_schema('coco'), [ImageInfo(i, f'{i}.jpg', 640, 480) for i in range(IMAGES)], people), pred


def as_json(truth, pred):
    "What the peers take: lists of dicts, as if a file had just been read"
    g, third = truth.instances, lambda xy, v: np.concatenate([xy, v[...,None]], -1).reshape(len(xy), -1).tolist()
    cols = zip(g.image_id.tolist(), g.area.tolist(), g.bbox.tolist(), g.iscrowd.astype(int).tolist(), third(g.keypoints, g.visible))
    anns = [dict(id=n, image_id=i, area=a, bbox=b, iscrowd=c, keypoints=k, num_keypoints=sum(x > 0 for x in k[2::3]), category_id=1)
            for n,(i,a,b,c,k) in enumerate(cols, 1)]
    rows = [dict(image_id=i, score=s, keypoints=k, category_id=1) for i,s,k in
            zip(pred.image_id.tolist(), pred.score.tolist(), third(pred.keypoints, pred.visible))]
    return dict(images=[dict(id=i.id) for i in truth.images], annotations=anns, categories=[dict(id=1, name='person')]), rows


def pycocotools(doc, rows):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval
    with contextlib.redirect_stdout(io.StringIO()):
        api = COCO()
        api.dataset = doc
        api.createIndex()
        e = COCOeval(api, api.loadRes(rows), 'keypoints')
        e.evaluate(); e.accumulate(); e.summarize()
    return e.stats


def faster(doc, rows):
    from faster_coco_eval import COCO, COCOeval_faster
    api = COCO(doc)
    e = COCOeval_faster(api, api.loadRes(rows), 'keypoints', print_function=lambda *_: None)
    e.run()
    return e.stats


def cpu(f):
    "CPU time of one call, ms, and what it returned"
    start = time.process_time()
    out = f()
    return (time.process_time() - start)*1e3, out


def run(peer_python=None) -> list: # rows of dict(what, ours_ms, peer_ms, ratio, n, unit); ratio above 1: ours is faster
    "Best of three, in turns; refuses to compare unless all ten numbers are equal. No other python is needed"
    from poselab.evaluate.errors import diagnose
    from poselab.evaluate.metrics import coco_ap
    truth, pred = scene()
    peers = dict(pycocotools=pycocotools, **{'faster-coco-eval': faster})
    ours, theirs = [], {name: [] for name in peers}
    for _ in range(3):
        ms, ap = cpu(lambda: coco_ap(truth, pred))
        ours.append(ms)
        for name,f in peers.items():
            doc = as_json(truth, pred) # new each time: both peers write into it
            ms, stats = cpu(lambda: f(*doc))
            np.testing.assert_allclose(list(ap.values()), stats, rtol=0, atol=1e-9)
            theirs[name].append(ms)
    n = f'{IMAGES} images, {PEOPLE} people, {DETS} predictions'
    rows = [dict(what=f'COCO AP against {name}', ours_ms=round(min(ours), 1), peer_ms=round(min(t), 1), ratio=round(min(t)/min(ours), 2),
                 n=n, unit='CPU ms') for name,t in theirs.items()]
    ms = min(cpu(lambda: diagnose(truth, pred))[0] for _ in range(2))
    return rows + [dict(what='error names (no peer)', ours_ms=round(ms, 1), peer_ms=None, ratio=None, n=n, unit='CPU ms')]


if __name__ == '__main__':
    for r in run(): print(r)
