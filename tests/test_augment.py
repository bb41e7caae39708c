from dataclasses import replace
import numpy as np, pytest
from hypothesis import given, settings, strategies as st
from poselab.schema import load_schema
from poselab.data.augment import NONE, AugmentConfig, augment, grid_mask, half_body_box, random_colour_matrix, random_erase
from poselab.data.geometry import apply

SCHEMA = load_schema('coco')
IMG = np.random.default_rng(0).integers(0, 255, (120,160,3), dtype=np.uint8)
XY = np.random.default_rng(1).uniform(20, 100, (17,2)); V = np.array([2,1,0]*5 + [2,2])
BOX = np.array([10.,10,100,100])

@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), w=st.integers(16, 96), h=st.integers(16, 96))
def test_keypoints_follow_the_picture_and_sides_swap_with_the_mirror(seed, w, h):
    out,xy,v,M = augment(IMG, BOX, XY, V, SCHEMA, (w,h), AugmentConfig(), np.random.default_rng(seed))
    flip = list(SCHEMA.flip) if np.linalg.det(M[:, :2]) < 0 else list(range(17))
    assert out.shape == (h,w,3) and out.dtype == np.uint8
    np.testing.assert_allclose(xy, apply(M, XY)[flip])
    assert ((v == 0) | (v == V[flip])).all() # visibility moves with its keypoint; leaving the input makes it absent
    assert ((xy[v > 0] > -.5) & (xy[v > 0] < np.array([w,h]) - .5)).all()

def test_a_painted_keypoint_is_found_at_its_new_place():
    for seed in range(20):
        img = np.zeros((120,160,3), np.uint8); img[57:62, 78:83] = 255
        xy = np.tile([[80.,59.]], (17,1))
        cfg = replace(AugmentConfig(), brightness=0., contrast=0., saturation=0., hue=0., erase=0., blur=0., half_body=0., shift=0.)
        out,p,v,_ = augment(img, np.array([30.,9,100,100]), xy, np.full(17, 2), SCHEMA, (64,64), cfg, np.random.default_rng(seed))
        ys,xs = np.mgrid[:64,:64]; m = out[..., 0].astype(float)
        np.testing.assert_allclose([(m*xs).sum()/m.sum(), (m*ys).sum()/m.sum()], p[0], atol=.25)

def test_one_seed_one_view():
    a,b = (augment(IMG, BOX, XY, V, SCHEMA, (64,64), AugmentConfig(), np.random.default_rng(3)) for _ in range(2))
    assert all((x == y).all() for x,y in zip(a, b))

def test_the_image_itself_is_never_changed():
    before = IMG.copy()
    for seed in range(10): augment(IMG, BOX, XY, V, SCHEMA, (64,64), replace(AugmentConfig(), grid=1., erase=1.), np.random.default_rng(seed))
    assert (IMG == before).all()

def test_half_body_keeps_to_one_half_and_needs_three_keypoints():
    boxes = [half_body_box(BOX, XY, np.full(17, 2), SCHEMA, np.random.default_rng(s)) for s in range(20)]
    upper,lower = ([XY[list(h)].min(0), XY[list(h)].max(0)] for h in (SCHEMA.upper, SCHEMA.lower))
    for b in boxes: assert any((b[:2] <= lo).all() and (b[:2] + b[2:] >= hi).all() for lo,hi in (upper, lower))
    assert (half_body_box(BOX, XY, np.zeros(17), SCHEMA, np.random.default_rng(0)) == BOX).all()

@pytest.mark.parametrize('size', [(1,1), (3,7), (64,48)])
def test_holes_fit_any_input(size):
    for seed in range(20):
        img = np.full((size[1],size[0],3), 100, np.uint8)
        assert random_erase(img.copy(), np.random.default_rng(seed)).shape == img.shape
        assert set(np.unique(grid_mask(img.copy(), np.random.default_rng(seed)))) <= {0, 100}

def test_grid_mask_hides_about_a_quarter():
    share = [(grid_mask(np.full((128,96,3), 100, np.uint8), np.random.default_rng(s)) == 0).mean() for s in range(50)]
    assert .15 < np.mean(share) < .35

def test_no_change_of_colour_is_the_identity():
    np.testing.assert_allclose(random_colour_matrix(NONE, np.random.default_rng(0)), np.eye(3,4), atol=1e-12)
