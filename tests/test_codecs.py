"""What the pages cannot show: the codecs over many sizes and splits, at borders, in half precision, on bad input."""
import math, pickle, re
from dataclasses import replace
from pathlib import Path
import pytest, torch
from hypothesis import given, settings, strategies as st
import poselab.codecs
from poselab.codecs import heatmap as H, simcc as S, softlabels as L

LABELS = [None, L.sord, L.gaussian]
quick = settings(max_examples=25, deadline=None)
sizes = st.tuples(st.integers(24, 200), st.integers(24, 200))
splits = st.sampled_from([1., 1.5, 2., 3.])
seeds = st.integers(0, 10**6)


def points(size, seed=0, n=3, k=5, margin=0.):
    "Random keypoints between the first and the last pixel centre, (n, k, 2)"
    g = torch.Generator().manual_seed(seed)
    return margin + torch.rand(n, k, 2, generator=g) * (torch.tensor(size) - 1 - 2*margin)


def logits_for(labels, beta=10.): return tuple(y.clamp_min(1e-30).log() / beta for y in labels)


# SimCC

@quick
@given(sizes, splits, seeds)
def test_bins_and_back_is_within_half_a_bin(size, split, seed):
    xy = points(size, seed)
    bins = S.to_bins(xy, size, split)
    assert bins.min() >= 0 and (bins < torch.tensor(size)*split).all()
    assert (S.to_pixels(bins, split) - xy).abs().max() <= .5/split + 1e-4


@quick
@given(sizes, splits, seeds, st.sampled_from(LABELS))
def test_simcc_comes_back_within_half_a_bin(size, split, seed, label):
    codec, xy = S.SimCC(size, split, label), points(size, seed)
    labels, weight = codec.encode(xy)
    assert weight.all() and [y.shape[-1] for y in labels] == list(codec.bins)
    back, sure = codec.decode(*logits_for(labels))
    assert back.shape == xy.shape and sure.shape == weight.shape
    assert (back - xy).abs().max() <= .5/split + 1e-4


@quick
@given(sizes, st.sampled_from([1., 2., 3.]), seeds)
def test_dark_finds_what_exact_labels_hide_between_the_bins(size, split, seed):
    codec = S.SimCC(size, split, exact=True, dark=True)
    xy = points(size, seed, margin=3.)
    assert (codec.decode(*logits_for(codec.encode(xy)[0]))[0] - xy).abs().max() < .02


@pytest.mark.parametrize('label', LABELS)
def test_dark_never_does_worse_than_argmax_at_the_border(label):
    xy = torch.stack([torch.linspace(0, 191, 800), torch.linspace(0, 255, 800)], -1)[None]
    codec = S.SimCC(label=label, exact=True)
    z = logits_for(codec.encode(xy)[0])
    plain, dark = ((c.decode(*z)[0] - xy).abs() for c in (codec, replace(codec, dark=True)))
    assert (dark <= plain + .01).all()


def test_dark_stays_put_on_flat_and_empty_scores():
    at = torch.tensor([0, 1, 50, 98, 99])
    for fill in (0., 1., -3.):
        assert torch.equal(S.refine_dark(torch.full((5,100), fill), at, S.blur_kernel(4.9)), at.float())


def test_a_bin_by_hand():
    assert S.to_bins(torch.tensor([[100.3, 60.9]]), (192,256)).tolist() == [[201, 122]]
    assert S.to_bins(torch.tensor([[100.3, 60.9]]), (192,256), 3.).tolist() == [[301, 183]]
    assert S.to_pixels(torch.tensor([201, 122])).tolist() == [100.5, 61.]


def test_the_loss_by_hand():
    z, y, w = torch.tensor([[[0., math.log(3)/10]]]), torch.tensor([[[.5, .5]]]), torch.ones(1, 1)  # p = 1/4, 3/4
    codec, one = S.SimCC((1,1), label=L.gaussian), .5*math.log(2) + .5*math.log(2/3)
    assert codec.loss((z,z), (y,y), w).item() == pytest.approx(2*one/2, rel=1e-5)  # two axes, mean over two bins
    assert replace(codec, kl=False).loss((z,z), (y,y), w).item() == pytest.approx(2*(one + math.log(2))/2, rel=1e-5)


