import pytest, torch
from hypothesis import given, settings, strategies as st
from torch import nn
from poselab.modules.blocks import (GAU, ChannelAttention, ConvBNAct, CSPLayer, CSPNeXtBlock, ScaleNorm, SPPBottleneck,
                                    TripleConvKeypoint, fuse, matched_width)

MAPS = dict(block=lambda: CSPNeXtBlock(8), straight=lambda: CSPNeXtBlock(8, shortcut=False), csp=lambda: CSPLayer(8, 2),
            gate=lambda: ChannelAttention(8), spp=lambda: SPPBottleneck(8), conv=lambda: ConvBNAct(8, 8, 3))

def lively(m):
    "Batch norms with statistics of their own, so that folding them is worth something"
    torch.manual_seed(1)
    for b in m.modules():
        if isinstance(b, nn.BatchNorm2d):
            for t,(lo,hi) in dict(weight=(.5, 2), bias=(-1, 1), running_mean=(-1, 1), running_var=(.2, 2)).items():
                nn.init.uniform_(getattr(b, t), lo, hi)
    return m.eval()

def dead_parameters(m, *x):
    m.train(); y = m(*x); (y*torch.randn_like(y)).sum().backward()
    return [n for n,p in m.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]

@pytest.mark.parametrize('name', MAPS)
@settings(max_examples=12, deadline=None)
@given(h=st.integers(1, 15), w=st.integers(1, 15))
def test_a_block_keeps_the_shape_of_any_map(name, h, w):
    assert MAPS[name]().eval()(torch.randn(2, 8, h, w)).shape == (2, 8, h, w)

