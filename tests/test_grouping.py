"Grouping over many crowds: who is found, what the loss sees, and what happens to nobody, to too many and to bad input"
import itertools
from dataclasses import asdict, replace
import numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st
from poselab.codecs.grouping import (AssociativeEmbedding, cell_index, crowd_hills, group, highest_near, match, multi_scale, peaks, pull_push,
                                     read_tags, resized, torso_first, true_outputs)
from poselab.codecs.heatmap import hills
from poselab.data.figures import rendered_dataset
from poselab.schema import card_names, load_schema

quick = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 10**6)
COCO = load_schema('coco')
SMALL = AssociativeEmbedding((96,64))


def people(seed, P=3, K=4, size=(96,64), N=1):
    "Keypoints of random people, and which are labelled, (N, P, K)"
    g = torch.Generator().manual_seed(seed)
    return torch.rand(N, P, K, 2, generator=g)*(torch.tensor(size) - 1), (torch.rand(N, P, K, generator=g) > .2)*2


def grid_people(P=4, K=4, size=(96,64)):
    "People whose keypoints are far from each other, all labelled, (1, P, K, 2)"
    x,y = torch.meshgrid(torch.arange(P)*24. + 8, torch.arange(K)*15. + 8, indexing='ij')
    return torch.stack([x, y], -1)[None]


