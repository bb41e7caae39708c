import pytest, torch
from hypothesis import given, settings, strategies as st
from torch import nn
from poselab.modules.blocks import SPPBottleneck, fuse
from poselab.modules.counts import count_macs, count_params
from poselab.modules.pyramid import (CONTEXT, FGCSPP, FIELDS, RFB, RFBS, RFSP, SPP, SPPF, Context, SimSPPF, conv_bn, extent, field_explorer,
                                     field_numbers, reach, receptive_field)

COUNTS = {32: (6_156, 5_220, 2_656, 14_032), 64: (24_008, 20_376, 10_432, 54_816),
          128: (94_800, 80_496, 41_344, 216_640), 256: (376_736, 319_968, 164_608, 861_312)}
ORDERS = [('rfb_s', 'rfb'), ('rfb', 'rfb_s'), ('rfb', 'rfb'), ('rfb_s', 'rfb_s'), ('rfb',), ('rfb_s',), ()]
BLOCKS = {'SPP': lambda c: SPP(c, c), 'SPPF': lambda c: SPPF(c, c), 'SimSPPF': lambda c: SimSPPF(c, c), 'RFB': lambda c: RFB(c, c),
          'RFB-S': lambda c: RFBS(c, c)}

@pytest.mark.parametrize('ch', COUNTS)
def test_every_block_has_its_count(ch):
    assert tuple(count_params(m) for m in (RFBS(ch, ch), RFB(ch, ch), SimSPPF(ch, ch), RFSP(ch))) == COUNTS[ch]

@pytest.mark.parametrize('order', ORDERS)
@pytest.mark.parametrize('ch', COUNTS)
def test_every_order_weighs_its_blocks_and_the_pooling(ch, order):
    each = dict(zip(('rfb_s', 'rfb'), COUNTS[ch]))
    assert count_params(RFSP(ch, order)) == sum(each[o] for o in order) + COUNTS[ch][2]

