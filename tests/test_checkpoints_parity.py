"mmpose's own checkpoint files, loaded here, against what mmpose computed with them. Needs POSELAB_ORACLE, the python of an environment with mmpose."
import os, subprocess
from pathlib import Path
import pytest, torch
from poselab.codecs.simcc import SimCC
from poselab.models.checkpoints import load_mmpose_checkpoint, read_checkpoint
from poselab.models.cspnext import CSPNeXt
from poselab.models.rtmpose import LARGE, MEDIUM, SMALL, TINY
from poselab.modules.blocks import fuse, set_batch_norm

SIZES = dict(t=TINY, s=SMALL, m=MEDIUM, l=LARGE)

@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    "FILE.pth, float32 as mmpose saved it; FILE.out.pt, input and outputs of mmpose's model, computed in float64"
    python = os.environ.get('POSELAB_ORACLE')
    if not python: pytest.skip('no reference: POSELAB_ORACLE (the python of an environment with mmpose) is not set')
    folder = tmp_path_factory.mktemp('checkpoints')
    subprocess.run([python, '-W', 'ignore', Path(__file__).parent/'parity'/'mmpose_checkpoints.py', folder], check=True, cwd=folder,
                   env={**os.environ, 'OMP_NUM_THREADS': '1'}, stdout=subprocess.DEVNULL)
    yield folder
    for f in folder.glob('*.pth'): f.unlink() # a quarter of a gigabyte

def off(ours, theirs):
    "Largest difference, in units of the largest output"
    assert theirs.std() > .01*theirs.abs().max() and theirs.abs().max() > 1e-2 # something is there to compare
    return ((ours - theirs).abs().max()/theirs.abs().max()).item()

@pytest.mark.parametrize('size', SIZES)
def test_outputs_agree_with_mmposes_within_a_hundred_thousandth_of_the_largest_logit(folder, size):
    m,saved = load_mmpose_checkpoint(folder/f'{size}.pth'),torch.load(folder/f'{size}.out.pt')
    assert (m.cfg.deepen, m.cfg.widen) == (SIZES[size].deepen, SIZES[size].widen)
    x = saved['x']
    with torch.inference_mode():
        assert max(map(off, m(x.float()), saved['logits'])) < 2e-4 # float32: rounding, grown through up to 150 layers
        for net in (m.double(), fuse(m)): assert max(map(off, net(x), saved['logits'])) < 1e-5
        assert off(m.features(x), saved['last']) < 1e-5

@pytest.mark.parametrize('file', ['s', 'classifier', 'bare'])
def test_a_backbone_from_a_pose_a_classification_and_a_bare_file_agrees(folder, file):
    m = load_mmpose_checkpoint(folder/f'{file}.pth', set_batch_norm(CSPNeXt(.33, .5), 1e-5, .1)).double()
    saved = torch.load(folder/'s.out.pt')
    with torch.inference_mode(): assert off(m(saved['x'])[3], saved['last']) < 1e-5

def test_the_wrong_eps_would_be_seen(folder):
    saved = torch.load(folder/'s.out.pt')
    m = set_batch_norm(load_mmpose_checkpoint(folder/'s.pth'), 1e-3).double()
    with torch.inference_mode(): assert off(m(saved['x'])[0], saved['logits'][0]) > 1e-3

def test_the_averaged_weights_are_the_ones_that_mmpose_runs(folder):
    raw = load_mmpose_checkpoint(folder/'t.pth', which='ema_state_dict')
    best = load_mmpose_checkpoint(folder/'t.pth')
    assert (raw.head.cls_x.weight - best.head.cls_x.weight).allclose(torch.tensor(1.), atol=1e-5)

def test_the_flip_test_reads_the_keypoints_that_mmposes_reads(folder):
    m,saved = load_mmpose_checkpoint(folder/'s.pth').double(),torch.load(folder/'s.out.pt')
    codec,order = SimCC((192, 256)),saved['order']
    with torch.inference_mode(): ours = codec.flip(m(saved['x'].flip(-1)), order)
    # mmpose turns the row of bins round as a whole, so that its bin i is ours i-1: half a pixel beside the first look
    assert off(ours[0][..., :-2], saved['flipped'][0][..., 1:-1]) < 1e-5 and off(ours[1], saved['flipped'][1]) < 1e-5
