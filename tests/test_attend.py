"Gates of whole networks, asked in one pass; the viewer answers without any network's help from outside"
import subprocess, sys
import numpy as np, pytest, torch
from torch import nn
from poselab import attend as A
from poselab.models.dancehrnet import DANCE_LAB, DanceHRNet
from poselab.modules.background import BackgroundInfoBlock
from poselab.modules.cbam import CBAM
from poselab.modules.coordinate import CoordAtt
from poselab.modules.polarized import PSA

def test_importing_needs_no_plot_no_widget_and_no_torch():
    code = 'import sys, poselab.attend; print([m for m in ("plotly", "ipywidgets", "torch", "skimage") if m in sys.modules])'
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout.strip() == '[]'

@pytest.mark.parametrize('gate,names', [(lambda: CBAM(8), ['1.channel', '1.spatial']), (lambda: BackgroundInfoBlock(8), ['1']),
    (lambda: CoordAtt(8), ['1']), (lambda: PSA(8), ['1.channel', '1.spatial'])])
def test_every_kind_of_gate_is_asked_with_what_it_was_given(gate, names):
    torch.manual_seed(0)
    net,x = nn.Sequential(nn.Conv2d(3, 8, 1), gate()).eval(),torch.randn(2, 3, 5, 7)
    maps = A.attention_maps(net, x)
    assert sorted(maps) == names
    for m in maps.values():
        assert m.shape[0] == 2 and m.shape[2:] in ((1, 1), (5, 7)) and 0 <= m.min() and m.max() <= 1
    if isinstance(net[1], CoordAtt):
        rows,columns = net[1].attention(net[0](x))
        torch.testing.assert_close(maps['1'], (rows*columns).detach())

def test_hooks_are_gone_afterwards_also_after_an_error():
    net = DanceHRNet(DANCE_LAB).eval()
    A.attention_maps(net, torch.randn(1, 3, 64, 64))
    with pytest.raises(RuntimeError): A.attention_maps(net, torch.randn(1, 5, 64, 64))
    assert not any(m._forward_hooks for m in net.modules())

def test_the_map_of_a_gate_is_what_the_gate_multiplies_by():
    torch.manual_seed(0)
    net,x = nn.Sequential(nn.Identity(), CBAM(8, parts='spatial')).eval(),torch.randn(1, 8, 6, 6)
    torch.testing.assert_close(x*A.attention_maps(net, x)['1.spatial'], net(x))

@pytest.mark.parametrize('name', ['dog', 'dancer', 'dancer x', ''])
def test_an_unknown_picture_is_refused_with_the_names(name):
    with pytest.raises(ValueError, match='astronaut'): A.chosen_picture(name)

def test_a_picture_keeps_its_shape_in_the_networks_input():
    flat = np.full((40, 200, 3), 255, np.uint8)
    n = A.attention_numbers('rendered', picture=flat)
    white = (n['img'] > 200).all(-1)
    assert white.any(0).all() and white.any(1).mean() < .5 # as wide as the input, and dark above and below

def test_a_gate_or_a_channel_that_is_not_there_is_named():
    with pytest.raises(ValueError, match='gates_of'): A.attention_numbers('rendered', 'nowhere')
    with pytest.raises(ValueError, match='counted from 0'): A.attention_numbers('rendered', channel=10_000)

def test_the_mean_and_one_channel_are_two_views_of_one_map():
    gate = next(g for g in A.gates_of('rendered-dance').values() if (n := A.attention_numbers('rendered-dance', g))['cells'] is not None and n['channels'] is not None)
    C = len(A.attention_numbers('rendered-dance', gate)['channels'])
    each = [A.attention_numbers('rendered-dance', gate, channel=c)['cells'] for c in range(C)]
    np.testing.assert_allclose(np.mean(each, 0), A.attention_numbers('rendered-dance', gate)['cells'], rtol=1e-5)
