import numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st
from poselab.models.rtmdet import (LAB, MEDIUM, MMDET_NAMES, NANO, STRIDES, RTMDet, RTMDetConfig, level_points, nms, nms_mask, pair_iou,
    pick, to_boxes)
from poselab.modules.blocks import fuse
from poselab.modules.counts import count_macs, count_params

@pytest.mark.parametrize('cfg,params', [(NANO, 994423), (MEDIUM, 24663447), (LAB, 550387)], ids=['nano', 'm', 'lab'])
def test_the_parameter_counts_are_the_published_ones(cfg, params):
    assert count_params(RTMDet(cfg)) == params

def test_the_costs_are_the_published_ones():
    for cfg,macs in ((NANO, .308036), (MEDIUM, 38.939074)):
        assert count_macs(RTMDet(cfg).to('meta'), torch.zeros(1, 3, *cfg.input_size, device='meta')) == pytest.approx(macs, abs=1e-6)

@pytest.fixture(scope='module')
def net(): torch.manual_seed(0); return RTMDet(LAB).eval()

@pytest.mark.parametrize('size', [(32, 32), (64, 96), (256, 160)])
def test_every_cell_of_three_levels_gives_one_box(net, size):
    with torch.no_grad(): logits,boxes = net(torch.randn(2, 3, size[1], size[0]))
    cells = sum((size[0]//s)*(size[1]//s) for s in STRIDES)
    assert logits.shape == (2, cells) and boxes.shape == (2, cells, 4) and len(level_points(size)) == cells

def test_an_input_that_no_grid_fits_is_refused(net):
    with pytest.raises(ValueError, match='multiples of 32'): net(torch.zeros(1, 3, 64, 80))
    with pytest.raises(ValueError, match='multiple of 32'): RTMDetConfig(1., 1., 32, input_size=(300, 320))
    with pytest.raises(ValueError, match='shared'): RTMDetConfig(1., 1., 32, depthwise=True)

def test_points_are_the_upper_left_corners_of_the_cells():
    p = level_points((64, 32))
    assert p[:3].tolist() == [[0, 0, 8], [8, 0, 8], [16, 0, 8]] and p[8].tolist() == [0, 8, 8]
    assert p[32].tolist() == [0, 0, 16] and p[-1].tolist() == [32, 0, 32]

def test_a_point_and_four_distances_make_a_box():
    assert to_boxes(torch.tensor([[16., 8.]]), torch.tensor([[4., 2., 10., 20.]])).tolist() == [[12., 6., 26., 28.]]

def test_a_fresh_network_is_one_percent_sure_everywhere(net):
    with torch.no_grad(): s = net(torch.randn(1, 3, 64, 64))[0].sigmoid()
    assert (s - .01).abs().max() < .01

def test_shared_filters_are_one_and_batch_norms_are_three():
    m = RTMDet(LAB)
    for branch in (m.head.cls, m.head.reg):
        assert branch[0][0][0] is branch[2][0][0] and branch[0][0][1] is not branch[2][0][1]

@pytest.mark.parametrize('cfg', [LAB, NANO], ids=['shared', 'separate'])
def test_folding_the_batch_norms_changes_nothing(cfg):
    torch.manual_seed(0); m = RTMDet(cfg)
    m.train(); m(torch.randn(2, 3, 64, 64)); m.eval()
    for b in m.modules():
        if isinstance(b, torch.nn.BatchNorm2d): b.weight.data.uniform_(.5, 1.5); b.bias.data.normal_()
    f,x = fuse(m),torch.randn(2, 3, 64, 96)
    assert not [b for b in f.modules() if isinstance(b, torch.nn.BatchNorm2d)]
    with torch.no_grad():
        for a,b in zip(m(x), f(x)): torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)

@pytest.mark.parametrize('cfg', [LAB, NANO], ids=['lab', 'nano'])
def test_gradients_reach_every_parameter(cfg):
    torch.manual_seed(0); m = RTMDet(cfg)
    logits,boxes = m(torch.randn(2, 3, 64, 64)); (logits.sum() + boxes.square().mean()).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in m.parameters())

