"""Runs in an environment with mmpose: checkpoint files of its HRNets with random weights, and what mmpose computes with them.

    python mmpose_hrnet.py OUT_FOLDER        NAME.pth, NAME.bare.pth and NAME.out.pt per model, wide.pth and wide.out.pt
"""
import logging, os, sys
from pathlib import Path
import torch, mmpose.models # noqa: F401, fills the registry
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpose.registry import MODELS

BODY = 'configs/body_2d_keypoint'
FILES = dict(w32='topdown_heatmap/coco/td-hm_hrnet-w32_8xb64-210e_coco-256x192.py', w48='topdown_heatmap/coco/td-hm_hrnet-w48_8xb32-210e_coco-256x192.py',
             ae='associative_embedding/coco/ae_hrnet-w32_8xb24-300e_coco-512x512.py')

def build(name, multiscale=False):
    "mmpose's own configuration, random weights"
    folder = os.environ.get('MMPOSE_SRC') or os.path.join(os.path.dirname(mmpose.__file__), '.mim')
    cfg = Config.fromfile(f'{folder}/{BODY}/{FILES[name]}').model
    cfg.backbone.pop('init_cfg', None); cfg.test_cfg['flip_test'] = False
    if multiscale: cfg.backbone.extra.stage4.multiscale_output = True
    init_default_scope('mmpose'); logging.disable(logging.WARNING)
    torch.manual_seed(0); net = MODELS.build(cfg); net.init_weights(); logging.disable(logging.NOTSET)
    return net

def warm(net):
    "Batch norms that have seen something, and a louder head: else all outputs are next to nothing and any comparison holds"
    for m in net.modules():
        if isinstance(m, torch.nn.modules.batchnorm._BatchNorm): m.reset_running_stats(); m.momentum = None # SyncBatchNorm too
    net.train()
    with torch.no_grad():
        for _ in range(2): net.extract_feat(torch.randn(4, 3, 128, 96))
        net.head.final_layer.weight *= 100; net.head.final_layer.bias.normal_()
    return net.eval()

def weights(net, start=''): return {k: v.clone() for k,v in net.state_dict().items() if k.startswith(start)} # float32, as released files are

def save(folder, name):
    net,x = warm(build(name)),torch.randn(2, 3, 128, 96).double()
    state = weights(net)
    torch.save(dict(meta=dict(epoch=210), state_dict=state), folder/f'{name}.pth')
    bare = {k.removeprefix('backbone.').removeprefix('head.'): v for k,v in state.items()} # as HRNet's authors name them
    torch.save({k: v for k,v in bare.items() if 'num_batches_tracked' not in k}, folder/f'{name}.bare.pth')
    with torch.no_grad():
        single = net(x.float(), None, mode='tensor')
        net.double() # the same numbers, but rounding on the way can neither hide a difference nor make one
        torch.save(dict(x=x, single=single, outputs=net(x, None, mode='tensor'), features=net.extract_feat(x)[-1]), folder/f'{name}.out.pt')

def save_wide(folder):
    "The backbone alone, which hands out all four resolutions"
    net,x = warm(build('w32', multiscale=True)),torch.randn(2, 3, 128, 96).double()
    torch.save(weights(net, 'backbone.'), folder/'wide.pth')
    with torch.no_grad(): torch.save(dict(x=x, maps=net.double().extract_feat(x)), folder/'wide.out.pt')

if __name__ == '__main__':
    torch.set_num_threads(1)
    for name in FILES: save(Path(sys.argv[1]), name)
    save_wide(Path(sys.argv[1]))
