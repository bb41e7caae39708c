import pickle
from dataclasses import replace
import numpy as np, pytest
from hypothesis import given, settings, strategies as st
from poselab.data.enlarge import HOLES, HoledSource, enlarged
from poselab.data.figures import rendered_dataset
from poselab.records import ImageInfo, Instances, MemorySource, PoseData
from poselab.schema import load_schema

COCO = load_schema('coco')

def crowds(counts, size=(40, 30), **cols):
    "A data set with this many people in its pictures, all in one box, pictures grey"
    ids = np.repeat(np.arange(1, len(counts) + 1), counts)
    xy = np.tile(np.array([[10., 8.]]), (len(ids), 17, 1)) + np.arange(17)[:, None]*.5
    people = Instances.make(xy, image_id=ids, bbox=np.tile([8., 6, 20, 15], (len(ids), 1)), **cols)
    images = [ImageInfo(i + 1, f'{i}.png', *size, split='train', extra=dict(licence=3)) for i in range(len(counts))]
    return PoseData('crowds', COCO, images, people, MemorySource(lambda name: np.full((size[1], size[0], 3), 120, np.uint8)))

RUNNERS = [1]*760 + [2]*67 + [3]*12 # 839 pictures, 930 people

@pytest.mark.parametrize('seed', range(5))
def test_the_printed_images_come_out_for_every_seed_and_the_runners_nearly(seed):
    large = enlarged(crowds(RUNNERS), seed=seed)
    assert len(large) == 2197 and abs(len(large.instances) - 2589) < 40

def test_the_printed_runners_come_out_for_one_seed_and_never_when_pictures_are_drawn():
    data = crowds(RUNNERS)
    assert any(len(enlarged(data, seed=s).instances) == 2590 for s in range(60))
    share = 679/839
    found = [enlarged(data, share, by='picture', seed=s) for s in range(10)]
    assert {len(d) for d in found} == {2197} and max(len(d.instances) for d in found) < 2500

@settings(max_examples=25, deadline=None)
@given(counts=st.lists(st.integers(0, 4), min_size=1, max_size=12), share=st.sampled_from([0., .3, .73, 1., 1.5, 2.]),
       seed=st.integers(0, 99), by=st.sampled_from(['person', 'picture']))
def test_copies_add_up_and_the_originals_stay_first(counts, share, seed, by):
    data = crowds(counts)
    large = enlarged(data, share, by=by, seed=seed)
    n = sum(counts) if by == 'person' else len(counts)
    assert len(large) == len(counts) + 2*round(share*n)
    assert large.images[:len(data)] == data.images and (large.instances.id[:len(data.instances)] == data.instances.id).all()
    assert len({im.id for im in large.images}) == len(large) and len({im.file for im in large.images}) == len(large)
    assert len(set(large.instances.id)) == len(large.instances)
    for im in large.images[len(data):]:
        assert len(large.of(im.id)) == len(data.of(im.extra['copy_of'])) and im.split == 'train' and im.extra['licence'] == 3

def test_a_whole_number_of_shares_draws_everybody_equally_often():
    data = crowds([1, 2, 3])
    large = enlarged(data, 2.)
    assert len(large) == 3 + 4*6 and len(large.instances) == 6 + 4*(1 + 4 + 9)

def test_holes_lie_in_the_box_and_nowhere_else():
    data = crowds([1, 1])
    for seed in range(5):
        large = enlarged(data, 1., seed=seed)
        for im in large.images[2:]:
            changed = (large.image(im.id) != 120).any(-1)
            assert changed[6:21, 8:28].any() and changed.sum() == changed[6:21, 8:28].sum()
        assert all((large.image(i) == 120).all() for i in (1, 2)) # the originals are whole

def test_holes_by_picture_lie_all_over():
    large = enlarged(crowds([1]*20), 1., by='picture')
    changed = np.any([(large.image(im.id) != 120).any(-1) for im in large.images[20:]], 0)
    assert changed.all()

def test_a_copy_looks_the_same_whenever_and_wherever_it_is_read():
    data = rendered_dataset(4, 0, size=(64, 48), people=1)
    a,b = enlarged(data, 1., seed=3),pickle.loads(pickle.dumps(enlarged(data, 1., seed=3)))
    for im in reversed(a.images): assert (a.image(im.id) == b.image(im.id)).all()
    other = enlarged(data, 1., seed=4)
    assert any((a.image(im.id) != other.image(im.id)).any() for im in a.images[4:])

def test_the_set_itself_is_left_alone():
    data = crowds([1, 2])
    before = data.instances.id.copy(),len(data)
    enlarged(data, 2.)
    assert (data.instances.id == before[0]).all() and len(data) == before[1] and all('copy_of' not in im.extra for im in data.images)

def test_crowds_and_people_without_keypoints_are_not_drawn_but_travel_along():
    data = crowds([2, 2], visible=np.repeat([[2], [0], [2], [2]], 17, 1), iscrowd=[False, False, False, True])
    large = enlarged(data, 1.)
    assert len(large) == 2 + 2*2 and len(large.instances) == 4 + 2*4

def test_a_box_outside_its_picture_gives_a_copy_without_holes():
    data = crowds([1])
    data = replace(data, instances=data.instances.replace(bbox=[[500., 500, 20, 20]]))
    large = enlarged(data, 1.)
    assert len(large) == 3 and (large.image(3) == 120).all()

def test_nobody_to_draw_leaves_the_set_as_it_is():
    data = crowds([0, 0])
    assert len(enlarged(data)) == 2 and len(enlarged(crowds([1]), 0.)) == 1

def test_own_holes_are_told_apart_by_name():
    def black(img, rng): img[:] = 0; return img
    large = enlarged(crowds([1, 1]), 1., dict(black=black))
    assert len(large) == 4 and large.images[2].extra['holes'] == 'black' and (large.image(3)[6:21, 8:28] == 0).all()
    assert set(HOLES) == {'erase', 'grid'} and large.source.names()[-1].endswith('#black-2')

def test_what_cannot_be_enlarged_is_refused():
    data = crowds([1])
    for make,words in ((lambda: enlarged(replace(data, source=None)), 'annotations only'),
                       (lambda: enlarged(data, by='runner'), "say 'person' or 'picture'"), (lambda: enlarged(data, -.1), 'share -0.1 is below 0')):
        with pytest.raises(ValueError, match=words): make()

def test_a_training_set_takes_it():
    from poselab.train import TopDownDataset
    large = enlarged(rendered_dataset(3, 0, size=(64, 48), people=1), 1.)
    items = TopDownDataset(large, (48, 64))
    assert len(items) == 9 and items[8][0].shape == (3, 64, 48)

def test_a_set_is_enlarged_once():
    small = rendered_dataset(3, seed=1)
    with pytest.raises(ValueError, match='copies already'): enlarged(enlarged(small, share=1.), share=1.)
