"Drawing: what is painted where, what is left out, and that the picture given stays as it was"
import subprocess, sys
from pathlib import Path
import matplotlib
matplotlib.use('agg')
import matplotlib.pyplot as plt
import numpy as np, pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays
from poselab.draw import (CENTRE, LEFT, RIGHT, draw_pose, keypoint_colors, limb_colors, overlay_heatmap, paint_pose, pose_legend,
    show_images, side_color, to_rgb)
from poselab.schema import card_names, guess_schema, load_schema

COCO = load_schema('coco')
ONE = guess_schema('one', ['nose'])
TWO = guess_schema('two', ['left_wrist', 'left_elbow', 'right_wrist', 'right_elbow'], [[0, 1], [2, 3], [0, 2]])
RNG = np.random.default_rng(0)

def blank(h=60, w=80, grey=0): return np.full((h, w, 3), grey, np.uint8)

def middle(img):
    rows,cols = np.indices(img.shape[:2])
    weight = img.astype(float).sum(-1)
    return np.array([(cols*weight).sum(), (rows*weight).sum()])/weight.sum()

@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close('all')

@settings(max_examples=40, deadline=None)
@given(st.floats(15, 60), st.floats(15, 40), st.integers(1, 5))
def test_a_dot_is_painted_to_a_tenth_of_a_pixel(x, y, thickness):
    assert np.abs(middle(paint_pose(blank(), [[x, y]], [2], ONE, thickness=thickness)) - (x, y)).max() < .1

def test_left_is_orange_right_is_blue_and_the_middle_is_grey():
    xy = np.array([[10., 10], [10, 50], [70, 10], [70, 50]])
    img = paint_pose(blank(), xy, None, TWO, thickness=3)
    assert tuple(img[30, 10]) == to_rgb(LEFT) and tuple(img[30, 70]) == to_rgb(RIGHT) and tuple(img[10, 40]) == to_rgb(CENTRE)

@pytest.mark.parametrize('name', card_names())
def test_every_keypoint_and_limb_has_the_colour_of_its_side(name):
    s = load_schema(name)
    assert keypoint_colors(s) == [side_color(x) for x in s.sides]
    mirrored = {frozenset(s.flip[i] for i in l): c for l,c in zip(s.limbs, limb_colors(s))}
    other = {LEFT: RIGHT, RIGHT: LEFT, CENTRE: CENTRE}
    for l,c in zip(s.limbs, limb_colors(s)): assert mirrored[frozenset(l)] == other[c]

def test_an_occluded_keypoint_is_hollow():
    full,hollow = (paint_pose(blank(), [[40, 30]], [v], ONE, thickness=5, colors='#FF0000') for v in (2, 1))
    assert tuple(full[30, 40]) == (255, 0, 0) and tuple(hollow[30, 40]) == (255, 255, 255)
    assert tuple(hollow[30, 35]) == (255, 0, 0)

@pytest.mark.parametrize('xy, v', [([40, 30], 0), ([np.nan, 30], 2), ([40, np.nan], 1), ([np.inf, 0], 2), ([-np.inf, 0], 2), ([1e12, 5], 2),
    ([0, 0], 0)])
def test_what_is_absent_or_no_number_is_not_drawn(xy, v):
    assert not paint_pose(blank(), [xy], [v], ONE).any()

def test_a_limb_with_an_absent_end_is_not_drawn():
    xy = np.array([[10., 10], [10, 50], [70, 10], [70, 50]])
    img = paint_pose(blank(), xy, [2, 0, 2, 2], TWO, thickness=3)
    assert not img[30, 10].any() and not img[50, 10].any() and img[30, 70].any()

@settings(max_examples=60, deadline=None)
@given(arrays(float, (2, 17, 2), elements=st.floats(allow_nan=True, allow_infinity=True)), arrays(int, (2, 17), elements=st.integers(0, 2)))
def test_no_pose_however_strange_stops_the_painter(xy, v):
    img = paint_pose(blank(), xy, v, COCO)
    assert img.shape == (60, 80, 3) and img.dtype == np.uint8

def test_the_picture_that_was_given_stays_as_it_was():
    img = RNG.integers(0, 255, (60, 80, 3), dtype=np.uint8)
    for view in (img, img[:, ::-1], img[::2, ::2]):
        before = view.copy()
        out = paint_pose(view, RNG.uniform(0, 60, (17, 2)), None, COCO)
        assert np.array_equal(view, before) and out.shape == view.shape and not np.shares_memory(out, view)
    img.flags.writeable = False
    paint_pose(img, RNG.uniform(0, 60, (17, 2)), None, COCO)

def test_many_people_are_painted_like_one_after_another():
    xy,v = RNG.uniform(0, 60, (3, 17, 2)), RNG.integers(0, 3, (3, 17))
    img = blank()
    for p,q in zip(xy, v): img = paint_pose(img, p, q, COCO)
    assert np.array_equal(paint_pose(blank(), xy, v, COCO), img)
    assert not paint_pose(blank(), np.zeros((0, 17, 2)), np.zeros((0, 17)), COCO).any()