@pytest.mark.parametrize('xy', [(-1., 5.), (5., -1.), (192., 5.), (5., 256.), (math.nan, 5.), (math.inf, 5.), (-math.inf, 5.), (1e12, 5.)])
@pytest.mark.parametrize('codec', [S.SimCC(), S.SimCC(exact=True), H.Heatmap()], ids=['simcc', 'exact', 'heatmap'])
def test_outside_or_missing_is_marked_and_weighs_nothing(codec, xy):
    xy = torch.tensor([[xy, (5., 5.)]])
    targets, weight = codec.encode(xy)
    assert weight.tolist() == [[0., 1.]]
    assert all(t.isfinite().all() and t[0,0].abs().sum() == 0 and t[0,1].sum() > 0 for t in targets)
    if isinstance(codec, S.SimCC): assert S.to_pixels(S.to_bins(xy, (192,256)))[0,0].isnan().all()


@pytest.mark.parametrize('codec', [S.SimCC(), S.SimCC(exact=True), H.Heatmap()], ids=['simcc', 'exact', 'heatmap'])
def test_the_first_and_last_pixel_are_inside(codec):
    _, weight = codec.encode(torch.tensor([[[0., 0.], [191., 255.], [191.4, 255.4], [-.2, -.2]]]))
    assert weight.all()


@pytest.mark.parametrize('codec', [S.SimCC(), S.SimCC(label=L.sord, exact=True), H.Heatmap()], ids=['simcc', 'exact', 'heatmap'])
def test_absent_keypoints_get_no_weight_and_send_no_gradient(codec):
    targets, weight = codec.encode(points((192,256)), torch.tensor([[0, 1, 2, 0, 2]]).expand(3, 5))
    assert torch.equal(weight, torch.tensor([[0., 1., 1., 0., 1.]]).expand(3, 5))
    outs = [torch.rand_like(t).requires_grad_() for t in targets]
    codec.loss(outs, targets, weight).backward()
    for o in outs: assert ((o.grad.abs().flatten(2).sum(-1) > 0) == (weight > 0)).all() and o.grad.isfinite().all()


@pytest.mark.parametrize('codec', [S.SimCC(), H.Heatmap()], ids=['simcc', 'heatmap'])
def test_a_batch_without_any_keypoint_costs_nothing(codec):
    targets, weight = codec.encode(points((192,256)), torch.zeros(3, 5))
    outs = [torch.rand_like(t).requires_grad_() for t in targets]
    loss = codec.loss(outs, targets, weight)
    loss.backward()
    assert loss == 0 and all((o.grad == 0).all() for o in outs)


@quick
@given(sizes, splits, seeds, st.sampled_from([*LABELS, L.sord_literal]))
def test_the_simcc_loss_is_smallest_at_the_truth(size, split, seed, label):
    codec = S.SimCC(size, split, label, beta=1. if label is L.sord_literal else 10.)
    targets, weight = codec.encode(points(size, seed))
    best = logits_for(targets, codec.beta)
    at_truth = codec.loss(best, targets, weight)
    g = torch.Generator().manual_seed(seed)
    moved = [z + .05*torch.randn(z.shape, generator=g) for z in best]
    assert abs(at_truth) < 1e-5 and codec.loss(moved, targets, weight) > at_truth
    for z in best: z.requires_grad_()
    codec.loss(best, targets, weight).backward()
    assert all(z.grad.abs().max() < 1e-5 for z in best)


def test_subtracting_the_entropy_moves_no_gradient():
    codec = S.SimCC(label=L.sord)
    targets, weight = codec.encode(points((192,256)))
    grads = []
    for c in (codec, replace(codec, kl=False)):
        z = [torch.zeros_like(t, requires_grad=True) for t in targets]
        c.loss(z, targets, weight).backward()
        grads.append(z[0].grad)
    assert torch.allclose(*grads, atol=1e-8)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize('codec', [S.SimCC(label=L.sord), H.Heatmap()], ids=['simcc', 'heatmap'])
