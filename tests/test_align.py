"What one page cannot show about alignment: any lag, any warp within the limit, gaps, lengths, rates, and a slow independent DTW."
import sys
import numpy as np, pytest
from hypothesis import given, settings, strategies as st
from poselab.score.align import ALIGNMENTS, Warp, align, dtw_path, fill, find_lag, limit_slope, resample, sample, show_warp

seeds = st.integers(0, 10**6)

def dance(t, seed=0, limbs=6):
    r = np.random.default_rng(seed)
    a = sum(r.normal(0, .8, limbs)*np.sin(2*np.pi*f*np.asarray(t)[:, None] + r.uniform(0, 6, limbs)) for f in (.3, .6, 1.1))
    return np.concatenate([np.cos(a), np.sin(a)], 1)

def noise(seed, shape, size=.05): return np.random.default_rng(seed).normal(0, size, shape)
CLOCK = np.arange(150)/25

# reading between frames

@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 30), at=st.lists(st.floats(-5, 40), min_size=1, max_size=8))
def test_a_straight_line_is_read_exactly_inside_and_not_at_all_outside(n, at):
    got = sample(np.arange(n, dtype=float)*3, np.array(at))
    for a, g in zip(at, got):
        if -1e-9 <= a <= n-1: assert abs(g - 3*max(a, 0)) < 1e-6
        elif not -1e-6 < a < n-1 + 1e-6: assert np.isnan(g)

def test_nothing_is_read_beside_an_unknown_frame_and_a_whole_frame_needs_no_neighbour():
    x = np.array([0., 1, np.nan, 3]); got = sample(x, np.array([1., 1.5, 2., 2.5, 3., np.nan]))
    assert np.array_equal(got, [1, np.nan, np.nan, np.nan, 3, np.nan], equal_nan=True)

def test_gaps_are_bridged_and_what_was_never_known_is_zero():
    x = np.array([[np.nan, np.nan], [1, np.nan], [np.nan, np.nan], [3, np.nan]])
    assert np.array_equal(fill(x), [[1, 0], [1, 0], [2, 0], [3, 0]]) and np.isnan(x[0, 0])

# lag

@settings(max_examples=40, deadline=None)
@given(seed=seeds, lag=st.integers(-30, 30))
def test_any_lag_is_recovered(seed, lag):
    long = dance(np.arange(-40, 190)/25, seed)
    S, T = long[40:190], long[40-lag:190-lag] + noise(seed, (150, 12))
    assert abs(find_lag(S, T) - lag) < .5

@settings(max_examples=20, deadline=None)
@given(seed=seeds, lag=st.floats(-1, 1))
def test_a_lag_between_two_frames_is_recovered_too(seed, lag):
    S, T = dance(CLOCK, seed), dance(CLOCK - lag, seed)
    assert abs(find_lag(S, T)/25 - lag) < .02

@settings(max_examples=15, deadline=None)
@given(seed=seeds, n=st.integers(2, 25), m=st.integers(2, 25))
def test_the_fft_finds_what_a_slow_loop_finds(seed, n, m):
    r = np.random.default_rng(seed); S, T = r.normal(size=(n, 3)), r.normal(size=(m, 3))
    def cost(k):
        a, b = (S[:m-k], T[k:k+n]) if k >= 0 else (S[-k:], T[:max(0, n+k)])
        w = min(len(a), len(b)); return ((a[:w] - b[:w])**2).sum()/w if w >= max(1, .75*min(n, m)) else np.inf
    best = min(range(-n+1, m), key=cost)
    assert abs(find_lag(S, T) - best) <= .5 + 1e-9

def test_most_lag_is_kept():
    S, T = dance(CLOCK), dance(CLOCK - 1.)
    assert abs(find_lag(S, T, most=10)) <= 10.5 and abs(find_lag(S, T) - 25) < .1

def test_a_constant_pose_has_no_lag():
    assert find_lag(np.ones((30, 4)), np.ones((70, 4))) == 0 and find_lag(np.ones((1, 4)), np.ones((1, 4))) == 0

def test_half_of_a_dance_is_found_where_it_lies():
    w = align(dance(CLOCK), dance(CLOCK)[75:], 'lag')
    assert abs(w.lag + 3) < .01 and w.coverage == .5 and np.isnan(w.at[:74]).all()

# dtw

def slow_dtw(S, T):
    cost = ((S[:, None] - T)**2).sum(-1); total = np.full((len(S)+1, len(T)+1), np.inf); total[0, 0] = 0
    for i in range(len(S)):
        for j in range(len(T)): total[i+1, j+1] = cost[i, j] + min(total[i, j], total[i, j+1], total[i+1, j])
    return total[-1, -1]

@settings(max_examples=30, deadline=None)
@given(seed=seeds, n=st.integers(1, 12), m=st.integers(1, 12), d=st.integers(1, 3))
def test_the_library_finds_the_cheapest_path(seed, n, m, d):
    r = np.random.default_rng(seed); S, T = r.normal(size=(n, d)), r.normal(size=(m, d))
    p = dtw_path(S, T); steps = np.diff(p, axis=0)
    assert np.isclose(((S[p[:, 0]] - T[p[:, 1]])**2).sum(), slow_dtw(S, T))
    assert p[0].tolist() == [0, 0] and p[-1].tolist() == [n-1, m-1] and ((steps >= 0) & (steps <= 1)).all()

