from dataclasses import asdict, fields, replace
import json
import pytest, torch
from hypothesis import given, settings, strategies as st
from torch import nn
from poselab.codecs.heatmap import Heatmap
from poselab.models.hrnet import HRNET_LAB, W32, HRNetPose
from poselab.models.rhpnet import GATES, PLACES, RHPNET, RHPNET_LAB, GatedBlock, RHPNet, RHPNetConfig, take_backbone
from poselab.modules.blocks import fuse
from poselab.modules.counts import count_macs, count_params
from poselab.modules.pyramid import reach

ROWS = {('rfb_s', 'rfb'): (30_508_241, 7.512), ('rfb', 'rfb_s'): (30_508_241, 7.512), ('rfb', 'rfb'): (30_432_601, 7.502),
        ('rfb_s', 'rfb_s'): (30_583_881, 7.522), ('rfb',): (30_006_541, 7.445), ('rfb_s',): (30_082_181, 7.455), (): (29_580_481, 7.388)}
TINY = replace(RHPNET_LAB, channels=(16, 16, 16, 16), stem=8, head=8, input_size=(32, 64), num_keypoints=5)

def built(cfg):
    with torch.device('meta'): return RHPNet(cfg),torch.zeros(1, 3, *cfg.input_size[::-1])

@pytest.mark.parametrize('order', ROWS)
def test_every_row_of_tables_4_to_6_has_its_count(order):
    net,x = built(replace(RHPNET, order=order))
    assert count_params(net) == ROWS[order][0]
    assert count_macs(net, x, rule='gib') == pytest.approx(ROWS[order][1], abs=6e-4)

@pytest.mark.parametrize('head,params,giga', [(96, 30_500_257, 7.489), (128, 30_516_225, 7.535)])
def test_other_head_widths_do_not_give_the_printed_cost(head, params, giga):
    net,x = built(replace(RHPNET, head=head))
    assert count_params(net) == params and count_macs(net, x, rule='gib') == pytest.approx(giga, abs=6e-4) and abs(giga - 7.51) > .01

def test_the_lab_size_has_its_count():
    net,x = built(RHPNET_LAB)
    assert count_params(net) == 1_185_553 and count_macs(net, x) == pytest.approx(.0817, abs=1e-4)

def test_a_plain_hrnet_is_two_million_lighter():
    with torch.device('meta'): assert count_params(RHPNet(RHPNET)) - count_params(HRNetPose(W32)) == 1_972_128

@settings(max_examples=8, deadline=None)
@given(w=st.integers(1, 3), h=st.integers(1, 3), k=st.integers(1, 20), order=st.sampled_from(list(ROWS)))
def test_heatmaps_have_a_quarter_of_the_input(w, h, k, order):
    cfg = replace(TINY, input_size=(32*w, 32*h), num_keypoints=k, order=order)
    out, = RHPNet(cfg).eval()(torch.randn(2, 3, 32*h, 32*w))
    assert out.shape == (2, k, 8*h, 8*w) and out.isfinite().all()
    assert cfg.codec == Heatmap(cfg.input_size, (8*w, 8*h), refine='dark') and cfg.codec.decode(out)[0].shape == (2, k, 2)

@pytest.mark.parametrize('attention,place', [(None, 'rfsp'), *[(a, p) for a in GATES for p in PLACES]])
def test_the_gradient_reaches_every_parameter(attention, place):
    def silent(seed):
        torch.manual_seed(seed)
        net = RHPNet(replace(RHPNET_LAB, channels=(16, 32, 32, 32), input_size=(64, 64), attention=attention, place=place))
        out, = net(torch.randn(4, 3, 64, 64))
        (out*torch.randn_like(out)).sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
        return {n for n,p in net.named_parameters() if not p.grad.abs().sum() > 0}
    never = silent(0) & silent(1) # a narrow ReLU may be shut by chance, but not twice
    assert all(n.endswith('bias') and attention in ('psa', 'ca') for n in never), never # a bias before a norm teaches nothing

@pytest.mark.parametrize('attention', GATES)
@pytest.mark.parametrize('place', PLACES)
def test_a_gate_stands_where_it_was_asked_for(attention, place):
    net = RHPNet(replace(TINY, attention=attention, place=place))
    at = {n for n,m in net.named_modules() if isinstance(m, GATES[attention])}
    stem = dict(block='backbone.stages', skip='skip', rfsp='context')[place]
    assert at and all(n.startswith(stem) for n in at)
    assert len(at) == (2 + 3 + 4 if place == 'block' else 4) # a block per branch of each stage, or one per resolution

