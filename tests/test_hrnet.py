"HRNet: sizes, wiring, gradients, hooks"
import json, math
from dataclasses import asdict, replace
import pytest, torch
from hypothesis import given, settings, strategies as st
from torch import nn
from poselab.codecs.heatmap import Heatmap
from poselab.models.hrnet import (HRNET_LAB, W32, W48, BasicBlock, Bottleneck, HRModule, HRNet, HRNetConfig, HRNetPose, Transition, conv_bn, exchange,
                                  together)
from poselab.modules.blocks import fuse
from poselab.modules.counts import count_macs, count_params

NANO = replace(HRNET_LAB, channels=(4, 6, 8, 10), stem=4, input_size=(64, 96), num_keypoints=5)
PUBLISHED = dict(w32=(W32, 28_536_113, 7.120, 16.020), w48=(W48, 63_595_745, 14.614, 32.882))
PARTS = {'stem': 38_848, 'bottlenecks': 286_208, 'transitions.0': 221_376, 'stages.0': 390_848, 'transitions.1': 73_984, 'stages.1': 6_821_632,
         'transitions.2': 295_424, 'stages.2': 20_407_232}

def picture(cfg, n=2, seed=0): return torch.randn(n, 3, *cfg.input_size[::-1], generator=torch.Generator().manual_seed(seed))

def body(cfg=NANO, **kwargs): return HRNet(cfg.channels, cfg.modules, cfg.blocks, cfg.bottlenecks, cfg.stem, **kwargs)

def warm(net, x):
    "Real batch-norm statistics and a louder head, so that a comparison of outputs means something"
    net.train()
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d): m.momentum = None
    with torch.no_grad():
        for _ in range(2): net(x)
        if hasattr(net, 'head'): net.head.weight *= 100
    return net.eval()

# --- sizes ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('size', PUBLISHED)
def test_published_sizes_have_the_published_weights_and_cost(size):
    cfg,params,small,large = PUBLISHED[size]
    with torch.device('meta'):
        for c,cost in ((cfg, small), (replace(cfg, input_size=(288, 384)), large)):
            net = HRNetPose(c)
            assert count_params(net) == params
            assert count_macs(net, torch.zeros(1, 3, *c.input_size[::-1]), rule='gib') == pytest.approx(cost, abs=6e-4)

def test_every_part_of_w32_has_its_weights():
    with torch.device('meta'): net = HRNetPose(W32)
    assert {k: count_params(net.backbone.get_submodule(k)) for k in PARTS} == PARTS and count_params(net.head) == 561
    assert {count_params(m) for m in net.backbone.stages[1]} == {1_705_408}

def test_all_resolutions_cost_what_they_are_said_to_cost():
    with torch.device('meta'):
        one,all_,x = HRNet(),HRNet(multiscale=True),torch.zeros(1, 3, 256, 192)
        assert count_params(all_) - count_params(one) == 769_984
        assert count_macs(all_, x) - count_macs(one, x) == pytest.approx(.0871, abs=5e-5)

def test_the_lab_size():
    net = HRNetPose(HRNET_LAB)
    assert count_params(net) == 688_913 and count_macs(net, picture(HRNET_LAB, 1))*1e3 == pytest.approx(55.1, abs=.05)

@given(w=st.integers(1, 5), h=st.integers(1, 5), k=st.integers(1, 21), n=st.integers(1, 3), wide=st.booleans())
@settings(max_examples=15, deadline=None)
def test_maps_are_a_quarter_an_eighth_and_so_on_of_any_size_of_32s(w, h, k, n, wide):
    cfg = replace(NANO, input_size=(32*w, 32*h), num_keypoints=k)
    net,x = HRNetPose(cfg).eval(),picture(cfg, n)
    with torch.no_grad():
        maps, = net(x)
        deep,shallow = body(cfg, multiscale=wide).eval().taps(x)
    assert maps.shape == (n, k, 8*h, 8*w) and cfg.heatmap_size == (8*w, 8*h)
    want = [(n, c, 8*h >> b, 8*w >> b) for b,c in enumerate(cfg.channels)]
    assert [m.shape for m in shallow] == want and [m.shape for m in deep] == (want if wide else want[:1])