def answer(codec, seed, N=1, K=4, L=1):
    "What an untrained network might say"
    g = torch.Generator().manual_seed(seed)
    (w,h),s = codec.input_size,codec.strides
    heat = [torch.rand(N, K, h//t, w//t, generator=g) for t in s]
    return heat[0], torch.randn(N, L*K, h//s[0], w//s[0], generator=g), *heat[1:]


# People come back

@pytest.mark.parametrize('strides,refine,far', [((4,2), 'quarter', 3.), ((4,2), 'dark', 3.), ((4,), 'quarter', 6.)])
def test_with_true_tags_every_person_of_a_crowd_of_two_to_eight_is_recovered_and_nobody_is_invented(strides, refine, far):
    codec = AssociativeEmbedding((512,384), strides, order=torso_first(COCO.names), refine=refine)
    data,sizes = rendered_dataset(40, 5, (512,384), (2,8)),set()
    for im in data.images:
        inst = data.of(im.id)
        xy,on = torch.tensor(inst.keypoints)[None].float(),torch.tensor(inst.visible)[None] > 0
        got,sure,score = codec.decode(true_outputs(codec, xy, on))[0]
        d = ((got[:,None] - xy).norm(dim=-1)*on[0]).amax(-1) # (found, there), farthest visible keypoint
        assert len(got) == on[0].any(1).sum() and len(set(d.argmin(0).tolist())) == len(got) and d.min(0).values.max() < far
        assert (score.diff() <= 0).all() and sure.shape == got.shape[:2]
        sizes.add(len(got))
    assert sizes >= {2, 3, 4, 5, 6, 7, 8}


@quick
@given(seeds, st.integers(1, 6), st.integers(1, 5))
def test_the_order_of_people_in_the_labels_changes_nothing(seed, P, K):
    xy,v = people(seed, P, K)
    order = torch.randperm(P, generator=torch.Generator().manual_seed(seed))
    (a,i,b),w = SMALL.encode(xy, v)
    (c,j,d),_ = SMALL.encode(xy[:,order], v[:,order])
    assert torch.equal(a, c) and torch.equal(b, d) and torch.equal(i[:,order], j)
    out = answer(SMALL, seed, K=K)
    torch.testing.assert_close(SMALL.loss(out, (a, i, b), w), SMALL.loss(out, (c, j, d), w))


@quick
@given(seeds, st.integers(1, 5))
def test_rows_without_anybody_change_nothing(seed, P):
    xy,v = people(seed, P)
    more = torch.cat([xy, torch.full((1, 3, 4, 2), torch.nan)], 1),torch.cat([v, torch.zeros(1, 3, 4, dtype=v.dtype)], 1)
    out = answer(SMALL, seed)
    a,b = (SMALL.losses(out, *SMALL.encode(*x)) for x in ((xy, v), more))
    for k in a: torch.testing.assert_close(a[k], b[k])


@quick
@given(seeds, st.sampled_from([(96,64), (64,64), (128,32), (40,72)]))
def test_hills_of_a_crowd_are_the_highest_of_each_cell(seed, size):
    g = torch.Generator().manual_seed(seed)
    cells,which = torch.rand(7, 2, generator=g)*(torch.tensor(size) + 8) - 4,torch.randint(0, 3, (7,), generator=g)
    maps = crowd_hills(cells, which, 3, size)
    for m in range(3):
        here = cells[which == m]
        want = hills(here, size, 2., 3.).amax(0) if len(here) else torch.zeros(size[::-1])
        torch.testing.assert_close(maps[m], want)


def test_both_scales_put_the_top_on_the_same_place():
    xy = torch.tensor([[[[31., 17.]], [[70., 50.]]]])
    (a,_,b),_ = replace(SMALL, refine='dark').encode(xy)
    for maps,stride in ((a, 4), (b, 2)):
        one = replace(SMALL, strides=(stride,), refine='dark')
        got = one.decode((maps, torch.arange(maps.numel()).view(maps.shape)*1.))[0][0][:,0]
        assert min((got[:,None] - xy[0,:,0]).norm(dim=-1).min(0).values.max(), 9.) < .1


def test_any_size_is_decoded_not_only_that_of_training():
    codec = AssociativeEmbedding((64,64))
    for size in ((128,96), (36,100), (4,4)):
        net = replace(codec, input_size=size) if min(size) > 4 else None
        if net is None: assert codec.decode(tuple(torch.zeros(1, 2, n, n) for n in (1, 1, 2)))[0][0].shape == (0, 2, 2); continue
        xy = torch.tensor([[[[7., 9.], [25., 80.]]]])
        got,_,_ = codec.decode(true_outputs(net, xy))[0]
        assert (got - xy[0]).norm(dim=-1)[0,0] < 2


def test_a_batch_is_decoded_image_by_image():
    xy = torch.cat([grid_people(), grid_people().flip(2)])
    v = torch.tensor([2, 2, 2, 2])[:,None].expand(2, 4, 4).clone(); v[1,2:] = 0
    both = SMALL.decode(true_outputs(SMALL, xy, v))
    assert [len(p) for p,*_ in both] == [4, 2]
    for i in range(2):
        alone, = SMALL.decode(tuple(m[i:i+1] for m in true_outputs(SMALL, xy, v)))
        for a,b in zip(alone, both[i]): assert torch.equal(a, b)


def test_loss_alone_leads_to_people():
    "Gradient descent on free maps, with nothing but the loss, ends in maps that decode to the people"
    codec,xy = replace(SMALL, pull=.05, push=.05, det_thr=.3),grid_people()
    targets,weight = codec.encode(xy)
    out = [.1*m.requires_grad_(False) for m in answer(codec, 1)]
    for m in out: m.requires_grad_()
    opt = torch.optim.Adam(out, .05)
    for _ in range(150): opt.zero_grad(); codec.loss(out, targets, weight).backward(); opt.step()
    got,sure,_ = codec.decode([m.detach() for m in out])[0]
    d = (got[:,None] - xy).norm(dim=-1).amax(-1)
    assert len(got) == 4 and set(d.argmin(0).tolist()) == {0, 1, 2, 3} and d.min(0).values.max() < 2 and sure.min() > .5


# Loss

def test_pull_and_push_by_hand():
    tags = torch.tensor([[[0., 2.], [5., 9.], [1., 7.]]])[...,None]
    on = torch.tensor([[[True, True], [True, False], [False, False]]])
    pull,push = pull_push(tags, on)
    assert pull.item() == pytest.approx((1 + 0)/2) # ((0-1)² + (2-1)²)/2 and 0, over two people
    assert push.item() == pytest.approx(float(np.exp(-16.)))


@quick
@given(seeds, st.integers(1, 4), st.integers(1, 3))
def test_pull_is_zero_for_equal_tags_and_push_one_for_equal_people(seed, P, L):
    on = torch.rand(2, P, 5, generator=torch.Generator().manual_seed(seed)) > .3
    same = torch.full((2, P, 5, L), 3.)
    pull,push = pull_push(same, on)
    pairs = (on.any(-1).sum(-1) > 1).float()
    assert (pull == 0).all() and torch.equal(push, pairs)
    far = same + 50*torch.arange(P)[None,:,None,None]
    assert (pull_push(far, on)[1] < 1e-6).all()


def test_a_single_person_is_pushed_by_nobody_and_pulled_together():
    xy,_ = people(3, 1)
    part = SMALL.losses(answer(SMALL, 0), *SMALL.encode(xy))
    assert part['push'] == 0 and part['pull'] > 0


def test_gradient_reaches_labelled_tags_and_every_heatmap_cell_and_nothing_else():
    xy,v = people(1)
    targets,weight = SMALL.encode(xy, v)
    out = [m.requires_grad_() for m in answer(SMALL, 1)]
    SMALL.loss(out, targets, weight).backward()
    assert (out[0].grad != 0).all() and (out[2].grad != 0).all()
    cells = {(k, i) for k in range(4) for i in targets[1][0,:,k].tolist() if i >= 0}
    moved = {(k, i) for k,i in out[1].grad[0].flatten(1).nonzero().tolist()}
    assert moved and moved <= cells


def test_dimensions_of_tags_come_before_keypoints():
    tags = torch.zeros(1, 6, 2, 3)
    for l,k in itertools.product(range(2), range(3)): tags[0,3*l + k] = 10*l + k
    assert read_tags(tags, torch.zeros(1, 1, 3, dtype=torch.long))[0,0].tolist() == [[0, 10], [1, 11], [2, 12]]


def test_the_heatmap_error_by_hand():
    codec = AssociativeEmbedding((8,8), (4,2))
    zero = torch.zeros(1, 1, 2, 2),torch.zeros(1, 1, 1, dtype=torch.long) - 1,torch.zeros(1, 1, 4, 4)
    out = zero[0] + 2, zero[0], zero[2] + 1
    mask = torch.ones(1, 1, 2, 2),torch.ones(1, 1, 4, 4)
    assert codec.losses(out, zero, mask)['heat'] == (4 + 1)/2
    mask[0][...,0] = 0
    assert codec.losses(out, zero, mask)['heat'] == (2 + 1)/2


@pytest.mark.parametrize('P', [0, 3])
def test_a_picture_without_people_has_a_finite_loss_and_no_people(P):
    xy,v = torch.full((2, P, 4, 2), torch.nan),torch.zeros(2, P, 4)
    targets,weight = SMALL.encode(xy, v)
    out = [m.requires_grad_() for m in answer(SMALL, 0, N=2)]
    loss = SMALL.loss(out, targets, weight)
    loss.backward()
    assert loss.isfinite() and all(m.grad is None or m.grad.isfinite().all() for m in out)
    assert [len(p) for p,*_ in SMALL.decode((targets[0], targets[0], targets[2]))] == [0, 0]


def test_what_is_masked_costs_nothing_and_half_a_mask_half():
    xy,v = torch.zeros(1, 0, 4, 2),None
    out = tuple(torch.ones_like(m) for m in answer(SMALL, 0))
    def heat(mask): return SMALL.losses(out, *SMALL.encode(xy, v, mask))['heat'].item()
    half = torch.ones(1, 64, 96); half[...,:48] = 0
    assert heat(None) == heat(torch.ones(1, 7, 5)) == 1 and heat(torch.zeros(1, 64, 96)) == 0 and heat(half) == .5
    assert SMALL.loss(out, *SMALL.encode(*people(0), torch.zeros(1, 64, 96))).isfinite()


# Candidates and assignment

@quick
@given(seeds, st.sampled_from([1, 3, 5, 7]))
def test_the_highest_nearby_is_a_maximum_over_the_square(seed, window):
    maps = torch.rand(2, 3, 9, 7, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(highest_near(maps, window), torch.nn.functional.max_pool2d(maps, window, 1, window//2))


@quick
@given(seeds)
def test_no_two_candidates_of_a_map_are_neighbours_even_on_flat_ground(seed):
    g = torch.Generator().manual_seed(seed)
    heat = (torch.rand(1, 2, 12, 12, generator=g)*4).round()/4 # many equal cells
    at,height = peaks(heat, most=144)
    for k in range(2):
        here = at[0,k][height[0,k] > 0]
        d = (here[:,None] - here).abs().amax(-1) + 99*torch.eye(len(here), dtype=torch.long)
        assert len(here) == 0 or d.min() > 2
        assert (height[0,k][height[0,k] > 0].diff() <= 0).all()


def test_a_flat_map_gives_a_person_not_a_grid_of_them():
    got = SMALL.decode((torch.ones(1, 4, 16, 24)*.5, torch.zeros(1, 4, 16, 24), torch.ones(1, 4, 32, 48)*.5))[0]
    assert 1 <= len(got[0]) <= SMALL.max_people and got[0].isfinite().all()


@quick
@given(seeds, st.integers(1, 4), st.integers(1, 4))
def test_the_assignment_is_the_cheapest_of_all(seed, m, P):
    r = np.random.default_rng(seed)
    distance,height = r.uniform(0, 2, (m, P)),r.uniform(.1, 1, m)
    who = match(distance, height)
    def cost(who): return sum(100*np.round(distance[i,j]) - height[i] if j >= 0 and distance[i,j] < 1 else 200 for i,j in who)
    n = min(m, P)
    every = (zip(rows, cols) for rows in itertools.permutations(range(m), n) for cols in itertools.combinations(range(P), n))
    best = min(cost(pairs) for pairs in every)
    taken = [(i, j) for i,j in enumerate(who.tolist()) if j >= 0]
    assert cost(taken) + 200*(n - len(taken)) == pytest.approx(best)
    assert len({j for _,j in taken}) == len(taken) and all(distance[i,j] < 1 for i,j in taken)


def test_a_pair_that_would_be_dropped_has_no_vote():
    distance = np.abs(np.array([1., -4.4])[:,None] - np.array([1., 6.4]))
    assert match(distance, np.ones(2), clip=False).tolist() == [-1, -1] and match(distance, np.ones(2)).tolist() == [0, -1]


def test_two_served_badly_come_before_one_served_well():
    assert match(np.array([[.3, .8], [.6, 1.7]]), np.array([.9, .8])).tolist() == [1, 0]


def test_tags_that_are_no_numbers_join_nobody():
    tag = np.array([[[0.], [5.]], [[np.nan], [5.]]])
    assert group(np.ones((2, 2)), tag).tolist() == [[0, -1], [1, 1], [-1, 0]]


def test_every_schema_has_an_order_that_begins_with_the_torso():
    for card in card_names():
        try: names = load_schema(card).names
        except ValueError: continue
        order = torso_first(names)
        assert sorted(order) == list(range(len(names))) and 'shoulder' in names[order[0]] and 'ankle' in names[order[-1]]


# Limits and bad input

@pytest.mark.parametrize('most', [1, 3])
def test_of_too_many_people_the_best_are_kept(most):
    codec,xy = replace(SMALL, max_people=most),grid_people()
    heat,tags,half = true_outputs(SMALL, xy)
    strong = torch.tensor([.5, .9, .7, .8])
    scale = resized(strong[(tags[:,:1]/2).long()], half.shape[-2:], mix=False)
    got,_,score = codec.decode((heat*strong[(tags/2).long()], tags, half*scale))[0]
    assert len(got) == most
    who = [int((one - xy[0]).norm(dim=-1).amax(-1).argmin()) for one in got]
    assert who == [1, 3, 2][:most]


def test_the_score_counts_missing_keypoints_as_nothing():
    xy,v = grid_people(2),torch.ones(1, 2, 4); v[0,1,2:] = 0
    _,_,score = SMALL.decode(true_outputs(SMALL, xy, v))[0]
    assert score[0] > .8 and score[1] == pytest.approx(score[0].item()/2, rel=.1)


def test_missing_keypoints_are_nan_or_filled_with_little_confidence():
    xy,v = grid_people(2),torch.ones(1, 2, 4); v[0,1,2] = 0
    for fill in (False, True):
        got,sure,_ = replace(SMALL, fill=fill).decode(true_outputs(SMALL, xy, v))[0]
        second = (got[:,:2] - xy[0,1,:2]).norm(dim=-1).sum(-1).argmin()
        assert got[second,2].isfinite().all() == fill and sure[second,2] <= .1 and sure[second,0] > .8


def test_not_a_number_in_a_map_is_nobody():
    out = tuple(torch.full_like(m, torch.nan) for m in answer(SMALL, 0))
    assert SMALL.decode(out)[0][0].shape == (0, 4, 2)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_any_precision_goes_in_and_float32_comes_out(dtype):
    xy = grid_people()
    targets,weight = SMALL.encode(xy)
    out = [m.to(dtype) for m in true_outputs(SMALL, xy)]
    assert SMALL.loss(out, targets, weight).dtype == torch.float32
    got,sure,score = SMALL.decode(out)[0]
    assert len(got) == 4 and got.dtype == sure.dtype == score.dtype == torch.float32


@pytest.mark.parametrize('change,words', [(dict(input_size=(90,64)), 'multiples of 32'), (dict(strides=(2,4)), 'coarsest first'), (dict(strides=()), 'coarsest'),
    (dict(heatmap_sigma=0), 'above 0'), (dict(tag_thr=0), 'above 0'), (dict(max_people=0), '1 or more'), (dict(window=4), 'odd'), (dict(refine='udp'), 'unknown')])
def test_settings_that_cannot_work_are_refused(change, words):
    with pytest.raises(ValueError, match=words): replace(SMALL, **change)


def test_a_network_with_another_number_of_scales_is_told_so():
    targets,weight = SMALL.encode(people(0)[0])
    with pytest.raises(ValueError, match='1 heatmap scales.*asks for 2'): SMALL.loss(answer(SMALL, 0)[:2], targets, weight)
    with pytest.raises(ValueError, match='2 heatmap scales'): replace(SMALL, strides=(4,)).decode(answer(SMALL, 0))
    with pytest.raises(ValueError, match='input_size'): SMALL.loss(answer(replace(SMALL, input_size=(64,64)), 0), targets, weight)
    with pytest.raises(ValueError, match='tag maps for 4'): SMALL.decode((answer(SMALL, 0)[0], torch.zeros(1, 5, 16, 24)))


def test_a_codec_is_data():
    assert AssociativeEmbedding(**asdict(SMALL)) == SMALL and SMALL.bottom_up and 'bottom_up' not in asdict(SMALL)


# Mirror and scales

@quick
@given(seeds, st.integers(1, 3))
def test_two_mirrors_are_none(seed, L):
    out,order = answer(SMALL, seed, L=L),(0, 2, 1, 3)
    for a,b in zip(SMALL.flip(SMALL.flip(out, order), order), out): assert torch.equal(a, b)


def test_the_mirrored_picture_mirrored_back_has_the_same_hills():
    xy,v = people(5)
    order = [0, 2, 1, 3]
    there = (torch.tensor([95., 0.]) + xy*torch.tensor([-1., 1.]))[:,:,order],v[:,:,order]
    a,b = true_outputs(SMALL, xy, v),SMALL.flip(true_outputs(SMALL, *there), order)
    torch.testing.assert_close(a[0], b[0], atol=1e-4, rtol=0); torch.testing.assert_close(a[2], b[2], atol=1e-4, rtol=0)


def test_several_looks_average_heatmaps_and_stack_tags():
    a,b = answer(SMALL, 0),answer(replace(SMALL, input_size=(192,128)), 1)
    one,both = SMALL.merge([a]),SMALL.merge([a, b])
    assert all(torch.equal(x, y) for x,y in zip(a, one)) and both[1].shape == (1, 8, 16, 24)
    assert torch.equal(both[1][:,:4], a[1]) and torch.equal(SMALL.merge([a, a])[0], a[0]) and both[2].shape == a[2].shape


@pytest.mark.parametrize('scales,order,dims', [((1.,), None, 1), ((1.,), (0, 2, 1, 3), 2), ((1., .5, 2.), (0, 2, 1, 3), 2)])
def test_a_network_is_asked_at_every_scale_and_in_the_mirror(scales, order, dims):
    seen = []
    def net(x): seen.append(tuple(x.shape[-2:])); return answer(replace(SMALL, input_size=x.shape[:1:-1]), 0)
    out = multi_scale(net, torch.rand(1, 3, 64, 96), SMALL, scales, order)
    assert out[0].shape[-2:] == (16,24) and out[1].shape == (1, 4*dims, 16, 24) and len(seen) == len(scales)*(1 + (order is not None))
    assert all(n % 32 == 0 for s in seen for n in s)
    assert len(SMALL.decode(out)) == 1


@quick
@given(seeds, st.integers(2, 9), st.integers(2, 9))
def test_tags_are_never_mixed_by_resizing(seed, H, W):
    maps = torch.randint(0, 50, (1, 2, 4, 5), generator=torch.Generator().manual_seed(seed)).float()
    big = resized(maps, (H, W), mix=False)
    assert set(big.unique().tolist()) <= set(maps.unique().tolist()) and torch.equal(big[...,0,0], maps[...,0,0]) and torch.equal(big[...,-1,-1], maps[...,-1,-1])


def test_cells_outside_have_no_tag():
    assert cell_index(torch.tensor([[-.6, 0.], [-.4, 0.], [4.4, 3.4], [4.6, 0.], [0., 3.6]]), (5,4)).tolist() == [-1, 0, 19, -1, -1]