def test_any_precision_goes_in_and_float32_comes_out(codec, dtype):
    targets, weight = codec.encode(points((192,256)))
    outs = [torch.randn(t.shape, generator=torch.manual_seed(0)).to(dtype).requires_grad_() for t in targets]
    loss = codec.loss(outs, targets, weight)
    same = codec.loss([o.float() for o in outs], targets, weight)
    loss.backward()
    xy, sure = codec.decode(*outs)
    assert loss.dtype == xy.dtype == sure.dtype == torch.float32 and outs[0].grad.dtype == dtype
    assert torch.allclose(loss, same, rtol=1e-5)


def test_half_precision_keypoints_find_their_bins():
    xy = torch.tensor([[[100., 60.5]]])
    assert torch.equal(S.SimCC().encode(xy.half())[0][0], S.SimCC().encode(xy)[0][0])
    assert torch.equal(S.SimCC().encode(xy.double())[0][0], S.SimCC().encode(xy)[0][0])


def test_autocast_does_not_blunt_the_simcc_loss():
    codec = S.SimCC(label=L.sord)
    targets, weight = codec.encode(points((192,256)))
    z = [torch.randn(t.shape, generator=torch.manual_seed(0)) for t in targets]
    plain = codec.loss(z, targets, weight)
    with torch.autocast('cpu', dtype=torch.bfloat16): assert torch.equal(codec.loss(z, targets, weight), plain)


def test_labels_made_under_inference_mode_can_train_later():
    S.label_table.cache_clear()
    with torch.inference_mode(): S.SimCC((40,30)).encode(points((40,30)))
    targets, weight = S.SimCC((40,30)).encode(points((40,30)))
    z = [torch.zeros_like(t, requires_grad=True) for t in targets]
    S.SimCC((40,30)).loss(z, targets, weight).backward()
    assert z[0].grad.abs().sum() > 0


def test_confidence_is_the_lower_peak_and_probability_ignores_a_shift():
    codec = S.SimCC(label=L.sord)
    x, y = logits_for(codec.encode(points((192,256)))[0])
    assert torch.equal(codec.decode(x, y)[1], torch.minimum(x.amax(-1), y.amax(-1)))
    sure = replace(codec, confidence='probability')
    a, b = sure.decode(x, y)[1], sure.decode(x + 7, y - 3)[1]
    assert torch.allclose(a, b, atol=1e-4) and (a > 1/512).all() and (a <= 1).all()


@pytest.mark.parametrize('codec', [S.SimCC(split=2.), S.SimCC(split=3.), H.Heatmap(refine='dark')], ids=['simcc', 'simcc3', 'heatmap'])
def test_a_mirrored_input_decodes_to_the_same_keypoints(codec):
    order = (0, 2, 1, 4, 3)
    xy = points((192,256), margin=24).round()
    mirrored = torch.stack([191 - xy[...,0], xy[...,1]], -1)[:,list(order)]
    back, _ = codec.decode(*codec.flip(codec.encode(mirrored)[0], order))
    assert (back - xy).abs().max() < 2e-3


def test_simcc_takes_any_number_of_instances_even_none():
    for n in (0, 1): assert S.SimCC().decode(*S.SimCC().encode(torch.rand(n, 17, 2))[0])[0].shape == (n, 17, 2)


def test_codecs_can_be_copied_to_another_process():
    for codec in (S.SimCC(label=L.sord), H.Heatmap(refine='dark')): assert pickle.loads(pickle.dumps(codec)) == codec


@pytest.mark.parametrize('make,word', [
    (lambda: S.SimCC((0,256)), 'above 0'), (lambda: S.SimCC(split=0.), 'above 0'), (lambda: S.SimCC(beta=-1.), 'above 0'),
    (lambda: S.SimCC(confidence='sure'), 'probability'), (lambda: H.Heatmap(refine='udp'), 'quarter'),
    (lambda: S.SimCC(label=lambda mu, n: L.gaussian(mu, n, normalise=False)), 'normalise'),
    (lambda: H.Heatmap(heatmap_size=(1,64)), 'below 2'), (lambda: H.Heatmap(blur=10), 'odd'), (lambda: H.Heatmap(heatmap_sigma=0.), 'heatmap_sigma')])
def test_settings_that_cannot_work_are_refused_with_a_remedy(make, word):
    with pytest.raises(ValueError, match=word): make()


@pytest.mark.parametrize('codec', [S.SimCC(label=L.sord), S.SimCC(dark=True, exact=True, confidence='probability'),
                                   H.Heatmap(refine='dark'), H.Heatmap(refine='quarter', reach=3.)])
