import json
from dataclasses import asdict, replace
import pytest, torch
from hypothesis import given, settings, strategies as st
from torch import nn
from poselab.codecs.anchors import ANCHORS, AnchorGrid, scaled_anchors
from poselab.models.yolopose import (LRFG, LRFG_LAB, TABLE_1, YOLOPOSE, YOLOPOSE_LAB, PANet, PoseDetect, YOLOPose, YOLOPoseConfig)
from poselab.modules.blocks import ConvBNAct, fuse
from poselab.modules.coordinate import SCA, CoordAtt
from poselab.modules.counts import count_macs, count_params
from poselab.modules.ghost import C3, GhostConv, ImplicitA, ImplicitM
from poselab.modules.pyramid import FGCSPP, SPP

COUNTS = [15_114_860, 21_543_020, 14_276_052, 13_939_380, 20_704_212, 20_367_540, 13_100_572, 19_528_732]
TINY = replace(YOLOPOSE_LAB, num_keypoints=4, input_size=(128, 64))
TINY_LRFG = replace(LRFG_LAB, num_keypoints=4, input_size=(128, 64))

def on_meta(cfg, size=None):
    "A network without numbers, and an input for it"
    with torch.device('meta'): return YOLOPose(cfg), torch.zeros(1, 3, *(size or cfg.input_size)[::-1])

def taught(net, x):
    "Names of parameters that no gradient reaches"
    loss = sum((y*torch.randn_like(y)).sum() for y in net(x))
    loss.backward()
    return [n for n,p in net.named_parameters() if not p.grad.abs().sum() > 0]

def settled(cfg, seed=0, rounds=3):
    "A network whose batch norms have seen something, in evaluation mode"
    torch.manual_seed(seed)
    net = YOLOPose(cfg)
    with torch.no_grad():
        for _ in range(rounds): net(torch.randn(2, 3, *cfg.input_size[::-1]))
    return net.eval()

@pytest.mark.parametrize('name,n', list(zip(TABLE_1, COUNTS)))
def test_every_row_of_table_1_to_the_unit(name, n): assert count_params(on_meta(TABLE_1[name])[0]) == n

@pytest.mark.parametrize('cfg,n', [(YOLOPOSE_LAB, 1_010_588), (LRFG_LAB, 1_293_124)])
def test_lab_sizes_have_their_counts(cfg, n): assert count_params(YOLOPose(cfg)) == n

def test_backbone_neck_and_head_have_their_counts():
    net,_ = on_meta(YOLOPOSE)
    assert [count_params(m) for m in (net.backbone, net.neck, net.head)] == [6_353_856, 5_986_560, 2_774_444]

def test_implicit_knowledge_is_1352_numbers_and_ghosts_carry_the_rest():
    net,_ = on_meta(LRFG)
    assert sum(count_params(m) for m in net.modules() if isinstance(m, (ImplicitA, ImplicitM))) == 1_280 + 72
    ghost,implicit = (count_params(on_meta(replace(YOLOPOSE, **kw))[0]) - COUNTS[0] for kw in (dict(ghost=True), dict(implicit=True, ghost=False)))
    assert implicit == 1_352 and ghost == COUNTS[3] - COUNTS[0] - 1_352

@pytest.mark.parametrize('side,giga', [(640, 10.09), (960, 22.71)])
def test_cost_of_the_baseline(side, giga):
    net,x = on_meta(YOLOPOSE, (side, side))
    assert count_macs(net, x) == pytest.approx(giga, abs=.005)

def test_the_whole_network_costs_one_percent_more():
    assert count_macs(*on_meta(LRFG, (640, 640))) == pytest.approx(10.20, abs=.005)

def test_57375_candidates_of_57_numbers():
    net,x = on_meta(YOLOPOSE)
    out = net(x)
    assert isinstance(out, tuple) and [tuple(y.shape) for y in out] == [(1, 3, s, s, 57) for s in (120, 60, 30, 15)]
    assert sum(y[..., 0].numel() for y in out) == 57_375

