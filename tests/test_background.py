import math
import pytest, torch
from hypothesis import given, settings, strategies as st
from torch import nn
from poselab.modules.background import CSAM, BackgroundInfoBlock, Local
from poselab.modules.blocks import fuse
from poselab.modules.counts import count_params

@pytest.mark.parametrize('ch,basic,block', [(64, 73_984, 78_339), (128, 295_424, 312_307), (256, 1_180_672, 1_247_187)])
def test_the_block_has_the_specified_number_of_weights(ch, basic, block):
    assert count_params(Local(ch)) == basic and count_params(BackgroundInfoBlock(ch)) == block

@settings(max_examples=20, deadline=None)
@given(h=st.integers(1, 13), w=st.integers(1, 13), ch=st.sampled_from([1, 3, 8]), norm=st.sampled_from(['batch', None]))
def test_the_weight_lies_between_0_and_1_and_the_answer_between_its_two_sources(h, w, ch, norm):
    m,x = BackgroundInfoBlock(ch, global_norm=norm).eval(),torch.randn(2, ch, h, w)
    a,g,l,y = m.attention(x),m.whole(x),m.local(x),m(x)
    assert a.shape == y.shape == x.shape and g.shape == (2, ch, 1, 1) and 0 < a.min() and a.max() < 1
    torch.testing.assert_close(y, a*g + (1 - a)*l)
    assert (y >= torch.minimum(g, l) - 1e-5).all() and (y <= torch.maximum(g, l) + 1e-5).all()

@pytest.mark.parametrize('norm', ['batch', None])
def test_the_gradient_reaches_every_parameter_and_the_input(norm):
    torch.manual_seed(0)
    m,x = BackgroundInfoBlock(16, global_norm=norm),torch.randn(6, 16, 7, 5, requires_grad=True)
    y = m(x); (y*torch.randn_like(y)).sum().backward()
    assert all(t.grad.abs().sum() > 0 for t in [*m.parameters(), x])

def test_the_weight_of_one_cell_by_hand():
    m = CSAM(2, reduction=2)
    for p in m.parameters(): nn.init.zeros_(p)
    m.channel[0].weight.data = torch.tensor([1., 1.]).reshape(1, 2, 1, 1); m.channel[0].bias.data[:] = -1.
    m.channel[2].weight.data = torch.tensor([2., -1.]).reshape(2, 1, 1, 1); m.channel[2].bias.data[:] = .5
    m.spatial.weight.data[0, :, 1, 1] = torch.tensor([1., -3.]); m.spatial.bias.data[:] = .25
    x = torch.tensor([2., 4.]).reshape(1, 2, 1, 1)
    hidden,cell = 2 + 4 - 1,3 - 3*4 + .25 # mean 3, peak 4
    by_hand = [1/(1 + math.exp(-(w*hidden + .5 + cell))) for w in (2, -1)]
    assert m.attention(x).flatten().tolist() == pytest.approx(by_hand, rel=1e-5)
    torch.testing.assert_close(m(x), x*m.attention(x))

def test_a_far_cell_reaches_the_output_only_through_the_whole():
    torch.manual_seed(0)
    m,x = BackgroundInfoBlock(8).eval(),torch.randn(1, 8, 15, 15, requires_grad=True)
    grad = lambda y: torch.autograd.grad(y[0, :, 7, 7].sum(), x, retain_graph=True)[0].abs().sum((0, 1))
    assert grad(m.local(x))[0, 0] == 0 < grad(m(x))[0, 0]

def test_another_local_block_takes_the_place_of_the_basic_one():
    m = BackgroundInfoBlock(8, local=nn.Identity())
    assert isinstance(m.local, nn.Identity) and m(torch.randn(2, 8, 3, 3)).shape == (2, 8, 3, 3)

def test_a_batch_of_one_is_refused_in_training_with_three_remedies():
    m,x = BackgroundInfoBlock(8),torch.randn(1, 8, 5, 5)
    with pytest.raises(ValueError, match='batch of one picture.*drop_last=True.*eval.*global_norm=None'): m(x)
    assert m.eval()(x).shape == x.shape
    assert BackgroundInfoBlock(8, global_norm=None)(x).shape == x.shape

def test_a_batch_of_one_leaves_the_running_statistics_alone():
    m = BackgroundInfoBlock(8); before = {k: v.clone() for k,v in m.state_dict().items()}
    with pytest.raises(ValueError): m(torch.randn(1, 8, 5, 5))
    assert all(torch.equal(v, before[k]) for k,v in m.state_dict().items())

def test_a_wrong_norm_is_refused_in_words():
    with pytest.raises(ValueError, match="global_norm='layer'.*'batch' or None"): BackgroundInfoBlock(8, global_norm='layer')

def test_another_number_of_channels_is_refused():
    with pytest.raises(RuntimeError, match='8 channels'): BackgroundInfoBlock(8)(torch.randn(2, 6, 4, 4))

def test_the_fused_block_is_the_same_block():
    torch.manual_seed(0)
    m,x = BackgroundInfoBlock(8),torch.randn(4, 8, 7, 5)
    for _ in range(20): m(x) # statistics of its own
    thin = fuse(m)
    assert not any(isinstance(k, nn.BatchNorm2d) for k in thin.modules())
    torch.testing.assert_close(thin(x), m.eval()(x), atol=1e-5, rtol=1e-4)
