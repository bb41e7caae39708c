"Two models side by side, and poses as points: agreement needs no truth, rarity no model"
import numpy as np, pytest
from hypothesis import given, settings, strategies as st
from poselab.compare import Comparison, agreement, compare, nearest_poses, pose_vectors, rarity, slug
from poselab.data.figures import rendered_dataset
from poselab.evaluate.errors import diagnose, plant_faults
from poselab.records import Instances
from poselab.schema import load_schema

COCO = load_schema('coco')


@pytest.fixture(scope='module')
def scene():
    truth = rendered_dataset(8, seed=3)
    return truth, plant_faults(truth, seed=0, rate=.2)[0], plant_faults(truth, seed=1, rate=.2)[0]


def bodies(n=30, seed=0): return np.random.default_rng(seed).normal(size=(n, 17, 2))*40 + 200


# --- agreement -----------------------------------------------------------------------------------------------

def test_a_model_agrees_with_itself_and_with_nobody_a_picture_away(scene):
    _, a, _ = scene
    best, who = agreement(COCO, a, a)
    assert (best == 1).all() and (who == np.arange(len(a))).all()
    best, who = agreement(COCO, a, a.replace(image_id=a.image_id + 1000))
    assert (best == 0).all() and (who == -1).all()


def test_the_nearest_pose_of_the_same_picture_is_taken():
    xy = bodies(2)
    a = Instances.make(xy[:1], image_id=1)
    b = Instances.make(np.stack([xy[0] + 9, xy[0] + 1, xy[0]]), image_id=[1, 1, 2])
    best, who = agreement(COCO, a, b)
    assert who.tolist() == [1] and .5 < best[0] < 1


def test_keypoints_that_were_not_predicted_are_no_agreement_but_no_nan_either():
    xy = bodies(1)
    half = xy.copy(); half[0, :5] = np.nan
    whole, part = Instances.make(xy, image_id=1), Instances.make(half, np.isfinite(half[..., 0])*2, image_id=1)
    assert agreement(COCO, whole, part)[0][0] == pytest.approx(12/17)
    assert agreement(COCO, part, whole)[0][0] == pytest.approx(1)  # what it did say is confirmed


def test_one_person_found_by_one_model_only_is_no_agreement(scene):
    truth, a, b = scene
    d = diagnose(truth, a[1:])
    c, = compare(d, {'b': b})
    missed = int(np.flatnonzero(d.gt_status == 'missed')[0])
    oks, agree = c.of_person(missed, -1)
    assert agree == 0 and oks == c.other.oks[c.other.gt_det[missed]] > 0
    nobody, = compare(d, {'b': b[:0]})
    assert missed == 0 and nobody.of_person(1, int(d.gt_det[1])) == (0., 0.) and np.isnan(nobody.of_person(missed, -1)[1])
    assert np.isnan(c.of_person(-1, 0)[0])


def test_second_models_are_diagnosed_like_the_first(scene):
    truth, a, b = scene
    c, again = compare(diagnose(truth, a), {'Model B': b, 'a': a})
    assert (c.slug, c.name) == ('model_b', 'Model B') and isinstance(c, Comparison)
    assert np.array_equal(c.other.error, diagnose(truth, b).error) and (again.agree == 1).all()


def test_names_of_models_become_field_names_and_may_not_collide(scene):
    truth, a, b = scene
    assert [slug(n) for n in ('RTMPose-t (384)', 'éa', '...', 'x')] == ['rtmpose_t_384', 'a', 'model', 'x']
    with pytest.raises(ValueError, match="'model_b'.*differ"): compare(diagnose(truth, a), {'model b': b, 'Model-B': b})


def test_a_second_model_that_does_not_fit_is_called_by_its_name(scene):
    truth, a, b = scene
    with pytest.raises(ValueError, match='model wrong'): compare(diagnose(truth, a), dict(wrong=Instances.make(np.zeros((1, 5, 2)), image_id=1, score=.5)))


# --- the space of poses --------------------------------------------------------------------------------------

@settings(max_examples=25, deadline=None)
@given(st.floats(.05, 50), st.floats(-1e4, 1e4), st.integers(0, 99))
def test_place_and_size_do_not_count(scale, shift, seed):
    xy = bodies(12, seed)
    moved = xy.copy(); moved[3] = moved[3]*scale + shift
    np.testing.assert_allclose(pose_vectors(moved, np.ones((12, 17)))[3], pose_vectors(xy, np.ones((12, 17)))[3], atol=1e-3)


def test_left_and_right_stay_apart():
    xy = bodies(20); xy[1] = xy[0][list(COCO.flip)]
    v = pose_vectors(xy, np.ones((20, 17)))
    assert np.linalg.norm(v[0] - v[1]) > 1


def test_an_unlabelled_keypoint_stands_where_it_usually_is_whatever_its_coordinates():
    xy, v = bodies(20), np.ones((20, 17), int)
    v[4, 9] = 0
    a = pose_vectors(xy, v)
    xy[4, 9] = 1e6
    b = pose_vectors(xy, v)
    assert np.isfinite(b).all() and np.array_equal(a, b)


def test_too_few_keypoints_one_place_and_no_number_give_no_pose():
    xy, v = bodies(20), np.ones((20, 17), int)
    v[0, 5:] = 0; xy[1] = 7.; xy[2] = np.nan
    bad = np.isnan(pose_vectors(xy, v)).all(1)
    assert bad.tolist() == [True]*3 + [False]*17
    assert np.isnan(rarity(pose_vectors(xy, v))[:3]).all() and np.isfinite(rarity(pose_vectors(xy, v))[3:]).all()
    assert pose_vectors(np.zeros((0, 17, 2)), np.zeros((0, 17))).shape == (0, 34)


@pytest.mark.parametrize('n', [2, 3, 6, 40])
def test_nobody_is_their_own_neighbour_not_even_among_twins(n):
    v = pose_vectors(np.repeat(bodies(n), 2, 0), np.ones((2*n, 17)))
    dist, who = nearest_poses(v)
    assert not (who == np.arange(2*n)[:, None]).any() and np.allclose(dist[:, 0], 0, atol=1e-4)
    assert (who >= 0).sum(1).tolist() == [min(5, 2*n - 1)]*2*n


def test_few_poses_are_compared_with_all_and_many_with_a_draw():
    v = pose_vectors(bodies(300), np.ones((300, 17)))
    full = np.sort(np.linalg.norm(v[:, None] - v[None], axis=-1), 1)[:, 1:6]
    np.testing.assert_allclose(nearest_poses(v)[0], full, atol=1e-4)
    some = nearest_poses(v, most=100)
    assert (some[0] >= full - 1e-4).all() and len(np.unique(some[1])) <= 100
    assert np.array_equal(some[1], nearest_poses(v, most=100)[1])


def test_one_pose_alone_has_no_rarity():
    assert np.isnan(rarity(pose_vectors(bodies(1), np.ones((1, 17))))).all()
