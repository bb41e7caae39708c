"What one page cannot show about explanations: every limb, side and reason, windows that never overlap, frames that fit the films."
from functools import lru_cache
import numpy as np, pytest
from hypothesis import given, settings, strategies as st
from poselab.data.figures import Mistake, choreography
from poselab.schema import load_schema
from poselab.score.angles import t_pose
from poselab.score.dance import score_dance
from poselab.score.explain import (advice, amplitude_ratio, best_shift, lateness, limb_table, reason, show_moments, size_fit, where,
                                   worst_moments)

COCO = load_schema('coco')
seeds = st.integers(0, 10**6)
def circle(degrees): return np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], -1)
def score(a, b, **kw): return score_dance(a, b, COCO, **kw)

@lru_cache(maxsize=None)
def danced(name='disco', *mistakes, body=0, **kw): return choreography(name, body_seed=body, mistakes=mistakes, **kw)

@lru_cache(maxsize=None)
def scored(*mistakes, name='disco'): return score(danced(name).keypoints, danced(name, *mistakes, body=3).keypoints)

# by hand

SWING = 45*np.sin(2*np.pi*.8*np.arange(100)/25)

@settings(max_examples=30, deadline=None)
@given(late=st.floats(-10, 10), phase=st.floats(0, 6))
def test_a_shift_of_one_limb_is_recovered_to_a_fraction_of_a_frame(late, phase):
    t = np.arange(120); f = lambda x: circle(40*np.sin(2*np.pi*x/40 + phase) + 15*np.sin(2*np.pi*x/27))
    got, left = best_shift(f(t), f(t - late), 30, 90)
    assert abs(got - late) < .6 and left < 4

@settings(max_examples=30, deadline=None)
@given(ratio=st.floats(.1, 1.2), turn=st.floats(-180, 180))
def test_amplitude_does_not_care_where_the_limb_is_held(ratio, turn):
    assert abs(amplitude_ratio(circle(SWING/2), circle(ratio*SWING/2 + turn)) - ratio) < .03

def test_a_limb_at_rest_has_no_amplitude():
    assert np.isnan(amplitude_ratio(circle(0*SWING), circle(SWING))) and np.isnan(amplitude_ratio(np.full((9, 2), np.nan), circle(SWING[:9])))

def test_a_smaller_movement_about_the_same_centre_fits_without_rest():
    S = circle(SWING); ratio, left = size_fit(S, circle(SWING*.5), S.mean(0))
    assert .4 < ratio < .6 and left < 6

def test_an_unknown_limb_lists_the_known_ones():
    with pytest.raises(ValueError, match='left_forearm'): where(scored(), 'tail')

@pytest.mark.parametrize('kind, late, amp, words, want', [
    ('place', 0, 1, 'too low', 'left forearm 40° too low, 1.1–2.2 s; practise holding it higher'),
    ('timing', 280, 1, '', 'left forearm 280 ms late, 1.1–2.2 s; practise it with the count and start it earlier'),
    ('timing', -80, 1, '', 'left forearm 80 ms early, 1.1–2.2 s; practise it with the count and wait for it'),
    ('size', 0, .4, '', "movement of the left forearm too small (0.4 of the teacher's), 1.1–2.2 s; "
                        'practise taking it further'),
    ('size', 0, 1.6, '', "movement of the left forearm too large (1.6 of the teacher's), 1.1–2.2 s; practise taking it less far")])
def test_sentences_are_what_a_teacher_would_say(kind, late, amp, words, want):
    assert advice('left_forearm', kind, -40, words, late, amp, 1.1, 2.2) == want

def test_a_shift_that_leaves_a_handful_of_known_frames_is_not_tried():
    S, T = circle(SWING), circle(SWING + 60)
    S[40:] = T[40:] = np.nan; T[30:40] = S[:10] # 40 known frames, of which ten fit when 30 frames late
    assert abs(best_shift(S, T, 0, 100, 30)[0]) <= 16.5 # 24 frames are left there

