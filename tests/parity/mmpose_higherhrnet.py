"""Runs in an environment with mmpose: a HigherHRNet of its HRNet and its basic blocks (mmpose 1.x has no head for one), and its HRNet for
associative embedding; random weights, and what comes out.

    python mmpose_higherhrnet.py OUT_FOLDER        higher.pth (mmpose 0.x names), higher.bare.pth (the authors'), ae.pth; answers.pt
"""
import logging, os, sys
from pathlib import Path
import torch, mmpose.models # noqa: F401, fills the registry
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpose.models.backbones.resnet import BasicBlock
from mmpose.registry import MODELS
from torch import nn

AE = 'configs/body_2d_keypoint/associative_embedding/coco/ae_hrnet-w32_8xb24-300e_coco-512x512.py'

def build():
    "mmpose's own configuration, random weights"
    folder = os.environ.get('MMPOSE_SRC') or os.path.join(os.path.dirname(mmpose.__file__), '.mim')
    cfg = Config.fromfile(f'{folder}/{AE}').model
    cfg.backbone.pop('init_cfg', None); cfg.test_cfg['flip_test'] = False
    init_default_scope('mmpose'); logging.disable(logging.WARNING)
    torch.manual_seed(0); net = MODELS.build(cfg); net.init_weights(); logging.disable(logging.NOTSET)
    return net

class Higher(nn.Module):
    "HigherHRNet as published, under the names of mmpose 0.x"
    def __init__(self, backbone, ch=32, K=17):
        super().__init__()
        self.backbone = backbone
        up = nn.Sequential(nn.ConvTranspose2d(ch + 2*K, ch, 4, 2, 1, bias=False), nn.BatchNorm2d(ch), nn.ReLU())
        deconv = nn.Sequential(up, *[nn.Sequential(BasicBlock(ch, ch)) for _ in range(4)])
        self.keypoint_head = nn.ModuleDict(dict(final_layers=nn.ModuleList([nn.Conv2d(ch, 2*K, 1), nn.Conv2d(ch, K, 1)]), deconv_layers=nn.ModuleList([deconv])))

    def forward(self, x):
        features,head = self.backbone(x)[0],self.keypoint_head
        first = head['final_layers'][0](features)
        return first, head['final_layers'][1](head['deconv_layers'][0](torch.cat([features, first], 1)))

def warm(net, run):
    "Batch norms that have seen something: else all outputs are next to nothing and any comparison holds"
    for m in net.modules():
        if isinstance(m, torch.nn.modules.batchnorm._BatchNorm): m.reset_running_stats(); m.momentum = None
    net.train()
    with torch.no_grad():
        for _ in range(2): run(torch.randn(4, 3, 64, 96))
    return net.eval()

def main(folder):
    ae,x = build(),torch.randn(2, 3, 64, 96)
    with torch.no_grad(): ae.head.final_layer.weight *= 100; ae.head.final_layer.bias.normal_()
    higher = Higher(ae.eval().backbone) # one body under two heads
    warm(higher, higher)
    torch.save(dict(state_dict=ae.state_dict()), folder/'ae.pth')
    state = {k: v.clone() for k,v in higher.state_dict().items()}
    torch.save(dict(state_dict=state), folder/'higher.pth')
    torch.save({k.removeprefix('backbone.').removeprefix('keypoint_head.'): v for k,v in state.items() if 'num_batches' not in k}, folder/'higher.bare.pth')
    with torch.no_grad():
        single,double = higher(x),higher.double()(x.double())
        torch.save(dict(x=x, single=single, double=double, ae=ae.double()(x.double(), None, mode='tensor')), folder/'answers.pt')

if __name__ == '__main__':
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
