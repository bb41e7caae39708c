"HigherHRNet with foreign weights, against what mmpose's parts computed with them. Needs POSELAB_ORACLE, the python of an environment with mmpose."
import os, subprocess
from dataclasses import replace
from pathlib import Path
import pytest, torch
from poselab.models.checkpoints import HRNET, load_mmpose_checkpoint, rename
from poselab.models.dancehrnet import HIGHERHRNET, DanceHRNet

@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    python = os.environ.get('POSELAB_ORACLE')
    if not python: pytest.skip('no reference: POSELAB_ORACLE (the python of an environment with mmpose) is not set')
    folder = tmp_path_factory.mktemp('higher')
    subprocess.run([python, '-W', 'ignore', Path(__file__).parent/'parity'/'mmpose_higherhrnet.py', folder], check=True, cwd=folder,
                   env={**os.environ, 'OMP_NUM_THREADS': '1'}, stdout=subprocess.DEVNULL)
    yield folder
    for f in folder.glob('*.p*t*'): f.unlink() # several hundred megabytes

@pytest.fixture(scope='module')
def answers(folder): return torch.load(folder/'answers.pt')

def off(ours, theirs):
    "Largest difference, in units of the largest output"
    assert theirs.std() > .01*theirs.abs().max() and theirs.abs().max() > 1e-2 # something is there to compare
    return ((ours - theirs).abs().max()/theirs.abs().max()).item()

@pytest.mark.parametrize('file', ['higher.pth', 'higher.bare.pth'])
def test_a_higherhrnet_file_loads_whole_and_computes_the_same(folder, answers, file):
    net = load_mmpose_checkpoint(folder/file)
    assert net.cfg == replace(HIGHERHRNET, num_keypoints=17)
    with torch.inference_mode():
        for kind,x,bound in (('single', answers['x'], 1e-5), ('double', answers['x'].double(), 1e-9)):
            heat,tags,fine = net.to(x.dtype)(x)
            assert off(torch.cat([heat, tags], 1), answers[kind][0]) < bound and off(fine, answers[kind][1]) < bound

def test_heatmaps_and_tags_are_those_of_mmposes_associative_embedding(folder, answers):
    net = DanceHRNet(replace(HIGHERHRNET, num_keypoints=17)).eval()
    theirs = rename(torch.load(folder/'ae.pth', weights_only=True)['state_dict'], HRNET)
    body = {k.removeprefix('backbone.'): v for k,v in theirs.items() if k.startswith('backbone.')}
    net.backbone.load_state_dict(body); net.head.final[0].load_state_dict({k.split('.')[-1]: v for k,v in theirs.items() if k.startswith('head.')})
    with torch.inference_mode(): heat,tags,_ = net.double()(answers['x'].double())
    assert off(heat, answers['ae'][0]) < 1e-9 and off(tags, answers['ae'][1]) < 1e-9