def test_the_table_gives_every_name_once():
    theirs = ['backbone.stage4.1.conv2.bn.weight', 'backbone.stage2.1.blocks.1.conv2.pointwise_conv.conv.weight', 'neck.downsamples.0.depthwise_conv.bn.bias',
              'bbox_head.rtm_reg.2.bias', 'bbox_head.cls_convs.1.0.bn.running_mean', 'backbone.stage1.0.conv.weight']
    for a,b in MMDET_NAMES: theirs = [n.replace(a, b) for n in theirs]
    assert theirs == ['backbone.stages.3.1.join.1.weight', 'backbone.stages.1.1.long.2.body.2.0.weight', 'neck.halve.0.0.1.bias',
                      'head.reg.2.2.bias', 'head.cls.1.0.1.running_mean', 'backbone.stages.0.0.0.weight']

# --- thinning out --------------------------------------------------------------------------------------------

def loop(boxes, scores, iou):
    "Non-maximum suppression as one would tell it"
    left,keep = sorted(range(len(scores)), key=lambda i: -scores[i]),[]
    while left:
        best = left.pop(0); keep.append(best)
        left = [i for i in left if pair_iou(boxes[best:best+1], boxes[i:i+1]).item() <= iou]
    return keep

def test_overlap_worked_by_hand():
    a,b = torch.tensor([[0., 0, 10, 10]]),torch.tensor([[5., 0, 15, 10], [0, 0, 10, 10], [20, 20, 30, 30], [3, 3, 3, 3]])
    torch.testing.assert_close(pair_iou(a, b), torch.tensor([[50/150, 1, 0, 0]]))

def test_a_chain_of_three_loses_its_middle():
    boxes = torch.tensor([[0., 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]]) # neighbours share 60/140 = .43, the ends 20/180 = .11
    assert nms(boxes, torch.tensor([.9, .8, .7]), .4).tolist() == [0, 2] # the middle falls first and cannot hide the third
    assert nms(boxes, torch.tensor([.8, .9, .7]), .4).tolist() == [1]
    assert nms(boxes, torch.tensor([.7, .8, .9]), .5).tolist() == [2, 1, 0]

def test_nothing_in_nothing_out():
    assert nms(torch.zeros(0, 4), torch.zeros(0)).tolist() == []
    out = pick(torch.full((2, 5), -9.), torch.zeros(2, 5, 4))
    assert [(b.shape, s.shape) for b,s in out] == [((0, 4), (0,))]*2

numbers = st.lists(st.tuples(*[st.integers(0, 12)]*4, st.integers(0, 1000)), max_size=25)

@settings(max_examples=60, deadline=None)
@given(numbers, st.sampled_from([0., .3, .5, .8]))
def test_what_is_kept_equals_the_loop(rows, iou):
    r = torch.tensor(rows, dtype=torch.float).reshape(-1, 5)
    boxes,scores = torch.cat([r[:, :2], r[:, :2] + r[:, 2:4] + 1], 1),r[:, 4]
    kept = nms(boxes, scores, iou)
    assert kept.tolist() == loop(boxes, scores.tolist(), iou)
    again = nms(boxes[kept], scores[kept], iou)
    assert len(again) == len(kept) # thinning out twice changes nothing more
    over = pair_iou(boxes[kept], boxes[kept]).fill_diagonal_(0)
    assert (over <= iou).all()
    lost = [i for i in range(len(r)) if i not in kept.tolist()]
    assert all((pair_iou(boxes[i:i+1], boxes[kept]) > iou).any() for i in lost) # nobody goes without a reason

def test_pictures_of_a_batch_do_not_meddle():
    torch.manual_seed(0)
    xy = torch.rand(3, 60, 2)*50; boxes,logits = torch.cat([xy, xy + 20], -1),torch.randn(3, 60)
    for (b, s),x,l in zip(pick(logits, boxes, .4, .5), boxes, logits):
        alone = pick(l[None], x[None], .4, .5)[0]
        assert torch.equal(b, alone[0]) and torch.allclose(s, alone[1])
    assert torch.equal(nms_mask(boxes)[1], nms_mask(boxes[1]))