def test_stations_by_hand():
    torch.manual_seed(0)
    net,x = RHPNet(TINY).eval(),torch.randn(2, 3, 64, 32)
    deep,shallow = net.backbone.taps(x)
    hybrids,alone = net.hybrids(x)
    for i in range(4):
        torch.testing.assert_close(hybrids[i], deep[i] + shallow[i]); torch.testing.assert_close(alone[i], shallow[i])
        assert deep[i].shape == shallow[i].shape == (2, 16, 16 >> i, 8 >> i)
        torch.testing.assert_close(net.contexts(x)[i], net.context[i](hybrids[i], shallow[i]))
    merged = torch.cat([nn.functional.interpolate(m, size=(16, 8), mode='bilinear') for m in net.contexts(x)], 1)
    torch.testing.assert_close(net(x)[0], net.head(net.merge(merged)))

def test_a_gated_block_is_the_block_where_its_gate_is_open():
    torch.manual_seed(0)
    block,x = GatedBlock(8, lambda ch: nn.Identity()).eval(),torch.randn(2, 8, 5, 7)
    torch.testing.assert_close(block(x), (x + block.body(x)).relu())

def test_a_backbone_is_taken_over_and_the_rest_is_named():
    torch.manual_seed(0)
    donor,x = HRNetPose(HRNET_LAB).eval(),torch.randn(1, 3, 128, 96)
    for cfg in (RHPNET_LAB, replace(RHPNET_LAB, attention='cbam', place='block')):
        net = RHPNet(cfg).eval()
        new = take_backbone(net, donor)
        own = [n for n in new if '.gate.' not in n]
        assert own and all(n.startswith('stages.2.0.fuse.') and not n.startswith('stages.2.0.fuse.0.') for n in own)
        assert bool(len(own) < len(new)) == (cfg.attention is not None)
        if not cfg.attention: torch.testing.assert_close(net.backbone(x)[0], donor.backbone(x)[0])

def test_a_backbone_of_another_size_is_refused_and_nothing_is_changed():
    net = RHPNet(TINY)
    before = {k: v.clone() for k,v in net.state_dict().items()}
    with pytest.raises(ValueError, match='do not fit'): take_backbone(net, HRNetPose(HRNET_LAB))
    assert all(torch.equal(v, before[k]) for k,v in net.state_dict().items())

@pytest.mark.parametrize('change,words', [(dict(order=('rfb', 'spp')), "order 'spp'"), (dict(attention='se'), "attention 'se'"),
    (dict(place='head'), "place 'head'"), (dict(input_size=(200, 256)), 'multiple of 32'), (dict(modules=(1, 1)), 'names 2')])
def test_a_configuration_that_cannot_be_built_is_refused_at_once(change, words):
    with pytest.raises(ValueError, match=words): replace(RHPNET, **change)

def test_narrow_branches_are_refused():
    with pytest.raises(ValueError, match='RFSP: 8 channels are too few'): RHPNet(replace(RHPNET_LAB, channels=(8, 16, 32, 64)))

@pytest.mark.parametrize('shape', [(1, 3, 32, 64), (1, 3, 64, 64), (1, 3, 60, 32)])
def test_another_input_size_is_refused_by_name(shape):
    with pytest.raises(ValueError, match='takes 32×64; resize it'): RHPNet(TINY)(torch.zeros(shape))

def test_a_configuration_survives_json():
    cfg = replace(RHPNET_LAB, order=('rfb',), attention='ca', place='skip')
    note = json.loads(json.dumps(asdict(cfg)))
    assert RHPNetConfig(**note) == cfg and isinstance(RHPNetConfig(**note).order, tuple)
    assert {f.name for f in fields(RHPNetConfig)} >= {f.name for f in fields(type(W32))}

def test_every_pixel_can_reach_every_cell():
    net = RHPNet(replace(RHPNET_LAB, input_size=(64, 96)))
    assert reach(net, torch.zeros(1, 3, 96, 64), (0, 0)).all()

def test_folded_it_says_the_same():
    torch.manual_seed(0)
    net,x = RHPNet(TINY),torch.randn(4, 3, 64, 32)
    for _ in range(10): net(x)
    a,b = fuse(net)(x)[0],net.eval()(x)[0]
    torch.testing.assert_close(a, b, atol=1e-5*b.abs().max().item() + 1e-7, rtol=1e-3)

def test_one_batch_can_be_learnt_by_heart():
    torch.manual_seed(0)
    net,x = RHPNet(TINY),torch.randn(4, 3, 64, 32)
    codec = TINY.codec
    xy = torch.rand(4, 5, 2)*torch.tensor([31., 63.])
    targets,weight = codec.encode(xy)
    opt = torch.optim.AdamW(net.parameters(), 1e-2)
    first = None
    for _ in range(60):
        loss = codec.loss(net(x), targets, weight)
        first = first or loss.item()
        opt.zero_grad(); loss.backward(); opt.step()
    assert loss.item() < .5*first
