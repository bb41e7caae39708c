"""Runs in an environment with mmpose: real checkpoint files with random weights, and what mmpose computes with them.

    python mmpose_checkpoints.py OUT_FOLDER             FILE.pth and FILE.out.pt per model
    python mmpose_checkpoints.py --names NAMES.json     only the names and shapes of RTMPose-s
"""
import json, os, sys
from pathlib import Path
import numpy as np, torch
from mmengine.logging import MessageHub
from mmpose.models.utils.tta import flip_vectors
from mmpose_rtmpose import build, warm

SIZES = 'tsml'

def history():
    "What mmengine's runner saves beside the weights: buffers of losses, numpy numbers"
    hub = MessageHub.get_instance('parity')
    for i in range(3): hub.update_scalar('train/loss', np.float64(i))
    hub.update_info('epoch', 3)
    return hub.state_dict()

def save(folder, size):
    net,x = warm(build(size)),torch.randn(2, 3, 256, 192).double()
    state = {k: v.clone() for k,v in net.state_dict().items()} # float32, as released files are
    net.double() # the same numbers, but rounding on the way can neither hide a difference nor make one
    meta = dict(epoch=3, seed=np.int64(0), dataset_meta=dict(dataset_name='coco', sigmas=np.ones(17), flip_indices=list(range(17))))
    order = [0] + [i + 1 if i % 2 else i - 1 for i in range(1, 17)] # left and right of COCO
    with torch.no_grad():
        logits,last = net(x, None, mode='tensor'),net.extract_feat(x)[-1]
        flipped = flip_vectors(*net(x.flip(-1), None, mode='tensor'), flip_indices=order) if size == 's' else None
    raw = {f'module.{k}': v + 1 if v.is_floating_point() else v for k,v in state.items()} # as EMAHook leaves it: the raw weights
    ema = dict(ema_state_dict={'steps': torch.tensor(3), **raw}) if size == 't' else {}
    torch.save(dict(meta=meta, message_hub=history(), state_dict=state, **ema), folder/f'{size}.pth')
    torch.save(dict(x=x, logits=logits, last=last, flipped=flipped, order=order), folder/f'{size}.out.pt')
    return net

if __name__ == '__main__':
    torch.set_num_threads(1)
    if sys.argv[1] == '--names':
        Path(sys.argv[2]).write_text(json.dumps({k: list(v.shape) for k,v in build('s').state_dict().items()}, separators=(',', ':')))
        sys.exit()
    folder = Path(sys.argv[1])
    for size in SIZES: net = save(folder, size)
    # a classifier's file: the backbone beside a head of another kind
    backbone = {k: v for k,v in torch.load(folder/'s.pth', weights_only=False)['state_dict'].items() if k.startswith('backbone.')}
    torch.save(dict(meta={}, state_dict={**backbone, 'head.fc.weight': torch.zeros(1000, 512), 'head.fc.bias': torch.zeros(1000)}), folder/'classifier.pth')
    torch.save({k.removeprefix('backbone.'): v for k,v in backbone.items()}, folder/'bare.pth')
