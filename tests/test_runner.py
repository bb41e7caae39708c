"Rendered runners: the planted numbers are in the joints, whoever runs"
from dataclasses import replace
import numpy as np, pytest
from hypothesis import given, settings, strategies as st
from poselab.data.figures import JOINTS, mesh_points, render_clip
from poselab.data.runner import Gait, ankle_over_sole, bend_leg, draw_steps, random_gait, run_motion

SIDES = 'left', 'right'
def joint(run, name): return run.joints[:, JOINTS.index(name)]
def leg(run): return .491*run.dancer.body.legs*run.dancer.body.stature
seeds = st.integers(0, 10**6)

@settings(max_examples=25, deadline=None)
@given(seeds, st.integers(0, 500))
def test_every_gait_fits_every_body(seed, body):
    run = run_motion(random_gait(np.random.default_rng(seed)), 1.5, 60, seed=seed, body_seed=body)
    assert np.isfinite(run.keypoints).all() and np.isfinite(run.joints).all() and len(run) == 90

@settings(max_examples=15, deadline=None)
@given(seeds)
def test_the_planted_numbers_are_in_the_joints(seed):
    gait = random_gait(np.random.default_rng(seed), wobble=0.)
    run = run_motion(gait, 3.5*120/gait.cadence, 500, body_seed=seed % 90, turn=90.)
    for side,sign in zip(SIDES, (1, -1)):
        at = run.stances(side); half = {k: 1 + sign*v/2 for k,v in gait.asymmetry.items()}
        assert np.allclose(np.diff(at, axis=1), gait.contact*half['contact'])
        assert np.allclose(np.diff(at[:,0]), 120/gait.cadence)
        frames = np.round(at[:,0]*500).astype(int)
        ahead = (joint(run, f'{side}_ankle') - joint(run, f'{side}_hip'))[frames, 0]/leg(run)
        assert np.allclose(ahead, gait.overstride*half['overstride'], atol=.015)
    assert np.ptp(run.joints[:, 0, 1]) == pytest.approx(gait.oscillation*leg(run), abs=1e-3)

@settings(max_examples=8, deadline=None)
@given(seeds)
def test_bones_keep_their_length_and_knees_bend_forward(seed):
    run = run_motion(random_gait(np.random.default_rng(seed)), 2., 100, seed=seed, body_seed=seed % 90)
    for side in SIDES:
        hip,knee,ankle = (joint(run, f'{side}_{j}') for j in ('hip', 'knee', 'ankle'))
        for a,b in ((hip, knee), (knee, ankle)): assert np.ptp(np.linalg.norm(a - b, axis=-1)) < 1e-9
        line,thigh = ankle - hip,knee - hip
        assert (thigh[:,0]*-line[:,1] + thigh[:,1]*line[:,0] > -1e-9).all() # runs towards +x

def test_a_flat_foot_does_not_slide_and_shoes_stay_above_the_floor():
    run = run_motion(Gait(wobble=0.), 2., 500, travel=True)
    for side in SIDES:
        for down,up in run.stances(side)[:-1]:
            flat = slice(int(500*(down + .22*(up-down))), int(500*(down + .38*(up-down))))
            assert np.ptp(joint(run, f'{side}_ankle')[flat], axis=0).max() < 2e-3
    lowest = mesh_points(run.dancer, run.joints, run.frames)[..., 1].min(1)
    assert lowest.min() > -.03

def test_at_any_frame_rate_it_is_the_same_run():
    a,b = (run_motion(Gait(), 2., fps, seed=3, body_seed=2) for fps in (30, 60))
    assert np.allclose(a.joints, b.joints[::2])
    c = run_motion(Gait(), 2., 60, seed=4, body_seed=2)
    assert not np.allclose(b.joints, c.joints)

def test_running_to_the_left_is_the_half_turn():
    a,b = (run_motion(Gait(), 1., 60, seed=1, turn=t).keypoints3d for t in (90, -90))
    assert np.allclose(a*[-1, 1, -1], b)

def test_travel_moves_at_the_planted_speed():
    run = run_motion(Gait(speed=4.), 2., 60, travel=True)
    assert np.ptp(run.joints[:, 0, 0]) == pytest.approx(4*leg(run)*119/60)

def test_steps_vary_as_planted():
    s = draw_steps(Gait(wobble=.02), 600., np.random.default_rng(0))
    assert np.std(np.diff(s.down))/np.mean(np.diff(s.down)) == pytest.approx(.02, rel=.1)
    assert (np.diff(s.side) != 0).all() and (s.up > s.down).all()

def test_an_ankle_turns_about_the_toes_or_the_heel():
    for pitch in np.radians([-20., -5., 5., 50.]):
        x,y = ankle_over_sole(np.array(pitch), 1.); end = .112 if pitch > 0 else -.036
        assert np.hypot(x - end, y) == pytest.approx(np.hypot(end, .039)) # the end of the sole stays where it is

def test_a_leg_that_is_too_short_is_an_error_not_a_stretch():
    with pytest.raises(ValueError, match='leg is 0.80 m long'): bend_leg(np.array([[.6, .6]]), .4, .4)
    with pytest.raises(ValueError, match='does not fit a stride'): Gait(contact=.8)
    with pytest.raises(ValueError, match="'smile'"): Gait(asymmetry=dict(smile=.1))

def test_a_runner_can_be_filmed():
    frames,data = render_clip(run_motion(Gait(), .3, 10, size=(96, 80)))
    assert len(frames) == 3 and frames[0].shape == (80, 96, 3) and (data.instances.visible[:, 11:] > 0).all()

def test_a_gait_is_changed_by_replace():
    assert replace(Gait(), cadence=180.).cadence == 180 and Gait() == Gait()
