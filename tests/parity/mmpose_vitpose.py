"""Runs in an environment with mmpose: checkpoint files of its ViTPoses with random weights, and what mmpose computes with them.

    python mmpose_vitpose.py OUT_FOLDER        NAME.pth and NAME.out.pt per model
"""
import logging, os, sys
from pathlib import Path
import torch, mmpose.models # noqa: F401, fills the registry
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpose.registry import MODELS

FILES = {n: f'td-hm_ViTPose-{n}_8xb64-210e_coco-256x192.py' for n in ('small', 'base', 'large', 'small-simple', 'base-simple')}

def build(name):
    "mmpose's own configuration, random weights"
    folder = os.environ.get('MMPOSE_SRC') or os.path.join(os.path.dirname(mmpose.__file__), '.mim')
    cfg = Config.fromfile(f'{folder}/configs/body_2d_keypoint/topdown_heatmap/coco/{FILES[name]}').model
    cfg.backbone.pop('init_cfg', None); cfg.test_cfg['flip_test'] = False
    init_default_scope('mmpose'); logging.disable(logging.WARNING)
    torch.manual_seed(0); net = MODELS.build(cfg); net.init_weights(); logging.disable(logging.NOTSET)
    return net

def warm(net):
    "Places, biases and norms that are not those of the start, batch norms that have seen something, a louder head"
    for n,p in net.named_parameters():
        if p.ndim == 1 or 'pos_embed' in n: p.data.add_(.1*torch.randn_like(p))
    for m in net.modules():
        if isinstance(m, torch.nn.modules.batchnorm._BatchNorm): m.reset_running_stats(); m.momentum = None
    net.train()
    with torch.no_grad():
        net(torch.randn(4, 3, 256, 192), None, mode='tensor')
        net.head.final_layer.weight *= 100
    return net.eval()

def save(folder, name):
    net,x = warm(build(name)),torch.randn(1, 3, 256, 192).double()
    torch.save(dict(meta=dict(epoch=210), state_dict={k: v.clone() for k,v in net.state_dict().items()}), folder/f'{name}.pth')
    with torch.no_grad():
        single = net(x.float(), None, mode='tensor')
        net.double() # the same numbers, but rounding on the way can neither hide a difference nor make one
        torch.save(dict(x=x, single=single, outputs=net(x, None, mode='tensor'), features=net.backbone(x)[-1]), folder/f'{name}.out.pt')

if __name__ == '__main__':
    torch.set_num_threads(1)
    for name in ('small', 'base', 'small-simple'): save(Path(sys.argv[1]), name)
