"""Runs in an environment with mmpose: its RTMPose on given inputs, with its own weights and with ours.

    python mmpose_rtmpose.py SIZE IN.pt OUT.pt
"""
import logging, os, sys
import torch, mmpose.models # noqa: F401, fills the registry
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpose.registry import MODELS

def build(size):
    "mmpose's own configuration of a size, random weights"
    folder = os.environ.get('MMPOSE_SRC') or os.path.join(os.path.dirname(mmpose.__file__), '.mim')
    cfg = Config.fromfile(f'{folder}/configs/body_2d_keypoint/rtmpose/coco/rtmpose-{size}_8xb256-420e_coco-256x192.py').model
    cfg.backbone.pop('init_cfg', None); cfg.test_cfg['flip_test'] = False
    init_default_scope('mmpose'); logging.disable(logging.WARNING)
    torch.manual_seed(0); net = MODELS.build(cfg); net.init_weights(); logging.disable(logging.NOTSET)
    return net

def warm(net):
    "Batch norms that have seen something, and a louder head: else all outputs are next to nothing and any comparison holds"
    for m in net.modules():
        if isinstance(m, torch.nn.modules.batchnorm._BatchNorm): m.reset_running_stats(); m.momentum = None # SyncBatchNorm too
    net.train()
    with torch.no_grad():
        for _ in range(2): net(torch.randn(2, 3, 256, 192), None, mode='tensor')
        for c in (net.head.cls_x, net.head.cls_y): c.weight *= 100
    return net.eval()

def look(net, x):
    "Logits, keypoint maps and the backbone's last map"
    last = net.extract_feat(x)
    return dict(logits=net(x, None, mode='tensor'), maps=net.head.final_layer(last[-1]), last=last[-1])

if __name__ == '__main__':
    size,given,out = sys.argv[1:]
    given,net = torch.load(given),warm(build(size)).double() # double: rounding cannot hide a difference, nor make one
    with torch.no_grad():
        state,theirs = {k:v.clone() for k,v in net.state_dict().items()},look(net, given['x'])
        net.load_state_dict(given['state'], strict=True)
        torch.save(dict(state=state, theirs=theirs, with_ours=look(net, given['x'])), out)