@pytest.mark.parametrize('branches', [2, 3, 4, 5])
def test_other_numbers_of_branches(branches):
    channels = tuple(range(3, 3 + branches))
    net = HRNet(channels, (1,)*(branches - 1), 1, 1, 4, multiscale=True).eval()
    x = torch.randn(1, 3, 64, 128)
    if branches == 5:
        with pytest.raises(ValueError, match='multiples of 64'): net(torch.randn(1, 3, 96, 96))
    with torch.no_grad(): assert [m.shape[1:] for m in net(x)] == [(c, 16 >> b, 32 >> b) for b,c in enumerate(channels)]

# --- wiring ---------------------------------------------------------------------------------------------------

def test_the_exchange_by_hand():
    m = HRModule((1, 1), blocks=0).eval()
    for conv in (m.fuse[0][1][0], m.fuse[1][0][0][0]): nn.init.constant_(conv.weight, -1.)
    fine,coarse = torch.ones(1, 1, 4, 4),torch.tensor([[[[0., .5], [2., 9.]]]])
    up,down = m([fine, coarse])
    norm = math.sqrt(1 + 1e-5)
    torch.testing.assert_close(up[0, 0], (1 - coarse[0, 0].repeat_interleave(2, 0).repeat_interleave(2, 1)/norm).clamp(0))
    heard = torch.tensor([[4., 6], [6, 9]]) # cells of a 3×3 about (0, 0), (0, 2), ... that are inside
    torch.testing.assert_close(down[0, 0], (coarse[0, 0] - heard/norm).clamp(0))

@pytest.mark.parametrize('i', range(4))
@pytest.mark.parametrize('o', range(4))
def test_a_message_may_be_negative_and_has_a_relu_between_its_steps_only(i, o):
    torch.manual_seed(0)
    m = exchange(i, o, (4, 6, 8, 10))
    y = m(torch.randn(2, 4 + 2*i, 16 >> i, 24 >> i))
    assert y.shape == (2, 4 + 2*o, 16 >> o, 24 >> o) and y.min() < -.1
    assert sum(isinstance(k, nn.ReLU) for k in m.modules()) == max(o - i - 1, 0)
    assert sum(isinstance(k, nn.Conv2d) for k in m.modules()) == (max(o - i, 0) or int(i > o))

def test_a_module_adds_what_everyone_says():
    torch.manual_seed(0)
    m = HRModule((4, 6, 8), 1, after=lambda b, c: nn.PReLU(c)).eval()
    maps = [torch.randn(2, c, 16 >> b, 8 >> b) for b,c in enumerate((4, 6, 8))]
    with torch.no_grad():
        said = m.work(maps)
        for o,out in enumerate(m(maps)): torch.testing.assert_close(out, sum(m.fuse[o][i](s) for i,s in enumerate(said)).relu())

def test_nothing_that_goes_in_is_changed():
    for make in (lambda: HRModule((4, 6), 0, 2), lambda: HRModule((4, 6), 1), lambda: HRModule((4,), 0), lambda: HRModule((4,), 1)):
        m = make(); maps = [torch.randn(2, c, 8 >> b, 8 >> b) for b,c in enumerate((4, 6)[:len(m.branches)])]
        before = [x.clone() for x in maps]
        m(maps)
        assert all(torch.equal(a, b) for a,b in zip(maps, before))
    for block in (BasicBlock(8), Bottleneck(8, 2), Bottleneck(8, 4)):
        x = torch.randn(2, 8, 6, 6); before = x.clone(); block(x)
        assert torch.equal(x, before)
    x = torch.randn(2, 3, 4, 4); before = x.clone()
    assert torch.equal(together([x]), before.relu()) and torch.equal(together([x, x, x]), (3*before).relu()) and torch.equal(x, before)

@pytest.mark.parametrize('h,w', [(1, 1), (5, 7), (6, 3)])
def test_blocks_keep_any_size_and_their_shortcut(h, w):
    x = torch.randn(2, 8, h, w)
    for block in (BasicBlock(8), Bottleneck(8, 2)): # a last batch norm of zeros leaves the shortcut alone
        nn.init.zeros_(block.body[-1][1].weight)
        torch.testing.assert_close(block.eval()(x), x.relu())
    assert Bottleneck(8, 4)(x).shape == (2, 16, h, w)

def test_a_branch_of_another_width_is_translated_and_one_of_the_same_passes():
    t = Transition((16,), (4, 6)); a,b = t([torch.randn(2, 16, 8, 6)])
    assert a.shape == (2, 4, 8, 6) and b.shape == (2, 6, 4, 3)
    maps = [torch.randn(2, 4, 8, 6), torch.randn(2, 6, 4, 3)]
    t = Transition((4, 6), (4, 6, 8)); out = t(maps)
    assert out[0] is maps[0] and out[1] is maps[1] and out[2].shape == (2, 8, 2, 2)

