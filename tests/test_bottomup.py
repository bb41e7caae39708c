"Whole pictures: pixels, people and masks in step, for any size; the same view again; nobody lost without being masked"
import json
from dataclasses import replace
import numpy as np, pytest
from hypothesis import given, settings, strategies as st
from poselab.data.augment import AugmentConfig
from poselab.data.bottomup import (WHOLE, WHOLE_STILL, BottomUpDataset, fit_input, label_mask, people_in_view, rle_counts, rle_mask, whole_region,
                                   whole_view)
from poselab.data.datasets import read_coco
from poselab.data.figures import rendered_dataset
from poselab.data.geometry import apply, input_matrix, invert, warp
from poselab.records import ImageInfo, Instances, MemorySource, PoseData
from poselab.schema import load_schema

COCO = load_schema('coco')
STILL = np.eye(2, 3)
seeds = st.integers(0, 10**6)
sides = st.integers(1, 300)


def crowd(seed=0, P=4, size=(160,120), **cols):
    "Random people in a random picture"
    r = np.random.default_rng(seed)
    xy = r.uniform(0, np.array(size) - 1, (P,17,2))
    return r.integers(0, 255, (size[1],size[0],3), dtype=np.uint8), Instances.make(xy, r.integers(0, 3, (P,17)), **cols)


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(1, 4), st.integers(1, 4), st.sampled_from(['short', 'long']))
def test_every_keypoint_returns_through_the_inverse(seed, w, h, side):
    img,people = crowd(seed)
    size = (32*w, 32*h)
    out,xy,v,mask,M = whole_view(img, people, COCO, size, replace(WHOLE, brightness=.1, blur=.5, erase=.5, grid=.5), np.random.default_rng(seed), 6, side)
    assert out.shape == (*size[::-1],3) and out.dtype == np.uint8 and xy.shape == (6,17,2) and mask.shape == (size[1]//2, size[0]//2)
    flip = list(COCO.flip) if np.linalg.det(M[:,:2]) < 0 else list(range(17))
    back = apply(invert(M), xy.astype(float))[:,flip]
    for p in np.flatnonzero((v > 0).any(1)):
        on = v[p][flip] > 0
        assert np.abs(back[p] - people.keypoints).max(-1)[:,on].max(1).min() < 1e-2
    assert ((xy[v > 0] > -.5) & (xy[v > 0] < np.array(size) - .5)).all()
    assert ((v > 0).sum(1)[:-1] >= (v > 0).sum(1)[1:]).all() # most visible first, empty rows last


def test_a_painted_keypoint_is_found_at_its_new_place():
    for seed in range(15):
        img = np.zeros((120,160,3), np.uint8); img[57:62, 78:83] = 255
        people = Instances.make(np.tile([[[80.,59.]]], (1,17,1)))
        out,xy,v,_,_ = whole_view(img, people, COCO, (128,96), WHOLE, np.random.default_rng(seed))
        if not v.any(): continue
        ys,xs = np.mgrid[:96,:128]; m = out[..., 0].astype(float)
        if m[0].any() or m[-1].any() or m[:,0].any() or m[:,-1].any(): continue
        np.testing.assert_allclose([(m*xs).sum()/m.sum(), (m*ys).sum()/m.sum()], xy[0,0], atol=.3)


def test_the_mask_follows_the_picture():
    "What was masked is black in the picture: after any view, masked cells are black and black cells masked, borders apart"
    for seed in range(10):
        img = np.full((120,160,3), 200, np.uint8)
        img[30:90, 50:110] = 0
        people = Instances.make(np.full((2,17,2), 80.), np.array([[0]*17, [2]*17]), bbox=[[49.5,29.5,60,60], [0,0,160,120]])
        cfg = replace(WHOLE, scale=(1., 1.2), shift=.05)
        out,_,_,mask,M = whole_view(img, people, COCO, (128,128), cfg, np.random.default_rng(seed), stride=1)
        inside = warp(np.full((120,160,3), 255, np.uint8), M, (128,128))[..., 0] == 255
        differ = ((out[..., 0] < 100) != (mask == 0)) & inside
        assert differ.mean() < .02 and .05 < (mask == 0).mean() < .6


def test_one_seed_one_view_and_the_picture_is_never_changed():
    img,people = crowd(2)
    before = img.copy()
    a,b = (whole_view(img, people, COCO, (64,64), replace(WHOLE, erase=1., grid=1., blur=1.), np.random.default_rng(3)) for _ in range(2))
    assert all((x == y).all() for x,y in zip(a, b)) and (img == before).all()


def test_without_change_first_pixel_lies_on_first_and_last_on_last():
    img,people = crowd(4)
    out,xy,v,mask,M = whole_view(img, people, COCO, (160,120), WHOLE_STILL, np.random.default_rng(0))
    np.testing.assert_allclose(M, STILL, atol=1e-9)
    assert (out == img).all() and mask.all()
    assert sorted(v.sum(1)[:4]) == sorted(np.where(people.visible > 0, people.visible, 0).sum(1))


@settings(max_examples=60, deadline=None)
@given(sides, sides, st.integers(2, 200), st.integers(2, 200))
def test_short_fills_the_input_and_long_loses_nothing(w, h, W, H):
    corners = np.array([[0.,0.], [w - 1., h - 1.]])
    for side in ('short','long'):
        M = input_matrix(*whole_region((w,h), (W,H), side), (W,H))
        assert M[0,0] == pytest.approx(M[1,1]) and M[0,1] == M[1,0] == 0
        a,b = apply(M, corners)
        np.testing.assert_allclose(a + b, [W - 1, H - 1], atol=1e-6)
        if side == 'long': assert (a >= -1e-6).all() and (b <= np.array([W,H]) - 1 + 1e-6).all()
        elif min(w,h) > 1: assert (a <= 1e-6).all() and (b >= np.array([W,H]) - 1 - 1e-6).all()


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 5000), st.integers(1, 5000), st.sampled_from([(64,32), (512,64), (96,16)]))
def test_a_test_input_is_whole_multiples_keeps_the_shape_and_has_a_way_back(w, h, rule):
    short,multiple = rule
    size,M = fit_input((w,h), short, multiple, 4*short)
    assert all(n % multiple == 0 and multiple <= n <= 4*short for n in size)
    if max(w,h) <= 4*min(w,h): assert min(size) == short
    a,b = apply(M, np.array([[0.,0.], [w - 1., h - 1.]]))
    assert (a >= -1e-6).all() and (b <= np.array(size) - 1 + 1e-6).all() and M[0,0] == pytest.approx(M[1,1])
    np.testing.assert_allclose(apply(invert(M), np.array([a, b])), [[0,0], [w - 1,h - 1]], atol=1e-6)


