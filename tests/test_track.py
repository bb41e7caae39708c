"People keep their number"
import numpy as np, pytest
from hypothesis import given, settings, strategies as st
from poselab.data.figures import choreography
from poselab.data.geometry import box_iou, oks
from poselab.records import Instances, data_root
from poselab.schema import load_schema
from poselab.track import OneEuro, Tracker, assign, ease, likeness, steps

SIGMAS = load_schema('coco').oks_sigmas
DANCES = [choreography(n, 4., size=(200,240), body_seed=i).keypoints for i,n in enumerate(('disco', 'waves', 'jacks'))]

def stage(seed=0, dropout=.1, noise=2., people=3):
    "Dancers who change places; `id` is the truth, rows come in any order"
    rng,t = np.random.default_rng(seed),np.linspace(0, 2*np.pi, 100)
    places = [150 + 130*np.sin(t/2 + p) for p in (-1.2, .1, 1.3)[:people]]
    frames = []
    for f in range(100):
        xy = np.stack([d[f] + [p[f], 0] for d,p in zip(DANCES, places)]) + rng.normal(size=(people,17,2))*noise
        order = rng.permutation(people)[rng.random(people) >= dropout]
        frames.append(Instances.make(xy[order], id=order, image_id=f))
    return frames

def tracked(frames, **settings):
    tracker = Tracker(SIGMAS, **settings)
    return Instances.cat([tracker.step(p) for p in frames])

def switches(people): return sum(int((np.diff(people.track_id[people.id == i]) != 0).sum()) for i in np.unique(people.id))
def person(x=0., k=17): return Instances.make(DANCES[0][:1, :k] + [x, 0])

@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('people', [2, 3])
def test_dancers_who_cross_keep_their_numbers(people, seed):
    got = tracked(stage(seed, people=people))
    assert switches(got) == 0 and set(got.track_id) == set(range(1, people + 1))

@settings(max_examples=6, deadline=None)
@given(st.integers(0, 10_000))
def test_the_order_of_people_within_a_frame_changes_nothing(seed):
    rng,frames = np.random.default_rng(seed),stage(1, dropout=.2)[40:60]
    shuffled = [frames[0]] + [p[rng.permutation(len(p))] for p in frames[1:]] # the first frame hands out the numbers
    a,b = tracked(frames),tracked(shuffled)
    key = lambda q: sorted(zip(q.image_id.tolist(), q.id.tolist(), q.track_id.tolist()))
    assert key(a) == key(b)

def test_rows_come_back_in_their_own_order_with_nothing_else_changed():
    p = Instances.cat([person(), person(300)]); tracker = Tracker(SIGMAS)
    tracker.step(p); back = tracker.step(p[[1,0]])
    assert back.track_id.tolist() == [2,1]
    np.testing.assert_array_equal(back.keypoints, p.keypoints[[1,0]])

@pytest.mark.parametrize('away,same', [(1, True), (25, True), (26, False)])
def test_who_is_hidden_is_waited_for_and_then_forgotten(away, same):
    tracker = Tracker(SIGMAS, patience=25)
    first = tracker.step(person()).track_id[0]
    for _ in range(away): assert len(tracker.step(Instances.empty(17))) == 0
    assert (tracker.step(person()).track_id[0] == first) == same

def test_numbers_are_never_given_twice():
    tracker,seen = Tracker(SIGMAS, patience=0),[]
    for i in range(6):
        seen += tracker.step(person(400*(i % 3))).track_id.tolist()
    assert seen == [1,2,3,4,5,6]

def test_a_walker_who_was_hidden_is_expected_further_on():
    tracker = Tracker(SIGMAS)
    for f in range(6): tracker.step(person(8.*f))
    tracker.step(Instances.empty(17))
    at = tracker.expected().keypoints[0, 0, 0] - DANCES[0][0, 0, 0]
    assert 48 < at < 56.01 # two steps of 8 px on from 40, fading a little

def test_keypoints_that_are_nan_or_unsure_do_not_count():
    p = person(); q = p.replace(confidence=np.r_[np.ones(9), np.zeros(8)][None])
    off = p.keypoints.copy(); off[0, 9:] += 500
    near = likeness(q, q.replace(keypoints=off, bbox=p.bbox), SIGMAS)
    assert near[0,0] == pytest.approx(1)
    off[0, 9:] = np.nan
    assert likeness(p, Instances.make(off, bbox=p.bbox, visible=np.where(np.isnan(off[..., 0]), 0, 2)), SIGMAS)[0,0] == pytest.approx(1)

def test_people_without_keypoints_are_told_apart_by_their_boxes():
    bare = Instances.make(np.full((2,17,2), np.nan), 0, bbox=[[0,0,10,20],[50,0,10,20]])
    tracker = Tracker(SIGMAS)
    tracker.step(bare); assert tracker.step(bare[[1,0]]).track_id.tolist() == [2,1]