@settings(max_examples=8, deadline=None)
@given(w=st.integers(1, 4), h=st.integers(1, 4), K=st.integers(1, 6), n=st.integers(1, 2))
def test_any_multiple_of_64_gives_four_maps(w, h, K, n):
    net = YOLOPose(replace(TINY_LRFG, num_keypoints=K)).eval()
    with torch.no_grad(): out = net(torch.randn(n, 3, 64*h, 64*w))
    assert [tuple(y.shape) for y in out] == [(n, 3, 64*h//s, 64*w//s, 6 + 3*K) for s in net.cfg.strides]

@settings(max_examples=6, deadline=None)
@given(width=st.sampled_from([.06, .1, .125]), fgcspp=st.booleans(), sca=st.booleans(), implicit=st.booleans(), ghost=st.sampled_from([None, True, False]),
       joined=st.booleans())
def test_the_gradient_reaches_every_parameter(width, fgcspp, sca, implicit, ghost, joined):
    torch.manual_seed(0)
    net = YOLOPose(replace(TINY, width=width, fgcspp=fgcspp, sca=sca, implicit=implicit, ghost=ghost, joined=joined))
    dead = taught(net, torch.randn(2, 3, 128, 128))
    assert not [n for n in dead if not n.endswith('gate.squeeze.0.bias')] # the batch norm behind that one takes it away

def test_switches_change_what_they_name_and_nothing_else():
    kinds = lambda cfg: {k.__name__: sum(type(m) is k for m in on_meta(cfg)[0].modules()) for k in (SPP, FGCSPP, C3, SCA, GhostConv, ImplicitA, ImplicitM)}
    assert kinds(YOLOPOSE) == dict(SPP=1, FGCSPP=0, C3=11, SCA=0, GhostConv=0, ImplicitA=0, ImplicitM=0)
    assert kinds(LRFG) == dict(SPP=0, FGCSPP=1, C3=9, SCA=2, GhostConv=6, ImplicitA=4, ImplicitM=4)

def test_training_begins_with_one_percent_objectness_everywhere():
    net = settled(TINY)
    for conv in net.head.box: nn.init.zeros_(conv.weight)
    with torch.no_grad(): out = net(torch.randn(1, 3, 64, 128))
    assert all(y[..., 4].sigmoid().allclose(torch.tensor(.01)) for y in out)

def test_each_person_of_a_cell_has_numbers_from_both_branches():
    head = PoseDetect((8, 8, 8, 8), 2).eval()
    maps = [torch.randn(1, 8, 2, 3) for _ in range(4)]
    out = head(maps)
    for i,x in enumerate(maps):
        box,kpt = head.box[i](x),head.keypoints[i](x)
        for a in range(3): assert torch.equal(out[i][:, a].movedim(-1, 1), torch.cat([box[:, 6*a:6*a+6], kpt[:, 6*a:6*a+6]], 1))

def test_joined_lays_both_branches_end_to_end_first():
    head = PoseDetect((8,), 2, joined=True).eval()
    x = torch.randn(1, 8, 2, 3)
    y, = head([x])
    assert torch.equal(y.movedim(-1, 2).flatten(1, 2), torch.cat([head.box[0](x), head.keypoints[0](x)], 1))

def test_the_neck_lets_every_map_hear_of_every_other():
    net = PANet((8, 8, 8, 8)).eval()
    for i in range(4):
        maps = [torch.randn(1, 8, 32 >> k, 32 >> k, requires_grad=True) for k in range(4)]
        net(maps)[i].sum().backward()
        assert all(m.grad.abs().sum() > 0 for m in maps)

@pytest.mark.parametrize('cfg', [TINY, TINY_LRFG], ids=['baseline', 'LRFG'])
def test_the_fused_network_gives_the_same_maps_in_any_layout(cfg):
    net = settled(cfg)
    fused,x = fuse(net),torch.randn(2, 3, 64, 128)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in fused.modules())
    with torch.no_grad():
        for a,b,c in zip(net(x), fused(x), fused.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))):
            torch.testing.assert_close(b, a, atol=1e-4, rtol=1e-4); torch.testing.assert_close(c, a, atol=1e-4, rtol=1e-4)

def test_every_batch_norm_has_yolos_numbers():
    net = YOLOPose(TINY_LRFG)
    assert {(m.eps, m.momentum) for m in net.modules() if isinstance(m, nn.BatchNorm2d)} == {(1e-3, .03)}