# Who counts, who is masked

def test_crowds_and_people_without_keypoints_are_masked_and_have_no_row():
    _,people = crowd(5, P=3, iscrowd=[False, True, False])
    people.visible[2] = 0
    xy,v,masked = people_in_view(people, STILL, False, COCO, (160,120), 4)
    assert sorted(masked) == [1, 2] and (v > 0).any(1).sum() == 1


@pytest.mark.parametrize('most', [1, 2, 3, 9])
def test_people_beyond_the_last_row_are_masked_not_turned_into_background(most):
    _,people = crowd(6, P=5); people = people.replace(visible=2)
    people.visible[3,:10] = 0; people.visible[1,:5] = 0
    xy,v,masked = people_in_view(people, STILL, False, COCO, (160,120), most)
    assert len(masked) == max(5 - most, 0) and (v > 0).any(1).sum() == min(most, 5)
    assert most == 9 or 3 in masked # the least visible goes first


def test_who_is_cropped_away_is_neither_there_nor_masked():
    _,people = crowd(7, P=2)
    away = np.array([[1., 0, 5000], [0, 1, 0]])
    xy,v,masked = people_in_view(people, away, False, COCO, (160,120), 3)
    assert not v.any() and len(masked) == 0


def test_a_picture_without_anybody_is_an_ordinary_view():
    out,xy,v,mask,_ = whole_view(crowd(0)[0], Instances.empty(17), COCO, (64,64), WHOLE, np.random.default_rng(0), 3)
    assert xy.shape == (3,17,2) and not v.any() and mask.all()


