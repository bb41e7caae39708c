"""VREMD: a film against separate clips, DCA against a loop over places, ViTPose's forward against mmpose's; one thread, CPU time

    python tests/bench/bench_vremd.py [PEER_PYTHON]        without a peer: the rows that need none
"""
import json, os, subprocess, sys, warnings
from pathlib import Path

SCALE = dict(dim=384, depth=12, heads=12) # a ViT-S under the published streams; half as deep as ViT-L, so its fusion weighs more than at paper scale

def looped(m, x, z, size):
    "Eq. 3 and 4 as a loop over the places of a query: sample, weigh, attend"
    import torch
    from poselab.modules.motion import grid_points, sample
    q = m.q(x)
    at,q = grid_points(size)[:, None] + m._offsets(q, z, size),q.unflatten(-1, (m.heads, -1))
    logits,values = [],[]
    for p in range(m.points):
        seen = sample(x, at[:, :, p:p+1], size)[:, :, 0]
        k,v = (f(seen).unflatten(-1, (m.heads, -1)) for f in (m.k, m.v))
        logits.append((q*k).sum(-1)/k.shape[-1]**.5); values.append(v)
    w = torch.stack(logits).softmax(0)
    return m.o(sum(a[..., None]*v for a,v in zip(w, values)).flatten(2))

def plain_rows():
    "What needs no peer"
    import torch
    from dataclasses import replace
    from bench_models import turns
    from poselab.models.vremd import VREMD, VREMD_L
    from poselab.modules.counts import count_macs
    from poselab.modules.motion import DeformableCrossAttention
    torch.set_num_threads(1)
    class One(torch.nn.Module):
        def __init__(self, net): super().__init__(); self.net = net
        def forward(self, x): return self.net.frame_features(x)
    with torch.device('meta'):
        net,x = VREMD(VREMD_L).eval(),torch.zeros(1, 3, 3, 256, 192)
        whole,one = count_macs(net, x),count_macs(One(net), x[:, 0])
    rows = [dict(what='VREMD, a film against clips, paper scale', ours_ms=round(whole - 2*one, 1), peer_ms=round(whole, 1),
                 ratio=round(whole/(whole - 2*one), 2), n='one frame', unit='GMAC')]
    net = VREMD(replace(VREMD_L, **SCALE)).eval()
    clip = torch.randn(1, 3, 3, 256, 192)
    dca = DeformableCrossAttention(1024).eval()
    m,z = torch.randn(4, 192, 1024),torch.randn(4, 192, 1024)
    with torch.inference_mode():
        held = [net.frame_features(f) for f in clip.unbind(1)]
        torch.testing.assert_close(looped(dca, m, z, (12, 16)), dca(m, z, (12, 16)), atol=1e-4, rtol=1e-4)
        film,clips,ours,loop = turns([lambda: net.fuse_frames([*held[:2], net.frame_features(clip[:, 2])]), lambda: net(clip),
                                      lambda: dca(m, z, (12, 16)), lambda: looped(dca, m, z, (12, 16))], n=3)
    row = lambda what, a, b, n: dict(what=what, ours_ms=round(a, 1), peer_ms=round(b, 1), ratio=round(b/a, 2), n=n, unit='CPU ms')
    return [*rows, row('VREMD, a film against clips, 384 wide', film, clips, 'one frame of 256×192'), row('DCA against a loop over places', ours, loop, '4 maps of 12×16, 1024 wide')]

def measure():
    "ViTPose against mmpose's, in a python that has both"
    warnings.filterwarnings('ignore')
    import torch
    from bench_models import turns
    from mmpose_vitpose import build
    from poselab.models.vit import VIT_B, VIT_S, ViTPose
    torch.set_num_threads(1)
    x,rows = torch.randn(1, 3, 256, 192),[]
    for name,cfg in (('small', VIT_S), ('base', VIT_B)):
        ours,peer = ViTPose(cfg).eval(),build(name).eval()
        with torch.inference_mode(): a,b = turns([lambda: ours(x), lambda: peer(x, None, mode='tensor')], n=3)
        rows.append(dict(what=f'ViTPose-{name} forward', ours_ms=round(a, 1), peer_ms=round(b, 1), ratio=round(b/a, 2), n='1 input of 256×192', unit='CPU ms'))
    return rows

def run(peer_python) -> list: # rows of dict(what, ours_ms, peer_ms, ratio, n, unit); ratio above 1: ours is faster
    "Time ours and mmpose's in one run"
    here = Path(__file__).resolve()
    path = os.pathsep.join(map(str, (here.parents[2], here.parents[1]/'parity', here.parent)))
    env = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': path}
    ask = lambda python, what: json.loads(subprocess.run([str(python), '-W', 'ignore', str(here), what], env=env, check=True, stdout=subprocess.PIPE,
                                                         text=True).stdout.splitlines()[-1])
    return ask(sys.executable, '--plain') + (ask(peer_python, '--measure') if peer_python else [])

if __name__ == '__main__':
    if sys.argv[1:] == ['--measure']: print(json.dumps(measure()))
    elif sys.argv[1:] == ['--plain']: print(json.dumps(plain_rows()))
    else:
        for r in run(sys.argv[1] if len(sys.argv) > 1 else None):
            print(f"{r['what']:58} {r['ours_ms']:8.2f} {r['peer_ms']:8.2f} {r['ratio']:6.2f}x  {r['unit']}")