@settings(max_examples=20, deadline=None)
@given(seed=seeds, late=st.integers(5, 10))
def test_lateness_is_said_where_a_shift_supports_it_and_not_for_noise(seed, late):
    rng = np.random.default_rng(seed); swing = 45*np.sin(2*np.pi*.8*np.arange(-30, 100)/25)
    S, T = circle(SWING), circle(swing[30-late:130-late] + rng.normal(0, 8, 100))
    assert abs(lateness(S, T, 25.) - 40*late) < 60
    noise = circle(rng.normal(0, 15, 100)), circle(rng.normal(0, 15, 100))
    assert not abs(lateness(*noise, 25.)) > 60 # unknown, or on time

def test_lateness_at_the_end_of_the_search_or_from_few_frames_is_unknown():
    t = np.arange(200); ramp = circle(.5*t), circle(.5*(t - 40)) # later than the search looks
    assert np.isnan(lateness(*ramp, 25.)) and np.isnan(lateness(circle(SWING[:20]), circle(SWING[:20]), 25.))

def test_trembling_limbs_of_a_clean_pupil_are_not_called_late():
    rng = np.random.default_rng(0); told = []
    for name in ('disco', 'kicks', 'hiphop', 'ballet'):
        a, b = (danced(name, body=i).keypoints + rng.normal(0, 2.5, (100, 17, 2)) for i in (0, 4))
        told += [r.late_ms for r in limb_table(score(a, b))]
    assert np.isfinite(told).sum() > 10 and not (np.abs(told) > 60).any()

# words

@pytest.mark.parametrize('places, words', [
    (dict(left_elbow=(53, -32), left_wrist=(81, -4)), 'left upper arm 45° too low'),
    (dict(left_elbow=(53, -88), left_wrist=(81, -116)), 'left upper arm 45° too high'),
    (dict(right_elbow=(-53, -32), right_wrist=(-81, -4)), 'right upper arm 45° too low'),
    (dict(left_knee=(54, 59), left_ankle=(93, 98)), 'left thigh 45° too far out'),
    (dict(right_knee=(-54, 59), right_ankle=(-93, 98)), 'right thigh 45° too far out'),
    (dict(left_knee=(-24, 59), left_ankle=(-63, 98)), 'left thigh 45° too far in')])
@pytest.mark.parametrize('from_behind', [False, True])
def test_the_letter_t_hears_low_high_out_and_in_on_its_own_side(places, words, from_behind):
    turn = [-1, 1] if from_behind else [1, 1] # a dancer seen from behind: left is on the left of the picture
    m = worst_moments(score(t_pose(COCO)*turn, t_pose(COCO, **places)*turn))
    assert len(m) == 1 and m[0].sentence.startswith(words), m[0].sentence

# reasons, on rendered dancers

@pytest.mark.parametrize('limb', ['left_arm', 'right_arm', 'left_leg'])
def test_a_late_limb_is_late_and_by_how_much(limb):
    m = worst_moments(scored(Mistake(limb, .5, 3.3, kind='late', seconds=.28), name='kicks' if 'leg' in limb else 'disco'))[0]
    assert m.limb.startswith(limb.split('_')[0]) and m.kind == 'timing' and abs(m.late_ms - 280) < 110 and 'late' in m.sentence

@pytest.mark.parametrize('limb', ['left_upper_arm', 'right_forearm', 'left_thigh', 'right_shin'])
def test_a_limb_held_wrongly_is_in_the_wrong_place(limb):
    m = worst_moments(scored(Mistake(limb, 1., 2.2, degrees=40)))[0]
    assert m.limb == limb and m.kind == 'place' and abs(abs(m.degrees) - 40) < 15

def test_a_whole_dance_that_is_half_as_large_is_too_small():
    s = score(danced().keypoints, danced(amplitude=.5, body=2).keypoints)
    moments = worst_moments(s); table = {r.limb: r for r in limb_table(s)}
    assert moments and moments[0].kind == 'size' and moments[0].amplitude < .75
    assert table[moments[0].limb].amplitude < .8

def test_without_a_mistake_there_is_no_moment():
    assert worst_moments(scored()) == []

# the list

