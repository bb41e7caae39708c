"""RTMPose forward against mmpose's, both in one process of the peer's python, in turns: on one thread in CPU time, on two in wall time.

    python tests/bench/bench_models.py PEER_PYTHON
"""
import json, os, subprocess, sys, time, warnings
from pathlib import Path

def median_ms(f, n, clock):
    "Median time of one call of f, ms"
    times = []
    for _ in range(n):
        t = clock()
        f()
        times.append(clock() - t)
    return sorted(times)[n//2] * 1e3

def turns(calls, n, rounds=5, clock=time.thread_time):
    "Least median of each call, ms; every round gives each its turn"
    for f in calls: f(), f()
    return [min(t) for t in zip(*([median_ms(f, n, clock) for f in calls] for _ in range(rounds)))]

def rows(size, cfg):
    import torch
    from mmpose_rtmpose import build
    from poselab.modules.blocks import fuse
    from poselab.models.rtmpose import RTMPose
    x = torch.randn(1, 3, 256, 192); last = x.to(memory_format=torch.channels_last)
    peer,ours = build(size).eval(),RTMPose(cfg).eval()
    fused = fuse(ours).to(memory_format=torch.channels_last)
    peer_last = build(size).eval().to(memory_format=torch.channels_last)
    with torch.inference_mode():
        ms = turns([lambda: peer(x, None, mode='tensor'), lambda: ours(x), lambda: peer_last(last, None, mode='tensor'), lambda: fused(last)], 10)
    row = lambda what, a, b: dict(what=f'RTMPose-{size} forward, {what}', ours_ms=round(a, 2), peer_ms=round(b, 2), ratio=round(b/a, 2),
                                  n='1 input of 256×192', unit='CPU ms')
    return [row('eager', ms[1], ms[0]), row('ours fused, both channels last', ms[3], ms[2]), row('ours fused and channels last, peer eager', ms[3], ms[0])]

def fold_pairs(net):
    "Fold batch norms of mmcv's ConvModule into their convolutions, with PyTorch's own function; the best case for the peer"
    from torch import nn
    from torch.nn.modules.batchnorm import _BatchNorm as Norm # SyncBatchNorm is one too
    from torch.nn.utils.fusion import fuse_conv_bn_eval
    before = sum(isinstance(m, Norm) for m in net.modules())
    for m in net.modules():
        if isinstance(getattr(m, 'conv', None), nn.Conv2d) and isinstance(getattr(m, 'bn', None), Norm):
            m.conv,m.bn = fuse_conv_bn_eval(m.conv, m.bn),nn.Identity()
    assert before and not any(isinstance(m, Norm) for m in net.modules()), 'the peer is not folded: the row would flatter us'

def two_threads(size, cfg, n=10, rounds=7):
    "Wall time on two threads: each as it is used, ours fused and channels last; and the peer as well as it can be"
    import torch
    from mmpose_rtmpose import build
    from poselab.modules.blocks import fuse
    from poselab.models.rtmpose import RTMPose
    x = torch.randn(1, 3, 256, 192); last = x.to(memory_format=torch.channels_last)
    peer,best,ours = build(size).eval(),build(size).eval(),fuse(RTMPose(cfg)).to(memory_format=torch.channels_last)
    fold_pairs(best); best = best.to(memory_format=torch.channels_last)
    with torch.inference_mode():
        ms = turns([lambda: peer(x, None, mode='tensor'), lambda: best(last, None, mode='tensor'), lambda: ours(last)], n, rounds, time.perf_counter)
    row = lambda what, peer_ms: dict(what=f'RTMPose-{size} forward, two threads, {what}', ours_ms=round(ms[2], 2), peer_ms=round(peer_ms, 2),
                                     ratio=round(peer_ms/ms[2], 2), n='1 input of 256×192', unit='ms')
    return [row('ours fused and channels last, peer as shipped', ms[0]), row('both fused and channels last', ms[1])]

def measure():
    "All rows, in a python that has both"
    warnings.filterwarnings('ignore')
    import torch
    from poselab.models.rtmpose import MEDIUM, SMALL, TINY
    torch.set_num_threads(1)
    found = [r for size,cfg in dict(t=TINY, s=SMALL, m=MEDIUM).items() for r in rows(size, cfg)]
    torch.set_num_threads(2)
    return found + [r for size,cfg in dict(s=SMALL, m=MEDIUM).items() for r in two_threads(size, cfg)]

def run(peer_python) -> list: # rows of dict(what, ours_ms, peer_ms, ratio, n, unit); ratio above 1: ours is faster
    "Time ours and mmpose's in one run"
    here = Path(__file__).resolve()
    env = {**os.environ, 'OMP_NUM_THREADS': '2', 'OMP_WAIT_POLICY': 'PASSIVE', 'PYTHONPATH': os.pathsep.join([str(here.parents[2]), str(here.parents[1]/'parity')])}
    out = subprocess.run([str(peer_python), '-W', 'ignore', str(here), '--measure'], env=env, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(out.stdout.splitlines()[-1])

if __name__ == '__main__':
    if sys.argv[1:] == ['--measure']: print(json.dumps(measure()))
    else:
        for r in run(sys.argv[1]): print(f"{r['what']:58} {r['ours_ms']:8.2f} {r['peer_ms']:8.2f} {r['ratio']:6.2f}x")
