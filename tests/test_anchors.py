"Boxes and poses to rows and back: every size of grid, people who are none, and what nobody may ever see: nan"
import json, math
from dataclasses import asdict, replace
import numpy as np, pytest, torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from poselab.codecs.anchors import (ANCHORS, AnchorGrid, anchor_recall, assign, box_at, box_sizes, boxes_around, ciou, encode, fit_anchors,
                                    keypoint_errors, keypoints_at, oks_hit_rate, overlap, real_boxes, scaled_anchors, suppress, true_outputs)
from poselab.data.figures import rendered_dataset
from poselab.schema import load_schema

quick = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 10**6)
COCO = load_schema('coco')
SMALL = AnchorGrid((256,192), 3, (((20,20), (30,60), (60,30)), ((60,60), (70,110), (110,70)), ((90,130), (130,130), (130,180)), ((160,180), (200,150), (240,180))))


def crowd(seed, N=2, P=4, K=3, size=(256,192)):
    "Random people: keypoints, visibility, boxes; some rows are nobody"
    g = torch.Generator().manual_seed(seed)
    wh = 24 + torch.rand(N, P, 2, generator=g)*130
    boxes = torch.cat([torch.rand(N, P, 2, generator=g)*(torch.tensor(size) - wh).clamp_min(1), wh], -1)
    xy = boxes[...,None,:2] + torch.rand(N, P, K, 2, generator=g)*wh[...,None,:]
    v = (torch.rand(N, P, K, generator=g) > .25)*2
    gone = torch.rand(N, P, generator=g) < .2
    return xy, v*~gone[...,None], boxes*~gone[...,None]


