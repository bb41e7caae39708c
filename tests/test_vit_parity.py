"ViTPose with mmpose's weights, against what mmpose computed with them. Needs POSELAB_ORACLE, the python of an environment with mmpose."
import os, subprocess
from dataclasses import replace
from pathlib import Path
import pytest, torch
from poselab.models.checkpoints import load_vitpose_checkpoint
from poselab.models.vit import VIT_B, VIT_S, ViT
from poselab.modules.blocks import fuse

SIZES = {'small': VIT_S, 'base': VIT_B, 'small-simple': replace(VIT_S, deconv=())}

@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    "FILE.pth, float32 as released files are; FILE.out.pt, input and outputs of mmpose's model, computed in float64, `single` in float32"
    python = os.environ.get('POSELAB_ORACLE')
    if not python: pytest.skip('no reference: POSELAB_ORACLE (the python of an environment with mmpose) is not set')
    folder = tmp_path_factory.mktemp('vitpose')
    subprocess.run([python, '-W', 'ignore', Path(__file__).parent/'parity'/'mmpose_vitpose.py', folder], check=True, cwd=folder,
                   env={**os.environ, 'OMP_NUM_THREADS': '1'}, stdout=subprocess.DEVNULL)
    yield folder
    for f in folder.glob('*.pth'): f.unlink() # half a gigabyte

def off(ours, theirs):
    "Largest difference, in units of the largest output"
    assert theirs.std() > .01*theirs.abs().max() and theirs.abs().max() > 1e-2 # something is there to compare
    return ((ours - theirs).abs().max()/theirs.abs().max()).item()

@pytest.mark.parametrize('size', SIZES)
def test_outputs_are_mmposes(folder, size):
    net,saved = load_vitpose_checkpoint(folder/f'{size}.pth'),torch.load(folder/f'{size}.out.pt')
    assert net.cfg == SIZES[size]
    with torch.inference_mode():
        assert (net(saved['x'].float())[0] - saved['single']).abs().max() < 1e-4 and off(net(saved['x'].float())[0], saved['single']) < 1e-5
        net.double()
        assert off(net(saved['x'])[0], saved['outputs']) < 1e-9 and off(net.features(saved['x']), saved['features']) < 1e-9
        assert off(fuse(net)(saved['x'])[0], saved['outputs']) < 1e-9

def test_a_backbone_comes_out_of_a_pose_file(folder):
    saved = torch.load(folder/'small.out.pt')
    body = load_vitpose_checkpoint(folder/'small.pth', ViT(VIT_S)).double()
    with torch.inference_mode(): assert off(body(saved['x']).transpose(1, 2).unflatten(-1, (16, 12)), saved['features']) < 1e-9

def test_patches_without_the_padding_would_be_seen(folder):
    net,saved = load_vitpose_checkpoint(folder/'small.pth').double(),torch.load(folder/'small.out.pt')
    net.backbone.patches.padding = (0, 0)
    with torch.inference_mode(): assert off(net(saved['x'])[0], saved['outputs']) > 1e-2
