"""poselab's RTMDet against mmdet's, with the same weights in both. Needs POSELAB_ORACLE, the python of an environment with mmdet."""
import os, subprocess
from pathlib import Path
import pytest, torch
from torch import nn
from poselab.detect import load_mmdet_checkpoint
from poselab.models.rtmdet import MEDIUM, MMDET_NAMES, NANO, RTMDet, level_points, nms, pick
from poselab.modules.blocks import set_batch_norm
from poselab.modules.counts import count_params
from poselab.traindetect import assign, giou, quality_focal

SIZES = dict(nano=NANO, m=MEDIUM)

def warm(m):
    m.train()
    for b in m.modules():
        if isinstance(b, nn.BatchNorm2d): b.momentum = None
    with torch.no_grad():
        for _ in range(2): m(torch.randn(2, 3, 128, 160))
        maps = m.eval().neck(m.backbone(torch.randn(2, 3, 128, 160))[1:])
        for branch in (m.head.cls, m.head.reg):
            for level,t in zip(branch, maps): level[2].weight /= level(t).std(); level[2].bias[:] = 1.
    return m.eval().double()

def look(m, x):
    with torch.no_grad():
        logits,sides = m.levels(x)
        found = pick(*m(x), .05, .6, size=(160, 128))
    return dict(logits=logits, sides=sides, boxes=[b[:100] for b,_ in found], scores=[s[:100] for _,s in found]) # mmdet's limit

def random_boxes(n, seed):
    g = torch.Generator().manual_seed(seed)
    xy,wh = torch.rand(n, 2, generator=g)*90,torch.rand(n, 2, generator=g)*60 + 5
    return torch.cat([xy, xy + wh], 1)

def questions():
    "Boxes to thin out, people to share out, losses to take"
    thin = [(random_boxes(n, n), torch.rand(n, generator=torch.Generator().manual_seed(n + 1)), t) for n,t in ((1, .5), (40, .3), (300, .6))]
    points = level_points((128, 96)); g = torch.Generator().manual_seed(5)
    truth = torch.stack([random_boxes(5, 1), random_boxes(5, 2), torch.zeros(5, 4)]); truth[1, 3:] = 0
    who = torch.randint(0, 5, (3, len(points)), generator=g)
    boxes = truth.gather(1, who[..., None].expand(-1, -1, 4)) + torch.randn(3, len(points), 4, generator=g)*8
    share = dict(points=points, logits=torch.randn(3, len(points), generator=g), boxes=boxes, truth=truth)
    loss = dict(logit=torch.randn(50, generator=g)*3, quality=torch.rand(50, generator=g), a=random_boxes(50, 8), b=random_boxes(50, 9))
    return dict(nms=thin, assign=share, losses=loss)

@pytest.fixture(scope='module', params=SIZES)
def pair(request, tmp_path_factory):
    "(shape, our model with its own weights, input, mmdet's answers, questions, folder)"
    python = os.environ.get('POSELAB_ORACLE')
    if not python: pytest.skip('no reference: POSELAB_ORACLE (the python of an environment with mmdet) is not set')
    folder,script = tmp_path_factory.mktemp('parity'),Path(__file__).parent/'parity'/'mmdet_rtmdet.py'
    torch.manual_seed(1)
    cfg = SIZES[request.param]
    ours,x,asked = warm(set_batch_norm(RTMDet(cfg), 1e-5, .1)),torch.randn(2, 3, 128, 160).double(),questions()
    state = {k: v.flip(1) if k == 'backbone.stem.0.0.weight' else v for k,v in ours.state_dict().items()} # mmdet reads BGR
    torch.save(dict(bgr=x.flip(1), state=state, names=MMDET_NAMES, **asked), folder/'in.pt')
    subprocess.run([python, '-W', 'ignore', script, request.param, folder/'in.pt', folder/'out.pt'], check=True, cwd=folder,
                   env={**os.environ, 'OMP_NUM_THREADS': '1'}, stdout=subprocess.DEVNULL)
    return cfg, ours, x, torch.load(folder/'out.pt'), asked, folder

def near(a, b):
    for k in b:
        for mine,theirs in zip(a[k], b[k], strict=True): torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5, check_dtype=False)
    assert all(.02 < t.std() < 50 for t in b['logits']) and len(b['boxes'][0]) > 5 # something is there to compare

def test_the_parameter_counts_are_mmdets(pair):
    cfg,ours,_,answers,*_ = pair
    assert count_params(RTMDet(cfg)) == answers['params']

def test_our_weights_give_the_same_boxes_in_mmdet(pair):
    _,ours,x,answers,*_ = pair
    near(look(ours, x), answers['with_ours'])

def test_mmdets_checkpoint_gives_the_same_boxes_here(pair):
    cfg,_,x,answers,_,folder = pair
    torch.save(dict(meta=dict(epoch=1), state_dict={k: v.float() for k,v in answers['state'].items()}), folder/'theirs.pth')
    near_enough = dict(atol=1e-3, rtol=1e-4) # its numbers went through 32 bits
    found = look(load_mmdet_checkpoint(folder/'theirs.pth', cfg).model.double(), x)
    for k in ('logits', 'sides'):
        for a,b in zip(found[k], answers['theirs'][k]): torch.testing.assert_close(a, b, **near_enough)

def test_thinning_out_keeps_what_mmcv_keeps(pair):
    *_,answers,asked,_ = pair
    for (boxes, scores, iou),theirs in zip(asked['nms'], answers['nms']): assert nms(boxes, scores, iou).tolist() == theirs.tolist()

def test_the_assigner_gives_every_point_to_the_same_person(pair):
    *_,answers,asked,_ = pair
    who,quality = assign(**asked['assign'])
    theirs,overlap = answers['assigned']
    assert (who >= 0).sum() > 10 and torch.equal(who, theirs)
    torch.testing.assert_close(quality, overlap, atol=1e-5, rtol=1e-5)

def test_the_losses_are_mmdets(pair):
    *_,answers,asked,_ = pair
    q = asked['losses']
    torch.testing.assert_close(quality_focal(q['logit'], q['quality']), answers['losses'][0])
    torch.testing.assert_close(1 - giou(q['a'], q['b']), answers['losses'][1], atol=1e-6, rtol=1e-5)
