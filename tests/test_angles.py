"What one page cannot show about feature planes: many poses, every schema, every way of moving a body."
from dataclasses import replace
import numpy as np, pytest
from hypothesis import given, settings, strategies as st
from poselab.schema import card_names, load_schema
from poselab.score.angles import (body_frame, edge_vectors, feature_planes, known, plane_angles, plane_normals,
                                  point_weights, signed_angle)

COCO = load_schema('coco')
PLANES = feature_planes(COCO)

def poses(seed, n=4): return np.random.default_rng(seed).uniform(0, 200, (n, 17, 2))
def moved(xy, degrees, scale=1., shift=(0, 0)):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return scale * xy @ np.array([[c, s], [-s, c]]) + shift

similarity = dict(seed=st.integers(0, 10**6), degrees=st.floats(-180, 180), scale=st.floats(.1, 10),
                  x=st.floats(-500, 500), y=st.floats(-500, 500))

@settings(max_examples=60, deadline=None)
@given(**similarity)
def test_plane_angles_ignore_place_size_and_tilt(seed, degrees, scale, x, y):
    xy = poses(seed)
    a, b = (plane_angles(edge_vectors(p, PLANES)) for p in (xy, moved(xy, degrees, scale, (x, y))))
    assert np.allclose(a, b, atol=1e-6)

@settings(max_examples=60, deadline=None)
@given(**similarity)
def test_the_body_frame_takes_place_and_tilt_away_and_leaves_size(seed, degrees, scale, x, y):
    xy = poses(seed)
    a, b = body_frame(xy, PLANES), body_frame(moved(xy, degrees, scale, (x, y)), PLANES)
    assert np.allclose(a*scale, b, atol=1e-6*scale*200)

def test_in_the_body_frame_the_pelvis_is_the_origin_and_the_neck_above_it():
    b = body_frame(poses(0), PLANES)
    mid = lambda *names: b[:, [COCO.index(n) for n in names]].mean(1)
    assert np.allclose(mid('left_hip', 'right_hip'), 0)
    neck = mid('left_shoulder', 'right_shoulder')
    assert np.allclose(neck[:, 0], 0) and (neck[:, 1] < 0).all()

def test_the_body_frame_keeps_distances():
    xy = poses(1); b = body_frame(xy, PLANES)
    dist = lambda p: np.linalg.norm(p[:, :, None] - p[:, None], axis=-1)
    assert np.allclose(dist(xy), dist(b))

def test_frames_may_have_any_leading_shape():
    xy = poses(2, 6)
    whole = edge_vectors(body_frame(xy, PLANES), PLANES)
    cut = edge_vectors(body_frame(xy.reshape(2, 3, 17, 2), PLANES), PLANES)
    single = edge_vectors(body_frame(xy[4], PLANES), PLANES)
    assert np.array_equal(whole.reshape(2, 3, 7, 2, 2), cut) and np.allclose(single, whole[4])

@pytest.mark.parametrize('keypoint', COCO.names)
def test_an_absent_keypoint_hides_exactly_the_edges_that_use_it(keypoint):
    k = COCO.index(keypoint); v = np.full((4, 17), 2); v[:, k] = 0
    lost = np.isnan(edge_vectors(poses(3), PLANES, v)).any(-1)
    assert np.array_equal(lost, np.broadcast_to(PLANES.weights[..., k] != 0, lost.shape))

@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_a_keypoint_that_is_not_finite_is_unknown(value):
    xy = poses(4); xy[0, COCO.index('nose'), 0] = value
    e = edge_vectors(xy, PLANES)
    assert np.isnan(e[0, 4, 1]).all() and np.isnan(e).any(-1).sum() == 1
    assert np.isnan(known(xy)[0, COCO.index('nose')]).all()

def test_an_occluded_keypoint_still_counts():
    assert np.isfinite(edge_vectors(poses(5), PLANES, np.ones((4, 17)))).all()

def test_inputs_are_left_as_they_were():
    xy, v = poses(6), np.zeros((4, 17)); before = xy.copy()
    body_frame(xy, PLANES, v), edge_vectors(xy, PLANES, v)
    assert np.array_equal(xy, before)

def test_a_limb_without_length_is_unknown_and_not_zero_degrees():
    xy = poses(7); xy[:, COCO.index('left_wrist')] = xy[:, COCO.index('left_elbow')]
    assert np.isnan(plane_angles(edge_vectors(xy, PLANES))[:, 0]).all()

def test_a_spine_without_length_gives_no_body_frame():
    xy = np.zeros((1, 17, 2)); assert np.isnan(body_frame(xy, PLANES)).all()

@pytest.mark.parametrize('name', card_names())
def test_every_schema_says_what_it_lacks(name):
    schema = load_schema(name); planes = feature_planes(schema)
    flat = [(p, e) for p, es in zip(planes.names, planes.edges) for e in es]
    assert set(planes.missing) == {pe for pe, has in zip(flat, planes.has.reshape(-1)) if not has}
    assert all(schema.name in why for why in planes.missing.values())
    assert planes.has.sum() >= 12, planes.missing

def test_a_named_neck_is_preferred_to_the_middle_of_the_shoulders():
    crowd = load_schema('crowdpose'); w, _ = point_weights('neck', crowd)
    assert w[crowd.index('neck')] == 1 and w.sum() == 1

def test_a_schema_without_wrists_loses_its_forearms_only():
    names = tuple('?' + n if n.endswith('wrist') else n for n in COCO.names)
    planes = feature_planes(replace(COCO, name='no-wrists', names=names))
    assert set(planes.missing) == {('left_arm', 'left_forearm'), ('right_arm', 'right_forearm')}
    assert 'left_wrist' in planes.missing['left_arm', 'left_forearm']
    assert np.isnan(edge_vectors(poses(8), planes)).any(-1).sum() == 4*2

@settings(max_examples=100, deadline=None)
@given(a=st.floats(-3, 3), turn=st.floats(-3.1, 3.1))
def test_signed_angle_is_the_turn(a, turn):
    v, w = np.array([np.cos(a), np.sin(a)]), np.array([np.cos(a+turn), np.sin(a+turn)])
    assert np.isclose(signed_angle(v, 3*w), turn) and np.isclose(signed_angle(w, v), -turn)

def test_normals_are_signs():
    n = plane_normals(edge_vectors(poses(9), PLANES)); assert set(np.unique(n)) <= {-1., 0., 1.}
