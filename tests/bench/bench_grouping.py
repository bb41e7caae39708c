"""Bottom-up: grouping and training inputs against mmpose's associative embedding, same maps, same JPEG files, one thread, CPU time.

    python tests/bench/bench_grouping.py PEER_PYTHON
"""
import json, os, subprocess, sys, tempfile, time, warnings
from pathlib import Path

K, SIZE, N = 17, (512,512), 48


def cpu_ms(f, n):
    "Median CPU time of one call of f, ms"
    times = []
    for _ in range(n):
        t = time.thread_time()
        f()
        times.append(time.thread_time() - t)
    return sorted(times)[n//2] * 1e3


def versus(what, size, ours, peer, per=1, n=(15,5), rounds=5, unit='CPU ms per image'):
    "One row: best of several rounds in which ours and the peer take turns"
    ours(), peer()
    a,b = zip(*((cpu_ms(ours, n[0]), cpu_ms(peer, n[1])) for _ in range(rounds)))
    return dict(what=what, ours_ms=round(min(a)/per, 3), peer_ms=round(min(b)/per, 3), ratio=round(min(b)/min(a), 2), n=size, unit=unit)


def maps(people, missing):
    "Heatmaps and tags of a made-up crowd on a lattice, 128 x 128 cells; some keypoints are not there"
    import torch
    from poselab.codecs.grouping import AssociativeEmbedding, true_outputs
    g = torch.Generator().manual_seed(people)
    side = int(people**.5 - 1e-9) + 1
    corner = torch.stack(torch.meshgrid(torch.arange(side), torch.arange(side), indexing='xy'), -1).view(-1, 1, 2)[:people]*(500/side)
    xy = 6 + corner + torch.rand(people, K, 2, generator=g)*(500/side - 12)
    on = torch.rand(people, K, generator=g) >= missing
    codec = AssociativeEmbedding(SIZE, (4,))
    heat,tags = true_outputs(codec, xy[None], on[None])
    tags = tags + .1*torch.randn(tags.shape, generator=g)
    return codec, (heat + .01*torch.randn(heat.shape, generator=g)).contiguous(), tags


def decoders():
    "Rows: heatmaps and tags to people"
    from mmpose.codecs import AssociativeEmbedding as Peer
    peer = Peer(SIZE, (128,128), sigma=2., decode_keypoint_order=list(range(K)), decode_max_instances=30)
    for people,missing in ((1, 0.), (5, 0.), (30, 0.), (30, .1)):
        codec,heat,tags = maps(people, missing)
        found = [len(codec.decode((heat, tags))[0][0]), len(peer.batch_decode(heat.clone(), tags)[0][0])]
        assert min(found) >= min(people, 30) - 1, found
        gaps = f', {missing:.0%} of the keypoints missing' if missing else ''
        yield versus('maps to people', f'{people} x {K} keypoints{gaps}', lambda: codec.decode((heat, tags)), lambda: peer.batch_decode(heat.clone(), tags))


def matchers():
    "Row: candidates to people alone, without maps"
    import numpy as np
    from mmpose.codecs.associative_embedding import _group_keypoints_by_tags
    from poselab.codecs.grouping import group
    r = np.random.default_rng(0)
    P = 30
    height = r.uniform(.5, 1, (K, P)).astype(np.float32)
    tag = (3.*np.arange(P) + r.normal(0, .2, (K, P)))[..., None].astype(np.float32)
    tag = np.take_along_axis(tag, r.permuted(np.tile(np.arange(P), (K, 1)), axis=1)[..., None], 1)
    place = np.zeros((K, P, 2))
    yield versus('candidates to people', f'{P} x {K} keypoints', lambda: group(height, tag), lambda: _group_keypoints_by_tags(height, tag, place, list(range(K)), .1))


def targets():
    "Row: keypoints to heatmaps at two scales and cells of tags"
    import numpy as np, torch
    from mmpose.codecs import AssociativeEmbedding as Peer
    from poselab.codecs.grouping import AssociativeEmbedding
    r = np.random.default_rng(0)
    xy = r.uniform(20, 490, (8, 5, K, 2)).astype(np.float32)
    codec,t = AssociativeEmbedding(SIZE),torch.from_numpy(xy)
    peers = [Peer(SIZE, (n,n), sigma=2., use_udp=True) for n in (128,256)]
    yield versus('targets at two scales', f'8 images of 5 x {K} keypoints', lambda: codec.encode(t), lambda: [p.encode(one.copy()) for one in xy for p in peers], 8)


def pictures(folder):
    "N JPEG files of 640 x 480 px with 2 to 6 rendered dancers each -> names, data"
    import cv2
    from poselab.data.figures import rendered_dataset
    data = rendered_dataset(N, seed=5, size=(640,480), people=(2,6))
    names = [f'{folder}/{im.id:03d}.jpg' for im in data.images]
    for name,im in zip(names, data.images): cv2.imwrite(name, data.image(im.id)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    return names, data


def our_epoch(names, data, held):
    "One epoch of inputs, masks and targets at two scales, in batches of 8"
    import torch
    from dataclasses import replace
    from torch.utils.data import DataLoader
    from poselab.codecs.grouping import AssociativeEmbedding
    from poselab.data.bottomup import WHOLE, BottomUpDataset
    from poselab.records import ImageSource
    images = [replace(im, file=os.path.basename(n)) for im,n in zip(data.images, names)]
    data = replace(data, images=images, source=ImageSource(os.path.dirname(names[0])))
    set_,codec = BottomUpDataset(data, SIZE, WHOLE, cache_mb=1024 if held else 0),AssociativeEmbedding(SIZE)
    return lambda: [(x, codec.encode(xy, v, mask)) for x,xy,v,mask in DataLoader(set_, 8)]


def their_epoch(names, data):
    "One epoch of mmpose's bottom-up transforms from LoadImage to GetHeatmapMask, targets at the same two scales"
    import numpy as np
    from mmengine.dataset import Compose
    from mmengine.registry import init_default_scope
    import mmpose.datasets, mmpose.codecs
    init_default_scope('mmpose')
    level = dict(type='AssociativeEmbedding', input_size=SIZE, sigma=2., use_udp=True)
    run = Compose([dict(type='LoadImage'), dict(type='BottomupRandomAffine', input_size=SIZE), dict(type='RandomFlip', direction='horizontal'),
        dict(type='GenerateTarget', multilevel=True, encoder=[dict(level, heatmap_size=(n,n)) for n in (128,256)]), dict(type='BottomupGetHeatmapMask')])
    def info(i):
        p = data.of(data.images[i].id)
        box = np.c_[p.bbox[:,:2], p.bbox[:,:2] + p.bbox[:,2:]].astype(np.float32)
        return dict(img_path=names[i], id=i, img_id=i, bbox=box, bbox_score=np.ones(len(p), np.float32), keypoints=p.keypoints.astype(np.float32),
            keypoints_visible=(p.visible > 0).astype(np.float32), flip_indices=list(data.schema.flip), area=p.area.astype(np.float32), invalid_segs=[])
    infos = [info(i) for i in range(N)]
    import copy
    return lambda: [run(copy.deepcopy(one)) for one in infos]


def pipelines():
    "Rows: JPEG files to inputs, masks and targets"
    with tempfile.TemporaryDirectory() as folder:
        args = pictures(folder)
        peer = their_epoch(*args)
        for what,held in (('training inputs, pictures decoded each time', False), ('training inputs, decoded pictures held (our default)', True)):
            row = versus(what, f'{N} JPEGs of 640 x 480, 512 x 512 px inputs', our_epoch(*args, held), peer, N, (1,1), 4, 'CPU ms per picture')
            yield dict(row, n=f"{row['n']}; {1e3/row['ours_ms']:.0f} against {1e3/row['peer_ms']:.0f} a second")


def measure():
    "All rows, in a python that has both"
    warnings.filterwarnings('ignore')
    import cv2, torch
    torch.set_num_threads(1), cv2.setNumThreads(1)
    return [*matchers(), *decoders(), *targets(), *pipelines()]


def run(peer_python) -> list: # rows of dict(what, ours_ms, peer_ms, ratio, n, unit); ratio above 1: ours is faster
    "Rows measured in the peer's python; an empty list without one"
    if not peer_python: return []
    here = Path(__file__).resolve()
    env = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(here.parents[2])}
    done = subprocess.run([str(peer_python), '-W', 'ignore', str(here), '--measure'], env=env, capture_output=True, text=True)
    if done.returncode: raise RuntimeError(f'bench_grouping: the peer failed:\n{done.stderr[-2000:]}')
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == '__main__':
    if sys.argv[1:] == ['--measure']: print(json.dumps(measure()))
    else:
        for r in run(sys.argv[1] if len(sys.argv) > 1 else None):
            print(f"{r['what']:54} {r['n']:75} {r['ours_ms']:8.3f} {r['peer_ms']:8.3f} {r['ratio']:7.1f}x")