def maps(codec, N=2, seed=0, size=None):
    "What an untrained network might say"
    g = torch.Generator().manual_seed(seed)
    w,h = size or codec.input_size
    return tuple(torch.randn(N, 3, h//s, w//s, 6 + 3*codec.num_keypoints, generator=g) for s in codec.strides)


# There and back

@quick
@given(seeds, st.integers(1, 5))
def test_the_answer_of_a_perfect_network_decodes_to_everybody(seed, P):
    xy,v,boxes = crowd(seed, 1, P)
    apart = AnchorGrid(**{**asdict(SMALL), 'iou_thr': .95, 'max_people': 100})
    got,conf,score,found = apart.decode(true_outputs(apart, xy, v, boxes))[0]
    for p in range(P):
        if boxes[0,p,2] == 0: continue
        taken = [who for _,who in assign(apart, boxes)]
        if not any((w == p).any() for w in taken): continue
        d = (found - boxes[0,p]).abs().amax(-1)
        share = max(overlap(boxes[0,p], boxes[0,q]).item() for q in range(P) if q != p) if P > 1 else 0
        if share > .3: continue # they may want the same rows
        assert d.min() < .1
        off = (got[d.argmin()] - xy[0,p]).norm(dim=-1)[v[0,p] > 0]
        assert not len(off) or off.max() < 1e-2
        assert ((conf[d.argmin()] > .5) == (v[0,p] > 0)).all()


def test_the_middle_of_a_cell_is_half_a_pixel_before_the_middle_of_its_edges():
    row,cell = torch.zeros(9),torch.tensor([3., 2.])
    assert box_at(row, cell, 8, torch.tensor([10., 20.])).tolist() == [27.5 - 5, 19.5 - 10, 10, 20] # pixels 24 to 31, 16 to 23
    row[6:8] = .5
    assert keypoints_at(row, cell, torch.tensor([8.]))[0].tolist() == [[27.5, 19.5]]
    row[6:8] = torch.tensor([.25, .75]) # edges of the cell
    assert keypoints_at(row, cell, torch.tensor([8.]))[0].tolist() == [[23.5, 23.5]]


@quick
@given(seeds)
def test_flipping_the_answer_for_the_mirrored_picture_gives_the_answer(seed):
    xy,v,boxes = crowd(seed, 1, 3)
    order,end = [0, 2, 1],SMALL.input_size[0] - 1
    mirror = boxes.clone(); mirror[...,0] = torch.where(boxes[...,2] > 0, end - boxes[...,0] - boxes[...,2], 0.)
    there = xy[:,:,order]*torch.tensor([-1., 1.]) + torch.tensor([end, 0.])
    a,b = true_outputs(SMALL, xy, v, boxes),SMALL.flip(true_outputs(SMALL, there, v[:,:,order], mirror), order)
    for one,two in zip(SMALL.decode(a)[0], SMALL.decode(b)[0]): assert one.shape == two.shape
    out = maps(SMALL, 1, seed)
    for o,p in zip(out, SMALL.flip(SMALL.flip(out, order), order)): torch.testing.assert_close(o, p)


@quick
@given(seeds, st.sampled_from([(256,192), (128,128), (64,320)]))
def test_flipped_rows_say_mirrored_boxes_and_keypoints(seed, size):
    out = maps(SMALL, 1, seed, size)
    order = [1, 0, 2]
    for o,p,s,anchors in zip(out, SMALL.flip(out, order), SMALL.strides, SMALL.anchors):
        H,W = o.shape[2:4]
        j,i = torch.meshgrid(torch.arange(H), torch.arange(W), indexing='ij')
        cell,a = torch.stack([i, j], -1).float().expand(3, H, W, 2),torch.tensor(anchors)[:,None,None].expand(3, H, W, 2)
        box,back = box_at(o[0], cell, s, a),box_at(p[0], cell, s, a).flip(2)
        torch.testing.assert_close(size[0] - 1 - box[...,0] - box[...,2], back[...,0], atol=2e-3, rtol=1e-4)
        xy,seen = keypoints_at(o[0], cell, torch.full((3, H, W, 1), s))
        xy2,seen2 = (t.flip(2) for t in keypoints_at(p[0], cell, torch.full((3, H, W, 1), s)))
        torch.testing.assert_close(size[0] - 1 - xy[...,order,0], xy2[...,0], atol=2e-3, rtol=1e-4)
        assert torch.equal(seen[...,order], seen2) and torch.equal(xy[...,order,1], xy2[...,1])


# Thinning out

def greedy(boxes, thr):
    kept = []
    for i in range(len(boxes)):
        if all(overlap(boxes[i], boxes[j]).item() <= thr for j in kept): kept.append(i)
    return kept


@quick
@given(seeds, st.integers(0, 40), st.sampled_from([.1, .3, .5, .65, .9]))
def test_suppression_is_the_greedy_loop(seed, n, thr):
    g = torch.Generator().manual_seed(seed)
    boxes = torch.cat([torch.rand(n, 2, generator=g)*40, 1 + torch.rand(n, 2, generator=g)*60], -1)
    if n > 3: boxes[2] = boxes[0] # the very same
    assert suppress(boxes, thr).nonzero()[:,0].tolist() == greedy(boxes, thr)


def test_a_batch_is_thinned_out_picture_by_picture():
    g = torch.Generator().manual_seed(1)
    boxes = torch.cat([torch.rand(3, 30, 2, generator=g)*40, 5 + torch.rand(3, 30, 2, generator=g)*60], -1)
    assert torch.equal(suppress(boxes, .4), torch.stack([suppress(b, .4) for b in boxes]))


def plain_decode(codec, out):
    "Every row read, then a loop"
    found = []
    for n in range(len(out[0])):
        rows = []
        for o,s,anchors in zip(out, codec.strides, codec.anchors):
            for a in range(3):
                for j in range(o.shape[2]):
                    for i in range(o.shape[3]):
                        t = o[n,a,j,i]
                        if (p := t[4].sigmoid()) > codec.score_thr: rows.append((p, box_at(t, torch.tensor([float(i), j]), s, torch.tensor(anchors[a]))))
        rows.sort(key=lambda r: -r[0])
        boxes = torch.stack([b for _,b in rows]) if rows else torch.zeros(0, 4)
        keep = greedy(boxes, codec.iou_thr)[:codec.max_people]
        found.append((torch.stack([rows[k][0] for k in keep]) if keep else torch.zeros(0), boxes[keep]))
    return found


@settings(max_examples=5, deadline=None)
@given(seeds)
def test_decoding_is_what_a_plain_loop_finds(seed):
    out = maps(SMALL, 2, seed, (64,64))
    for (_,_,score,boxes),(p,b) in zip(SMALL.decode(out), plain_decode(SMALL, out)):
        torch.testing.assert_close(score, p); torch.testing.assert_close(boxes, b)
        assert (score.diff() <= 0).all() and len(score) <= SMALL.max_people


def test_thousands_of_candidates_stay_a_handful_and_any_size_is_decoded():
    wide = AnchorGrid(max_people=7)
    out = maps(wide, 1)
    assert sum(o[...,0].numel() for o in out) == 57375 and out[0].shape[-1] == 57
    assert [len(t) for t in wide.decode(out)[0]] == [7]*4
    assert len(SMALL.decode(maps(SMALL, 1, size=(320,64)))[0][0]) <= 30
    assert SMALL.decode(tuple(m - 20 for m in maps(SMALL, 2)))[1][0].shape == (0, 3, 2)


# Who answers

def assign_by_loop(codec, boxes):
    "For every level the set of (image, anchor, row, column, person)"
    levels = []
    for s,anchors in zip(codec.strides, codec.anchors):
        found = set()
        for n in range(boxes.shape[0]):
            for p in range(boxes.shape[1]):
                x,y,w,h = boxes[n,p].tolist()
                if not all(map(math.isfinite, (x, y, w, h))) or w <= 0 or h <= 0: continue
                cx,cy = x + w/2 + .5,y + h/2 + .5
                if not (0 <= cx < codec.input_size[0] and 0 <= cy < codec.input_size[1]): continue
                for a,(aw,ah) in enumerate(anchors):
                    if max(w/aw, aw/w, h/ah, ah/h) >= codec.ratio: continue
                    i,j = int(cx//s),int(cy//s)
                    di,dj = (-1 if cx/s - i < .5 else 1),(-1 if cy/s - j < .5 else 1)
                    for ii,jj in ((i, j), (i + di, j), (i, j + dj)):
                        if 0 <= ii < codec.input_size[0]//s and 0 <= jj < codec.input_size[1]//s: found.add((n, a, jj, ii, p))
        levels.append(found)
    return levels


@quick
@given(seeds, st.integers(1, 3), st.integers(0, 6))
def test_assignment_is_what_loops_over_people_anchors_and_cells_find(seed, N, P):
    _,_,boxes = crowd(seed, N, P)
    if P > 2: boxes[0,0],boxes[0,1] = torch.tensor([-300., 0, 40, 40]),torch.tensor([torch.nan]*4)
    for (index, who),want in zip(assign(SMALL, boxes), assign_by_loop(SMALL, boxes)):
        got = [tuple(r) for r in torch.cat([index, who[None]]).T.tolist()]
        assert set(got) == want and len(got) == len(want)


@quick
@given(seeds)
def test_an_assigned_cell_can_reach_its_person(seed):
    "Centre within the sigmoid's range, size within the square's"
    xy,v,boxes = crowd(seed)
    for (index,box,_),s,anchors in zip(SMALL.encode(xy, v, boxes)[0], SMALL.strides, SMALL.anchors):
        u = (box[:,:2] + box[:,2:]/2 + .5)/s - index[[3, 2]].T
        assert ((u >= -.5) & (u <= 1.5)).all() and (box[:,2:]/torch.tensor(anchors)[index[1]] < 4).all()


# What is learned

def corners_ciou(a, b):
    "CIoU of two boxes with floats"
    (ax,ay,aw,ah),(bx,by,bw,bh) = a,b
    iw,ih = max(min(ax + aw, bx + bw) - max(ax, bx), 0),max(min(ay + ah, by + bh) - max(ay, by), 0)
    iou = iw*ih/(aw*ah + bw*bh - iw*ih)
    cw,ch = max(ax + aw, bx + bw) - min(ax, bx),max(ay + ah, by + bh) - min(ay, by)
    rho = (ax + aw/2 - bx - bw/2)**2 + (ay + ah/2 - by - bh/2)**2
    v = 4/math.pi**2*(math.atan(aw/ah) - math.atan(bw/bh))**2
    return iou - rho/(cw**2 + ch**2) - (v*v/(1 - iou + v) if v else 0)


@quick
@given(st.lists(st.tuples(*[st.floats(-50, 50)]*2, *[st.floats(1, 80)]*2), min_size=2, max_size=8))
def test_ciou_is_the_formula_with_floats(rows):
    a,b = torch.tensor(rows, dtype=torch.float64),torch.tensor(rows[::-1], dtype=torch.float64)
    torch.testing.assert_close(ciou(a, b), torch.tensor([corners_ciou(x, y) for x,y in zip(rows, rows[::-1])], dtype=torch.float64), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(ciou(a, a), torch.ones(len(a), dtype=torch.float64))


def loss_by_loop(codec, out, xy, v, boxes):
    "The whole loss with loops over people"
    part,sig = dict(box=0., obj=0., kpt=0., kpt_conf=0.),torch.tensor(codec.sigmas)
    for o,s,anchors,found,lw in zip(out, codec.strides, codec.anchors, assign_by_loop(codec, boxes), codec.level_weights):
        want,near,off,count,seen,votes = torch.zeros_like(o[...,4]),[],0.,0,0.,0
        for n,a,j,i,p in found:
            t,cell = o[n,a,j,i],torch.tensor([float(i), j])
            q = torch.tensor(corners_ciou(box_at(t, cell, s, torch.tensor(anchors[a])).tolist(), boxes[n,p].tolist()))
            near.append(q); want[n,a,j,i] = torch.maximum(want[n,a,j,i], q.clamp_min(0))
            k,logit = keypoints_at(t, cell, torch.tensor([float(s)]))
            d = (k - xy[n,p]).square().sum(-1)
            z = d/(boxes[n,p,2]*boxes[n,p,3]*(2*sig)**2*(2 if codec.oks_two else 1))
            e = 1 - (-z).exp() + codec.far*z.log1p()
            off,count = off + e[v[n,p] > 0].sum(),count + (v[n,p] > 0).sum()
            if (v[n,p] > 0).any():
                seen,votes = seen + F.binary_cross_entropy_with_logits(logit, (v[n,p] > 0).float(), reduction='sum'),votes + len(logit)
        part['obj'] += lw*F.binary_cross_entropy_with_logits(o[...,4], want)
        if near: part['box'] += 1 - torch.stack(near).mean()
        if count: part['kpt'] += off/count
        if votes: part['kpt_conf'] += seen/votes
    return part


@settings(max_examples=12, deadline=None)
@given(seeds, st.booleans())
def test_the_loss_is_what_loops_over_people_add_up(seed, two):
    codec = replace(SMALL, oks_two=two, far=.2*two)
    assert type(codec) is AnchorGrid
    xy,v,boxes = crowd(seed)
    out = maps(codec, seed=seed)
    got,want = codec.losses(out, *codec.encode(xy, v, boxes)),loss_by_loop(codec, out, xy, v, boxes)
    for k in got: torch.testing.assert_close(got[k], torch.as_tensor(want[k]), atol=2e-4, rtol=2e-4)
    torch.testing.assert_close(codec.loss(out, *codec.encode(xy, v, boxes)), sum(getattr(codec, k)*x for k,x in got.items()))


def test_oks_of_the_loss_is_the_metrics_with_the_two_and_stricter_without():
    from poselab.data.geometry import keypoint_similarity
    p,t = torch.rand(5, 17, 2)*30,torch.rand(5, 17, 2)*30
    area,sig = torch.rand(5)*5000 + 100,torch.tensor(COCO.oks_sigmas)
    want = keypoint_similarity(t.double().numpy(), area.double().numpy(), p.double().numpy(), np.array(COCO.oks_sigmas))
    torch.testing.assert_close(1 - keypoint_errors(p.double(), t.double(), area.double(), sig.double()), torch.tensor(want), atol=1e-6, rtol=1e-6)
    assert (keypoint_errors(p, t, area, sig, False) >= keypoint_errors(p, t, area, sig)).all()
    off = keypoint_errors(torch.tensor([[[5.2, 0.]]]), torch.zeros(1, 1, 2), torch.tensor([1e4]), torch.tensor([.026]))
    assert abs(1 - off.item() - .60653) < 1e-5 # by hand


@quick
@given(seeds)
def test_the_order_of_people_and_rows_of_nobody_change_nothing(seed):
    xy,v,boxes = crowd(seed)
    order = torch.randperm(4, generator=torch.Generator().manual_seed(seed))
    pad = lambda t: torch.cat([t, torch.zeros_like(t[:,:2])], 1)
    out = maps(SMALL, seed=seed)
    a,b,c = (SMALL.loss(out, *SMALL.encode(*t)) for t in ((xy, v, boxes), (xy[:,order], v[:,order], boxes[:,order]), (pad(xy), pad(v), pad(boxes))))
    torch.testing.assert_close(a, b); torch.testing.assert_close(a, c)


BAD = dict(nobody=[], flat=[[20., 20, 0, 50]], negative=[[20., 20, -5, 50]], outside=[[900., 20, 40, 80]], beyond=[[-500., 20, 40, 80]],
           nan=[[torch.nan]*4], infinite=[[0., 0, torch.inf, 9]], tiny=[[9., 9, 1e-3, 1e-3]], vast=[[0., 0, 1e7, 1e7]])

@pytest.mark.parametrize('name', BAD)
def test_labels_that_are_nobody_teach_where_nobody_is_and_nothing_is_nan(name):
    rows = BAD[name]
    out = tuple(m.requires_grad_() for m in maps(SMALL, 1))
    loss = SMALL.loss(out, *SMALL.encode(torch.full((1, len(rows), 3, 2), torch.nan), torch.full((1, len(rows), 3), 2), torch.tensor(rows).view(1, -1, 4)))
    empty = SMALL.loss(maps(SMALL, 1), *SMALL.encode(torch.zeros(1, 0, 3, 2), None, torch.zeros(1, 0, 4)))
    loss.backward()
    assert torch.isfinite(loss) and abs(loss - empty) < 1e-6 and all(o.grad.isfinite().all() for o in out)


def test_a_person_with_a_box_and_no_keypoint_moves_the_box_and_no_keypoint():
    out = tuple(m.requires_grad_() for m in maps(SMALL, 1))
    SMALL.loss(out, *SMALL.encode(torch.zeros(1, 1, 3, 2), torch.zeros(1, 1, 3), torch.tensor([[[60., 40., 60., 90.]]]))).backward()
    assert any(o.grad[...,:4].abs().sum() > 0 for o in out) and all(o.grad[...,6:].abs().sum() == 0 for o in out)


def test_a_keypoint_far_away_is_still_pulled_and_only_then():
    p = torch.tensor([[[80., 0.]], [[0., 0.]]], requires_grad=True)
    for far in (0., .2):
        g, = torch.autograd.grad(keypoint_errors(p, torch.zeros(2, 1, 2), torch.full((2,), 4e3), torch.tensor([.06]), far=far).sum(), p)
        assert (g[0,0,0] > 1e-3) == (far > 0) and (g[1] == 0).all()


def test_every_number_of_a_row_that_answers_learns_except_the_class():
    out = tuple(m.requires_grad_() for m in maps(SMALL, 1))
    xy = torch.tensor([[[[70., 60.], [80., 90.], [90., 120.]]]])
    targets,weight = SMALL.encode(xy, torch.full((1, 1, 3), 2), torch.tensor([[[60., 40., 60., 90.]]]))
    SMALL.loss(out, targets, weight).backward()
    for o,(index,*_) in zip(out, targets):
        if not index.numel(): continue
        g = o.grad[tuple(index)]
        assert (g[:,:5] != 0).all() and (g[:,5] == 0).all() and (g[:,8::3] != 0).all()


def test_an_empty_batch_is_no_trouble():
    out = tuple(m[:0] for m in maps(SMALL))
    assert SMALL.decode(out) == [] and SMALL.loss(out, *SMALL.encode(torch.zeros(0, 4, 3, 2), torch.zeros(0, 4, 3), torch.zeros(0, 4, 4))) == 0


def test_half_precision_maps_give_a_float32_loss():
    xy,v,boxes = crowd(3)
    out = tuple(m.bfloat16() for m in maps(SMALL))
    assert SMALL.loss(out, *SMALL.encode(xy, v, boxes)).dtype == torch.float32


def test_without_boxes_the_labelled_keypoints_make_them():
    xy = torch.tensor([[[[10., 20.], [50., 90.], [999., 999.]], [[5., 5.]]*3]])
    v = torch.tensor([[[2, 1, 0], [0, 0, 0]]])
    assert boxes_around(xy, v).tolist() == [[[10, 20, 40, 70], [0, 0, 0, 0]]]
    a,b = SMALL.encode(xy, v),SMALL.encode(xy, v, boxes_around(xy, v))
    for (i,p,_),(j,q,_) in zip(a[0], b[0]): assert torch.equal(i, j) and torch.equal(p, q)


# Anchors

def test_published_anchors_at_other_sizes():
    assert scaled_anchors((960,720)) == tuple(tuple((float(w), float(h)) for w,h in level) for level in ANCHORS)
    assert scaled_anchors((192,192))[0][0] == (3.8, 5.4)


@quick
@given(seeds, st.sampled_from([.5, 2., 3.]))
def test_fitted_anchors_follow_the_size_of_the_people(seed, zoom):
    wh = np.exp(np.random.default_rng(seed).normal([4, 4.6], .4, (200, 2)))
    a,b = fit_anchors(wh, (256,192), seed=seed),fit_anchors(wh*zoom, (256,192), seed=seed)
    np.testing.assert_allclose(np.array(b), np.array(a)*zoom, atol=.3*zoom + .1)
    area = np.array(a).reshape(-1, 2).prod(1)
    assert len(a) == 4 and (np.diff(area) > -.02*area[1:]).all() and anchor_recall(wh, a) > .98


def test_recall_is_the_share_of_boxes_within_the_ratio():
    wh = np.array([[10., 10.], [39., 10.], [41., 10.], [10., 2.]])
    assert anchor_recall(wh, [(10, 10)]) == .5 and anchor_recall(wh, [(10, 10)], 5.) == .75 and anchor_recall(np.zeros((0, 2)), [(1, 1)]) == 1


def test_sizes_are_those_of_the_input():
    data = rendered_dataset(3, 1, (256,192), 1)
    np.testing.assert_allclose(box_sizes(data, (128,96)), data.instances.bbox[:,2:]/2)


def test_hit_rate_forgives_invented_people():
    assert oks_hit_rate([1., 1.]) == 1 and oks_hit_rate([.52, np.nan]) == pytest.approx(.05) and oks_hit_rate([]) == 0


# Bad settings

@pytest.mark.parametrize('wrong,say', [(dict(input_size=(100,64)), 'multiples of 64'), (dict(strides=(16,8)), 'finest first'), (dict(strides=(8,16)), '4 levels of anchors for 2 strides'),
    (dict(anchors=(((1,1),)*3,)*3 + (((0,5),)*3,)), 'above 0 px'), (dict(level_weights=(1.,)), '4 levels need 4'), (dict(oks_sigmas=(.1,)*3), '3 oks_sigmas for 17'),
    (dict(max_people=0), '1 or more')])
def test_settings_that_cannot_work_say_so(wrong, say):
    with pytest.raises(ValueError, match=say): AnchorGrid(**wrong)


def test_maps_of_another_network_are_refused():
    xy,v,boxes = crowd(0)
    with pytest.raises(ValueError, match='3 maps for strides'): SMALL.decode(maps(SMALL)[:3])
    with pytest.raises(ValueError, match=r'the codec reads \(N, 3, 24, 32, 15\)'): SMALL.loss(maps(SMALL, size=(128,128)), *SMALL.encode(xy, v, boxes))
    with pytest.raises(ValueError, match='shape'): SMALL.decode(maps(replace(SMALL, num_keypoints=4)))


def test_settings_survive_json():
    again = AnchorGrid(**{k: tuple(v) if isinstance(v, list) else v for k,v in json.loads(json.dumps(asdict(SMALL))).items()})
    assert again == SMALL and hash(again) == hash(SMALL)
