import pytest, torch
from hypothesis import given, settings, strategies as st
from torch import nn
from poselab.modules.blocks import CSPLayer, ConvBNAct, fuse
from poselab.modules.counts import count_macs, count_params
from poselab.modules.ghost import C3, Bottleneck, GhostConv, ImplicitA, ImplicitM, SpaceToDepth

BLOCKS = {'ghost': lambda c: GhostConv(c, c), 'ghost 3×3': lambda c: GhostConv(c, c, 3), 'C3': lambda c: C3(c, c), 'C3 deep': lambda c: C3(c, c, 3, False),
          'C3 depthwise': lambda c: C3(c, c, depthwise=True), 'bottleneck': Bottleneck, 'implicit +': ImplicitA, 'implicit ×': ImplicitM}

def settled(m, x):
    "The module with batch statistics of its own, in evaluation mode"
    for _ in range(20): m(x)
    return m.eval()

@pytest.mark.parametrize('ch,n', [(384, 665_856), (512, 1_182_720)])
def test_c3_has_the_specified_number_of_weights(ch, n): assert count_params(C3(ch, ch)) == n

@settings(max_examples=20, deadline=None)
@given(a=st.integers(1, 40), half=st.integers(1, 20), ks=st.sampled_from([1, 3]))
def test_a_ghost_weighs_half_of_the_convolution_and_25_numbers_per_shadow(a, half, ks):
    assert count_params(GhostConv(a, 2*half, ks)) == ks*ks*a*half + 25*half + 4*half

@pytest.mark.parametrize('name', BLOCKS)
@settings(max_examples=6, deadline=None)
@given(h=st.integers(1, 13), w=st.integers(1, 13), half=st.integers(1, 9))
def test_blocks_keep_the_size_of_any_map(name, h, w, half):
    y = BLOCKS[name](2*half).eval()(torch.randn(2, 2*half, h, w))
    assert y.shape == (2, 2*half, h, w) and y.isfinite().all()

@settings(max_examples=12, deadline=None)
@given(h=st.integers(1, 13), w=st.integers(1, 13))
def test_a_step_of_two_halves_odd_sizes_upwards(h, w):
    assert GhostConv(3, 4, 3, 2).eval()(torch.randn(1, 3, h, w)).shape == (1, 4, (h + 1)//2, (w + 1)//2)

@pytest.mark.parametrize('name', BLOCKS)
@settings(max_examples=4, deadline=None)
@given(half=st.integers(2, 9), seed=st.integers(0, 99))
def test_the_gradient_reaches_every_parameter_and_the_input(name, half, seed):
    torch.manual_seed(seed)
    m,x = BLOCKS[name](2*half),torch.randn(4, 2*half, 7, 5, requires_grad=True)
    y = m(x); (y*torch.randn_like(y)).sum().backward()
    dead = [n for n,p in m.named_parameters() if not p.grad.abs().sum() > 0]
    assert not dead and x.grad.abs().sum() > 0

def test_a_ghost_by_hand():
    m = GhostConv(2, 2).eval()
    for part in (m.make, m.shade): part[1].eps = 0.; part[2] = nn.Identity()
    m.make[0].weight.data = torch.tensor([2., -1.]).reshape(1, 2, 1, 1)
    nn.init.zeros_(m.shade[0].weight); m.shade[0].weight.data[0, 0, 2, 4] = 5. # two cells to the right, times five
    x = torch.tensor([[[1., 2., 3., 4.]], [[0., 1., 0., 1.]]])[None]
    made,shade = m(x)[0, :, 0].tolist()
    assert made == [2, 3, 6, 7] and shade == [30, 35, 0, 0]

def test_the_second_half_can_be_made_from_the_first_and_from_nothing_else():
    torch.manual_seed(0)
    m,x = GhostConv(3, 6, 3),torch.randn(2, 3, 9, 9)
    made,shades = m.eval().halves(x)
    assert torch.equal(m(x), torch.cat([made, shades], 1)) and torch.equal(shades, m.shade(made))

def test_implicit_knowledge_starts_as_almost_nothing_and_knows_no_picture():
    torch.manual_seed(0)
    x = torch.randn(2, 500, 3, 4)
    for m,plain in ((ImplicitA(500), 0.), (ImplicitM(500), 1.)):
        assert m.implicit.shape == (1, 500, 1, 1) and m.implicit.mean().item() == pytest.approx(plain, abs=.004)
        assert m.implicit.std().item() == pytest.approx(.02, rel=.15)
    a,k = ImplicitA(500),ImplicitM(500)
    torch.testing.assert_close(a(x) - x, a.implicit.expand_as(x), atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(k(x), x*k.implicit)

def test_space_to_depth_by_hand_and_nothing_is_lost():
    x = torch.arange(8.).reshape(1, 1, 2, 4)
    assert SpaceToDepth()(x)[0].flatten(1).tolist() == [[0, 2], [4, 6], [1, 3], [5, 7]] # upper left, lower left, upper right, lower right
    x = torch.randn(2, 3, 6, 8)
    y = SpaceToDepth()(x)
    assert y.shape == (2, 12, 3, 4) and torch.equal(y.flatten().sort()[0], x.flatten().sort()[0])
    by_torch = nn.functional.pixel_unshuffle(x, 2).unflatten(1, (3, 2, 2)).permute(0, 3, 2, 1, 4, 5).flatten(1, 3) # the same cells, channels in another order
    assert torch.equal(y, by_torch)

def test_c3_is_the_backbones_layer_with_other_blocks():
    c3,csp = C3(8, 8, 0).eval(),CSPLayer(8, 0, attention=False).eval()
    csp.load_state_dict(c3.state_dict())
    x = torch.randn(2, 8, 5, 5)
    assert torch.equal(c3(x), csp(x))

def test_the_gate_stands_where_the_halves_meet():
    class Stop(nn.Module):
        def forward(self, x): assert x.shape[1] == 6; return x*0
    m = C3(4, 6, gate=Stop()).eval()
    assert torch.equal(m(torch.randn(1, 4, 3, 3)), m(torch.randn(1, 4, 3, 3))) # nothing of the picture passes

@pytest.mark.parametrize('name', BLOCKS)
def test_the_fused_block_is_the_same_block(name):
    torch.manual_seed(0)
    m,x = BLOCKS[name](8),torch.randn(4, 8, 7, 5)
    settled(m, x)
    fused = fuse(m)
    assert not any(isinstance(k, nn.BatchNorm2d) for k in fused.modules())
    torch.testing.assert_close(fused(x), m(x), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(m(x.to(memory_format=torch.channels_last)), m(x), atol=1e-5, rtol=1e-4)

def test_a_ghost_costs_little_more_than_half():
    x = torch.zeros(1, 128, 20, 20)
    share = count_macs(GhostConv(128, 128, 3), x)/count_macs(ConvBNAct(128, 128, 3), x)
    assert share == pytest.approx((9*128*64 + 25*64)/(9*128*128))

@pytest.mark.parametrize('make,why', [(lambda: GhostConv(4, 5), 'GhostConv: 5 channels'), (lambda: C3(4, 7), 'C3: 7 channels'),
    (lambda: C3(4, 0), 'C3: 0 channels'), (lambda: SpaceToDepth()(torch.zeros(1, 3, 4, 5)), '5×4 px')])
def test_what_cannot_be_halved_is_refused(make, why):
    with pytest.raises(ValueError, match=why): make()
