import re
import pytest, torch
from hypothesis import given, settings, strategies as st
from torch import nn
from poselab.modules.lgag import LGAG
from poselab.modules.blocks import fuse

weights = lambda m: sum(p.numel() for p in m.parameters())

@pytest.mark.parametrize('g,x,mid,n', [(384, 384, 192, 8259), (768, 768, 384, 16515), (384, 384, None, 8259)])
def test_the_gate_has_the_published_number_of_weights(g, x, mid, n): assert weights(LGAG(g, x, mid)) == n

@settings(max_examples=15, deadline=None)
@given(h=st.integers(1, 13), w=st.integers(1, 13), ks=st.sampled_from([1, 3, 5, 7]))
def test_the_gate_is_one_number_per_cell_between_0_and_1(h, w, ks):
    m,g,x = LGAG(8, 4, ks=ks).eval(),torch.randn(2, 8, h, w),torch.randn(2, 4, h, w)
    a = m.attention(g, x)
    assert a.shape == (2, 1, h, w) and 0 < a.min() and a.max() < 1
    assert torch.equal(m(g, x), x*a)

def test_the_gradient_reaches_every_parameter_and_both_inputs():
    torch.manual_seed(0)
    m,g,x = LGAG(8, 8),torch.randn(3, 8, 7, 5, requires_grad=True),torch.randn(3, 8, 7, 5, requires_grad=True)
    y = m(g, x); (y*torch.randn_like(y)).sum().backward()
    taught = [p for n,p in m.named_parameters() if not n.endswith('0.bias')] # those: see the next test
    assert len(taught) == 9 and all(t.grad.abs().sum() > 0 for t in [*taught, g, x])

def test_the_bias_before_a_batch_norm_teaches_nothing():
    torch.manual_seed(0)
    m,g,x = LGAG(8, 8),torch.randn(3, 8, 7, 5),torch.randn(3, 8, 7, 5)
    y = m(g, x); (y*torch.randn_like(y)).sum().backward()
    assert m.g[0].bias.grad.abs().max() < 1e-4 * m.g[0].weight.grad.abs().max()

def test_the_gate_by_hand_on_one_cell():
    m = LGAG(2, 2, 1, ks=1).eval()
    for seq,w in ((m.g, [1., 2.]), (m.x, [3., -1.]), (m.psi, [2.])):
        seq[0].weight.data = torch.tensor(w).reshape(seq[0].weight.shape); nn.init.zeros_(seq[0].bias)
    g,x = torch.tensor([1., 1.]).reshape(1, 2, 1, 1),torch.tensor([2., 5.]).reshape(1, 2, 1, 1)
    bn = (1 + 1e-5)**-.5 # batch norm at rest
    q = max((1 + 2)*bn + (6 - 5)*bn, 0) # 4, nearly
    a = torch.tensor(2*q*bn).sigmoid()
    torch.testing.assert_close(m.attention(g, x).squeeze(), a)
    torch.testing.assert_close(m(g, x).flatten(), torch.tensor([2., 5.])*a)

def test_a_group_sees_only_its_own_channels():
    m,g,x = LGAG(4, 4).eval(),torch.randn(1, 4, 5, 5),torch.randn(1, 4, 5, 5)
    before = m.x(x); x[:, 2:] += 1
    changed = (m.x(x) - before).abs().amax((0, 2, 3)) > 0
    assert changed.tolist() == [False, True]

def test_the_gate_of_a_cell_depends_on_the_nine_cells_around_it():
    m,g = LGAG(4, 4).eval(),torch.randn(1, 4, 9, 9)
    x = torch.randn(1, 4, 9, 9, requires_grad=True)
    nn.init.ones_(m.g[1].bias); nn.init.constant_(m.x[1].bias, 3.) # the relu stays open
    m.attention(g, x)[0, 0, 4, 4].backward()
    seen = x.grad.abs().sum((0, 1)).nonzero()
    assert seen.min(0).values.tolist() == [3, 3] and seen.max(0).values.tolist() == [5, 5]

@pytest.mark.parametrize('sizes,says', [((64, 30), 'groups=15 .*does not divide g_ch=64; give it groups=1'), ((5, 4), 'groups=2 .*g_ch=5'),
    ((64, 32, None, 5), 'groups=5 .*g_ch=64; give it groups=16'), ((64, 30, 20, 4), 'groups=4 .*x_ch=30; give it groups=2'), ((8, 8, 3, 2), 'groups=2 .*mid=3'),
    ((0, 32), 'g_ch=0 leaves nothing.*at least 1'), ((32, 0), 'x_ch=0'), ((1, 1), 'mid=0.*x_ch//2'), ((8, 8, None, 0), 'groups=0'), ((8, 8, 4, -2), 'groups=-2'),
    ((8, 8, 4, 4, 0), 'ks=0'), ((8, 8, 4, 4, 4), 'ks=4 has no middle cell; take an odd number')])
def test_sizes_that_do_not_fit_are_refused_by_name(sizes, says):
    with pytest.raises(ValueError, match=f'LGAG: {says}'): LGAG(*sizes)

@given(g=st.integers(1, 40), x=st.integers(2, 40))
def test_the_groups_that_a_refusal_proposes_are_accepted(g, x):
    try: LGAG(g, x)
    except ValueError as e: LGAG(g, x, groups=int(re.search(r'give it groups=(\d+)', str(e))[1]))

def test_fused_gate_is_the_same_gate():
    torch.manual_seed(0)
    m,g,x = LGAG(8, 8),torch.randn(4, 8, 7, 5),torch.randn(4, 8, 7, 5)
    for _ in range(20): m(g, x) # statistics of its own
    torch.testing.assert_close(fuse(m).attention(g, x), m.eval().attention(g, x), atol=1e-5, rtol=1e-4)