def test_colours_may_be_one_or_one_per_limb():
    xy = np.array([[10., 10], [10, 50], [70, 10], [70, 50]])
    img = paint_pose(blank(), xy, None, TWO, thickness=3, colors=['#010203', '#040506', '#070809'], dot_colors=['#0A0B0C']*4)
    assert [tuple(img[y, x]) for y,x in ((30, 10), (30, 70), (10, 40), (10, 10))] == [(1, 2, 3), (4, 5, 6), (7, 8, 9), (10, 11, 12)]
    with pytest.raises(ValueError, match='2 colours for 3 limbs'): paint_pose(blank(), xy, None, TWO, colors=['#010203']*2)

@pytest.mark.parametrize('img', [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 4), np.uint8), np.zeros((9, 9, 3))])
def test_only_rgb_bytes_are_painted(img):
    with pytest.raises(ValueError, match='needs an RGB picture'): paint_pose(img, [[1, 1]], [2], ONE)

def test_a_pose_of_another_schema_is_refused_with_both_numbers():
    with pytest.raises(ValueError, match=r'coco has 17 keypoints.*\(14, 2\)'): paint_pose(blank(), np.zeros((14, 2)), None, COCO)
    with pytest.raises(ValueError, match='visible'): paint_pose(blank(), np.zeros((17, 2)), [2, 2], COCO)

def test_a_figure_has_y_down_equal_aspect_and_units():
    ax = draw_pose(None, RNG.uniform(0, 60, (17, 2)), None, COCO, title='one')
    assert ax.yaxis_inverted() and ax.get_aspect() == 1 and (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ('x, px', 'y, px', 'one')
    draw_pose(ax, RNG.uniform(0, 60, (17, 2)), None, COCO)
    assert ax.yaxis_inverted(), 'a second pose on the same axes must not turn them again'
    img = draw_pose(None, [[3, 4]], [2], ONE, img=blank())
    assert img.yaxis_inverted() and len(img.images) == 1

def test_a_figure_draws_as_many_limbs_as_both_ends_allow():
    v = np.full(17, 2)
    v[COCO.index('left_knee')] = 0
    ax = draw_pose(None, RNG.uniform(0, 60, (17, 2)), v, COCO)
    lines = [l for l in ax.lines if l.get_marker() == 'None']
    dots = [l for l in ax.lines if l.get_marker() == 'o']
    assert (len(lines), len(dots)) == (17, 16)

def test_the_legend_names_the_four_marks():
    ax = draw_pose(None, [[3, 4]], [1], ONE)
    assert [t.get_text() for t in pose_legend(ax).get_texts()] == ["person's left", "person's right", 'middle', 'occluded']
    pose_legend(ax.figure, loc='lower center')

@pytest.mark.parametrize('n, ncols, shape', [(1, 4, (1, 1)), (5, 3, (2, 3)), (3, 4, (1, 3))])
def test_pictures_stand_in_rows(n, ncols, shape):
    fig = show_images([blank(), np.zeros((60, 80))][:1]*n, [str(i) for i in range(n)], ncols=ncols)
    grid = fig.axes[0].get_subplotspec().get_gridspec()
    assert (grid.nrows, grid.ncols) == shape and [a.get_title() for a in fig.axes[:n]] == [str(i) for i in range(n)]

def test_no_pictures_is_an_error(): pytest.raises(ValueError, show_images, [])

@settings(max_examples=30, deadline=None)
@given(st.integers(2, 40), st.integers(2, 40), st.data())
def test_the_corners_of_a_map_lie_on_the_corners_of_the_picture(w, h, data):
    cx,cy = data.draw(st.integers(0, w-1)), data.draw(st.integers(0, h-1))
    cols,rows = np.meshgrid(np.arange(w), np.arange(h))
    lit = overlay_heatmap(blank(90, 120), np.exp(-((cols-cx)**2 + (rows-cy)**2)/8), alpha=1.).astype(int).sum(-1)
    y,x = np.unravel_index(lit.argmax(), lit.shape)
    step = 119/(w-1), 89/(h-1)
    assert abs(x - cx*step[0]) <= 1 + step[0]/8 and abs(y - cy*step[1]) <= 1 + step[1]/8

@pytest.mark.parametrize('heat', [np.zeros((4, 3)), np.full((4, 3), -1.), np.full((4, 3), np.nan), np.zeros((1, 1))])
def test_an_empty_map_changes_nothing(heat):
    img = RNG.integers(0, 255, (60, 80, 3), dtype=np.uint8)
    assert np.array_equal(overlay_heatmap(img, heat), img)

def test_a_stack_of_maps_is_refused():
    with pytest.raises(ValueError, match='takes one map'): overlay_heatmap(blank(), np.zeros((17, 4, 3)))

def test_drawing_needs_matplotlib_only_for_figures():
    code = "import sys, poselab.draw; print([m for m in ('torch', 'matplotlib', 'fiftyone') if m in sys.modules])"
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert out.stdout.strip() == '[]', out.stderr
