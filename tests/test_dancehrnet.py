from dataclasses import asdict, replace
import json
import pytest, torch
from hypothesis import given, settings, strategies as st
from torch import nn
from poselab.codecs.grouping import torso_first, true_outputs
from poselab.models.dancehrnet import DANCE, DANCE_LAB, HIGHERHRNET, HIGHER_LAB, BottomUpHead, DanceHRNet, DanceHRNetConfig, PyramidStem
from poselab.models.hrnet import BasicBlock, HRNet
from poselab.modules.background import BackgroundInfoBlock
from poselab.modules.blocks import fuse
from poselab.modules.cbam import CBAM
from poselab.modules.counts import count_macs, count_params
from poselab.onnx_export import OnnxNet, export_onnx
from poselab.schema import load_schema

TINY = replace(DANCE_LAB, channels=(8, 8, 16, 16), num_keypoints=3, head_blocks=1, stem=8)
off = lambda **kw: replace(HIGHERHRNET, **kw)
TABLE = [ # paper 001, parts one by one; nobody published these: an independent prototype counted them
    (off(), 28_643_085, 46.16), (off(pyramid=True), 28_762_509, 47.61), (off(cbam='branch'), 28_690_689, 46.18),
    (off(background=True), 30_053_349, 46.17), (DANCE, 30_220_377, 47.63), (off(num_keypoints=17), 28_645_331, 46.20)]

@pytest.mark.parametrize('cfg,params,giga', TABLE)
def test_every_switch_weighs_what_it_should(cfg, params, giga):
    with torch.device('meta'):
        net = DanceHRNet(cfg)
        assert count_params(net) == params and round(count_macs(net, torch.zeros(1, 3, 512, 512)), 2) == giga

@pytest.mark.parametrize('cfg,params', [(HIGHER_LAB, 719_885), (DANCE_LAB, 761_657), (replace(DANCE, reduction=1), 34_368_729), (replace(DANCE, reduction=16), 29_183_289)])
def test_lab_sizes_and_reductions_weigh_what_they_should(cfg, params):
    with torch.device('meta'): assert count_params(DanceHRNet(cfg)) == params

def test_stem_and_head_weigh_what_they_should():
    assert count_params(PyramidStem()) == 158_272 and count_params(BottomUpHead(32, 15).finer) == 106_048

SWITCHES = [{}, dict(pyramid=False), dict(cbam=None), dict(cbam='block'), dict(cbam_parts='channel'), dict(cbam_parts='spatial'), dict(background=False),
            dict(global_norm=None), dict(tag_dim=2), dict(tags_per_keypoint=False), dict(tags_per_keypoint=False, tag_dim=2), dict(head_blocks=0)]

def unreached(cfg, seed):
    "Parameters without gradient; two hidden cells of a gate may both sleep at one start, not at five"
    torch.manual_seed(seed)
    net = DanceHRNet(cfg)
    sum((o*torch.randn_like(o)).sum() for o in net(torch.randn(3, 3, 64, 96))).backward()
    return {n for n,p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}

@pytest.mark.parametrize('kw', SWITCHES, ids=str)
def test_the_gradient_reaches_every_parameter_with_every_switch(kw):
    assert not set.intersection(*(unreached(replace(TINY, **kw), seed) for seed in range(5)))

@pytest.mark.parametrize('kw', SWITCHES, ids=str)
def test_shapes_with_every_switch(kw):
    heat,tags,fine = DanceHRNet(replace(TINY, **kw)).eval()(torch.randn(2, 3, 64, 96))
    assert heat.shape == (2, 3, 16, 24) and tags.shape == (2, 3*kw.get('tag_dim', 1), 16, 24) and fine.shape == (2, 3, 32, 48)

@settings(max_examples=8, deadline=None)
@given(h=st.integers(1, 4), w=st.integers(1, 4), n=st.integers(1, 2))
def test_any_size_in_multiples_of_32_goes_in(h, w, n):
    net = DanceHRNet(TINY).eval()
    with torch.no_grad(): shapes = [tuple(o.shape) for o in net(torch.randn(n, 3, 32*h, 32*w))]
    assert shapes == [(n, 3, 8*h, 8*w), (n, 3, 8*h, 8*w), (n, 3, 16*h, 16*w)]

def test_all_switches_off_is_hrnets_body():
    with torch.device('meta'): ours,body = DanceHRNet(HIGHERHRNET).backbone.state_dict(),HRNet().state_dict()
    assert {k: v.shape for k,v in ours.items()} == {k: v.shape for k,v in body.items()}

def test_gates_and_blocks_stand_where_the_paper_puts_them():
    net = DanceHRNet(TINY)
    for stage in net.backbone.stages:
        for module in stage:
            assert all(isinstance(m, CBAM) for m in module.after)
            for b,branch in enumerate(module.branches): assert all(isinstance(m, BackgroundInfoBlock if b else BasicBlock) for m in branch)
    blocks = DanceHRNet(replace(TINY, cbam='block')).backbone.stages[0][0]
    assert all(isinstance(m[1], CBAM) for branch in blocks.branches for m in branch) and all(isinstance(m, nn.Identity) for m in blocks.after)