def test_everything_stays_on_the_device_it_came_from(codec):
    xy, v = torch.empty(2, 3, 2, device='meta'), torch.empty(2, 3, device='meta')  # mixing devices raises
    targets, weight = codec.encode(xy, v)
    back, sure = codec.decode(*targets)
    assert {t.device.type for t in (*targets, weight, back, sure, *codec.flip(targets, (0, 2, 1)))} == {'meta'}


# Soft labels

@quick
@given(st.integers(2, 600), st.sampled_from([L.gaussian, L.sord, L.sord_literal]), seeds)
def test_a_label_is_a_distribution_that_peaks_at_the_truth(bins, label, seed):
    mu = torch.randint(0, bins, (4,3), generator=torch.Generator().manual_seed(seed))
    y = label(mu, bins)
    assert y.shape == (4, 3, bins) and (y >= 0).all() and torch.allclose(y.sum(-1), torch.ones(4, 3), atol=1e-5)
    assert torch.allclose(y.gather(-1, mu[...,None])[...,0], y.amax(-1))


def test_the_published_widths():
    assert L.label_sigma_rule(384) == pytest.approx(4.8990, abs=1e-4) and L.label_sigma_rule(512) == pytest.approx(5.6569, abs=1e-4)


@pytest.mark.parametrize('label,peak,outside', [(L.sord_literal, .0068, .88), (L.sord, .246, .004)], ids=['literal', 'working'])
def test_both_readings_of_sord_have_their_known_numbers(label, peak, outside):
    y = label(torch.tensor(192), 384)
    far = (torch.arange(384) - 192).abs() > 3*L.label_sigma_rule(384)
    assert y.max().item() == pytest.approx(peak, abs=6e-4 if peak > .1 else 5e-5)
    assert y[far].sum().item() == pytest.approx(outside, abs=5e-3 if outside > .1 else 5e-4)


def test_the_literal_label_pulls_its_mean_to_the_middle():
    assert (L.sord_literal(torch.tensor(20), 384) @ torch.arange(384.)).item() == pytest.approx(183.8, abs=.05)


def test_sord_by_hand():
    e = [math.exp(10*math.exp(-d*d/2)) for d in (1, 0, 1)]
    assert torch.allclose(L.sord(torch.tensor(1), 3, 1.), torch.tensor([a/sum(e) for a in e]), atol=1e-6)


def test_literal_is_sord_with_beta_one():
    mu = torch.arange(40)
    assert torch.equal(L.sord_literal(mu, 40), L.sord(mu, 40, beta=1.)) and not torch.allclose(L.sord_literal(mu, 40), L.sord(mu, 40))


def test_the_default_label_of_simcc_is_the_gaussian_of_soft_labels():
    mu = torch.arange(384)
    assert torch.allclose(S.gaussian_label(mu, 384), L.gaussian(mu, 384), atol=1e-7)


# Heatmap

maps_sizes = st.sampled_from([(12,16), (33,17), (48,64), (20,20)])


@quick
@given(sizes, maps_sizes, seeds)
def test_px_and_cells_are_inverse_and_corners_meet(size, cells, seed):
    xy = points(size, seed)
    assert torch.allclose(H.to_pixels(H.to_cells(xy, size, cells), size, cells), xy, atol=1e-3)
    ends = torch.tensor([[0., 0.], [size[0]-1., size[1]-1.]])
    assert torch.allclose(H.to_cells(ends, size, cells), torch.tensor([[0., 0.], [cells[0]-1., cells[1]-1.]]), atol=1e-4)


@quick
@given(sizes, maps_sizes, seeds, st.sampled_from(['none', 'quarter', 'dark']))
def test_heatmaps_come_back_within_half_a_cell(size, cells, seed, refine):
    codec = H.Heatmap(size, cells, refine=refine)
    xy = points(size, seed)
    (maps,), weight = codec.encode(xy)
    back, height = codec.decode(maps)
    half = .5 * (torch.tensor(size) - 1) / (torch.tensor(cells) - 1)
    assert maps.shape == (3, 5, cells[1], cells[0]) and ((back - xy).abs() <= half + 1e-3).all()
    assert (height > .7).all() and (height <= 1).all()


