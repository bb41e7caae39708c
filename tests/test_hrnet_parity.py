"HRNet with mmpose's weights, against what mmpose computed with them. Needs POSELAB_ORACLE, the python of an environment with mmpose."
import os, subprocess
from pathlib import Path
import pytest, torch
from poselab.models.checkpoints import load_mmpose_checkpoint
from poselab.models.hrnet import W32, W48, HRNet
from poselab.modules.blocks import fuse

SIZES = dict(w32=W32, w48=W48)
FILES = ['w32.pth', 'w32.bare.pth', 'w48.pth', 'w48.bare.pth'] # under mmpose's names, and as HRNet's authors leave them

@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    "FILE.pth, float32 as released files are; FILE.out.pt, input and outputs of mmpose's model, computed in float64, `single` in float32"
    python = os.environ.get('POSELAB_ORACLE')
    if not python: pytest.skip('no reference: POSELAB_ORACLE (the python of an environment with mmpose) is not set')
    folder = tmp_path_factory.mktemp('hrnet')
    subprocess.run([python, '-W', 'ignore', Path(__file__).parent/'parity'/'mmpose_hrnet.py', folder], check=True, cwd=folder,
                   env={**os.environ, 'OMP_NUM_THREADS': '1'}, stdout=subprocess.DEVNULL)
    yield folder
    for f in folder.glob('*.pth'): f.unlink() # a gigabyte

def off(ours, theirs):
    "Largest difference, in units of the largest output"
    assert theirs.std() > .01*theirs.abs().max() and theirs.abs().max() > 1e-2 # something is there to compare
    return ((ours - theirs).abs().max()/theirs.abs().max()).item()

def load(folder, file, **kwargs): return load_mmpose_checkpoint(folder/file, input_size=(96, 128), **kwargs)
def answers(folder, name): return torch.load(folder/f'{name}.out.pt')

@pytest.mark.parametrize('file', FILES)
def test_outputs_are_mmposes(folder, file):
    net,saved = load(folder, file),answers(folder, file[:3])
    x = saved['x']
    assert net.cfg.channels == SIZES[file[:3]].channels and net.cfg.modules == W32.modules
    with torch.inference_mode():
        assert off(net(x.float())[0], saved['single']) < 1e-5 # float32 on both sides
        net.double()
        assert off(net(x)[0], saved['outputs']) < 1e-9 and off(net.features(x), saved['features']) < 1e-9

def test_folded_batch_norms_leave_mmposes_outputs(folder):
    net,saved = load(folder, 'w32.pth').double(),answers(folder, 'w32')
    with torch.inference_mode(): assert off(fuse(net)(saved['x'])[0], saved['outputs']) < 1e-9

def test_all_four_resolutions_are_mmposes(folder):
    net,saved = load_mmpose_checkpoint(folder/'wide.pth', HRNet(multiscale=True)).double(),answers(folder, 'wide')
    with torch.inference_mode(): maps = net(saved['x'])
    assert len(maps) == len(saved['maps']) == 4 and max(map(off, maps, saved['maps'])) < 1e-9

def test_the_associative_embedding_hrnet_is_an_hrnet_with_a_tag_beside_each_map(folder):
    net,saved = load(folder, 'ae.pth').double(),answers(folder, 'ae')
    assert net.cfg.num_keypoints == 34
    with torch.inference_mode(): found = net(saved['x'])[0].split(17, 1)
    assert max(map(off, found, saved['outputs'])) < 1e-9

def test_a_backbone_comes_out_of_either_kind_of_file(folder):
    saved = answers(folder, 'w32')
    for file in ('w32.pth', 'w32.bare.pth'):
        body = load_mmpose_checkpoint(folder/file, HRNet()).double()
        with torch.inference_mode(): assert off(body(saved['x'])[0], saved['features']) < 1e-9

def test_another_kind_of_upsampling_would_be_seen(folder):
    net,saved = load(folder, 'w32.pth').double(),answers(folder, 'w32')
    for m in net.modules():
        if isinstance(m, torch.nn.Upsample): m.mode = 'bilinear'
    with torch.inference_mode(): assert off(net(saved['x'])[0], saved['outputs']) > 1e-2