@pytest.mark.parametrize('cfg', [*TABLE_1.values(), YOLOPOSE_LAB, LRFG_LAB, TINY])
def test_a_configuration_survives_a_file(cfg):
    told = json.loads(json.dumps(asdict(cfg)))
    again = YOLOPoseConfig(**{k: tuple(v) if isinstance(v, list) else v for k,v in told.items()}) # as `load_weights` does it
    assert again == cfg and hash(again) == hash(cfg)

def test_anchors_are_scaled_for_another_input_and_stay_with_the_weights():
    assert YOLOPOSE.anchors == tuple(tuple((float(w), float(h)) for w,h in level) for level in ANCHORS)
    assert YOLOPoseConfig(input_size=(1920, 320)).anchors[0][0] == (38, 54) and scaled_anchors((320, 1920))[3][2] == (1850, 1584)
    assert replace(YOLOPOSE_LAB, input_size=(320, 320)).anchors == YOLOPOSE_LAB.anchors

@pytest.mark.parametrize('kw,why', [(dict(input_size=(250, 256)), '250'), (dict(input_size=(0, 64)), 'multiple of 64'),
    (dict(anchors=ANCHORS[:3]), 'four times three'), (dict(anchors=[[[1, 2]]*3]*3 + [[[1, 2, 3]]*3]), 'four times three'),
    (dict(anchors=[[[1, 2]]*2]*2 + [[[1, 2]]*4]*2), 'four times three'),
    (dict(num_keypoints=0), 'num_keypoints'), (dict(width=0.), 'width')])
def test_a_configuration_that_cannot_be_is_refused(kw, why):
    with pytest.raises(ValueError, match=why): YOLOPoseConfig(**kw)

@pytest.mark.parametrize('h,w', [(63, 64), (64, 100), (32, 32)])
@pytest.mark.parametrize('training', [True, False])
def test_odd_sizes_are_refused_by_name(h, w, training):
    with pytest.raises(ValueError, match=f'{w}×{h} px; letterbox'): YOLOPose(TINY).train(training)(torch.zeros(2, 3, h, w))

def test_one_small_picture_can_be_looked_at_but_not_learnt_from():
    net,x = YOLOPose(TINY),torch.randn(1, 3, 64, 64)
    with pytest.raises(ValueError, match='one picture of 64×64 px'): net(x)
    assert net.eval()(x)[3].shape == (1, 3, 1, 1, 18)
    assert net.train()(torch.randn(2, 3, 64, 64))[3].shape == (2, 3, 1, 1, 18)

def test_an_empty_batch_gives_empty_maps():
    assert [tuple(y.shape) for y in YOLOPose(TINY).eval()(torch.zeros(0, 3, 64, 128))] == [(0, 3, 64//s, 128//s, 18) for s in (8, 16, 32, 64)]

def test_the_graph_of_onnx_gives_the_same_maps(tmp_path):
    ort = pytest.importorskip('onnxruntime')
    net,x = settled(TINY_LRFG),torch.randn(1, 3, 64, 128)
    torch.onnx.export(net, (x,), tmp_path/'net.onnx', dynamo=False, input_names=['x'], dynamic_axes={'x': {0: 'n'}})
    x = torch.randn(3, 3, 64, 128)
    for a,b in zip(net(x), ort.InferenceSession(tmp_path/'net.onnx').run(None, {'x': x.numpy()})):
        torch.testing.assert_close(torch.from_numpy(b), a.detach(), atol=1e-4, rtol=1e-4)

def test_the_gradient_of_a_whole_step_lowers_a_simple_loss():
    torch.manual_seed(0)
    net,x = YOLOPose(TINY_LRFG),torch.randn(4, 3, 64, 128)
    opt,seen = torch.optim.SGD(net.parameters(), .03, .9),[]
    for _ in range(12):
        loss = sum(y.square().mean() for y in net(x))
        opt.zero_grad(); loss.backward(); opt.step(); seen.append(loss.item())
    assert seen[-1] < .5*seen[0]

def test_convolutions_between_the_levels_are_the_ghosts():
    plain,ghost = (on_meta(c)[0].neck for c in (YOLOPOSE, replace(YOLOPOSE, implicit=True)))
    assert all(type(m) is ConvBNAct for m in [*plain.reduce, *plain.halve]) and all(type(m) is GhostConv for m in [*ghost.reduce, *ghost.halve])
    assert all(isinstance(m.gate, CoordAtt) for m in on_meta(LRFG)[0].modules() if isinstance(m, SCA))
