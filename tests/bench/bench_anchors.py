"""Anchors: 57,375 candidates to people against a plain greedy loop and the peer's NMS, targets against a loop over people, one thread, CPU time.

    python tests/bench/bench_anchors.py [PEER_PYTHON]
"""
import json, os, subprocess, sys, time, warnings
from pathlib import Path


def cpu_ms(f, n):
    "Median CPU time of one call of f, ms"
    times = []
    for _ in range(n):
        t = time.thread_time()
        f()
        times.append(time.thread_time() - t)
    return sorted(times)[n//2]*1e3


def row(what, size, ours, peer, n=(20, 3), rounds=3):
    "Best of several rounds in which ours and the other take turns"
    ours()
    if peer: peer()
    a,b = zip(*((cpu_ms(ours, n[0]), cpu_ms(peer, n[1]) if peer else None) for _ in range(rounds)))
    return dict(what=what, ours_ms=round(min(a), 3), peer_ms=round(min(b), 3) if peer else None, ratio=round(min(b)/min(a), 2) if peer else None, n=size, unit='CPU ms')


def crowd(codec, people, N=1):
    "Keypoints, visibility and boxes of a made-up crowd"
    import torch
    g = torch.Generator().manual_seed(people)
    wh = torch.tensor([60., 140.])*(.5 + 2*torch.rand(N, people, 1, generator=g))
    boxes = torch.cat([torch.rand(N, people, 2, generator=g)*(torch.tensor(codec.input_size) - wh).clamp_min(1), wh], -1)
    xy = boxes[...,None,:2] + torch.rand(N, people, 17, 2, generator=g)*wh[...,None,:]
    return xy, torch.full((N, people, 17), 2), boxes


def answers(codec, people):
    "What a good network says about such a crowd: right rows, neighbours that almost agree, noise"
    import torch
    from poselab.codecs.anchors import true_outputs
    g = torch.Generator().manual_seed(0)
    return tuple((o + torch.randn(o.shape, generator=g)*.3).contiguous() for o in true_outputs(codec, *crowd(codec, people)))


def greedy(boxes, thr):
    "Which stay, one box after the other, in numpy"
    import numpy as np
    lo,hi,area = boxes[:,:2],boxes[:,:2] + boxes[:,2:],boxes[:,2:].prod(1)
    order,keep = np.arange(len(boxes)),[]
    while len(order):
        i,order = order[0],order[1:]
        keep.append(i)
        both = np.maximum(np.minimum(hi[i], hi[order]) - np.maximum(lo[i], lo[order]), 0).prod(1)
        order = order[both/np.maximum(area[i] + area[order] - both, 1e-9) <= thr]
    return keep


def plain(codec, out):
    "The usual way: read every row of every map, keep the sure ones, then the loop"
    import torch
    from poselab.codecs.anchors import box_at, keypoints_at
    parts = []
    for o,s,anchors in zip(out, codec.strides, codec.anchors):
        H,W = o.shape[2:4]
        j,i = torch.meshgrid(torch.arange(H), torch.arange(W), indexing='ij')
        cell,a = torch.stack([i, j], -1).float().expand(3, H, W, 2),torch.tensor(anchors)[:,None,None].expand(3, H, W, 2)
        xy,seen = keypoints_at(o[0], cell, torch.full((3, H, W, 1), s))
        parts.append([t.flatten(0, 2) for t in (box_at(o[0], cell, s, a), o[0][...,4], xy, seen.sigmoid())])
    boxes,logit,xy,seen = (torch.cat(p) for p in zip(*parts))
    score = logit.sigmoid()
    on = (score > codec.score_thr).nonzero()[:,0]
    on = on[logit[on].argsort(descending=True)][:codec.candidates]
    keep = on[greedy(boxes[on].numpy(), codec.iou_thr)[:codec.max_people]]
    return xy[keep], seen[keep], score[keep], boxes[keep]


def assign_by_loop(codec, boxes):
    "Anchors and cells of everybody, person by person"
    found = [[] for _ in codec.strides]
    for n,people in enumerate(boxes.tolist()):
        for p,(x,y,w,h) in enumerate(people):
            for l,(s,anchors) in enumerate(zip(codec.strides, codec.anchors)):
                cx,cy = (x + w/2 + .5)/s,(y + h/2 + .5)/s
                i,j = int(cx),int(cy)
                for a,(aw,ah) in enumerate(anchors):
                    if max(w/aw, aw/w, h/ah, ah/h) >= codec.ratio: continue
                    for c,r in ((i, j), (i + (1 if cx - i >= .5 else -1), j), (i, j + (1 if cy - j >= .5 else -1))):
                        if 0 <= c < codec.input_size[0]//s and 0 <= r < codec.input_size[1]//s: found[l].append((n, a, r, c, p))
    return found


def our_rows():
    "Against plain loops"
    import torch
    from poselab.codecs.anchors import AnchorGrid, assign
    codec = AnchorGrid()
    for people in (3, 20):
        out = answers(codec, people)
        a,b = codec.decode(out)[0],plain(codec, out)
        assert len(a[0]) == len(b[0]) and torch.allclose(a[3], b[3], atol=1e-3)
        yield row('57,375 candidates to people, against reading all and a loop', f'960×960 px, {len(a[0])} people', lambda: codec.decode(out), lambda: plain(codec, out))
    noise = tuple(torch.randn(1, 3, 960//s, 960//s, 57, generator=torch.Generator().manual_seed(1)) for s in codec.strides)
    yield row('the same of an untrained network: everybody is sure', f'{codec.candidates} compared', lambda: codec.decode(noise), lambda: plain(codec, noise))
    boxes = crowd(codec, 20, 16)[2]
    assert sum(len(w) for _,w in assign(codec, boxes)) == sum(map(len, assign_by_loop(codec, boxes)))
    yield row('who answers for whom, against a loop over people', '16 pictures of 20 people', lambda: assign(codec, boxes), lambda: assign_by_loop(codec, boxes))


def peer_rows():
    "Suppression alone against mmcv's, which is compiled, where it is built in"
    import torch
    from poselab.codecs.anchors import overlap, suppress
    try:
        from mmcv.ops import nms
        nms(torch.rand(2, 4), torch.rand(2), .5)
    except Exception: return
    for Q in (100, 300):
        g = torch.Generator().manual_seed(Q)
        boxes = torch.cat([torch.rand(Q, 2, generator=g)*600, 40 + torch.rand(Q, 2, generator=g)*200], -1)
        corners,score = torch.cat([boxes[:,:2], boxes[:,:2] + boxes[:,2:]], -1),torch.linspace(1, .1, Q)
        assert suppress(boxes, .65).nonzero()[:,0].tolist() == sorted(nms(corners, score, .65)[1].tolist())
        yield row("suppression alone, against mmcv's compiled nms", f'{Q} boxes', lambda: suppress(boxes, .65), lambda: nms(corners, score, .65), (20, 20))


def measure(peer=False):
    "All rows that this python can time"
    warnings.filterwarnings('ignore')
    import torch
    torch.set_num_threads(1)
    return [*our_rows(), *(peer_rows() if peer else ())]


def run(peer_python) -> list: # rows of dict(what, ours_ms, peer_ms, ratio, n, unit); ratio above 1: ours is faster
    "Loops need no peer; mmcv's NMS is timed in the peer's python"
    here = Path(__file__).resolve()
    env = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(here.parents[2])}
    flag = '--measure-peer' if peer_python else '--measure'
    done = subprocess.run([str(peer_python or sys.executable), '-W', 'ignore', str(here), flag], env=env, capture_output=True, text=True)
    if done.returncode: raise RuntimeError(f'bench_anchors failed:\n{done.stderr[-2000:]}')
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == '__main__':
    if sys.argv[1:] in (['--measure'], ['--measure-peer']): print(json.dumps(measure('peer' in sys.argv[1])))
    else:
        for r in run(sys.argv[1] if len(sys.argv) > 1 else None):
            print(f"{r['what']:62} {r['n']:26} {r['ours_ms']:8.3f} {r['peer_ms'] or 0:8.3f} {r['ratio'] or 0:7.2f}x")