def test_one_tag_map_for_all_is_handed_to_every_keypoint():
    head = BottomUpHead(8, 3, tag_dim=2, tags_per_keypoint=False).eval()
    for m in head.final: nn.init.normal_(m.weight)
    _,tags,_ = head(torch.randn(1, 8, 4, 5))
    by_dim = tags.unflatten(1, (2, 3)) # dimension varies slowest, as the codec reads it
    assert torch.equal(by_dim[:, :, 0], by_dim[:, :, 1]) and not torch.equal(by_dim[:, 0], by_dim[:, 1])

def test_a_transposed_convolution_by_hand():
    head = BottomUpHead(1, 1, blocks=0).eval()
    up = head.finer[0]
    for m in head.final: nn.init.zeros_(m.weight); nn.init.zeros_(m.bias)
    nn.init.zeros_(up.weight); nn.init.ones_(head.final[1].weight)
    up.weight.data[0, 0] = torch.arange(16.).view(4, 4)
    x = torch.tensor([[1., 10.]])[None, None]
    fine = head(x)[2][0, 0]*(1 + 1e-5)**.5 # the batch norm that has seen nothing
    torch.testing.assert_close(fine, torch.tensor([[5., 6. + 40, 7. + 50, 60.], [9., 10. + 80, 11. + 90, 100.]]))

def test_the_pyramid_is_the_sum_of_three_scales():
    torch.manual_seed(0)
    stem,x = PyramidStem(8).eval(),torch.randn(1, 3, 40, 24)
    a,b,c = stem.scales(x)
    assert a.shape == b.shape == c.shape == (1, 8, 10, 6)
    torch.testing.assert_close(stem(x), stem.join(a + b + c))
    assert (c[:, :, ::2, ::2] == c[:, :, 1::2, 1::2]).all() # the coarsest, each cell four times

def test_a_fresh_head_sees_nobody():
    heat,_,fine = DanceHRNet(TINY).eval()(torch.randn(1, 3, 64, 64))
    assert heat.abs().max() < .1 and fine.abs().max() < .1

def test_the_codec_of_a_configuration_fits_its_network():
    schema = load_schema('dance_hrnet')
    cfg = replace(TINY, num_keypoints=schema.num_keypoints, input_size=(96, 64), order=torso_first(schema.names))
    codec,xy = cfg.codec,torch.rand(2, 3, 15, 2)*torch.tensor([95., 63.])
    assert codec.input_size == (96, 64) and codec.order == cfg.order and schema.num_keypoints == DANCE.num_keypoints
    out = DanceHRNet(cfg)(torch.randn(2, 3, 64, 96))
    assert [o.shape for o in out] == [o.shape for o in true_outputs(codec, xy)]
    loss = codec.loss(out, *codec.encode(xy))
    assert loss.isfinite() and loss.requires_grad and isinstance(codec.decode(out), list)

def test_a_configuration_survives_json():
    cfg = replace(DANCE_LAB, cbam=None, order=(1, 0, 2), num_keypoints=3)
    assert DanceHRNetConfig(**json.loads(json.dumps(asdict(cfg)))) == cfg

def test_the_fused_network_is_the_same_network():
    torch.manual_seed(0)
    net,x = DanceHRNet(TINY),torch.randn(4, 3, 64, 64)
    for m in net.head.final: nn.init.normal_(m.weight)
    for _ in range(5): net(x) # statistics of its own
    net.eval(); thin = fuse(net)
    with torch.no_grad():
        for a,b in zip(thin(x), net(x)): torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)

@pytest.mark.parametrize('kw,says', [(dict(cbam='all'), "cbam='all'.*'branch', 'block'"), (dict(cbam_parts='x'), "cbam_parts='x'"),
    (dict(global_norm='group'), "global_norm='group'"), (dict(order=(0, 1, 1)), r'order \(0, 1, 1\).*3 keypoints.*torso_first'),
    (dict(input_size=(100, 64)), 'not a multiple of 32'), (dict(modules=(1, 1)), 'modules=')])
def test_a_wrong_configuration_is_refused_in_words(kw, says):
    with pytest.raises(ValueError, match=says): replace(TINY, **kw)

def test_a_picture_of_odd_size_and_a_batch_of_one_are_refused_in_words():
    with pytest.raises(ValueError, match='72×64 px.*multiples of 32'): DanceHRNet(TINY)(torch.randn(2, 3, 64, 72))
    with pytest.raises(ValueError, match='batch of one.*global_norm=None'): DanceHRNet(TINY)(torch.randn(1, 3, 64, 64))
    assert len(DanceHRNet(replace(TINY, global_norm=None))(torch.randn(1, 3, 64, 64))) == 3

def test_a_graph_answers_as_the_network_at_any_batch(tmp_path):
    torch.manual_seed(0)
    net,x = DanceHRNet(TINY),torch.randn(4, 3, 64, 64)
    for m in net.head.final: nn.init.normal_(m.weight)
    for _ in range(3): net(x)
    net.eval()
    graph = OnnxNet(export_onnx(net, tmp_path/'net.onnx', example=x[:2], note={}))
    with torch.no_grad():
        for n in (1, 3):
            for a,b in zip(graph(x[:n]), net(x[:n])): torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3)
