"Masks, sampling and deformable attention of paper 004"
import math, time
import cv2, numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st
from poselab.modules.counts import count_params
from poselab.modules.motion import (SAMPLERS, ADCBlock, CrossAttention, DeformableConv, DeformableCrossAttention, TokenReduction, frame_pair, grid_points,
                                    human_mask, keypoint_map, keypoint_mask, pair_tokens, sample, sampling_explorer, sampling_numbers, seeker)

def seeded(*shape, seed=0): return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))

# --- masks ----------------------------------------------------------------------------------------------------

def test_the_human_mask_by_hand():
    x,token = torch.tensor([[[2., 0, 0, 0], [0, 4, 0, 0], [-2, 0, 0, 0]]]),torch.tensor([[[3., 1, 0, 0]]])
    assert human_mask(x, token, 'identity').flatten().tolist() == [6, 4, -6] # Eq. 1 as printed
    want = [1/(1 + math.exp(-v/2)) for v in (6, 4, -6)] # √4 = 2
    assert human_mask(x, token).flatten().tolist() == pytest.approx(want)

def test_the_keypoint_mask_by_hand():
    x,tokens = torch.tensor([[[1.], [0.], [-1.]]]),torch.tensor([[[1.], [-2.]]])
    e = math.exp
    a,b = [[e(v)/sum(map(e, row)) for v in row] for row in ([1, 0, -1], [-2, 0, 2])]
    total = [p + q for p,q in zip(a, b)]
    assert keypoint_mask(tokens, x, rescale=False).flatten().tolist() == pytest.approx(total)
    assert keypoint_mask(tokens, x).flatten().tolist() == pytest.approx([3/2*t for t in total])

