"""Dance score beside scoring every pair of frames, one thread, CPU time; no peer package needed.

    python tests/bench/bench_score.py

The peer of the first two rows is the approach of mmpose's just_dance project, written again here: every frame of one film against every
frame of the other, all pairs held in memory, then the best diagonal. The last rows have no peer; their limits are 1 s and 5 s.
"""
import time
import numpy as np


def cpu_ms(f, n):
    "Best CPU time of one call of f, ms"
    times = []
    for _ in range(n):
        t = time.process_time()
        f()
        times.append(time.process_time() - t)
    return min(times)*1e3


def films(n, lag=8):
    "A teacher and a pupil who is late and another body, n frames, keypoints (n, 17, 2)"
    from poselab.data.figures import choreography
    def dance(body, lag): return choreography('disco', seconds=40., body_seed=body, lag=lag/25).keypoints
    return tuple(np.resize(dance(b, l), (n, 17, 2)) + np.random.default_rng(b).normal(0, .5, (n, 17, 2)) for b,l in ((0, 0), (3, lag)))


def every_pair(S, T):
    "Similarity of all pairs of frames, the pairs side by side in memory, and the best diagonal"
    import torch
    keep = [0, *range(5, 17)]
    a,b = (torch.from_numpy(x[:,keep]).float() for x in (S, T))
    pairs = torch.stack(torch.broadcast_tensors(b[:,None], a[None]), -1) # (T2, T, 13, 2, who)
    seen = torch.isfinite(pairs).all(3, keepdim=True).expand_as(pairs)
    low,high = (torch.where(seen, pairs, torch.full_like(pairs, s*1e4)) for s in (1, -1))
    low,high = low.amin(2, keepdim=True),high.amax(2, keepdim=True)
    unit = (pairs - low)/(high - low + 1e-4)
    like = torch.exp(-50*(unit[...,0] - unit[...,1]).pow(2).sum(-1)).mean(-1)
    return max(float(like.diagonal(k).sum()) for k in range(-len(S)//4, len(S)//4))


def run(peer_python=None) -> list: # rows of dict(what, ours_ms, peer_ms, ratio, n, unit); ratio above 1: ours is faster
    "Time the score, with and without alignment"
    import torch
    from poselab.schema import load_schema
    from poselab.score.dance import score_dance
    torch.set_num_threads(1)
    coco,rows = load_schema('coco'),[]
    S,T = films(600)
    mirrored = (T*[-1,1])[:,list(coco.flip)]
    peer = lambda: (every_pair(S, T), every_pair(S, mirrored)) # it scores the mirror image too, as ours does
    peer_ms = cpu_ms(peer, 2)
    for how,name in (('lag', 'best lag'), ('dtw', 'warp')):
        ms = cpu_ms(lambda: score_dance(S, T, coco, align=how), 5)
        rows.append(dict(what=f'dance similarity with the {name}, every pair of frames as the peer', ours_ms=round(ms, 1), peer_ms=round(peer_ms, 1),
                         ratio=round(peer_ms/ms, 1), n='600 x 600 frames', unit='CPU ms'))
    S,T = films(10_000)
    for how,name in (('stretch', 'without alignment'), ('lag', 'with the lag'), ('dtw', 'with a warp')):
        ms = cpu_ms(lambda: score_dance(S, T, coco, align=how), 2)
        rows.append(dict(what=f'score {name}', ours_ms=round(ms, 1), peer_ms=None, ratio=None, n='10,000 frames', unit='CPU ms'))
    return rows


if __name__ == '__main__':
    for r in run(): print(f"{r['what']:70} {r['ours_ms']:9.1f} {r['peer_ms'] or 0:9.1f} {r['ratio'] or 0:7.1f}x")
