"""Runs in an environment with mmdet: its RTMDet for people on given inputs, with its own weights and with ours, and its thinning out,
its assigner and its losses on given boxes.

    python mmdet_rtmdet.py SIZE IN.pt OUT.pt
"""
import logging, os, sys
import torch, mmpose, mmdet.models # noqa: F401, fills the registry
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from mmdet.registry import MODELS, TASK_UTILS

FILES = dict(nano='rtmdet_nano_320-8xb32_coco-person.py', m='rtmdet_m_640-8xb32_coco-person.py')

def build(size):
    "mmpose's configuration of a person detector, random weights"
    folder = os.environ.get('MMPOSE_SRC') or os.path.join(os.path.dirname(mmpose.__file__), '.mim')
    cfg = Config.fromfile(f'{folder}/demo/mmdetection_cfg/{FILES[size]}').model
    cfg.backbone.pop('init_cfg', None)
    init_default_scope('mmdet'); logging.disable(logging.WARNING)
    torch.manual_seed(0); net = MODELS.build(cfg); net.init_weights(); logging.disable(logging.NOTSET)
    return net

def warm(net):
    "Batch norms that have seen something, and a louder head: else all outputs are next to nothing and any comparison holds"
    for m in net.modules():
        if isinstance(m, torch.nn.modules.batchnorm._BatchNorm): m.reset_running_stats(); m.momentum = None
    net.train()
    with torch.no_grad():
        for _ in range(2): net(torch.randn(2, 3, 128, 160), mode='tensor')
        net.eval()
        maps,head = net.extract_feat(torch.randn(2, 3, 128, 160)),net.bbox_head
        for branch,last in ((head.cls_convs, head.rtm_cls), (head.reg_convs, head.rtm_reg)):
            for convs,c,x in zip(branch, last, maps):
                for f in convs: x = f(x)
                c.weight /= c(x).std(); c.bias[:] = 1.
    return net.eval()

def look(net, x):
    "Scores and distances of each level, and the boxes that are left at the end"
    cls,reg = net(x, mode='tensor')
    metas = [dict(img_shape=tuple(x.shape[2:]), scale_factor=(1., 1.))]*len(x)
    found = net.bbox_head.predict_by_feat([c.float() for c in cls], [r.float() for r in reg], batch_img_metas=metas, rescale=False)
    return dict(logits=list(cls), sides=list(reg), boxes=[f.bboxes for f in found], scores=[f.scores for f in found])

def assign(given):
    "mmdet's assigner, picture by picture"
    a = TASK_UTILS.build(dict(type='DynamicSoftLabelAssigner', topk=13))
    out = []
    for logits,boxes,truth in zip(given['logits'], given['boxes'], given['truth']):
        truth = truth[(truth[:, 2:] > truth[:, :2]).all(1)]
        points = torch.cat([given['points'], given['points'][:, 2:]], 1) # x, y, stride, stride
        r = a.assign(InstanceData(bboxes=boxes, scores=logits[:, None], priors=points),
                     InstanceData(bboxes=truth, labels=torch.zeros(len(truth), dtype=torch.long)))
        out.append((r.gt_inds - 1, torch.where(r.gt_inds > 0, r.max_overlaps, 0.)))
    return [torch.stack(t) for t in zip(*out)]

def losses(given):
    "Quality focal loss and GIoU loss, element by element"
    focal = MODELS.build(dict(type='QualityFocalLoss', use_sigmoid=True, beta=2.0))
    box = MODELS.build(dict(type='GIoULoss'))
    target = torch.zeros(len(given['logit']), dtype=torch.long), given['quality']
    return focal(given['logit'][:, None], target, reduction_override='none'), box(given['a'], given['b'], reduction_override='none')

def our_name(name, table):
    "mmdet's name of a tensor in poselab's words"
    for theirs,ours in table: name = name.replace(theirs, ours)
    return name

if __name__ == '__main__':
    from mmcv.ops import nms
    size,given,out = sys.argv[1:]
    given,net = torch.load(given),warm(build(size)).double() # double: rounding cannot hide a difference, nor make one
    with torch.no_grad():
        state,theirs = {k: v.clone() for k,v in net.state_dict().items()},look(net, given['bgr'])
        net.load_state_dict({k: given['state'][our_name(k, given['names'])] for k in state}, strict=True)
        torch.save(dict(state=state, theirs=theirs, with_ours=look(net, given['bgr']), params=sum(p.numel() for p in net.parameters()),
                        nms=[nms(b, s, iou_threshold=t)[1] for b,s,t in given['nms']],
                        assigned=assign(given['assign']), losses=losses(given['losses'])), out)