@given(n=st.integers(1, 3), tokens=st.integers(1, 9), places=st.integers(1, 40), dim=st.integers(1, 16), loud=st.floats(.1, 30))
@settings(max_examples=30, deadline=None)
def test_the_keypoint_mask_has_mean_one_or_as_printed_keypoints_over_places(n, tokens, places, dim, loud):
    t,x = loud*seeded(n, tokens, dim),seeded(n, places, dim, seed=1)
    one,printed = keypoint_mask(t, x),keypoint_mask(t, x, rescale=False)
    assert one.shape == printed.shape == (n, places, 1) and one.min() >= 0
    torch.testing.assert_close(one.mean(1), torch.ones(n, 1), atol=1e-4, rtol=0)
    torch.testing.assert_close(printed.mean(1), torch.full((n, 1), tokens/places), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(keypoint_map(t, x).sum(-1), torch.ones(n, tokens), atol=1e-4, rtol=0)

def test_a_softmax_over_tokens_would_leave_no_mask():
    t,x = seeded(2, 5, 8),seeded(2, 7, 8, seed=1)
    torch.testing.assert_close((t @ x.mT).softmax(1).sum(1), torch.ones(2, 7))

def test_token_reduction_mixes_places_and_never_channels():
    m = TokenReduction(6, 2)
    assert count_params(TokenReduction(576, 192)) == 147_840
    x = seeded(1, 6, 3); y = x.clone(); y[..., 0] += 1
    a,b = m(x),m(y)
    assert a.shape == (1, 2, 3) and torch.equal(a[..., 1:], b[..., 1:]) and not torch.allclose(a[..., 0], b[..., 0])

# --- sampling -------------------------------------------------------------------------------------------------

def looped(x, at, size):
    "Bilinear values, one place after the other, nothing outside"
    (w,h),out = size,torch.zeros(*at.shape[:3], x.shape[-1])
    for n in range(at.shape[0]):
        for q in range(at.shape[1]):
            for p in range(at.shape[2]):
                px,py = at[n, q, p].tolist()
                for cx in (math.floor(px), math.floor(px) + 1):
                    for cy in (math.floor(py), math.floor(py) + 1):
                        if 0 <= cx < w and 0 <= cy < h: out[n, q, p] += (1 - abs(px - cx))*(1 - abs(py - cy))*x[n, cy*w + cx]
    return out

@given(w=st.integers(2, 6), h=st.integers(2, 6), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_samples_are_those_of_a_loop_inside_and_outside(w, h, seed):
    x = seeded(2, w*h, 3, seed=seed)
    at = torch.rand(2, 4, 3, 2, generator=torch.Generator().manual_seed(seed))*torch.tensor([w + 2., h + 2.]) - 1.5
    torch.testing.assert_close(sample(x, at, (w, h)), looped(x, at, (w, h)), atol=1e-4, rtol=1e-4)

@given(w=st.integers(1, 7), h=st.integers(1, 7))
@settings(max_examples=15, deadline=None)
def test_every_cell_finds_itself(w, h):
    x = seeded(1, w*h, 4)
    at = grid_points((w, h))
    assert at.shape == (w*h, 2) and at[-1].tolist() == [w - 1, h - 1]
    if min(w, h) > 1: torch.testing.assert_close(sample(x, at[None, :, None], (w, h))[:, :, 0], x, atol=1e-5, rtol=1e-5)

def test_halves_are_sampled_where_whole_numbers_are():
    x,at = seeded(1, 192, 4),grid_points((12, 16))[None, :, None] + .3
    torch.testing.assert_close(sample(x.bfloat16(), at, (12, 16)).float(), sample(x.bfloat16().float(), at, (12, 16)), atol=.02, rtol=.02)

# --- deformable cross attention -------------------------------------------------------------------------------

def test_one_query_and_one_place_by_hand():
    m = DeformableCrossAttention(1, heads=1, points=1, reach=2.)
    for lin in (m.q, m.k, m.v, m.o): torch.nn.init.ones_(lin.weight); torch.nn.init.zeros_(lin.bias)
    with torch.no_grad(): m.theta.bias.copy_(torch.tensor([math.atanh(.25), -math.atanh(.5)])) # half a cell to the right, one up
    x = torch.arange(9.)[None, :, None] # 3×3, value 3·row + column
    assert m.offsets(x, x, (3, 3))[0, 4].flatten().tolist() == pytest.approx([.5, -1])
    assert m(x, x, (3, 3))[0, 4].item() == pytest.approx(1.5) # row 0, between columns 1 and 2
    assert m(x, x, (3, 3))[0, 5].item() == pytest.approx(.5*2) # column 2.5: half of it is outside

def test_two_places_are_weighed_by_a_softmax():
    m = DeformableCrossAttention(1, heads=1, points=2, reach=4.)
    for lin in (m.q, m.k, m.v, m.o): torch.nn.init.ones_(lin.weight); torch.nn.init.zeros_(lin.bias)
    x = torch.arange(9.)[None, :, None]
    at,weights,out = m.attend(x, x, (3, 3))
    torch.testing.assert_close(at[0, 4], torch.tensor([[2., 1], [0, 1]])) # at the start: a circle of one cell
    q,right,left = 4.,5.,3.
    share = 1/(1 + math.exp(q*(left - right)))
    assert weights[0, 4, 0, 0].item() == pytest.approx(share) and out[0, 4].item() == pytest.approx(share*right + (1 - share)*left)

@pytest.mark.parametrize('led', [True, False])
def test_weighting_before_sampling_is_what_the_equation_says(led):
    torch.manual_seed(0)
    m,(w,h) = DeformableCrossAttention(8, 2, 3, led=led),(4, 5)
    torch.nn.init.normal_(m.theta.weight)
    x,z = seeded(2, w*h, 8),seeded(2, w*h, 8, seed=1)
    at,weights,out = m.attend(x, z, (w, h))
    seen = sample(x, at, (w, h)) # Eq. 4: first the samples, then W_k and W_v
    k,v = (t.unflatten(-1, (2, 4)) for t in (m.k(seen), m.v(seen)))
    q = m.q(x).unflatten(-1, (2, 4))
    want = ((q[:, :, None]*k).sum(-1)/2).softmax(2) # √4 = 2
    torch.testing.assert_close(weights, want, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(out, m.o((want[..., None]*v).sum(2).flatten(2)), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(weights.sum(2), torch.ones(2, w*h, 2))

@given(w=st.integers(1, 6), h=st.integers(1, 6), heads=st.sampled_from([1, 2, 4]), points=st.integers(1, 6), reach=st.floats(.5, 9))
@settings(max_examples=15, deadline=None)
def test_offsets_stay_within_reach_on_maps_of_any_size(w, h, heads, points, reach):
    m = DeformableCrossAttention(8, heads, points, reach)
    torch.nn.init.normal_(m.theta.weight, std=9.)
    x = seeded(2, w*h, 8)
    off = m.offsets(x, x, (w, h))
    assert off.shape == (2, w*h, points, 2) and off.abs().max() <= reach + 1e-5 and m(x, x, (w, h)).isfinite().all()

def test_what_leads_moves_the_places_and_plain_attention_does_not_hear_it():
    x,z = seeded(1, 12, 8),seeded(1, 12, 8, seed=1)
    for led in (True, False):
        torch.manual_seed(0)
        m = DeformableCrossAttention(8, 2, led=led)
        torch.nn.init.normal_(m.theta.weight)
        assert torch.equal(m.offsets(x, z, (3, 4)), m.offsets(x, z + 1, (3, 4))) == (not led)

def test_the_first_step_reaches_neither_psi_nor_what_leads_and_the_second_reaches_all():
    torch.manual_seed(0)
    m,x,z = DeformableCrossAttention(8, 2),seeded(2, 20, 8),seeded(2, 20, 8, seed=1)
    opt = torch.optim.SGD(m.parameters(), .01)
    silent = []
    for _ in range(2):
        opt.zero_grad(); m(x, z, (4, 5)).square().sum().backward()
        silent.append({n for n,p in m.named_parameters() if not p.grad.abs().sum() > 0})
        opt.step()
    assert silent[0] >= {'z.weight', 'z.bias', 'psi.0.weight', 'psi.2.weight'} and silent[1] <= {'k.bias'}
    # the key's bias adds the same to every place of a query: a softmax does not notice

# --- rivals and blocks ----------------------------------------------------------------------------------------

def test_a_deformable_convolution_that_has_not_wandered_is_a_convolution():
    torch.manual_seed(0)
    m,x = DeformableConv(4),seeded(2, 30, 4)
    kernel = m.weight.weight.unflatten(1, (3, 3, 4)).permute(0, 3, 1, 2)
    want = torch.nn.functional.conv2d(x.mT.unflatten(-1, (6, 5)), kernel, m.weight.bias, padding=1)
    torch.testing.assert_close(m(x, None, (5, 6)), want.flatten(2).mT, atol=1e-5, rtol=1e-4)

def test_cross_attention_is_torchs():
    torch.manual_seed(0)
    m,x,z = CrossAttention(8, 2),seeded(2, 5, 8),seeded(2, 7, 8, seed=1)
    peer = torch.nn.MultiheadAttention(8, 2, batch_first=True)
    with torch.no_grad():
        peer.in_proj_weight.copy_(torch.cat([m.q.weight, m.k.weight, m.v.weight])); peer.in_proj_bias.copy_(torch.cat([m.q.bias, m.k.bias, m.v.bias]))
        peer.out_proj.weight.copy_(m.o.weight); peer.out_proj.bias.copy_(m.o.bias)
    torch.testing.assert_close(m(x, z), peer(x, z, z)[0], atol=1e-5, rtol=1e-4)

def test_the_counts_of_paper_scale():
    with torch.device('meta'):
        assert count_params(DeformableCrossAttention(1024)) == 5_781_256 and count_params(CrossAttention(1024)) == 4_198_400
        block = ADCBlock(1024)
        assert count_params(block) == 36_754_960 and count_params(block.mlp) == 16_783_360

@pytest.mark.parametrize('motion', SAMPLERS)
@pytest.mark.parametrize('apart', [True, False])
@pytest.mark.parametrize('cross', [True, False])
def test_every_variant_keeps_the_shape_and_learns_everywhere(motion, apart, cross):
    torch.manual_seed(0)
    m = ADCBlock(8, 2, 3, motion=motion, cross=cross, apart=apart)
    x,z = seeded(2, 15, 16),seeded(2, 15, 8, seed=1)
    opt = torch.optim.SGD(m.parameters(), .1)
    for _ in range(2):
        opt.zero_grad(); y = m(x, z, (3, 5)); (y*seeded(*y.shape, seed=2)).sum().backward(); opt.step()
    assert y.shape == x.shape
    assert {n for n,p in m.named_parameters() if not p.grad.abs().sum() > 0} <= {f'directions.{i}.{k}.k.bias' for i in (0, 1) for k in ('sampler', 'cross')}
    found = m.offsets(x, z, (3, 5))
    assert [tuple(o.shape) for o in found] == [(2, 15, 9 if motion == 'dc' else 3, 2)]*(2 if apart else 1)

def test_directions_apart_do_not_hear_each_other_before_the_two_layers():
    torch.manual_seed(0)
    x,z = seeded(1, 12, 16),seeded(1, 12, 8, seed=1)
    y = x.clone(); y[..., 8:] += seeded(1, 12, 8, seed=2)
    for apart in (True, False):
        m = ADCBlock(8, 2, apart=apart)
        with torch.no_grad(): torch.nn.init.zeros_(m.mlp[2].weight); torch.nn.init.zeros_(m.mlp[2].bias)
        assert torch.equal(m(x, z, (3, 4))[..., :8], m(y, z, (3, 4))[..., :8]) == apart

def test_an_unknown_sampler_is_refused_by_name():
    with pytest.raises(ValueError, match="'dcn' is unknown.*'dca', 'da', 'dc'"): ADCBlock(8, 2, motion='dcn')

# --- to look at -----------------------------------------------------------------------------------------------

def test_a_query_looks_within_its_reach_and_takes_everything_from_somewhere():
    for cell in ((0, 0), (23, 31), (12, 10)):
        for reach in (1.5, 10.):
            n = sampling_numbers(*cell, reach=reach)
            assert (n['at'] - n['query']).abs().max() <= reach + 1e-5 and n['weights'].sum().item() == pytest.approx(1, abs=1e-5)
            assert n['picture'].shape == (512, 384, 3) and n['picture'].dtype.name == 'uint8' and 0 <= n['share'] <= 1 + 1e-5
    assert not (sampling_numbers(12, 10)['picture'] == sampling_numbers(18, 22)['picture']).all()
    with pytest.raises(ValueError, match=r'\(24, 0\).*24×32'): sampling_numbers(24, 0)
    with pytest.raises(ValueError, match="'dog'.*astronaut"): sampling_numbers(picture='dog')

def test_what_the_viewer_shows_is_a_real_deformable_cross_attention():
    m,z,size = pair_tokens(*frame_pair('dancer 1')); net = seeker()
    with torch.no_grad(): at,weights,_ = net.dca.attend(net.x(m), net.z(z), size)
    n = sampling_numbers(7, 9, picture='dancer 1')
    torch.testing.assert_close(n['at'], at[0, 9*24 + 7]); torch.testing.assert_close(n['weights'], weights[0, 9*24 + 7, :, 0])
    cells = [(c, r) for c in (4, 9, 14, 19) for r in (8, 16, 24)]
    made,fitted = ([sampling_numbers(*q, picture='dancer 1', steps=s) for q in cells] for s in (0, 120))
    torch.testing.assert_close(*(s['at'] - s['query'] for s in made[:2])) # as made, every query looks alike
    assert np.mean([s['share'] for s in fitted]) > 1.5*np.mean([s['share'] for s in made])

def test_the_fit_is_the_same_every_time_and_leaves_the_dice_alone():
    torch.manual_seed(3); state = torch.get_rng_state()
    a = seeker.__wrapped__(3); b = seeker.__wrapped__(3)
    assert torch.equal(state, torch.get_rng_state()) and all(torch.equal(p, q) for p,q in zip(a.parameters(), b.parameters()))

@pytest.mark.parametrize('shape', [(40, 90), (1, 500), (3000, 2), (256, 256)])
def test_a_picture_of_any_shape_has_a_second_frame(shape):
    first,second = frame_pair(np.random.default_rng(0).integers(0, 255, (*shape, 3), np.uint8))
    assert first.shape == second.shape and max(first.shape) == 256 and not any(s % 8 for s in first.shape[:2])
    n = sampling_numbers(0, 0, picture=np.zeros((*shape, 3), np.uint8)) # nothing changes anywhere
    assert np.isfinite(n['share']) and torch.isfinite(n['at']).all()

def test_the_widget_moves_its_picture_and_takes_another():
    pytest.importorskip('ipywidgets')
    from datetime import datetime, timezone
    box = sampling_explorer()
    controls,wrong,words,screen = box.children
    picture,weights,column,row,reach,upload = controls.children
    def bring(data): upload.value = (dict(name='me', type='image/png', size=len(data), content=data, last_modified=datetime.now(timezone.utc)),)
    before,said = screen.value,words.value
    row.value = 5
    assert screen.value != before and words.value != said and 'The query looks' in said and '0.2 s apart' in said
    before = screen.value; weights.value = 0
    assert screen.value != before
    row.value = 31; picture.value = 'cup' # wider than high
    assert row.value == row.max == 20 and column.max == 31 and 'turned by 3°' in words.value
    before = screen.value; bring(b'words')
    assert 'no picture' in wrong.value and screen.value == before and picture.value == 'cup'
    for shape in ((50, 20, 3), (20, 50, 3)): # the second one replaces the first
        before = screen.value; bring(cv2.imencode('.png', np.random.default_rng(1).integers(0, 255, shape, np.uint8))[1].tobytes())
        assert picture.value == 'my own' and screen.value != before and wrong.value == '' and 'turned' in words.value
        assert (column.max, row.max) == ((12, 31) if shape[0] == 50 else (31, 12))

def test_every_answer_of_the_viewer_comes_within_150_ms_of_cpu():
    seeker(); photo = np.random.default_rng(0).integers(0, 255, (960, 1280, 3), np.uint8); sampling_numbers(picture=photo)
    took = []
    for column in range(5):
        start = time.process_time(); sampling_numbers(column, 3, picture=photo); took.append(time.process_time() - start)
    assert sorted(took)[2] < .15, took