@settings(max_examples=25, deadline=None)
@given(seed=seeds, size=st.floats(.05, .25), period=st.floats(4, 8), lag=st.floats(-.4, .8))
def test_a_known_warp_is_recovered(seed, size, period, lag):
    late = lag + size*np.sin(2*np.pi*CLOCK/period); clock = np.arange(190)/25
    T = dance(np.interp(clock, CLOCK + late, CLOCK), seed) + noise(seed, (190, 12))
    got = align(dance(CLOCK, seed), T, 'dtw', most_lag=2.).shift()
    assert np.nanmedian(np.abs(got - late)[15:-15]) < .05

@settings(max_examples=40, deadline=None)
@given(seed=seeds, slope=st.floats(1, 3))
def test_the_limit_is_kept_and_a_limited_warp_stays(seed, slope):
    w = np.cumsum(np.random.default_rng(seed).exponential(1, 60)); out = limit_slope(w, slope); d = np.diff(out)
    assert (d <= slope + 1e-9).all() and (d >= 1/slope - 1e-9).all() and np.allclose(limit_slope(out, slope), out)

@settings(max_examples=20, deadline=None)
@given(seed=seeds)
def test_no_limited_warp_is_nearer_at_its_worst(seed):
    r = np.random.default_rng(seed); w = np.cumsum(r.exponential(1, 30)); best = np.abs(limit_slope(w, 1.5) - w).max()
    for _ in range(50):
        other = np.cumsum(r.uniform(1/1.5, 1.5, 30)); other += w.mean() - other.mean()
        assert np.abs(other - w).max() >= best - 1e-9

@settings(max_examples=15, deadline=None)
@given(seed=seeds, slope=st.sampled_from([1.2, 1.5, 2.]))
def test_a_stranger_is_never_warped_beyond_window_and_slope(seed, slope):
    w = align(dance(CLOCK, seed), dance(CLOCK, seed+1), 'dtw', most_lag=.5, window=.6, slope=slope)
    d = np.diff(w.at[np.isfinite(w.at)]); inner = d[1:-1]
    assert (inner <= slope + 1e-6).all() and (np.abs(w.late_ms[np.isfinite(w.at)]) < 2600).all() and (d >= -1e-9).all()

def test_frame_rates_may_differ():
    S, T = dance(CLOCK), dance(np.arange(200)/30 - .4)
    for how, tol in (('lag', .02), ('dtw', .05)): assert abs(align(S, T, how, 25, 30).lag - .4) < tol
    none = align(dance(CLOCK), dance(np.arange(180)/30), 'none', 25, 30)
    assert np.allclose(none.apply(dance(np.arange(180)/30)), dance(CLOCK), atol=.02) and abs(none.lag) < 1e-9

def test_unknown_limbs_do_not_stop_the_alignment():
    S, T = dance(CLOCK), dance(CLOCK - .48); T[20:40, 3] = np.nan; T[:, 7] = np.nan; S[60:70] = np.nan
    for how in ('lag', 'dtw'):
        w = align(S, T, how); assert abs(w.lag - .48) < .05 and np.isnan(w.apply(T)[:, 7]).all()

@pytest.mark.parametrize('how', ALIGNMENTS)
@pytest.mark.parametrize('n, m', [(1, 1), (1, 9), (9, 1), (2, 3), (40, 7)])
def test_short_and_unequal_clips_have_a_warp(how, n, m):
    w = align(dance(np.arange(n)/25), dance(np.arange(m)/25), how)
    assert len(w.at) == n and len(w.apply(np.zeros((m, 2)))) == n and not (w.at > m-1).any() and not (w.at < 0).any()

def test_identical_dances_are_left_alone():
    for how in ALIGNMENTS: assert np.allclose(align(dance(CLOCK), dance(CLOCK), how).at, np.arange(150), atol=1e-6)

def test_lag_and_lateness_add_up_to_the_shift():
    w = Warp('dtw', np.array([5., 6, 8, 10, np.nan]), 25., 25.)
    assert np.allclose(w.shift()[:4], w.lag + w.late_ms[:4]/1000) and w.coverage == .8

def test_bad_switches_say_what_there_is():
    with pytest.raises(ValueError, match='none, stretch, lag, dtw'): align(dance(CLOCK), dance(CLOCK), 'fast')
    with pytest.raises(ValueError, match='1 or more'): align(dance(CLOCK), dance(CLOCK), 'dtw', slope=.5)

def test_the_band_keeps_memory_small():
    import tracemalloc
    t = np.arange(4000)/25; S, T = dance(t), dance(t - .3)
    align(S[:50], T[:50], 'dtw'); tracemalloc.start(); align(S, T, 'dtw'); peak = tracemalloc.get_traced_memory()[1]; tracemalloc.stop()
    least = 40e6 if sys.version_info >= (3, 11) else 100e6 # dtaidistance 2.3, the last with a wheel for Python 3.10, holds more than the band
    assert peak < least, 'the full table would be 128 MB'

def test_the_warp_can_be_drawn():
    import matplotlib; matplotlib.use('Agg')
    axes = show_warp(align(dance(CLOCK), dance(CLOCK - .2), 'dtw')); assert 'lag' in axes[0].get_legend().get_texts()[0].get_text()
    assert resample(dance(CLOCK), 10).shape == (10, 12)