# Regions

def test_run_lengths_are_those_of_pycocotools():
    coco_mask = pytest.importorskip('pycocotools.mask')
    r = np.random.default_rng(0)
    for n in range(30):
        h,w = r.integers(1, 60, 2)
        m = np.asfortranarray(r.random((h,w)) > r.random()).astype(np.uint8)
        rle = coco_mask.encode(m)
        assert (rle_mask(rle) == m).all() and (rle_mask(dict(size=rle['size'], counts=rle['counts'].decode())) == m).all()
        assert (rle_mask(dict(size=[h,w], counts=rle_counts(rle['counts']))) == m).all()


def test_run_lengths_by_hand():
    assert rle_mask(dict(size=[2,2], counts=[1,2,1])).tolist() == [[0,1],[1,0]]


@pytest.mark.parametrize('counts', [[5], [3,4], [-1,5], 'zz'])
def test_broken_run_lengths_name_the_annotation(counts):
    p = Instances.make(np.zeros((1,17,2)), 0, [dict(segmentation=dict(size=[2,2], counts=counts))], id=[77], image_id=4)
    with pytest.raises(ValueError, match='Annotation 77 .image 4.: .*4 px'): label_mask(p, [0], STILL, (8,8))


@pytest.mark.parametrize('seg', [None, [], {}, dict(size=[16,16], counts=[]), [[1,2]], [7], [[1,2,3,4,5]], [[2,2,10,2,10,10,2,10]]])
def test_polygons_and_boxes_are_painted_and_odd_polygons_fall_back_to_the_box(seg):
    p = Instances.make(np.zeros((1,17,2)), 0, [dict(segmentation=seg)], bbox=[[2,2,8,8]])
    mask = label_mask(p, [0], STILL, (16,16), 1)
    assert (mask[3:10,3:10] == 0).all() and mask[0].all() and mask[13:].all()


def test_a_run_length_region_moves_with_the_matrix():
    m = np.zeros((20,30), np.uint8); m[5:10, 10:20] = 1
    runs = np.diff(np.flatnonzero(np.diff(np.r_[2, m.T.ravel(), 2])))
    p = Instances.make(np.zeros((1,17,2)), 0, [dict(segmentation=dict(size=[20,30], counts=runs.tolist()))], iscrowd=True)
    assert (label_mask(p, [0], STILL, (30,20), 1) == 1 - m).all()
    moved = label_mask(p, [0], np.array([[1.,0,4],[0,1,-2]]), (30,20), 1)
    assert (moved[3:8, 14:24] == 0).all() and moved.sum() == 600 - 50


def test_a_far_region_overflows_nothing():
    p = Instances.make(np.zeros((1,17,2)), 0, bbox=[[-1e9,-1e9,1e8,1e8]])
    assert label_mask(p, [0], STILL, (16,16)).all()


# The data set

def test_items_are_stacked_by_the_loader_and_are_the_same_again():
    from torch.utils.data import DataLoader
    data = rendered_dataset(5, 3, (96,64), (1,4))
    make = lambda seed: BottomUpDataset(data, (64,64), WHOLE, seed=seed, max_people=5)
    a,b,c = (next(iter(DataLoader(make(s), 5))) for s in (0, 0, 1))
    assert [tuple(t.shape) for t in a] == [(5,3,64,64), (5,5,17,2), (5,5,17), (5,32,32)]
    assert all((x == y).all() for x,y in zip(a, b)) and not (a[0] == c[0]).all()


