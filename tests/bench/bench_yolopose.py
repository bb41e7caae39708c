"""YOLO-Pose forward beside mmpose's YOLOX-Pose, the whole networks to raw maps, in turns in one process of the peer's python: CPU time per multiply-add

    python tests/bench/bench_yolopose.py PEER_PYTHON
"""
import json, os, subprocess, sys, warnings
from pathlib import Path

def peer(size='s'):
    "mmpose's YOLOX-Pose of a size, from its own configuration, untrained"
    import logging, mmpose.models # noqa: F401, fills the registry
    from mmengine.config import Config
    from mmengine.registry import init_default_scope
    from mmpose.registry import MODELS
    root = os.environ.get('MMPOSE_SRC') or Path(mmpose.__file__).parent/'.mim'
    cfg = Config.fromfile(next((Path(root)/'configs/body_2d_keypoint/yoloxpose/coco').glob(f'yoloxpose_{size}_*.py'))).model
    cfg.backbone.pop('init_cfg', None)
    init_default_scope('mmpose'); logging.disable(logging.WARNING)
    try: return MODELS.build(cfg).eval()
    finally: logging.disable(logging.NOTSET)

def measure(size='s', side=640, n=2, rounds=3):
    "All rows, in a python that has both"
    warnings.filterwarnings('ignore')
    import torch
    from torch import nn
    from bench_models import fold_pairs, turns
    from poselab.modules.blocks import fuse
    from poselab.modules.counts import count_macs
    from poselab.models.yolopose import LRFG, YOLOPOSE, YOLOPose
    torch.set_num_threads(1)
    class Whole(nn.Module): # backbone, neck, head: no decoding on either side
        def __init__(self, net): super().__init__(); self.net = net
        def forward(self, x): return self.net.head.forward(self.net.extract_feat(x))
    last = dict(memory_format=torch.channels_last)
    x = torch.randn(1, 3, side, side); x_last = x.to(**last)
    theirs,folded = Whole(peer(size)),Whole(peer(size))
    fold_pairs(folded); folded = folded.to(**last)
    ours = {'YOLO-Pose': YOLOPose(YOLOPOSE).eval(), 'LRFG-YoloPose': YOLOPose(LRFG).eval()}
    fused = {k: fuse(m).to(**last) for k,m in ours.items()}
    giga = {k: count_macs(m, x) for k,m in ours.items()} | {'peer': count_macs(theirs, x)}
    with torch.inference_mode():
        ms = turns([lambda: theirs(x), lambda: folded(x_last), *[lambda m=m: m(x) for m in ours.values()], *[lambda m=m: m(x_last) for m in fused.values()]], n, rounds)
    def row(name, what, a, b):
        a,b = a/giga[name],b/giga['peer']
        return dict(what=f'{name} forward, per GMAC, {what}', ours_ms=round(a, 2), peer_ms=round(b, 2), ratio=round(b/a, 2), unit='CPU ms/GMAC',
                    n=f'{side}×{side}: {giga[name]:.2f} GMAC, YOLOX-Pose-{size} {giga["peer"]:.2f}')
    return [row(name, what, ms[2 + i + 2*f], ms[f]) for i,name in enumerate(ours) for f,what in enumerate(('eager', 'both fused and channels last'))]

def run(peer_python) -> list: # rows of dict(what, ours_ms, peer_ms, ratio, n, unit); ratio above 1: ours is faster
    "Time ours and mmpose's in one run"
    here = Path(__file__).resolve()
    path = os.pathsep.join(map(str, (here.parents[2], here.parent)))
    env = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': path}
    out = subprocess.run([str(peer_python), '-W', 'ignore', str(here), '--measure'], env=env, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(out.stdout.splitlines()[-1])

if __name__ == '__main__':
    if sys.argv[1:] == ['--measure']: print(json.dumps(measure()))
    else:
        for r in run(sys.argv[1]): print(f"{r['what']:68} {r['ours_ms']:8.2f} {r['peer_ms']:8.2f} {r['ratio']:6.2f}x  {r['n']}")