def test_shallow_maps_are_those_that_opened_the_branches():
    torch.manual_seed(0)
    net,x = body(multiscale=True),picture(NANO)
    warm(net, x)
    seen = []
    for t,transition in enumerate(net.transitions):
        for b in ([0, 1] if t == 0 else [t + 1]): transition[b].register_forward_hook(lambda m, i, y: seen.append(y))
    with torch.no_grad(): _,shallow = net.taps(x)
    assert len(shallow) == 4 and all(torch.equal(a, b) for a,b in zip(seen, shallow)) and all(m.std() > .1 for m in shallow)

def test_forward_is_the_deep_half_of_the_taps():
    net,x = warm(body(multiscale=True), picture(NANO)),picture(NANO)
    with torch.no_grad(): assert all(torch.equal(a, b) for a,b in zip(net(x), net.taps(x)[0]))

# --- hooks ----------------------------------------------------------------------------------------------------

def test_factories_are_asked_once_per_place_with_branch_and_channels():
    asked,ended = [],[]
    def block(b, c): asked.append((b, c)); return BasicBlock(c)
    def after(b, c): ended.append((b, c)); return nn.Identity()
    HRNet(NANO.channels, (1, 2, 1), 2, 1, 4, block=block, after=after)
    places = [(b, c) for n,count in zip((2, 3, 4), (1, 2, 1)) for _ in range(count) for b,c in enumerate(NANO.channels[:n])]
    assert ended == places and asked == [p for p in places for _ in range(2)]

def test_what_comes_after_a_branch_is_heard_by_all():
    class Quiet(nn.Module):
        def forward(self, x): return 0*x
    m = HRModule((4, 6), 1, after=lambda b, c: Quiet() if b == 1 else nn.Identity()).eval()
    for k in m.modules():
        if isinstance(k, nn.BatchNorm2d): nn.init.zeros_(k.bias)
    a,b = [torch.randn(1, 4, 8, 8), torch.randn(1, 6, 4, 4)],[torch.randn(1, 6, 4, 4)]
    with torch.no_grad(): assert all(torch.equal(x, y) for x,y in zip(m(a), m([a[0], *b])))

def test_another_stem_takes_the_place_of_the_two_convolutions():
    stem = nn.Sequential(nn.AvgPool2d(4), nn.Conv2d(3, 4, 1))
    net = body(stem_module=stem)
    assert net.stem is stem and net(picture(NANO))[0].shape == (2, 4, 24, 16)

def test_hooks_and_blocks_of_others_keep_their_own_start():
    torch.manual_seed(0)
    def hook(b, c): m = nn.Conv2d(c, c, 1); nn.init.ones_(m.weight); return m
    net = body(after=hook)
    own = [m.weight.std() for n,m in net.named_modules() if isinstance(m, nn.Conv2d) and '.after.' not in n and m.weight.numel() > 100]
    assert all(s.item() == pytest.approx(.001, rel=.25) for s in own) and all((a.weight == 1).all() for s in net.stages for m in s for a in m.after)

# --- learning -------------------------------------------------------------------------------------------------

def test_the_gradient_reaches_every_parameter():
    torch.manual_seed(0)
    for net in (HRNetPose(NANO), body(multiscale=True)):
        out = net.train()(picture(NANO, 4))
        sum((m*torch.randn_like(m)).sum() for m in out).backward()
        assert [n for n,p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []

def test_the_start_is_hrnets():
    torch.manual_seed(0)
    net = HRNetPose(HRNET_LAB)
    convs = [m for m in net.modules() if isinstance(m, nn.Conv2d) and m.weight.numel() > 2000]
    assert all(m.weight.std().item() == pytest.approx(.001, rel=.1) for m in convs) and len(convs) > 20
    assert all(m.bias is None for m in net.backbone.modules() if isinstance(m, nn.Conv2d)) and net.head.bias.abs().max() == 0
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {(m.eps, m.momentum) for m in norms} == {(1e-5, .1)} and all((m.weight == 1).all() and (m.bias == 0).all() for m in norms)
    assert net.eval()(picture(HRNET_LAB))[0].abs().max() < .01

def test_a_dozen_steps_lower_the_loss():
    torch.manual_seed(0)
    cfg = replace(NANO, input_size=(64, 64)); net,codec = HRNetPose(cfg).train(),cfg.codec
    opt = torch.optim.AdamW(net.parameters(), 2e-3)
    x,xy = picture(cfg, 4),torch.rand(4, 5, 2)*63
    losses = []
    for _ in range(40):
        loss = codec.loss(net(x), *codec.encode(xy)); opt.zero_grad(); loss.backward(); opt.step(); losses.append(loss.item())
    assert losses[-1] < .8*losses[0]

# --- the house ------------------------------------------------------------------------------------------------

def test_folding_batch_norms_changes_nothing():
    torch.manual_seed(0)
    x = picture(NANO).double()
    net = warm(HRNetPose(NANO).double(), x); folded = fuse(net)
    with torch.no_grad(): a,b = net(x)[0],folded(x)[0]
    torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-6)
    assert a.std() > .01 and not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())