def test_another_epoch_is_another_view_and_late_takes_over():
    data = BottomUpDataset(rendered_dataset(2, 3, (96,64), 2), (64,64), WHOLE, WHOLE_STILL, 2)
    first,second,third,fourth = (data[e*2][0] for e in range(4))
    assert not (first == second).all() and (third == fourth).all()


def test_pictures_without_labelled_people_are_left_out_and_none_at_all_is_refused():
    data = rendered_dataset(4, 3, (96,64), 1)
    data.instances.visible[data.instances.image_id == data.images[0].id] = 0
    assert len(BottomUpDataset(data, (64,64))) == 3
    data.instances.visible[:] = 0
    with pytest.raises(ValueError, match='rendered: no picture'): BottomUpDataset(data, (64,64))
    with pytest.raises(ValueError, match='max_people is 0'): BottomUpDataset(rendered_dataset(1, 3, (96,64), 1), (64,64), max_people=0)


def test_the_cache_stops_at_its_limit():
    data = BottomUpDataset(rendered_dataset(3, 3, (96,64), 1), (64,64), cache_mb=0)
    data[0]; assert data.picture.kept == {}


def test_odd_sizes_and_one_pixel_pictures_go_through():
    for w,h in ((1,1), (1,50), (33,7), (501,333)):
        img,people = np.zeros((h,w,3), np.uint8),Instances.make(np.zeros((1,17,2)))
        for side in ('short','long'): assert whole_view(img, people, COCO, (64,32), WHOLE, np.random.default_rng(0), 2, side)[0].shape == (32,64,3)
        assert fit_input((w,h), 64)[0][0] % 32 == 0


def test_wrong_words_are_refused():
    with pytest.raises(ValueError, match="side is 'middle'"): whole_region((4,4), (4,4), 'middle')
    with pytest.raises(ValueError, match='0 x 5'): fit_input((0,5))
    with pytest.raises(ValueError, match='at least multiple'): fit_input((5,5), 16)


def test_crowd_regions_of_a_coco_file_reach_the_mask(tmp_path):
    person = dict(id=1, image_id=1, category_id=1, keypoints=[30,30,2]*17, num_keypoints=17, bbox=[20,20,20,20], area=400, iscrowd=0)
    crowd = dict(id=2, image_id=1, category_id=1, keypoints=[0]*51, num_keypoints=0, bbox=[60,0,20,40], area=800, iscrowd=1,
        segmentation=dict(size=[64,96], counts=[60*64, 20*64, 16*64]))
    file = tmp_path/'truth.json'
    file.write_text(json.dumps(dict(images=[dict(id=1, file_name='a.png', width=96, height=64)], annotations=[person, crowd],
        categories=[dict(id=1, name='person', keypoints=list(COCO.names), skeleton=[])])))
    data = read_coco(file, images=False)
    data.source = MemorySource({'a.png': np.zeros((64,96,3), np.uint8)})
    x,xy,v,mask = BottomUpDataset(data, (96,64), stride=1)[0]
    assert (v > 0).any(1).sum() == 1 and (mask[:,60:80] == 0).all() and mask[:,:60].all() and mask[:,80:].all()


def test_targets_from_a_view_decode_to_its_people():
    import torch
    from poselab.codecs.grouping import AssociativeEmbedding, true_outputs
    codec = AssociativeEmbedding((256,192))
    data = BottomUpDataset(rendered_dataset(6, 9, (320,240), (2,5)), (256,192), replace(WHOLE, scale=(.6,1.)))
    for i in range(6):
        x,xy,v,mask = data[i]
        got,_,_ = codec.decode(true_outputs(codec, torch.from_numpy(xy)[None], torch.from_numpy(v)[None]))[0]
        assert len(got) == (v > 0).any(1).sum()
