"Whole pictures with boxes: nothing moves against anything else, whoever is left out has a reason, and chance can be repeated"
from dataclasses import replace
import numpy as np, pytest
from hypothesis import given, settings, strategies as st
from poselab.data.augment import NONE, inside
from poselab.data.figures import rendered_dataset
from poselab.data.geometry import apply, invert
from poselab.data.mosaic import (GREY, MOSAIC, MosaicDataset, box_faults, clip_boxes, grey_over, letterbox_matrix, mosaic_matrices, mosaic_view,
                                 move_boxes, paste, people_boxes)
from poselab.records import ImageInfo, Instances, MemorySource, PoseData
from poselab.schema import load_schema

quick = settings(max_examples=30, deadline=None)
seeds = st.integers(0, 10**6)
sides = st.integers(1, 300)
SCHEMA = load_schema('rendered')
STILL = replace(NONE, padding=1.)


@pytest.fixture(scope='module')
def data(): return rendered_dataset(6, 9, (128,96), (1,3))


def pixels(images, people=None):
    "A data set of given arrays"
    infos = [ImageInfo(i + 1, f'{i}.png', *img.shape[1::-1]) for i,img in enumerate(images)]
    return PoseData('pixels', SCHEMA, infos, people if people is not None else Instances.empty(17), MemorySource(lambda f: images[int(f.split('.')[0])]))


@quick
@given(sides, sides, st.sampled_from([(64,64), (192,128), (64,256)]))
def test_a_letterbox_holds_the_whole_picture_and_leads_back(w, h, size):
    M = letterbox_matrix((w, h), size)
    corners = np.array([[0., 0.], [w - 1., h - 1.]])
    there = apply(M, corners)
    assert (there > -1e-6).all() and (there < np.array(size) - 1 + 1e-6).all()
    assert np.allclose(apply(invert(M), there), corners)
    if min(w, h) > 1: assert np.isclose((there[1] - there[0])/(np.array(size) - 1), 1).any() # one side fits


@quick
@given(seeds)
def test_boxes_move_as_their_corners_do(seed):
    r = np.random.default_rng(seed)
    M,box = np.c_[r.normal(size=(2, 2)), r.uniform(-50, 50, 2)],r.uniform(1, 60, (5, 4))
    out = move_boxes(M, box)
    inner = box[:,None,:2] + r.random((5, 20, 2))*box[:,None,2:]
    p = apply(M, inner)
    assert (p >= out[:,None,:2] - 1e-6).all() and (p <= out[:,None,:2] + out[:,None,2:] + 1e-6).all()
    assert np.allclose(move_boxes(np.eye(2, 3), box), box)


def test_a_mirror_puts_a_box_on_the_other_side():
    flip = np.array([[-1., 0, 99], [0, 1, 0]])
    assert np.allclose(move_boxes(flip, np.array([[10., 20., 30., 40.]])), [[59, 20, 30, 40]])


def test_a_cut_box_ends_at_the_edge_of_the_outer_pixels():
    got = clip_boxes(np.array([[-10., -10, 300, 300], [5., 5, 10, 10], [150., 5, 10, 10]]), (100,50))
    assert got.tolist() == [[-.5, -.5, 100, 50], [5, 5, 10, 10], [99.5, 5, 0, 10]]


def test_every_box_that_is_left_out_has_a_reason():
    whole = np.array([[10., 10, 30, 60], [-90, 10, 100, 60], [50, 50, 0, 8], [300, 0, 20, 20], [5, 5, 2, 9], [np.nan]*4, [0, 0, 90, 4.2], [np.inf, 0, 1, 1]])
    got = box_faults(whole, clip_boxes(whole, (100,100))).tolist()
    assert got == ['', 'mostly cut', 'no area', 'outside', 'too small', 'not finite', 'too slim', 'not finite']


# Four around a corner