@settings(max_examples=15, deadline=None)
@given(seed=seeds, n=st.integers(1, 8))
def test_moments_never_overlap_and_fit_the_films(seed, n):
    r = np.random.default_rng(seed)
    a, b = (danced(name).keypoints for name in r.choice(['disco', 'waves', 'kicks', 'swim'], 2, replace=False))
    s = score(a, b[:80], fps_tested=20.); moments = worst_moments(s, n); spans = sorted(m.frames for m in moments)
    assert len(moments) <= n and all(x[1] <= y[0] for x, y in zip(spans, spans[1:]))
    for m in moments:
        assert 0 <= m.frames[0] <= m.peak < m.frames[1] <= 100 and 0 <= m.frames_tested[0] < m.frames_tested[1] <= 80
        assert m.frames_tested[0] <= m.peak_tested < m.frames_tested[1] and m.kind in ('place', 'timing', 'size')
        assert m.limb.replace('_', ' ') in m.sentence and m.limb not in m.also
    assert [m.weight for m in moments] == sorted((m.weight for m in moments), reverse=True)

def test_frames_of_the_tested_film_follow_the_lag():
    late = danced('disco', Mistake('left_forearm', 1., 2., degrees=45), body=3, lag=.4, seconds=5.).keypoints
    m = worst_moments(score(danced().keypoints, late, align='lag'))[0]
    assert m.limb == 'left_forearm' and abs(m.frames_tested[0] - m.frames[0] - 10) <= 1

def test_another_limb_at_the_same_time_is_kept_as_also():
    s = scored(Mistake('left_forearm', 1., 2.5, degrees=60), Mistake('right_shin', 1., 2.5, degrees=35))
    m = worst_moments(s)[0]; assert {m.limb, *m.also} >= {'left_forearm', 'right_shin'}

def test_a_limb_known_for_less_than_a_second_has_no_size_and_no_timing():
    xy = danced('disco', amplitude=.5).keypoints.copy(); xy[:, COCO.index('left_wrist')][20:] = np.nan
    table = {r.limb: r for r in limb_table(score(danced().keypoints, xy))}
    assert np.isnan([table['left_forearm'].amplitude, table['left_forearm'].late_ms]).all() and table['right_forearm'].amplitude < .8

def test_a_limb_that_shares_little_with_a_heavier_one_keeps_its_own_moment():
    s = scored(Mistake('left_forearm', .8, 1.9, degrees=70), Mistake('right_forearm', 1.7, 2.8, degrees=45))
    one, two = worst_moments(s)
    assert (one.limb, two.limb) == ('left_forearm', 'right_forearm') and one.frames[1] <= two.frames[0] and 2.4 < two.stop < 3
    assert two.frames[0] <= two.peak < two.frames[1]

def test_the_table_has_every_limb_once_and_says_how_much_was_seen():
    xy = danced().keypoints.copy(); xy[:50, COCO.index('left_wrist')] = np.nan
    table = {r.limb: r for r in limb_table(score(danced().keypoints, xy))}
    assert len(table) == 11 and table['left_forearm'].known == .5 and 'spine' not in table
    assert all(r.degrees < 1e-3 for r in table.values()) and table['right_forearm'].late_ms == pytest.approx(0, abs=1)

@pytest.mark.parametrize('kw', [dict(mode='angles'), dict(frame='image'), dict(reading='literal')])
def test_every_reading_can_be_explained(kw):
    s = score(danced().keypoints, danced('disco', Mistake('left_forearm', 1., 2., degrees=45), body=3).keypoints, **kw)
    assert worst_moments(s) and limb_table(s)

def test_three_dimensions_are_explained_too():
    s = score(danced().keypoints3d, danced('disco', Mistake('right_forearm', 1., 2., degrees=45), body=3).keypoints3d)
    m = worst_moments(s)[0]; assert m.limb == 'right_forearm' and 1 <= m.peak/25 <= 2 and len(limb_table(s)) == 11

def test_single_poses_and_unknown_frames_do_not_break_it():
    s = score(t_pose(COCO), t_pose(COCO, left_wrist=(65, -100))); assert worst_moments(s)[0].limb == 'left_forearm' and limb_table(s)
    xy = danced().keypoints.copy(); xy[10:40] = np.nan; assert worst_moments(score(danced().keypoints, xy)) == []

def test_the_reason_reports_what_each_repair_left():
    why = reason(scored(Mistake('right_arm', .5, 3.3, kind='late', seconds=.28)), 'right_upper_arm', 15, 80)
    assert why['left']['timing'] < .5*why['left']['none'] and why['kind'] == 'timing'

def test_moments_can_be_drawn():
    import matplotlib; matplotlib.use('Agg')
    ax = show_moments(scored(Mistake('left_forearm', 1., 2., degrees=40))); assert len(ax.patches) == 1