@quick
@given(sizes, maps_sizes, seeds)
def test_dark_on_heatmaps_is_exact_away_from_the_outermost_cells(size, cells, seed):
    codec = H.Heatmap(size, cells, refine='dark')
    step = (torch.tensor(size) - 1) / (torch.tensor(cells) - 1)
    g = torch.Generator().manual_seed(seed)
    xy = (1 + torch.rand(3, 5, 2, generator=g) * (torch.tensor(cells) - 3)) * step
    assert ((codec.decode(codec.encode(xy)[0][0])[0] - xy).abs() / step).max() < 5e-3


def test_dark_agrees_with_a_blur_of_the_whole_map():
    xy = points((192,256), margin=30)
    (maps,),_ = H.Heatmap().encode(xy)
    maps = maps + .02*torch.randn(maps.shape, generator=torch.manual_seed(0))
    d = torch.arange(-5, 6)
    k = (-d.square() / (2*2.**2)).softmax(-1)
    whole = torch.nn.functional.conv2d(maps.flatten(0, 1)[:,None], (k[:,None]*k)[None,None], padding=5).view(maps.shape)
    at = H.highest(maps)
    assert torch.allclose(H.blurred(maps, at, 11), H.around(whole, at), atol=1e-5)


def test_dark_stays_put_on_flat_and_empty_maps():
    at = torch.tensor([[0, 0], [4, 4], [8, 8]])
    for fill in (0., 1., -2.): assert torch.equal(H.refine_dark(torch.full((3,9,9), fill), at), at.float())


def test_dark_finds_the_top_of_a_tilted_hill_and_does_not_run_away():
    y, x = torch.meshgrid(torch.arange(5.), torch.arange(5.), indexing='ij')
    tilted = (-((x-2.2)**2 + (y-1.9)**2 + (x-2.2)*(y-1.9))/4).exp()
    assert torch.allclose(H.refine_dark(tilted, torch.tensor([2, 2])), torch.tensor([2.2, 1.9]), atol=1e-4)
    far = (-((x-5.)**2 + (y-2.)**2)/40).exp()  # its top is three cells away, farther than nine cells can tell
    assert H.refine_dark(far, torch.tensor([2, 2])).tolist() == [2., 2.]


def test_a_quarter_step_by_hand():
    m = torch.zeros(5, 5)
    m[2,2], m[2,3], m[1,2] = 1., .5, .2
    assert H.refine_quarter(m, torch.tensor([2, 2])).tolist() == [2.25, 1.75]
    assert H.refine_quarter(m, torch.tensor([0, 2])).tolist() == [0., 2.]


def test_the_heatmap_loss_by_hand():
    codec, w = H.Heatmap((8,8), (2,2)), torch.tensor([[1., 0.]])
    out, target = torch.ones(1, 2, 2, 2), torch.zeros(1, 2, 2, 2)
    out[0,0,0,0] = 3.
    assert codec.loss((out,), (target,), w).item() == pytest.approx((9 + 3)/4/2)
    assert codec.loss((target,), (target,), w) == 0


def test_a_normalized_hill_has_volume_one():
    (maps,),_ = H.Heatmap(normalize=True).encode(torch.tensor([[[96., 128.]]]))
    assert maps.sum().item() == pytest.approx(1, abs=1e-3) and maps.max().item() == pytest.approx(1/(8*math.pi), abs=2e-3)


def test_reach_cuts_the_hill_off():
    (maps,),_ = H.Heatmap(reach=3.).encode(torch.tensor([[[95.5, 127.5]]]))
    assert (maps > 0).sum() == 13*13


# The room

def test_no_codec_knows_another_or_anything_but_torch():
    more = {'grouping': {'numpy', 'scipy', 'heatmap'}, # people are heatmaps plus an assignment problem; it has a floor of its own
        'anchors': {'numpy', 'poselab'}} # k-means over the boxes of a data set; COCO's sigmas from its card
    for file in Path(poselab.codecs.__file__).parent.glob('*.py'):
        for line in re.findall(r'^\s*(?:from|import) (\S+)', file.read_text(), re.M):
            known = {'torch', 'dataclasses', 'functools', 'math'} | more.get(file.stem, set())
            assert line.lstrip('.').split('.')[0].rstrip(',') in known, f'{file.name} imports {line}'