@settings(max_examples=40, deadline=None)
@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 999))
def test_no_other_assignment_has_a_larger_sum(m, p, seed):
    from itertools import permutations
    near = np.random.default_rng(seed).random((m, p)); at = assign(near, 0.)
    rows = [i for i in at if i >= 0]
    assert len(rows) == len(set(rows)) == min(m, p)
    total = sum(near[i, j] for j,i in enumerate(at) if i >= 0)
    big = near if m >= p else near.T
    assert total >= max(sum(big[i, j] for j,i in enumerate(o)) for o in permutations(range(max(m, p)), min(m, p))) - 1e-9

def test_strangers_are_not_joined(): assert assign(np.array([[.1]])).tolist() == [-1]

def test_the_median_keypoint_says_how_far_a_person_went():
    a = person(); xy = a.keypoints + [3., -1]; xy[0, 9] += 200 # a fast wrist
    np.testing.assert_allclose(steps(a, Instances.make(xy)), [[3, -1]])

def test_wrong_numbers_of_keypoints_are_refused():
    with pytest.raises(ValueError, match='17 keypoints, these people have 14'): Tracker(SIGMAS).step(Instances.empty(14))
    with pytest.raises(ValueError, match='oks_sigmas'): Tracker(())

# ---- One Euro

def test_a_still_signal_stays_and_an_average_follows_by_hand():
    f,yes = OneEuro(min_cutoff=1., beta=0.),np.array([True])
    assert f.step(np.array([[5.,5]]), yes).tolist() == [[5,5]]
    assert f.step(np.array([[5.,5]]), yes).tolist() == [[5,5]]
    np.testing.assert_allclose(f.step(np.array([[15.,5]]), yes), [[5 + 10/(1 + 1/(2*np.pi*.04)), 5]])

def test_nobody_sees_what_the_filter_was_not_shown():
    f = OneEuro(); xy = np.array([[1.,2], [np.nan, np.nan], [7,7]])
    for _ in range(3): out = f.step(xy, np.array([True, False, False]))
    np.testing.assert_array_equal(out, xy)
    assert np.isfinite(f.step(np.array([[1.,2], [3,4], [5,6]]), np.ones(3, bool))).all()

def test_the_same_dance_at_twice_the_resolution_is_smoothed_the_same():
    xy = DANCES[0] + np.random.default_rng(0).normal(size=DANCES[0].shape)
    def run(s):
        f = OneEuro(); return np.stack([f.step(p*s, np.ones(17, bool), .04, 90.*s) for p in xy])
    np.testing.assert_allclose(run(2.), 2*run(1.))

def test_smoothing_brings_noisy_dancers_nearer_to_the_truth():
    rng = np.random.default_rng(0); noisy = DANCES[0] + rng.normal(size=DANCES[0].shape)*1.5
    tracker = Tracker(SIGMAS, smooth=OneEuro)
    out = np.concatenate([tracker.step(Instances.make(p[None])).keypoints for p in noisy])
    off = lambda x: np.linalg.norm(x - DANCES[0], axis=-1).mean()
    assert off(out) < .9*off(noisy)

def test_settings_that_cannot_work_are_refused():
    with pytest.raises(ValueError, match='above 0 Hz'): OneEuro(min_cutoff=0)

def test_the_longer_the_gap_the_more_the_new_value_counts(): assert ease(1., .04) < ease(1., .4) < ease(1., 40.) < 1

# ---- the measures it stands on

@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(*[st.floats(0, 50)]*2, *[st.floats(1, 50)]*2), min_size=1, max_size=4))
def test_iou_is_symmetric_one_on_itself_and_never_above(boxes):
    b = np.array(boxes); iou = box_iou(b, b)
    np.testing.assert_allclose(iou, iou.T); np.testing.assert_allclose(np.diag(iou), 1)
    assert (iou >= 0).all() and (iou <= 1 + 1e-9).all()

def test_a_box_that_is_nan_is_like_nobody(): assert box_iou([[np.nan]*4], [[0,0,1,1]])[0,0] == 0

def test_metrics_hand_on_the_same_oks():
    from poselab.evaluate import metrics
    assert metrics.oks is oks and {'oks', 'oks_rows', 'keypoint_similarity'} <= set(metrics.__all__)

# ---- real people

def test_real_people_keep_their_numbers():
    root = data_root()
    if root is None: pytest.skip('no shared data: PoseTrack videos')
    from poselab.data.datasets import read_any
    data = read_any(root/'posetrack_iqbal'/'annotations_60_videos.json.gz', False)
    videos,lost = {},0
    for im in data.images: videos.setdefault(im.video, []).append(data.of(im.id))
    for frames in list(videos.values())[20:26]:
        tracker = Tracker(data.schema.oks_sigmas)
        rows = Instances.cat([tracker.step(p.replace(id=p.track_id, track_id=-1)) for p in frames])
        lost += switches(rows)
    assert lost <= 3 # of some fifteen hundred; the page has the whole count

def test_a_maintained_library_counts_the_same_switches():
    mm = pytest.importorskip('motmetrics')
    book,frames = mm.MOTAccumulator(auto_id=True),stage(0, dropout=.3)
    got = tracked(frames, patience=1)
    for f in range(100):
        p = got[got.image_id == f]
        book.update(p.id, p.track_id, np.where(np.eye(len(p)), 0., np.nan))
    assert book.events.Type.eq('SWITCH').sum() == switches(got) > 0
