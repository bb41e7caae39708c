"""poselab's RTMPose against mmpose's, with the same weights in both. Needs POSELAB_ORACLE, the python of an environment with mmpose."""
import os, re, subprocess
from pathlib import Path
import pytest, torch
from torch import nn
from poselab.models.rtmpose import SMALL, TINY, RTMPose

SIZES = dict(t=TINY, s=SMALL)
# Our names -> mmpose's, one after the other. They count stages from 1 and blocks from 0.
NAMES = [(r'stages\.(\d)', lambda m: f'stage{int(m[1]) + 1}'), (r'stage4\.1\.squeeze', 'stage4.1.conv1'), (r'stage4\.1\.join', 'stage4.1.conv2'),
         (r'long\.0\.', 'main_conv.'), (r'long\.(\d+)\.body', lambda m: f'blocks.{int(m[1]) - 1}'),
         (r'(blocks\.\d+)\.0\.', r'\1.conv1.'), (r'(blocks\.\d+)\.1\.', r'\1.conv2.depthwise_conv.'), (r'(blocks\.\d+)\.2\.', r'\1.conv2.pointwise_conv.'),
         (r'\.short\.', '.short_conv.'), (r'\.join\.', '.final_conv.'), (r'gate\.fc', 'attention.fc'),
         (r'^(backbone.*)\.0\.(weight|bias)$', r'\1.conv.\2'), (r'^(backbone.*)\.1\.(weight|bias|running_mean|running_var|num_batches_tracked)$', r'\1.bn.\2'),
         (r'head\.conv\.', 'head.final_layer.'), (r'mixer\.norm', 'gau.ln'), (r'mixer\.res_scale', 'gau.res_scale.scale'), (r'mixer', 'gau')]

def their_name(name):
    for ours,theirs in NAMES: name = re.sub(ours, theirs, name)
    return name

def build(cfg):
    "Ours with mmpose's eps: its RTMPose files put a plain batch norm (1e-5) in place of CSPNeXt's own (1e-3)"
    m = RTMPose(cfg)
    for b in m.modules():
        if isinstance(b, nn.BatchNorm2d): b.eps,b.momentum = 1e-5,None
    return m

def warm(m):
    m.train()
    with torch.no_grad():
        for _ in range(2): m(torch.randn(2, 3, 256, 192))
        for c in (m.head.cls_x, m.head.cls_y): c.weight *= 100
    return m.eval().double()

def look(m, x):
    with torch.no_grad(): return dict(logits=m(x), maps=m.keypoint_maps(x), last=m.features(x))

@pytest.fixture(scope='module', params=SIZES)
def pair(request, tmp_path_factory):
    "(size, our model with its own weights, input, mmpose's answers)"
    python = os.environ.get('POSELAB_ORACLE')
    if not python: pytest.skip('no reference: POSELAB_ORACLE (the python of an environment with mmpose) is not set')
    folder,script = tmp_path_factory.mktemp('parity'),Path(__file__).parent/'parity'/'mmpose_rtmpose.py'
    torch.manual_seed(1)
    ours,x = warm(build(SIZES[request.param])),torch.randn(2, 3, 256, 192).double()
    torch.save(dict(x=x, state={their_name(k):v for k,v in ours.state_dict().items()}), folder/'in.pt')
    subprocess.run([python, '-W', 'ignore', script, request.param, folder/'in.pt', folder/'out.pt'], check=True, cwd=folder,
                   env={**os.environ, 'OMP_NUM_THREADS': '1'}, stdout=subprocess.DEVNULL)
    return SIZES[request.param], ours, x, torch.load(folder/'out.pt')

def near(a, b):
    for k in b: torch.testing.assert_close(a[k], b[k], atol=1e-9, rtol=1e-6)
    assert b['logits'][0].std() > .01 and b['maps'].std() > 1e-4 # something is there to compare

def test_our_weights_give_the_same_outputs_in_mmpose(pair):
    _,ours,x,answers = pair
    near(look(ours, x), answers['with_ours'])

def test_mmposes_weights_give_the_same_outputs_here(pair):
    cfg,ours,x,answers = pair
    m = build(cfg).eval().double()
    m.load_state_dict({k: answers['state'][their_name(k)] for k in m.state_dict()})
    assert len(answers['state']) == len(m.state_dict())
    near(look(m, x), answers['theirs'])
