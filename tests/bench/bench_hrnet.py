"""HRNet-W32 forward against mmpose's, both in one process of the peer's python, in turns, one thread, CPU time

    python tests/bench/bench_hrnet.py PEER_PYTHON
"""
import json, os, subprocess, sys, warnings
from pathlib import Path

def fold_peer(net):
    "Fold the peer's batch norms into their convolutions, with PyTorch's own function; the best case for the peer"
    from torch import nn
    from torch.nn.modules.batchnorm import _BatchNorm as Norm
    from torch.nn.utils.fusion import fuse_conv_bn_eval
    for m in list(net.modules()):
        names = list(m._modules)
        pairs = list(zip(names, names[1:])) if isinstance(m, nn.Sequential) else [(f'conv{i}', f'bn{i}') for i in range(1, 4)]
        for c,b in pairs:
            conv,norm = m._modules.get(c),m._modules.get(b)
            if isinstance(conv, nn.Conv2d) and isinstance(norm, Norm): m._modules[c],m._modules[b] = fuse_conv_bn_eval(conv, norm),nn.Identity()
    assert not any(isinstance(m, Norm) for m in net.modules()), 'the peer is not folded: the row would flatter us'
    return net

def measure():
    "All rows, in a python that has both"
    warnings.filterwarnings('ignore')
    import torch
    from bench_models import turns
    from mmpose_hrnet import build
    from poselab.modules.blocks import fuse
    from poselab.models.hrnet import W32, HRNetPose
    torch.set_num_threads(1)
    last = dict(memory_format=torch.channels_last)
    x = torch.randn(1, 3, 256, 192); x_last = x.to(**last)
    peers = [build('w32').eval(), build('w32').eval().to(**last), fold_peer(build('w32').eval()).to(**last)]
    ours = [HRNetPose(W32).eval(), fuse(HRNetPose(W32)).to(**last)]
    with torch.inference_mode():
        eager,fused,peer,peer_last,peer_folded = turns([lambda: ours[0](x), lambda: ours[1](x_last), lambda: peers[0](x, None, mode='tensor'),
            *[lambda p=p: p(x_last, None, mode='tensor') for p in peers[1:]]], n=3)
    row = lambda what, a, b: dict(what=f'HRNet-W32 forward, {what}', ours_ms=round(a, 1), peer_ms=round(b, 1), ratio=round(b/a, 2),
                                  n='1 input of 256×192', unit='CPU ms')
    return [row('eager', eager, peer), row('ours fused, both channels last', fused, peer_last), row('ours fused and channels last, peer eager', fused, peer),
            row('both fused and channels last', fused, peer_folded)]

def run(peer_python) -> list: # rows of dict(what, ours_ms, peer_ms, ratio, n, unit); ratio above 1: ours is faster
    "Time ours and mmpose's in one run"
    here = Path(__file__).resolve()
    path = os.pathsep.join(map(str, (here.parents[2], here.parents[1]/'parity', here.parent)))
    env = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': path}
    out = subprocess.run([str(peer_python), '-W', 'ignore', str(here), '--measure'], env=env, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(out.stdout.splitlines()[-1])

if __name__ == '__main__':
    if sys.argv[1:] == ['--measure']: print(json.dumps(measure()))
    else:
        for r in run(sys.argv[1]): print(f"{r['what']:58} {r['ours_ms']:8.2f} {r['peer_ms']:8.2f} {r['ratio']:6.2f}x")
