"""RTMDet forward against mmdet's, both in one process of the peer's python, in turns, one thread, CPU time.

    python tests/bench/bench_detect.py PEER_PYTHON
"""
import json, os, subprocess, sys, warnings
from pathlib import Path

def rows(size, cfg, n):
    import torch
    from bench_models import turns
    from mmdet_rtmdet import build
    from poselab.models.rtmdet import RTMDet
    from poselab.modules.blocks import fuse
    w,h = cfg.input_size
    x = torch.randn(1, 3, h, w); last = x.to(memory_format=torch.channels_last)
    peer,ours = build(size).eval(),RTMDet(cfg).eval()
    fused = fuse(ours).to(memory_format=torch.channels_last)
    peer_last = build(size).eval().to(memory_format=torch.channels_last)
    with torch.inference_mode():
        ms = turns([lambda: peer(x, mode='tensor'), lambda: ours.levels(x), lambda: peer_last(last, mode='tensor'), lambda: fused.levels(last)], n, 3)
    row = lambda what, a, b: dict(what=f'RTMDet-{size} forward, {what}', ours_ms=round(a, 2), peer_ms=round(b, 2), ratio=round(b/a, 2),
                                  n=f'1 input of {w}×{h}', unit='CPU ms')
    return [row('eager', ms[1], ms[0]), row('ours fused, both channels last', ms[3], ms[2]), row('ours fused and channels last, peer eager', ms[3], ms[0])]

def measure():
    "All rows, in a python that has both"
    warnings.filterwarnings('ignore')
    import torch
    from poselab.models.rtmdet import MEDIUM, NANO
    torch.set_num_threads(1)
    return rows('nano', NANO, 10) + rows('m', MEDIUM, 2)

def run(peer_python) -> list: # rows of dict(what, ours_ms, peer_ms, ratio, n, unit); ratio above 1: ours is faster
    "Time ours and mmdet's in one run"
    here = Path(__file__).resolve()
    path = os.pathsep.join(map(str, (here.parents[2], here.parents[1]/'parity', here.parent)))
    out = subprocess.run([str(peer_python), '-W', 'ignore', str(here), '--measure'], env={**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': path},
                         check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(out.stdout.splitlines()[-1])

if __name__ == '__main__':
    if sys.argv[1:] == ['--measure']: print(json.dumps(measure()))
    else:
        for r in run(sys.argv[1]): print(f"{r['what']:58} {r['ours_ms']:8.2f} {r['peer_ms']:8.2f} {r['ratio']:6.2f}x")
