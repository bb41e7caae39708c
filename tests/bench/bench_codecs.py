"""Codecs against mmpose's, both in one process of the peer's python, in turns, one thread, CPU time.

    python tests/bench/bench_codecs.py PEER_PYTHON
"""
import json, os, subprocess, sys, time, warnings
from pathlib import Path

N, K, SIZE, MAP = 64, 17, (192,256), (48,64)


def cpu_ms(f, n):
    "Median CPU time of one call of f, ms"
    times = []
    for _ in range(n):
        t = time.thread_time()
        f()
        times.append(time.thread_time() - t)
    return sorted(times)[n//2] * 1e3


def versus(what, ours, peer, n=(20,5), rounds=5):
    "One row: best of several rounds in which ours and the peer take turns"
    ours(), peer()
    a,b = zip(*((cpu_ms(ours, n[0]), cpu_ms(peer, n[1])) for _ in range(rounds)))
    return dict(what=what, ours_ms=round(min(a), 3), peer_ms=round(min(b), 3), ratio=round(min(b)/min(a), 2),
                n=f'{N} x {K} keypoints', unit='CPU ms per batch')


def inputs():
    "Keypoints, visibility, and predictions with some noise"
    import torch
    from poselab.codecs import heatmap as H, simcc as S, softlabels as L
    torch.manual_seed(0)
    xy = torch.rand(N, K, 2) * (torch.tensor(SIZE) - 1)
    v = torch.ones(N, K)
    noisy = lambda t: t + .02*torch.randn_like(t)
    sx, sy = (noisy(L.gaussian(xy[...,i]*2, SIZE[i]*2, normalise=False)) for i in (0,1))
    (maps,),_ = H.Heatmap(SIZE, MAP).encode(xy, v)
    return xy, v, sx, sy, noisy(maps)


def simcc_rows(xy, v, sx, sy):
    import numpy as np
    from mmpose.codecs import SimCCLabel
    from poselab.codecs import simcc as S, softlabels as L
    peer = lambda dark=False: SimCCLabel(SIZE, sigma=(4.9,5.66), simcc_split_ratio=2., normalize=False, use_dark=dark)
    a, w, x, y = xy.numpy().astype(np.float32), v.numpy(), sx.numpy(), sy.numpy()
    plain, dark, exact = S.SimCC(SIZE, label=L.sord), S.SimCC(SIZE, dark=True), S.SimCC(SIZE, exact=True)
    p, d = peer(), peer(True)
    yield versus('SimCC encode', lambda: plain.encode(xy, v), lambda: p.encode(a, w))
    yield versus('SimCC encode, labels between bins', lambda: exact.encode(xy, v), lambda: p.encode(a, w))
    yield versus('SimCC decode', lambda: plain.decode(sx, sy), lambda: p.decode(x, y), n=(50,20))
    yield versus('SimCC decode, mmpose head (one at a time)', lambda: plain.decode(sx, sy),
                 lambda: [p.decode(x[i:i+1], y[i:i+1]) for i in range(N)], n=(50,10))
    yield versus('SimCC decode with DARK', lambda: dark.decode(sx, sy), lambda: d.decode(x.copy(), y.copy()))


def loss_row(xy, v, sx, sy):
    import torch
    from mmpose.models.losses import KLDiscretLoss
    from poselab.codecs import simcc as S, softlabels as L
    ours, peer = S.SimCC(SIZE, label=L.sord), KLDiscretLoss(beta=10., label_softmax=True)
    labels,_ = ours.encode(xy, v)
    raw = tuple(L.gaussian(S.to_bins(xy, SIZE)[...,i], SIZE[i]*2, normalise=False) for i in (0,1))
    outs = [s.clone().requires_grad_() for s in (sx,sy)]
    yield versus('SimCC loss, forward and backward', lambda: ours.loss(outs, labels, v).backward(),
                 lambda: peer(outs, raw, v).backward(), n=(10,10))


def heatmap_rows(xy, v, maps):
    import numpy as np
    from mmpose.codecs import MSRAHeatmap, UDPHeatmap
    from poselab.codecs.heatmap import Heatmap
    a, w, m = xy.numpy().astype(np.float32), v.numpy(), maps.numpy()
    msra, udp = MSRAHeatmap(SIZE, MAP, sigma=2.), UDPHeatmap(SIZE, MAP, sigma=2.)
    unbiased = MSRAHeatmap(SIZE, MAP, sigma=2., unbiased=True)
    each = lambda codec: lambda: [codec.decode(h) for h in m]
    ours = {r: Heatmap(SIZE, MAP, refine=r) for r in ('none', 'quarter', 'dark')}
    get = lambda r: lambda: ours[r].decode(maps)
    yield versus('heatmap encode', lambda: ours['none'].encode(xy, v),
                 lambda: [udp.encode(i[None], j[None]) for i,j in zip(a, w)], n=(10,5))
    yield versus('heatmap decode, quarter step', get('quarter'), each(msra), n=(10,5))
    yield versus('heatmap decode, DARK', get('dark'), each(unbiased), n=(10,3))
    yield versus('heatmap decode, DARK as in UDP', get('dark'), each(udp), n=(10,3))


def measure():
    "All rows, in a python that has both"
    warnings.filterwarnings('ignore')
    import cv2, torch
    torch.set_num_threads(1), cv2.setNumThreads(1)
    xy, v, sx, sy, maps = inputs()
    return [*simcc_rows(xy, v, sx, sy), *loss_row(xy, v, sx, sy), *heatmap_rows(xy, v, maps)]


def run(peer_python) -> list: # rows of dict(what, ours_ms, peer_ms, ratio, n, unit); ratio above 1: ours is faster
    "Time ours and mmpose's in one run"
    here = Path(__file__).resolve()
    env = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(here.parents[2])}
    out = subprocess.run([str(peer_python), '-W', 'ignore', str(here), '--measure'], env=env, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(out.stdout.splitlines()[-1])


if __name__ == '__main__':
    if sys.argv[1:] == ['--measure']: print(json.dumps(measure()))
    else:
        for r in run(sys.argv[1]): print(f"{r['what']:44} {r['ours_ms']:8.3f} {r['peer_ms']:8.3f} {r['ratio']:7.1f}x")