@quick
@given(seeds, st.lists(st.tuples(sides, sides), min_size=2, max_size=4))
def test_pictures_of_a_mosaic_touch_in_one_corner_and_never_overlap(seed, sizes):
    Ms,mirror = mosaic_matrices(sizes, (128,96), MOSAIC, np.random.default_rng(seed))
    inner = [apply(m, np.array([[(w - .5, h - .5), (-.5, h - .5), (w - .5, -.5), (-.5, -.5)][k]]))[0] for k,(m,(w,h)) in enumerate(zip(Ms, sizes))]
    assert np.allclose(inner, inner[0], atol=1e-6)
    side = -1 if mirror else 1
    for k,(m,(w,h)) in enumerate(zip(Ms, sizes)):
        out = apply(m, np.array([[(w - 1)/2, (h - 1)/2]]))[0] - inner[0]
        assert np.sign(out[0])*side == (1 if k % 2 else -1) and np.sign(out[1]) == (1 if k // 2 else -1)


def test_pixels_and_keypoints_go_together():
    "A white spot on black is where its keypoint says, in every tile"
    for seed in range(12):
        r = np.random.default_rng(seed)
        pictures,spots = [],[]
        for _ in range(4):
            w,h = r.integers(40, 120, 2)
            x,y = r.integers(8, w - 8),r.integers(8, h - 8)
            img = np.zeros((h, w, 3), np.uint8); img[y-3:y+4,x-3:x+4] = 255
            pictures.append((img, Instances.make(np.tile([[x, y]], (1, 17, 1)).astype(float), bbox=[[x - 3.5, y - 3.5, 7, 7]])))
        view,xy,v,boxes,_ = mosaic_view(pictures, SCHEMA, (128,128), replace(MOSAIC, brightness=0., contrast=0., saturation=0., hue=0.), np.random.default_rng(seed), 0)
        for p,on,b in zip(xy, v, boxes):
            if not on[0] or not (6 < p[0]).all() or (p[0] > 121).any(): continue
            x,y = p[0].round().astype(int)
            assert view[y,x,0] > 200
            around = view[y-12 if y > 12 else 0:y+13,x-12 if x > 12 else 0:x+13,0] > 120
            assert b[2]*b[3]*.5 < around.sum() < b[2]*b[3]*1.6


@quick
@given(seeds)
def test_boxes_and_keypoints_come_back_through_the_matrix(seed):
    people = rendered_dataset(2, seed % 50, (128,96), (1,3)).instances
    Ms,mirror = mosaic_matrices([(128,96)]*4, (192,128), MOSAIC, np.random.default_rng(seed))
    for m in Ms:
        xy,v,boxes,faults = people_boxes(people, m, mirror, SCHEMA, (192,128))
        back = apply(invert(m), xy)
        if mirror: back = back[:,list(SCHEMA.flip)]
        assert np.allclose(back, people.keypoints) and not v[~inside(xy, (192,128))].any()
        assert (boxes[:,:2] >= -.5).all() and (boxes[:,:2] + boxes[:,2:] <= np.array((191.5, 127.5)) + 1e-9).all()
        on = faults == ''
        assert (np.minimum(boxes[on,2], boxes[on,3]) >= 4).all()


def test_pasting_leaves_the_rest_alone():
    for shape in ((30, 40), (300, 400), (1, 9)): # the second is shrunk first
        onto = np.full((64, 64, 3), GREY, np.uint8)
        w = shape[1]
        paste(onto, np.full((*shape, 3), 255, np.uint8), np.array([[32/w, 0, 0], [0, 32/w, 0]]))
        assert (onto[40:] == GREY).all() and (onto[:,40:] == GREY).all() and set(np.unique(onto)) <= {GREY, 255}


# The data set

def test_items_are_alike_whatever_is_in_the_picture(data):
    none = data.instances[data.instances.image_id != 2]
    got = MosaicDataset(replace(data, instances=none), (128,64), MOSAIC, max_people=9)
    assert len(got) == 6 # the picture of nobody stays
    for i in range(12):
        x,xy,v,boxes = got[i]
        assert x.shape == (3, 64, 128) and x.dtype == np.uint8 and xy.shape == (9, 17, 2) and v.shape == (9, 17) and boxes.shape == (9, 4)
        assert np.isfinite(xy).all() and np.isfinite(boxes).all() and not v[boxes[:,2] == 0].any()
    still = MosaicDataset(replace(data, instances=none), (128,96))
    assert (still[1][3] == 0).all() and (still[0][3][:,2:] > 0).all(1).sum() == len(data.of(1))


def test_chance_depends_on_seed_epoch_and_item_alone(data):
    a,b,c = (MosaicDataset(data, (64,64), MOSAIC, seed=s, cache_mb=m) for s,m in ((1, 100), (1, 0), (2, 0)))
    b[3] # another order
    for k in (0, 5, 6*7 + 2):
        assert all(np.array_equal(x, y) for x,y in zip(a[k], b[k]))
        assert not np.array_equal(a[k][0], c[k][0])
    assert not np.array_equal(a[2][0], a[2 + 6][0])


def test_mosaics_end_when_the_late_views_begin(data):
    got = MosaicDataset(data, (128,96), MOSAIC, STILL, late_from=2)
    assert np.array_equal(got[2*6 + 1][0].transpose(1, 2, 0), data.image(2)) and not np.array_equal(got[6 + 1][0].transpose(1, 2, 0), data.image(2))


def test_more_people_than_rows_keep_the_largest(data):
    full,few = (MosaicDataset(data, (128,96), max_people=n) for n in (30, 1))
    for i in range(6):
        areas = full[i][3][:,2:].prod(1)
        assert np.isclose(few[i][3][0,2:].prod(), areas.max())


def test_a_crowd_turns_grey_and_is_nobody():
    img = np.full((50, 60, 3), 200, np.uint8)
    people = Instances.make(np.full((2, 17, 2), 20.), bbox=[[10, 10, 20, 20], [40, -5, 400, 20]], iscrowd=[False, True], image_id=1)
    got = MosaicDataset(pixels([img], people), (64,64))
    assert (got.picture(1)[:15,40:] == GREY).all() and (got.picture(1)[:,:40] == 200).all() and (img == 200).all()
    assert (got[0][3][:,2:] > 0).all(1).sum() == 1
    assert (grey_over(img, np.array([[np.nan, 0, 5, 5], [-9., -9, 3, 3]])) == 200).all()


def test_a_person_without_a_box_gets_one_and_one_without_anything_a_reason(data):
    one = data.of(1)[[0]]
    odd = Instances.cat([one]*3).replace(bbox=np.array([[9., 9, 0, 0], [9., 9, 0, 0], [np.nan]*4]))
    odd.visible[1] = 0
    _,_,_,boxes,faults = mosaic_view([(data.image(1), odd)], SCHEMA, (128,96), STILL, np.random.default_rng(0))
    assert faults[0] == faults[2] == '' and faults[1] == 'no area' and np.allclose(boxes[0], boxes[2])


@pytest.mark.parametrize('shape', [(1, 300), (300, 1), (1, 1), (2000, 30)])
def test_pictures_of_any_shape_are_no_trouble(shape):
    img = np.full((*shape, 3), 255, np.uint8)
    got = MosaicDataset(pixels([img]*3), (64,64), MOSAIC)
    for i in range(9): assert got[i][0].shape == (3, 64, 64)


def test_bad_input_says_what_is_missing(data):
    with pytest.raises(ValueError, match='no picture to train on'): MosaicDataset(pixels([]), (64,64))
    with pytest.raises(ValueError, match='max_people is 0'): MosaicDataset(data, (64,64), max_people=0)
