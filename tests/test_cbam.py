import math
import pytest, torch
from hypothesis import given, settings, strategies as st
from torch import nn
from poselab.modules.cbam import CBAM, ChannelGate, SpatialGate, cbam_maps
from poselab.modules.counts import count_params

@pytest.mark.parametrize('ch,n', [(32, 354), (64, 610), (128, 2_146), (256, 8_290)])
def test_cbam_has_the_specified_number_of_weights(ch, n): assert count_params(CBAM(ch)) == n

@settings(max_examples=20, deadline=None)
@given(h=st.integers(1, 13), w=st.integers(1, 13), ch=st.sampled_from([1, 3, 8, 70]), ks=st.sampled_from([1, 3, 7]))
def test_gates_lie_between_0_and_1_and_the_shape_stays(h, w, ch, ks):
    m,x = CBAM(ch, ks=ks),torch.randn(2, ch, h, w)
    c,s = m.channel_attention(x),m.spatial_attention(x)
    assert c.shape == (2, ch, 1, 1) and s.shape == (2, 1, h, w)
    assert 0 < c.min() and c.max() < 1 and 0 < s.min() and s.max() < 1
    torch.testing.assert_close(m(x), x*c*s)

@pytest.mark.parametrize('parts', ['both', 'channel', 'spatial'])
def test_the_gradient_reaches_every_parameter_and_the_input(parts):
    torch.manual_seed(0)
    m,x = CBAM(32, parts=parts),torch.randn(3, 32, 7, 5, requires_grad=True)
    y = m(x); (y*torch.randn_like(y)).sum().backward()
    assert all(t.grad.abs().sum() > 0 for t in [*m.parameters(), x])

def test_a_gate_on_one_cell_by_hand():
    m = CBAM(1, ks=1); m.channel = ChannelGate(1, least=1)
    nn.init.constant_(m.channel.mlp[0].weight, .5); nn.init.constant_(m.channel.mlp[2].weight, 3.)
    m.spatial.conv.weight.data = torch.tensor([1., -2.]).reshape(1, 2, 1, 1)
    sigmoid = lambda v: 1/(1 + math.exp(-v))
    c = sigmoid(2*3*.5*2) # one cell: mean and peak are both 2
    s = sigmoid(2*c - 2*2*c)
    assert m(torch.full((1, 1, 1, 1), 2.)).item() == pytest.approx(2*c*s, rel=1e-5)

def test_the_channel_gate_sees_mean_and_peak_alike():
    torch.manual_seed(0)
    m = ChannelGate(4); x = torch.randn(1, 4, 1, 1).expand(1, 4, 5, 5) # mean = peak
    torch.testing.assert_close(m.attention(x), (2*m.mlp(x[..., :1, :1])).sigmoid())

@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 99))
def test_the_channel_gate_does_not_care_where_things_are(seed):
    torch.manual_seed(seed)
    m,x = ChannelGate(6),torch.randn(2, 6, 5, 4)
    torch.testing.assert_close(m.attention(x), m.attention(x.flatten(2)[..., torch.randperm(20)].reshape(x.shape)))

@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 99))
def test_the_spatial_gate_does_not_care_which_channel_speaks(seed):
    torch.manual_seed(seed)
    m,x = SpatialGate(),torch.randn(2, 6, 5, 4)
    torch.testing.assert_close(m.attention(x), m.attention(x[:, torch.randperm(6)]))

def test_the_spatial_gate_sees_seven_by_seven_cells():
    m,x = SpatialGate(),torch.randn(1, 3, 15, 15, requires_grad=True)
    m.attention(x)[0, 0, 7, 7].backward()
    seen = x.grad.abs().sum((0, 1)).nonzero()
    assert seen.min(0).values.tolist() == [4, 4] and seen.max(0).values.tolist() == [10, 10]

def test_a_part_left_out_has_no_map_and_no_weights():
    x = torch.randn(1, 32, 4, 4)
    c,s = CBAM(32, parts='channel'),CBAM(32, parts='spatial')
    assert c.spatial_attention(x) is None and s.channel_attention(x) is None
    assert (count_params(c), count_params(s)) == (256, 98)

def test_maps_of_a_whole_model_come_by_name_and_leave_no_hook():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), CBAM(8), nn.Conv2d(8, 4, 3), CBAM(4, parts='spatial')).eval()
    x = torch.randn(2, 3, 9, 7)
    maps = cbam_maps(net, x)
    with torch.no_grad(): first = net[0](x)
    torch.testing.assert_close(maps['1'][0], net[1].channel_attention(first).flatten(1).detach())
    assert maps['1'][1].shape == (2, 7, 5) and maps['3'][0] is None and list(maps) == ['1', '3']
    assert not any(m._forward_hooks for m in net.modules())

def test_a_failing_model_leaves_no_hook():
    net = nn.Sequential(CBAM(4), nn.Conv2d(5, 4, 1))
    with pytest.raises(RuntimeError): cbam_maps(net, torch.randn(1, 4, 3, 3))
    assert not any(m._forward_hooks for m in net.modules())

@pytest.mark.parametrize('kw,says', [(dict(parts='colour'), "parts='colour'.*'both', 'channel', 'spatial'"), (dict(ks=4), '4 cells has no middle')])
def test_a_wrong_choice_is_refused_in_words(kw, says):
    with pytest.raises(ValueError, match=says): CBAM(8, **kw)

def test_another_number_of_channels_is_refused():
    with pytest.raises(RuntimeError, match='8 channels'): CBAM(8)(torch.randn(1, 6, 4, 4))