def test_channels_last_gives_the_same_maps():
    x = picture(HRNET_LAB); net = warm(HRNetPose(HRNET_LAB), x); last = dict(memory_format=torch.channels_last)
    with torch.no_grad(): torch.testing.assert_close(net(x)[0], net.to(**last)(x.to(**last))[0], atol=1e-4, rtol=1e-3)

def test_the_picture_of_one_person_does_not_change_another():
    x = picture(NANO, 3); net = warm(HRNetPose(NANO), x)
    with torch.no_grad(): torch.testing.assert_close(net(x)[0][1:2], net(x[1:2])[0], atol=1e-4, rtol=1e-3)

def test_a_batch_of_one_trains(): HRNetPose(replace(NANO, input_size=(64, 64))).train()(torch.randn(1, 3, 64, 64))[0].sum().backward()

def test_the_codec_reads_what_the_network_would_paint():
    cfg = replace(HRNET_LAB, heatmap_sigma=1.5, refine='quarter')
    assert cfg.codec == Heatmap((96, 128), (24, 32), 1.5, 'quarter') and W32.codec == Heatmap((192, 256), (48, 64), 2., 'dark')
    xy = 20 + torch.rand(3, 17, 2)*torch.tensor([50., 80.])
    found,_ = HRNET_LAB.codec.decode(HRNET_LAB.codec.encode(xy)[0][0])
    assert (found - xy).abs().max() < .5

def test_features_are_what_the_head_reads():
    x = picture(NANO); net = warm(HRNetPose(NANO), x)
    with torch.no_grad(): assert torch.equal(net.head(net.features(x)), net(x)[0]) and net.features(x).shape == (2, 4, 24, 16)

def test_a_config_survives_json(): assert HRNetConfig(**json.loads(json.dumps(asdict(HRNET_LAB)))) == HRNET_LAB

def test_one_seed_is_one_model():
    def make(): torch.manual_seed(3); return HRNetPose(NANO).state_dict()
    assert all(torch.equal(a, b) for a,b in zip(make().values(), make().values()))

@pytest.mark.parametrize('change,words', [(dict(input_size=(190, 256)), 'multiple of 32'), (dict(input_size=(0, 64)), 'multiple of 32'),
    (dict(modules=(1, 4)), '4 branches are opened in 3 stages'), (dict(modules=(1, 0, 3)), r'modules=\(1, 0, 3\)'), (dict(blocks=0), 'blocks=0'),
    (dict(channels=(32,), modules=()), r'modules=\(\)'), (dict(bottlenecks=0), 'bottlenecks=0'), (dict(num_keypoints=0), 'num_keypoints=0')], ids=str)
def test_a_wrong_config_is_refused_by_field(change, words):
    with pytest.raises(ValueError, match=words): replace(W32, **change)

def test_another_input_is_refused_with_both_sizes():
    with pytest.raises(ValueError, match='64×64 px.*64×96'): HRNetPose(NANO)(torch.zeros(1, 3, 64, 64))
    with pytest.raises(ValueError, match='100×96 px.*multiples of 32'): body()(torch.zeros(1, 3, 96, 100))

def test_conv_bn_is_what_it_says():
    assert [type(m) for m in conv_bn(3, 4)] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU] and len(conv_bn(3, 4, relu=False)) == 2
    assert conv_bn(3, 4, 3, 2)(torch.randn(2, 3, 7, 6)).shape == (2, 4, 4, 3)