@given(h=st.integers(1, 30), w=st.integers(1, 30))
@settings(max_examples=12, deadline=None)
def test_stride_two_rounds_an_odd_size_up(h, w):
    assert ConvBNAct(3, 4, 3, 2).eval()(torch.zeros(1, 3, h, w)).shape[2:] == (-(-h//2), -(-w//2))

@pytest.mark.parametrize('name', MAPS)
def test_the_gradient_reaches_every_parameter_of_a_block(name):
    torch.manual_seed(0)
    assert dead_parameters(MAPS[name](), torch.randn(4, 8, 7, 5)) == []

@pytest.mark.parametrize('m', [TripleConvKeypoint(8, 3), ScaleNorm(35), GAU(35, 6)])
def test_the_gradient_reaches_every_parameter_of_a_head_block(m):
    torch.manual_seed(0)
    x = torch.randn(4, 8, 7, 5)
    assert dead_parameters(m, x if isinstance(m, TripleConvKeypoint) else x.flatten(2)) == []

def test_conv_bn_act_of_one_pixel_is_silu_of_the_normalised_product():
    m = ConvBNAct(1, 1).eval(); nn.init.constant_(m[0].weight, 3.)
    y = torch.tensor(6/1.001**.5)
    torch.testing.assert_close(m(torch.full((1, 1, 1, 1), 2.)).squeeze(), y*y.sigmoid())

def test_channel_attention_at_zero_weight_lets_half_through():
    m = ChannelAttention(2); nn.init.zeros_(m.fc.weight); nn.init.zeros_(m.fc.bias)
    x = torch.randn(1, 2, 3, 3)
    torch.testing.assert_close(m(x), x/2)

def test_channel_attention_shuts_a_channel_below_minus_three():
    m = ChannelAttention(2); nn.init.zeros_(m.fc.weight); m.fc.bias.data = torch.tensor([-3., 3.])
    assert m.attention(torch.randn(1, 2, 3, 3)).flatten().tolist() == [0, 1]

@pytest.mark.parametrize('steps,width', [(1, 5), (2, 9), (3, 13)])
def test_pooling_again_sees_as_far_as_one_wide_pooling(steps, width):
    x = torch.randn(1, 4, 17, 11)
    assert torch.equal(SPPBottleneck(8).pyramid(x)[steps], nn.functional.max_pool2d(x, width, 1, width//2))

def test_a_block_whose_last_scale_is_zero_is_its_shortcut():
    m = CSPNeXtBlock(4).eval(); nn.init.zeros_(m.body[2][1].weight)
    x = torch.randn(1, 4, 5, 5)
    assert torch.equal(m(x), x) and m.body(x).abs().max() == 0

@given(scale=st.floats(.1, 100))
@settings(max_examples=10, deadline=None)
def test_scale_norm_forgets_the_length_of_a_token(scale):
    x = torch.randn(2, 3, 16)
    torch.testing.assert_close(ScaleNorm(16)(x*scale), ScaleNorm(16)(x))

def test_scale_norm_of_three_and_four():
    torch.testing.assert_close(ScaleNorm(2)(torch.tensor([3., 4.])), torch.tensor([.6, .8])*2**.5)

def test_scale_norm_of_an_empty_token_is_zero_and_has_a_gradient():
    x = torch.zeros(1, 4, requires_grad=True); ScaleNorm(4)(x).sum().backward()
    assert x.grad.isfinite().all()

def test_gau_has_the_published_number_of_weights():
    assert sum(p.numel() for p in GAU(256).parameters()) == 426753

def test_gau_by_hand_with_loops():
    torch.manual_seed(0)
    m,x = GAU(6, 4),torch.randn(1, 3, 6)
    uvz = nn.functional.silu(m.norm(x) @ m.uv.weight.T)[0]
    u,v,z = uvz[:, :12],uvz[:, 12:24],uvz[:, 24:]
    q,k = z*m.gamma[0] + m.beta[0],z*m.gamma[1] + m.beta[1]
    rows = []
    for i in range(3):
        mixed = sum(max((q[i] @ k[j]).item()/2, 0)**2 * v[j] for j in range(3))
        rows.append(x[0, i] + m.o.weight @ (u[i]*mixed))
    torch.testing.assert_close(m(x)[0], torch.stack(rows))

def test_gau_does_not_care_in_which_order_the_keypoints_come():
    torch.manual_seed(0)
    m,x,p = GAU(8, 4),torch.randn(2, 5, 8),torch.randperm(5)
    torch.testing.assert_close(m(x)[:, p], m(x[:, p]))

@pytest.mark.parametrize('ch,mid', [(384, 44), (512, 45), (768, 47), (1024, 48)])
def test_matched_width_saves_449_of_1000_weights(ch, mid):
    m = TripleConvKeypoint(ch, 17)
    weights = sum(c.weight.numel() for c in m if isinstance(c, nn.Conv2d))
    assert m[0].out_channels == matched_width(ch, 17) == mid
    assert abs(1 - weights/(49*ch*17) - .449) < .01

def test_the_paper_saving_at_real_widths():
    weights = [c.weight.numel() for c in TripleConvKeypoint(768, 17) if isinstance(c, nn.Conv2d)]
    assert sum(weights) == 351936 and 768*17*49 == 639744
    assert abs((1 - sum(weights)/639744)*100 - 44.9) < .15

def test_equal_widths_save_22_of_49():
    assert 1 - 27/49 == pytest.approx(.44898, abs=1e-5)
    m = TripleConvKeypoint(9, 9, mid=9)
    assert sum(c.weight.numel() for c in m if isinstance(c, nn.Conv2d)) == 27*81

def test_three_3x3_see_seven_cells():
    m = TripleConvKeypoint(1, 1, mid=1); x = torch.zeros(1, 1, 15, 15, requires_grad=True)
    m(x)[0, 0, 7, 7].backward()
    seen = x.grad[0, 0].nonzero()
    assert seen.min(0).values.tolist() == [4, 4] and seen.max(0).values.tolist() == [10, 10]

@pytest.mark.parametrize('name', [n for n in MAPS if n != 'gate'])
def test_fused_blocks_give_the_same_numbers_without_batch_norms(name):
    m,x = lively(MAPS[name]()),torch.randn(2, 8, 9, 6)
    f = fuse(m)
    torch.testing.assert_close(f(x), m(x), atol=1e-4, rtol=1e-4)
    assert not any(isinstance(b, nn.BatchNorm2d) for b in f.modules()) and m(x).std() > .05

def test_fuse_leaves_the_model_it_was_given_alone():
    m = CSPLayer(8, 1).train(); before = {k:v.clone() for k,v in m.state_dict().items()}
    fuse(m)
    assert m.training and all(torch.equal(v, before[k]) for k,v in m.state_dict().items())

def test_blocks_run_under_bfloat16_and_channels_last():
    torch.manual_seed(0)
    m = nn.Sequential(CSPLayer(8, 1), SPPBottleneck(8), TripleConvKeypoint(8, 3), nn.Flatten(2), GAU(20, 4))
    lively(m); x = torch.randn(2, 8, 5, 4)
    with torch.autocast('cpu', torch.bfloat16): low = m(x)
    torch.testing.assert_close(low.float(), m(x), atol=.1, rtol=.1)
    torch.testing.assert_close(m.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last)), m(x))
