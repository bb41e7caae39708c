import math
import pytest, torch
from hypothesis import given, settings, strategies as st
from torch import nn
from poselab.modules.counts import count_params
from poselab.modules.polarized import PSA, PolarizedCells, PolarizedChannels

@pytest.mark.parametrize('ch', [32, 64, 128, 256])
def test_psa_weighs_twice_the_square_and_four_times_its_channels(ch): assert count_params(PSA(ch)) == 2*ch*ch + 4*ch

@settings(max_examples=20, deadline=None)
@given(h=st.integers(1, 13), w=st.integers(1, 13), ch=st.integers(4, 11), layout=st.sampled_from(['parallel', 'sequential']))
def test_gates_lie_between_0_and_1_and_choices_add_up_to_1(h, w, ch, layout):
    m,x = PSA(ch, layout),torch.randn(2, ch, h, w)
    c,s = m.channel_attention(x),m.spatial_attention(x)
    assert c.shape == (2, ch, 1, 1) and s.shape == (2, 1, h, w)
    assert 0 < c.min() and c.max() < 1 and 0 < s.min() and s.max() < 1
    torch.testing.assert_close(m(x), x*c + x*s if layout == 'parallel' else x*c*s)
    looks,trusts = m.channel.looks(x),m.spatial.trusts(x)
    assert looks.shape == (2, 1, h, w) and trusts.shape == (2, ch//2, 1, 1)
    for total in (looks.sum((1, 2, 3)), trusts.sum((1, 2, 3))): torch.testing.assert_close(total, torch.ones(2))

@pytest.mark.parametrize('layout', ['parallel', 'sequential'])
def test_the_gradient_reaches_every_parameter_and_the_input(layout):
    torch.manual_seed(0)
    m,x = PSA(8, layout),torch.randn(3, 8, 7, 5, requires_grad=True)
    y = m(x); (y*torch.randn_like(y)).sum().backward()
    assert all(t.grad.abs().sum() > 0 for t in [*m.parameters(), x])

def test_the_channel_branch_by_hand_on_two_cells():
    m = PolarizedChannels(4)
    for p in m.parameters(): nn.init.zeros_(p)
    m.query.weight.data[0, 0] = 1.; m.value.weight.data[0, 1] = 1. # channel 0 asks, channel 1 answers
    m.out.weight.data[:, 0, 0, 0] = torch.tensor([1., -1., 2., 0.]); nn.init.ones_(m.norm.weight)
    x = torch.zeros(1, 4, 1, 2); x[0, 0, 0] = torch.tensor([0., math.log(3)]); x[0, 1, 0] = torch.tensor([1., 5.])
    chosen = .25*1 + .75*5
    z = [chosen*v for v in (1, -1, 2, 0)]; mean = sum(z)/4; std = (sum((v - mean)**2 for v in z)/4 + 1e-5)**.5
    assert m.attention(x).flatten().tolist() == pytest.approx([1/(1 + math.exp(-(v - mean)/std)) for v in z], rel=1e-5)

def test_the_cell_branch_by_hand_on_two_cells():
    m = PolarizedCells(4)
    for p in m.parameters(): nn.init.zeros_(p)
    m.value.weight.data[0, 0] = m.value.weight.data[1, 1] = 1.; m.query.weight.data[1, 2] = 1.
    x = torch.zeros(1, 4, 1, 2); x[0, 2, 0] = torch.tensor([0., 2*math.log(3)]) # its mean is ln 3
    x[0, 0, 0] = torch.tensor([4., 0.]); x[0, 1, 0] = torch.tensor([0., 4.])
    assert m.attention(x).flatten().tolist() == pytest.approx([1/(1 + math.exp(-1)), 1/(1 + math.exp(-3))], rel=1e-5)

@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 99))
def test_the_channel_branch_does_not_care_where_things_are_and_the_cell_branch_follows_them(seed):
    torch.manual_seed(seed)
    m,x,order = PSA(6),torch.randn(2, 6, 5, 4),torch.randperm(20)
    shuffle = lambda t: t.flatten(2)[..., order].reshape(t.shape)
    torch.testing.assert_close(m.channel_attention(x), m.channel_attention(shuffle(x)))
    torch.testing.assert_close(shuffle(m.spatial_attention(x)), m.spatial_attention(shuffle(x)))

def test_a_query_of_zeros_is_the_plain_mean():
    torch.manual_seed(0)
    m,x = PolarizedChannels(8),torch.randn(2, 8, 5, 6)
    nn.init.zeros_(m.query.weight)
    torch.testing.assert_close(m.attention(x), m.attention(x.mean((2, 3), keepdim=True)))

@pytest.mark.parametrize('make,says', [(lambda: PSA(3), '3 channels leave 1 inside.*four or more'), (lambda: PolarizedCells(2), 'PolarizedCells: 2 channels'),
    (lambda: PSA(8, 'both'), "layout='both'.*'parallel' or 'sequential'")])
def test_bad_settings_are_refused_in_words(make, says):
    with pytest.raises(ValueError, match=says): make()

def test_another_number_of_channels_is_refused():
    with pytest.raises(RuntimeError, match='8 channels'): PSA(8)(torch.randn(1, 6, 4, 4))
