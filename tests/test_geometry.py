import numpy as np, pytest
from hypothesis import given, settings, strategies as st
from poselab.data.geometry import apply, box_to_center_size, compose, input_matrix, invert, keypoints_to_box, warp

numbers = st.floats(-1000, 1000)
sizes = st.tuples(st.integers(8, 400), st.integers(8, 400))

@settings(max_examples=60, deadline=None)
@given(cx=numbers, cy=numbers, w=st.floats(1, 2000), h=st.floats(1, 2000), size=sizes, angle=st.floats(-7, 7), flip=st.booleans())
def test_there_and_back_is_exact(cx, cy, w, h, size, angle, flip):
    M = input_matrix([cx,cy], [w,h], size, angle, flip)
    xy = np.array([[cx,cy], [cx + w,cy], [0.,0.]])
    np.testing.assert_allclose(apply(invert(M), apply(M, xy)), xy, atol=1e-6)

@settings(max_examples=60, deadline=None)
@given(x=numbers, y=numbers, w=st.floats(1, 500), h=st.floats(1, 500), size=sizes)
def test_a_region_has_the_shape_of_the_input_and_holds_the_box(x, y, w, h, size):
    aspect = size[0]/size[1]
    center,region = box_to_center_size([x,y,w,h], aspect, 1.)
    assert region[0]/region[1] == pytest.approx(aspect)
    assert region[0] >= w*(1 - 1e-9) and region[1] >= h*(1 - 1e-9)
    np.testing.assert_allclose(center, [x + w/2, y + h/2], atol=1e-6)

def test_the_corner_pixels_of_a_region_are_the_corner_pixels_of_the_input():
    M = input_matrix([50.,40.], [101.,81.], (102,82))
    np.testing.assert_allclose(apply(M, np.array([[-.5,-.5],[100.5,80.5]])), [[0,0],[101,81]], atol=1e-9)

def test_a_mirror_is_the_plain_input_read_from_the_right():
    rng = np.random.default_rng(0)
    img = rng.integers(0, 255, (60,50,3), dtype=np.uint8)
    plain,mirrored = (warp(img, input_matrix([24.5,29.5], [49,59], (50,60), flip=f), (50,60)) for f in (False, True))
    assert (plain == img).all() and (mirrored == img[:, ::-1]).all()

def test_shrinking_by_a_power_keeps_points_in_place():
    img = np.zeros((800,800,3), np.uint8); img[388:413, 188:213] = 255
    M = input_matrix([399.5,399.5], [799,799], (80,80))
    small = warp(img, M, (80,80))[..., 0].astype(float)
    ys,xs = np.mgrid[:80,:80]
    found = [(small*xs).sum()/small.sum(), (small*ys).sum()/small.sum()]
    np.testing.assert_allclose(found, apply(M, np.array([[200.,400.]]))[0], atol=.15)

def test_compose_is_one_after_the_other():
    rng = np.random.default_rng(1)
    A,B = (input_matrix(rng.uniform(0, 99, (5,2)), rng.uniform(9, 99, (5,2)), (32,64), rng.uniform(-3, 3, 5)) for _ in range(2))
    xy = rng.uniform(0, 99, (5,7,2))
    np.testing.assert_allclose(apply(compose(A, B), xy), apply(A, apply(B, xy)), atol=1e-9)

def test_batched_boxes_equal_single_boxes():
    boxes = np.random.default_rng(2).uniform(1, 99, (6,4))
    many = input_matrix(*box_to_center_size(boxes, .75), (48,64))
    for b,m in zip(boxes, many): np.testing.assert_allclose(input_matrix(*box_to_center_size(b, .75), (48,64)), m)

@pytest.mark.parametrize('box', [[0,0,0,5], [0,0,5,-1], [0,np.nan,5,5], [0,0,np.inf,5]])
def test_a_box_without_area_or_with_nan_is_refused(box):
    with pytest.raises(ValueError, match='box'): box_to_center_size(box, 1.)

def test_a_box_outside_the_image_gives_the_border_colour():
    M = input_matrix(*box_to_center_size([-500,-500,50,50], 1.), (32,32))
    assert (warp(np.full((64,64,3), 200, np.uint8), M, (32,32), border=7) == 7).all()

def test_a_box_around_keypoints_ignores_absent_ones():
    xy = np.array([[[10.,10],[30,50],[999,999]], [[0.,0],[0,0],[0,0]]])
    box = keypoints_to_box(xy, np.array([[2,1,0],[0,0,0]]), 0.)
    np.testing.assert_allclose(box[0], [10,10,20,40]); assert np.isnan(box[1]).all()
