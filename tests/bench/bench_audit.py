"""The audit of 100,000 generated people in 50,000 pictures, with and without a model's answers; no peer package asks these questions

    python tests/bench/bench_audit.py
"""
import time
import numpy as np

IMAGES, PEOPLE = 50_000, 100_000


def crowd(seed=0):
    "PoseData of rendered poses, moved, scaled and shaken, some keypoints missing, and predictions a little off"
    from poselab.data.figures import rendered_dataset
    from poselab.records import ImageInfo, Instances, PoseData
    rng, some = np.random.default_rng(seed), rendered_dataset(400, seed=seed, people=1)
    g = some.instances[rng.integers(0, len(some.instances), PEOPLE)]
    scale, place = rng.uniform(.5, 3, (PEOPLE, 1, 1)), rng.uniform(0, 200, (PEOPLE, 1, 2))
    v = np.where(rng.random(g.visible.shape) < .8, np.maximum(g.visible, 1), 0)
    xy = (g.keypoints*scale + place + rng.normal(0, 2, g.keypoints.shape))*(v > 0)[..., None]
    people = Instances.make(xy, v, image_id=np.sort(rng.integers(0, IMAGES, PEOPLE)))
    infos = [ImageInfo(i, f'{i}.jpg', 1200, 1000) for i in range(IMAGES)]
    near = np.where(v[..., None] > 0, xy + rng.normal(0, 4, xy.shape), 0)
    return PoseData('crowd', some.schema, infos, people), Instances.make(near, v, image_id=people.image_id,
        score=rng.random(PEOPLE), confidence=.7)


def run(peer_python=None) -> list: # rows of dict(what, ours_ms, peer_ms, ratio, n, unit)
    "Best of two; no other python is needed"
    from poselab.audit import audit
    data, pred = crowd()
    def row(what, *more):
        times = []
        for _ in range(2):
            start = time.process_time()
            found = audit(data, *more)
            times.append((time.process_time() - start)*1e3)
        return dict(what=what, ours_ms=round(min(times)), peer_ms=None, ratio=None, n=f'{PEOPLE} people, {len(found)} findings',
            unit='CPU ms')
    return [row('audit of labels (no peer)'), row("audit with a model's answers (no peer)", pred)]


if __name__ == '__main__':
    for r in run(): print(r)
