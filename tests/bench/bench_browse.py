"""Filling FiftyOne: 1,000 pictures against its own label classes and add_samples; then 5,000 pictures with crops; with --large 100,000

    python tests/bench/bench_browse.py [--large]
"""
import os, resource, sys, tempfile, time
from pathlib import Path
import numpy as np

os.environ.setdefault('FIFTYONE_DATABASE_NAME', f'poselab_bench_{os.getpid()}')


def scene(n, folder, people=1.5, seed=0):
    "n records of one picture with people of random poses, and predictions with planted faults"
    import cv2
    from poselab.evaluate.errors import diagnose
    from poselab.records import ImageInfo, ImageSource, Instances, PoseData
    from poselab.schema import load_schema
    rng = np.random.default_rng(seed)
    cv2.imwrite(str(Path(folder)/'one.jpg'), rng.integers(0, 255, (480, 640, 3), np.uint8))
    P = int(n*people)
    xy = rng.uniform([100, 100], [540, 380], (P, 1, 2)) + rng.normal(0, 30, (P, 17, 2))
    infos = [ImageInfo(i + 1, 'one.jpg', 640, 480) for i in range(n)]
    image_id = np.sort(rng.integers(1, n + 1, P))
    truth = PoseData('large', load_schema('coco'), infos, Instances.make(xy, rng.choice(3, (P, 17), p=(.1, .2, .7)), image_id=image_id), ImageSource(folder))
    off = rng.normal(0, 2, xy.shape) + (rng.random((P, 17, 1)) < .1)*rng.normal(0, 40, xy.shape)
    pred = Instances.make(xy + off, image_id=image_id, score=rng.uniform(.3, 1, P), confidence=rng.uniform(0, 1, (P, 17)))
    return truth, pred, diagnose(truth, pred)


def by_fiftyone(d, folder, name):
    "The same labels made by FiftyOne's classes and added by add_samples"
    from poselab import browse
    fo, job = browse.start_database(), browse._Job(d)
    files = browse.media_files(d.truth, folder)
    ds = fo.Dataset(name)
    rows = [browse._image_fields(fo, job, i, s) for i, (_, s) in zip(d.truth.images, files)]
    ds.add_samples([fo.Sample(filepath=f, image_id=i.id, **r) for i, (f, _), r in zip(d.truth.images, files, rows)], dynamic=True, progress=False)
    return ds


def timed(work):
    began = time.perf_counter()
    out = work()
    return 1000*(time.perf_counter() - began), out


def row(what, ours, peer, n): return dict(what=what, ours_ms=round(ours), peer_ms=peer and round(peer), ratio=peer and round(peer/ours, 2), n=n, unit='wall ms')


def run(peer_python=None, large=bool(os.environ.get('POSELAB_BENCH_LARGE'))) -> list: # rows of dict(what, ours_ms, peer_ms, ratio, n, unit); ratio above 1: ours is faster
    "Nothing where FiftyOne has no database; all datasets are dropped at the end"
    from poselab import browse
    if browse.database_problem(): return []
    fo, out = browse.start_database(), []
    with tempfile.TemporaryDirectory() as folder:
        truth, pred, d = scene(1000, folder)
        ours, ds = timed(lambda: browse.build_images(d, 'bench', folder))
        peer, other = timed(lambda: by_fiftyone(d, folder, 'bench-peer'))
        assert ds.count('ground_truth.keypoints') == other.count('ground_truth.keypoints') and ds.count('joint_errors.keypoints') == other.count('joint_errors.keypoints')
        out.append(row('FiftyOne dataset of pictures, its own label classes and add_samples', ours, peer, '1,000 pictures, 1,500 people, 1,500 predictions'))
        truth, pred, d = scene(5000, folder)
        ours, _ = timed(lambda: browse.build_images(d, 'bench', folder))
        out.append(row('the same of more pictures (no peer)', ours, None, '5,000 pictures, 7,500 people, 7,500 predictions'))
        ours, _ = timed(lambda: browse.build_people(d, 'bench', folder, browse._Job(d, most=1000)))
        out.append(row('crops of the people with most to look at (no peer)', ours, None, '1,000 of 7,500 people'))
        if large:
            truth, pred, d = scene(100_000, folder)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024
            ours, (images, _) = timed(lambda: browse.build(truth, pred, d, 'bench', folder, most_crops=2000))
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024
            assert len(images) == 100_000
            out.append(row(f'pictures and 2,000 crops; memory at most {peak:.0f} MB, of which truth, predictions and diagnosis took {before:.0f} (no peer)', ours, None,
                           '100,000 pictures, 150,000 people, 150,000 predictions'))
    for name in ('bench-images', 'bench-people', 'bench-peer'):
        if fo.dataset_exists(name): fo.delete_dataset(name)
    return out


if __name__ == '__main__':
    for r in run(large='--large' in sys.argv): print(r)
    import fiftyone.core.odm as odm
    if os.environ['FIFTYONE_DATABASE_NAME'].startswith('poselab_bench_'): odm.drop_database()