def test_twice_the_channels_at_half_the_size_cost_the_same():
    costs = [count_macs(RFSP(c), *[torch.zeros(1, c, 2048//c, 1536//c)]*2) for c in COUNTS]
    assert max(costs) == min(costs) == pytest.approx(.0411, abs=1e-4)

@settings(max_examples=30, deadline=None)
@given(h=st.integers(1, 20), w=st.integers(1, 20), ks=st.sampled_from([3, 5, 7]), ch=st.integers(2, 9))
def test_the_cascade_equals_the_windows_side_by_side_bit_for_bit(h, w, ks, ch):
    a,b = SPP(ch, 4, ks).eval(),SPPF(ch, 4, ks).eval()
    b.load_state_dict(a.state_dict())
    x = torch.randn(2, ch, h, w)
    assert torch.equal(a(x), b(x))
    m = torch.randn(1, ch//2, h, w)
    for got,n in zip(b.pyramid(m), (1, ks, 2*ks - 1, 3*ks - 2)): assert torch.equal(got, nn.functional.max_pool2d(m, n, 1, n//2))

def test_the_backbones_pyramid_is_the_same_cascade():
    x = torch.randn(1, 4, 9, 7)
    for a,b in zip(SPPBottleneck(8).pyramid(x), SPPF(8, 8).pyramid(x)): assert torch.equal(a, b)

@pytest.mark.parametrize('name', BLOCKS)
@settings(max_examples=8, deadline=None)
@given(h=st.integers(1, 15), w=st.integers(1, 15), ch=st.sampled_from([8, 9, 15, 17, 24]))
def test_blocks_keep_the_size_of_any_map(name, h, w, ch):
    y = BLOCKS[name](ch).eval()(torch.randn(2, ch, h, w))
    assert y.shape == (2, ch, h, w) and y.isfinite().all()

@pytest.mark.parametrize('order', ORDERS)
def test_rfsp_keeps_odd_sizes_and_is_never_negative(order):
    for h,w in ((13, 7), (1, 1), (2, 5)):
        y = RFSP(16, order).eval()(torch.randn(2, 16, h, w), torch.randn(2, 16, h, w))
        assert y.shape == (2, 16, h, w) and y.min() >= 0

@pytest.mark.parametrize('make,maps', [*[(lambda m=m: m(16, 8), 1) for m in (SPP, SimSPPF, RFB, RFBS)],
                                       *[(lambda o=o: RFSP(16, o), 2) for o in ORDERS]])
def test_the_gradient_reaches_every_parameter_and_every_input(make, maps):
    torch.manual_seed(0)
    m,x = make(),[torch.randn(4, 16, 9, 7, requires_grad=True) for _ in range(maps)]
    y = m(*x); (y*torch.randn_like(y)).sum().backward()
    dead = [n for n,p in m.named_parameters() if not p.grad.abs().sum() > 0]
    assert not dead and all(t.grad.abs().sum() > 0 for t in x)

def test_a_context_block_by_hand_on_one_cell():
    block = Context([conv_bn(1, 1, act=nn.Identity), conv_bn(1, 1, act=nn.Identity)], [1, 1], 1, 1, scale=.1).eval()
    for m in block.modules():
        if isinstance(m, nn.BatchNorm2d): m.eps = 0.
    for conv,w in ((block.branches[0][0], 2.), (block.branches[1][0], -3.), (block.shortcut[0], 5.)): nn.init.constant_(conv.weight, w)
    block.join[0].weight.data = torch.tensor([10., 1.]).reshape(1, 2, 1, 1)
    one = torch.full((1, 1, 1, 1), 1.)
    assert block.context(one).item() == 10*2 - 3 # a branch may be negative
    assert block(one).item() == pytest.approx(5 + 1.7) and block(-one).item() == 0

def test_scale_zero_leaves_the_shortcut_alone():
    m,x = RFB(16, 16, scale=0.).eval(),torch.randn(2, 16, 9, 9)
    torch.testing.assert_close(m(x), m.shortcut(x).relu())

@pytest.mark.parametrize('v', [1, 2, 3, 4])
def test_visual_spreads_the_branches(v):
    x = torch.zeros(1, 16, 61, 61)
    assert [extent(reach(b, x, (30, 30))) for b in RFB(16, 16, visual=v).branches] == [(n, n) for n in (1 + 2*v, 5 + 2*v, 7 + 4*v)]

def test_each_branch_of_rfb_s_looks_as_far_as_its_kernels():
    x = torch.zeros(1, 16, 41, 41)
    assert [extent(reach(b, x, (20, 20))) for b in RFBS(16, 16).branches] == [(3, 3), (7, 9), (9, 7), (13, 13)]

def test_reach_adds_up_along_rfsp():
    x = torch.zeros(1, 16, 61, 61)
    assert extent(reach(RFSP(16), x, (30, 30), x)) == (35, 35) # 1 + 12 + 10 + 12
    assert extent(reach(RFSP(16, ()), x, (30, 30), x)) == (13, 13)

@settings(max_examples=15, deadline=None)
@given(ks=st.sampled_from([1, 3, 5]), d=st.integers(1, 3), layers=st.integers(1, 3))
def test_reach_of_plain_convolutions_is_what_arithmetic_says(ks, d, layers):
    net = nn.Sequential(*[conv_bn(3, 3, ks, d) for _ in range(layers)])
    n = 1 + layers*d*(ks - 1)
    assert extent(reach(net, torch.zeros(1, 3, 41, 41), (20, 20))) == (n, n)

def test_reach_sees_through_maxima_strides_gates_and_inplace_activations():
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1),
                        nn.Conv2d(4, 1, 3, padding=1), nn.Sigmoid())
    assert extent(reach(net, torch.zeros(1, 3, 64, 64), (8, 8))) == (15, 15) # 1, then 3, 2·2+3, 2·6+3

@pytest.mark.parametrize('name', BLOCKS)
def test_nothing_is_listened_to_beyond_the_reach(name):
    torch.manual_seed(0)
    m,x = BLOCKS[name](16),torch.randn(4, 16, 31, 31)
    for _ in range(5): m(x)
    field,can = receptive_field(m, x, (15, 15)),reach(m, x, (15, 15))
    assert field[~can].abs().max() == 0 and field.max() > 0
    assert all(e <= t for e,t in zip(extent(field, .9), extent(can)))

def test_measuring_leaves_the_network_and_the_input_as_they_were():
    torch.manual_seed(0)
    m,x = RFB(16, 16),torch.randn(2, 16, 9, 9)
    before,keep = {k: v.clone() for k,v in m.state_dict().items()},x.clone()
    receptive_field(m, x, (4, 4)); reach(m, x, (4, 4))
    assert m.training and not x.requires_grad and torch.equal(x, keep)
    assert all(torch.equal(v, before[k]) for k,v in m.state_dict().items()) and all(p.grad is None for p in m.parameters())
    with torch.no_grad(): assert receptive_field(m.eval(), x, (4, 4)).max() > 0 # also where gradients are off
    assert not m.training

def test_the_extent_by_hand():
    field = torch.zeros(9, 20); field[2:7, 4] = 1; field[4, 3:13] = 1
    assert extent(field) == (10, 5) and extent(torch.zeros(3, 3)) == extent(torch.zeros(3, 3), .5) == (0, 0)
    line = torch.ones(1, 100)
    assert extent(line, .5) == (51, 1) and extent(line, .9)[0] in (90, 91)
    with pytest.raises(ValueError, match='share 0'): extent(field, 0.)

def test_a_function_and_a_tuple_can_be_measured_too():
    m,x = RFB(16, 16).eval(),torch.randn(2, 16, 9, 9)
    assert torch.equal(receptive_field(lambda z: (([m(z)], 'other'),), x, (4, 4)), receptive_field(m, x, (4, 4)))

def test_too_few_channels_are_refused_with_the_remedy():
    for make,least in ((lambda c: RFB(c, c), 8), (lambda c: RFBS(c, c), 8), (RFSP, 16), (lambda c: SimSPPF(c, c), 2)):
        make(least)
        with pytest.raises(ValueError, match=f'at least {least}'): make(least - 1)

def test_no_layer_is_empty_at_any_width():
    for ch in range(8, 40):
        for m in (RFB(ch, ch), RFBS(ch, ch)): assert all(p.numel() > 0 for p in m.parameters())

def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match="'rfbs'; there are 'rfb_s', 'rfb'"): RFSP(16, ('rfbs',))
    with pytest.raises(ValueError, match='ks=4 has no middle'): SPP(8, 8, 4)
    with pytest.raises(ValueError, match=r'\(1, 16, 1, 4\); they must agree'): RFSP(16)(torch.zeros(1, 16, 4, 4), torch.zeros(1, 16, 1, 4))
    with pytest.raises(ValueError, match=r'cell \(9, 0\).*9×7'): receptive_field(RFB(8, 8), torch.zeros(1, 8, 7, 9), (9, 0))
    with pytest.raises(ValueError, match="'spp'; there are simsppf"): field_numbers('spp')

def test_a_gate_stands_after_the_addition():
    class Silence(nn.Module):
        def __init__(self, ch): super().__init__(); self.ch = ch
        def forward(self, x): return 0*x
    m = RFSP(16, gate=Silence).eval()
    assert m.gate.ch == 16
    a,b = (m(torch.randn(1, 16, 5, 5), torch.randn(1, 16, 5, 5)) for _ in range(2))
    assert torch.equal(a, b) # nothing of either map passed

def test_folded_blocks_say_the_same():
    torch.manual_seed(0)
    for m in (SimSPPF(16, 16), RFB(16, 16), RFBS(16, 16)):
        x = torch.randn(4, 16, 9, 7)
        for _ in range(10): m(x)
        torch.testing.assert_close(fuse(m)(x), m.eval()(x), atol=1e-5, rtol=1e-4)

@pytest.mark.parametrize('block', FIELDS)
def test_the_explorer_shows_what_it_says(block):
    n = field_numbers(block, scale=1., size=25)
    assert n['picture'].shape == (25, 25, 3) and n['picture'].dtype.name == 'uint8' and n['picture'].max() > 150
    assert n['effective'][0] <= n['theoretical'][0] and n['field'].shape == n['reach'].shape == (25, 25)

def test_the_explorer_leaves_the_random_numbers_alone():
    torch.manual_seed(3); a = torch.rand(1)
    torch.manual_seed(3); field_numbers('rfb', size=15)
    assert torch.equal(a, torch.rand(1))

def test_louder_branches_look_further():
    near,far = (field_numbers('rfb', scale=s, share=.5)['effective'] for s in (.05, 1.))
    assert near[0] < far[0] and near[1] < far[1]

def test_a_slider_moves_the_picture():
    box = field_explorer()
    controls,words,screen = box.children
    before,said = screen.value,words.value
    controls.children[2].value = 3
    assert screen.value != before and words.value != said and '19×19' in words.value
    assert set(CONTEXT) <= set(FIELDS)

@settings(max_examples=15, deadline=None)
@given(h=st.integers(1, 16), w=st.integers(1, 16), a=st.integers(1, 9), b=st.integers(1, 9), ks=st.sampled_from([3, 5, 7]))
def test_fgcspp_pools_as_three_windows_side_by_side_would(h, w, a, b, ks):
    m,x = FGCSPP(a, b, ks).eval(),torch.randn(2, a, h, w)
    t = m.before(x)
    side_by_side = torch.cat([t, *[nn.functional.max_pool2d(t, n, 1, n//2) for n in (ks, 2*ks - 1, 3*ks - 2)]], 1)
    assert torch.equal(m(x), m.join(torch.cat([m.after(side_by_side), m.around(x)], 1))) and m(x).shape == (2, b, h, w)

@settings(max_examples=10, deadline=None)
@given(c=st.integers(1, 40))
def test_fgcspp_weighs_27_squares(c): assert count_params(FGCSPP(c, c)) == 27*c*c + 7*2*c

def test_the_pyramids_of_yolopose_have_their_counts(): assert (count_params(SPP(512, 512, 3)), count_params(FGCSPP(512, 512))) == (656_896, 7_085_056)

@settings(max_examples=5, deadline=None)
@given(a=st.integers(2, 9), b=st.integers(2, 9), seed=st.integers(0, 99))
def test_the_gradient_reaches_every_parameter_of_fgcspp(a, b, seed):
    torch.manual_seed(seed)
    m,x = FGCSPP(a, b),torch.randn(4, a, 9, 7, requires_grad=True)
    y = m(x); (y*torch.randn_like(y)).sum().backward()
    assert not [n for n,p in m.named_parameters() if not p.grad.abs().sum() > 0] and x.grad.abs().sum() > 0

def test_fgcspp_by_hand():
    m = FGCSPP(1, 1, 3).eval()
    for k in m.modules():
        if isinstance(k, nn.Conv2d): nn.init.zeros_(k.weight); k.weight.data[..., k.kernel_size[0]//2, k.kernel_size[1]//2] = 1.
        if isinstance(k, nn.BatchNorm2d): k.eps = 0.
    for seq in (*m.before, *m.after, m.around, m.join): seq[2] = nn.Identity()
    row = torch.tensor([[[[0., 9., 1., 0., 2., 5., 4., 0.]]]])
    maxima = [[9, 9, 9, 2, 5, 5, 5, 4], [9, 9, 9, 9, 5, 5, 5, 5], [9, 9, 9, 9, 9, 5, 5, 5]]
    assert m(row).flatten().tolist() == [2*v + sum(p) for v,p in zip(row.flatten().tolist(), zip(*maxima))]

def test_fgcspp_reaches_its_maxima_and_two_small_convolutions():
    x = torch.randn(1, 4, 31, 31)
    assert [extent(reach(FGCSPP(4, 4, ks), x, (15, 15))) for ks in (3, 5)] == [(11, 11), (17, 17)]

def test_the_fused_fgcspp_is_the_same_in_any_layout():
    torch.manual_seed(0)
    m,x = FGCSPP(6, 6),torch.randn(4, 6, 7, 5)
    for _ in range(20): m(x)
    torch.testing.assert_close(fuse(m)(x), m.eval()(x), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(m(x.to(memory_format=torch.channels_last)), m(x), atol=1e-5, rtol=1e-4)

def test_a_window_without_a_middle_is_refused_by_fgcspp():
    with pytest.raises(ValueError, match='FGCSPP: ks=4'): FGCSPP(4, 4, 4)
