"Clips: who stands beside whom, one view for all frames, rendered films with their truth, and training on them"
from dataclasses import dataclass, replace
import warnings
import numpy as np, pytest, torch
from hypothesis import given, strategies as st
from torch import nn
from poselab.codecs.heatmap import Heatmap
from poselab.data.augment import AugmentConfig, augment, augment_clip
from poselab.data.clips import (CLIP_KINDS, CLIP_VIEWS, CONDITIONS, DEGRADATIONS, ClipDataset, ClipReader, Degradation, bars, block, by_condition, degraded,
    disc_kernel, line_kernel, neighbours, rendered_clip, rendered_clips, to_card, triples)
from poselab.data.datasets import read_any, read_coco, write_coco
from poselab.data.figures import rendered_dataset
from poselab.records import ImageInfo, Instances, MemorySource, PoseData, data_root
from poselab.schema import load_schema

COCO = load_schema('coco')

def film(numbers, video='a', people=True, images=None, first=1, size=(40,32)):
    "Pictures with these frame numbers, one person in each"
    infos = [ImageInfo(first + i, f'{video}{n}', *size, video=video, frame=n) for i,n in enumerate(numbers)]
    xy = np.random.default_rng(0).uniform(4, 28, (len(infos)*people, 17, 2))
    rows = Instances.make(xy, image_id=[im.id for im in infos][:len(xy)])
    w,h = size
    made = {im.file: np.full((h, w, 3), 90 + i, np.uint8) for i,im in enumerate(infos)} if images is None else images
    return PoseData('film', COCO, infos, rows, MemorySource(made))

# ---- neighbours

@given(st.sets(st.integers(0, 30), min_size=1, max_size=12), st.sampled_from([1, 3, 5, 7]))
def test_a_neighbour_is_the_next_number_or_the_last_before_the_gap(numbers, frames):
    numbers = sorted(numbers)
    got = neighbours(film(numbers, people=False), frames)
    for n,row in zip(numbers, got):
        shown = [numbers[i - 1] for i in row]
        assert shown[frames//2] == n
        for step in (-1, 1):
            here,broken = n,False
            for d in range(1, frames//2 + 1):
                broken = broken or n + step*d not in numbers
                here = here if broken else n + step*d
                assert shown[frames//2 + step*d] == here

def test_films_do_not_mix_and_pictures_without_a_film_are_alone():
    a,b = film([0, 1], 'a', False),film([1, 2], 'b', False, first=3)
    loose = [ImageInfo(5, 'x', 0, 0), ImageInfo(6, 'y', 0, 0, video='a')]
    data = PoseData('both', COCO, a.images + b.images + loose, Instances.empty(17))
    assert neighbours(data).tolist() == [[1,1,2], [1,2,2], [3,3,4], [3,4,4], [5,5,5], [6,6,6]]

def test_the_order_of_the_file_does_not_matter():
    data = film([3, 0, 2, 1], people=False)
    assert [[data.info(i).frame for i in row] for row in neighbours(data).tolist()] == [[2,3,3], [0,0,1], [1,2,3], [0,1,2]]

def test_one_frame_is_its_own_past_and_future_and_no_frame_is_no_row():
    assert neighbours(film([7], people=False)).tolist() == [[1, 1, 1]] and neighbours(film([], people=False)).shape == (0, 3)

def test_a_frame_listed_twice_is_named():
    with pytest.raises(ValueError, match='frame 1 of a is listed twice, as images 1 and 2'): neighbours(film([1, 1], people=False))

@pytest.mark.parametrize('frames', [0, 2, -3])
def test_an_even_number_of_frames_has_no_middle(frames):
    with pytest.raises(ValueError, match='odd'): neighbours(film([0, 1]), frames)

def test_rows_without_label_box_or_name_are_left_out_and_holes_in_a_track_are_no_holes_in_the_film():
    data = film([0, 1, 2])
    p = data.instances
    v = p.visible.copy(); v[1] = 0
    data.instances = p.replace(visible=v, track_id=[4, 4, 4])
    rows,ids = triples(data)
    assert rows.tolist() == [0, 2] and ids.tolist() == [[1,1,2], [2,3,3]]
    data.instances = p.replace(iscrowd=[True, False, False], bbox=np.where([[False], [True], [False]], 0., p.bbox))
    assert triples(data)[0].tolist() == [2]

# ---- pictures

def test_a_missing_neighbour_is_named_once_and_the_middle_stands_in():
    data = film([0, 1, 2])
    del data.source.images['a0']
    reader = ClipReader(data)
    with pytest.warns(UserWarning, match="'a0'.*Image 2 stands in"): clip = reader.clip([1, 2, 3])
    assert clip[0] is clip[1] and clip[2] is not clip[1]
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        reader.clip([1, 2, 3])
    with pytest.raises(FileNotFoundError, match='a0'): reader.clip([1, 1, 2])

def test_a_neighbour_of_another_size_is_not_mixed_in():
    small = {'a0': np.zeros((32, 40, 3), np.uint8), 'a1': np.zeros((32, 40, 3), np.uint8), 'a2': np.zeros((16, 20, 3), np.uint8)}
    data = film([0, 1, 2], images=small)
    for im in data.images: im.width = im.height = 0
    assert [c.shape for c in ClipReader(data).clip([1, 2, 3])] == [(32, 40, 3)]*3

def test_a_picture_that_does_not_fit_its_annotation_is_left_out_with_a_warning():
    wrong = {f'a{i}': np.zeros((32, 40 + 8*(i == 2), 3), np.uint8) for i in range(3)}
    with pytest.warns(UserWarning, match='48x32'): clip = ClipReader(film([0, 1, 2], images=wrong)).clip([1, 2, 3])
    assert clip[2] is clip[1]

def test_nothing_beyond_a_cut_is_shown():
    rng = np.random.default_rng(0)
    rooms = [np.full((32, 40, 3), 30, np.uint8)]*3 + [np.full((32, 40, 3), (200, 40, 40), np.uint8)]*2
    data = film(range(5), images={f'a{i}': img for i,img in enumerate(rooms)})
    ids = neighbours(data, 5)
    assert [[c[0,0,0] for c in ClipReader(data).clip(row)] for row in ids] == [[30]*5]*3 + [[200]*5]*2
    assert [c[0,0,0] for c in ClipReader(data, cut=None).clip(ids[2])] == [30, 30, 30, 200, 200]

def test_what_moves_is_no_cut():
    clip = rendered_clip(3, kind='crossing', strength=.2)
    data = film(range(5), images={f'a{t}': clip.picture(t) for t in range(5)}, size=(192,192))
    reader = ClipReader(data)
    assert all(reader.follows(i, i + 1) for i in range(1, 5))

# ---- one view

@pytest.mark.parametrize('T', [1, 3, 5])
def test_three_times_a_picture_gives_three_times_an_input(T):
    data = rendered_dataset(1, seed=2, people=1)
    img,p = data.image(1),data.instances[0]
    wild = AugmentConfig(erase=1., grid=1., blur=1.)
    for seed in range(10):
        out,xy,v,M = augment_clip([img]*T, p.bbox[0], p.keypoints[0], p.visible[0], COCO, (48,64), wild, np.random.default_rng(seed))
        one = augment(img, p.bbox[0], p.keypoints[0], p.visible[0], COCO, (48,64), wild, np.random.default_rng(seed))
        assert len(out) == T and all((o == one[0]).all() for o in out)
        assert (xy == one[1]).all() and (v == one[2]).all() and (M == one[3]).all()

@given(st.integers(0, 10**6))
def test_frames_keep_their_differences(seed):
    a,b = np.full((60, 50, 3), 40, np.uint8),np.full((60, 50, 3), 90, np.uint8)
    box,xy = np.array([5., 5, 40, 50]),np.full((17, 2), 20.)
    (x,y),*_ = augment_clip([a, b], box, xy, np.full(17, 2), COCO, (24,32), replace(CLIP_VIEWS, brightness=0., contrast=0., saturation=0., hue=0.), np.random.default_rng(seed))
    assert ((x == 0) == (y == 0)).all() # the outside is in the same place
    inside = (x == 40).all(-1)
    assert (y[inside] == 90).all()

# ---- the data set

def test_an_item_is_three_frames_the_middle_keypoints_and_a_reproducible_view():
    data = rendered_clips(3, seed=4, frames=(3, 5))
    ds = ClipDataset(data, (48,64), CLIP_VIEWS, seed=1)
    x,xy,v = ds[5]
    assert x.shape == (3, 3, 64, 48) and x.dtype == np.uint8 and x.flags['C_CONTIGUOUS'] and xy.shape == (15, 2) and xy.dtype == np.float32
    assert v.shape == (15,) and v.dtype == np.int64 and set(v.tolist()) <= {0, 1, 2}
    n = len(ds)
    assert all((p == q).all() for p,q in zip(ds[5], ds[5])) and any((p != q).any() for p,q in zip(ds[5], ds[n + 5]))

def test_without_change_an_item_is_the_plain_cut_of_its_neighbours():
    from poselab.data.geometry import apply, box_to_center_size, input_matrix, warp
    data = rendered_clips(2, seed=4, frames=5, kinds=['clean'])
    ds = ClipDataset(data, (48,64), frames=5)
    row,ids = ds.rows[2],ds.ids[2]
    M = input_matrix(*box_to_center_size(data.instances.bbox[row], .75, 1.25), (48,64))
    x,xy,_ = ds[2]
    for frame,i in zip(x, ids): assert (frame.transpose(1, 2, 0) == warp(data.image(int(i)), M, (48,64))).all()
    np.testing.assert_allclose(xy, apply(M, data.instances.keypoints[row]), atol=1e-4)
    assert len(set(ids.tolist())) == 5 or data.info(int(ids[2])).frame in (0, 1, 3, 4)

def test_the_later_epochs_may_be_milder():
    data = rendered_clips(1, seed=4, frames=3, kinds=['clean'])
    ds,plain = ClipDataset(data, (48,64), CLIP_VIEWS, AugmentConfig(flip=0., half_body=0., scale=(1., 1.), turn=0., shift_chance=0., brightness=0.,
        contrast=0., saturation=0., hue=0., blur=0., erase=0.), late_from=2),ClipDataset(data, (48,64))
    assert (ds[2*len(ds)][0] == plain[0][0]).all() and (ds[0][0] != plain[0][0]).any()

def test_keypoints_outside_the_input_are_absent():
    data = film([0, 1])
    p = data.instances
    xy = p.keypoints.copy(); xy[:, 0] = -500
    data.instances = p.replace(keypoints=xy)
    assert ClipDataset(data, (24,32))[0][2][0] == 0

def test_nobody_to_learn_from_is_an_error():
    with pytest.raises(ValueError, match='no person with a box'): ClipDataset(film([0], people=False), (24,32))

def test_workers_can_take_it_along():
    import pickle
    data = rendered_clips(1, seed=4, frames=3)
    again = pickle.loads(pickle.dumps(ClipDataset(data, (48,64))))
    assert (again[1][0] == ClipDataset(data, (48,64))[1][0]).all()

# ---- what makes a film hard to see

@given(st.floats(0, 12))
def test_a_lens_keeps_the_light(radius):
    for k in (disc_kernel(radius), line_kernel(radius, .7)):
        assert k.shape[0] == k.shape[1] and k.shape[0] % 2 == 1 and k.sum() == pytest.approx(1, abs=1e-5) and (k >= 0).all()
    np.testing.assert_allclose(disc_kernel(radius), disc_kernel(radius)[::-1, ::-1])

def test_a_line_is_as_long_as_it_says():
    k = line_kernel(6., 0.)
    assert (k[k.shape[0]//2] > 0).sum() == 7 and (k > 0).sum() == 7

@given(st.sampled_from(DEGRADATIONS), st.floats(0, 1), st.integers(1, 6), st.integers(0, 99))
def test_a_film_stays_a_film_and_only_covered_pixels_are_reported(kind, strength, T, seed):
    frames = [np.full((33, 47, 3), 100, np.uint8)]*T
    out,hidden = degraded(frames, kind, strength, seed)
    assert len(out) == T and hidden.shape == (T, 33, 47) and all(o.shape == (33, 47, 3) and o.dtype == np.uint8 for o in out)
    if kind not in ('bars', 'block'): assert not hidden.any()
    for o,h in zip(out, hidden): assert (np.abs(o[~h].astype(int) - 100) <= 2).all() # an even wall stays even under any lens

def test_more_strength_hides_more():
    share = [[Degradation(k, s).hidden(1, (96,64)).mean() for s in (.1, .5, 1.)] for k in ('bars', 'block')]
    assert all(a < b < c for a,b,c in share)
    spread = [max(Degradation('defocus', s, 5, 2).blur(t) for t in range(5)) for s in (.1, .5, 1.)]
    assert spread[0] < spread[1] < spread[2]

def test_bars_and_blocks_cover_what_they_say():
    assert bars((100, 10), .3, 0., 1.).mean() == pytest.approx(.3, abs=.011)
    b = block((101, 51), .2, (.5, .5))
    assert b[25, 50] and not b[25, 57] and b.any(1).sum() == b.any(0).sum() == 11

@pytest.mark.parametrize('kind,strength', [('fog', .5), ('bars', 1.5), ('bars', -1)])
def test_unknown_weather_is_refused(kind, strength):
    with pytest.raises(ValueError, match='fog|strength'): Degradation(kind, strength)

# ---- rendered clips

@pytest.mark.parametrize('kind', CLIP_KINDS)
def test_the_same_seed_gives_the_same_bytes(kind):
    a,b = (rendered_clips(1, seed=9, frames=3, kinds=[kind]) for _ in range(2))
    assert (a.image(3) == b.image(3)).all() and (a.instances.keypoints == b.instances.keypoints).all() and (a.image(1) != a.image(3)).any()

def test_a_set_says_who_where_and_in_what_condition():
    data = rendered_clips(12, seed=2, frames=(3, 5), split='train')
    sizes = {v: sum(im.video == v for im in data.images) for v in {im.video for im in data.images}}
    assert len(sizes) == 12 and set(sizes.values()) <= {3, 4, 5}
    assert {im.extra['condition'] for im in data.images} <= set(CONDITIONS) and {im.split for im in data.images} == {'train'}
    assert sum(map(len, by_condition(data).values())) == len(data)
    assert (data.instances.track_id >= 1).all() and (data.instances.head > 2).all() and len(set(data.instances.id.tolist())) == len(data.instances)

def test_kinds_have_their_conditions():
    for kind,allowed in dict(clean={'clean'}, defocus={'clean', 'blurred'}, bars={'clean', 'occluded'}, crossing={'clean', 'occluded'}).items():
        data = rendered_clips(4, seed=5, kinds=[kind])
        assert {im.extra['condition'] for im in data.images} <= allowed and {im.extra['kind'] for im in data.images} == {kind}
    assert by_condition(rendered_clips(6, seed=5, kinds=['motion blur'], strength=(1., 1.)))['blurred']

def test_a_crossing_has_two_tracks_and_everything_else_one():
    assert set(rendered_clips(2, seed=1, kinds=['crossing']).instances.track_id.tolist()) == {1, 2}
    assert set(rendered_clips(2, seed=1, kinds=['bars']).instances.track_id.tolist()) == {1}

def test_what_is_behind_the_fence_is_occluded_and_what_is_not_stays():
    clip = rendered_clip(7, 3, 'bars', .6)
    free = clip.stage.expose(clip.true(1))
    covered,lost = clip.people(1, 'rendered')
    x,y = free.keypoints[0].round().astype(int).T
    behind = clip.over.hidden(1, clip.stage.size)[y, x] & (free.visible[0] == 2)
    assert lost == behind.sum() > 0
    assert (covered.visible[0] == np.where(behind, 1, free.visible[0])).all()

def test_motion_blur_smears_what_moves_and_nothing_else():
    blurred,sharp = rendered_clip(5, 3, 'motion blur', 1.),rendered_clip(5, 3, 'motion blur', 0.)
    t = max(range(3), key=blurred.smear)
    a,b = blurred.picture(t).astype(int),sharp.picture(t).astype(int)
    moved = np.abs(a - b).max(-1) > 12
    assert 0 < moved.mean() < .2 and blurred.smear(t) > 3 and sharp.smear(t) == 0
    assert (np.abs(a - b)[:8, :8] <= 2).all() # a corner of the room stands still

def test_the_exposure_is_the_mean_of_its_moments():
    clip = rendered_clip(5, 3, 'motion blur', 1.)
    clip.stage.style = replace(clip.stage.style, noise=0., plain=True)
    shots = np.mean([clip.stage.picture([m]).astype(float) for m in clip.moments[1]], 0)
    assert np.abs(clip.stage.picture(clip.moments[1]) - shots).max() <= .5

@pytest.mark.parametrize('card', ['rendered', 'posetrack', 'posetrack15'])
def test_a_card_names_the_keypoints(card):
    data = rendered_clips(2, seed=3, kinds=['clean'], card=card)
    s,p = data.schema,data.instances
    assert p.keypoints.shape[1] == s.num_keypoints == len(load_schema(card).names)
    same = rendered_clips(2, seed=3, kinds=['clean'], card='rendered')
    for n in ('nose', 'left_wrist', 'right_ankle'):
        assert (p.keypoints[:, s.index(n)] == same.instances.keypoints[:, same.schema.index(n)]).all()
    if card != 'rendered':
        up = p.keypoints[:, s.index('head_top')] - p.keypoints[:, s.index('head_bottom')]
        assert (np.linalg.norm(up, axis=1) > .3*p.head).all() and (np.linalg.norm(up, axis=1) < 2.5*p.head).all()
    if card == 'posetrack': assert (p.visible[:, 3:5] == 0).all()

@pytest.mark.parametrize('wrong', [dict(kinds=['fog']), dict(card='nobody')])
def test_unknown_kinds_and_cards_are_named(wrong):
    with pytest.raises((ValueError, FileNotFoundError), match='fog|nobody'): rendered_clips(1, **wrong)
    with pytest.raises(ValueError, match='fog'): rendered_clip(0, kind='fog')

def test_truth_survives_a_file(tmp_path):
    data = rendered_clips(2, seed=3)
    again = read_coco(write_coco(data, tmp_path/'clips.json'), False)
    assert again.schema.name == 'posetrack15' and [im.extra['condition'] for im in again.images] == [im.extra['condition'] for im in data.images]
    assert (neighbours(again) == neighbours(data)).all() and np.allclose(again.instances.head, data.instances.head)

# ---- another card

def test_a_card_with_nothing_in_common_is_refused_and_nothing_is_invented():
    data = rendered_clips(1, seed=3, card='rendered')
    short = to_card(data, 'posetrack15')
    assert (short.instances.visible[:, [1, 2]] == 0).all() and (short.instances.visible[:, 0] == data.instances.visible[:, 0]).all()
    empty = PoseData('x', replace(COCO, names=tuple(f'k{i}' for i in range(17))), [], Instances.empty(17))
    with pytest.raises(ValueError, match='no keypoint in common'): to_card(empty, 'posetrack15')

# ---- training

@dataclass(frozen=True)
class StandInConfig:
    "What a network for video says about itself"
    num_keypoints:int = 15
    input_size:tuple = (24,32)
    frames:int = 3

    @property
    def codec(self): return Heatmap(self.input_size, (12,16), heatmap_sigma=1.5)

class StandIn(nn.Module):
    "Three frames side by side, one convolution"
    def __init__(self, cfg):
        super().__init__(); self.cfg = cfg
        self.body = nn.Sequential(nn.Conv2d(3*cfg.frames, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, cfg.num_keypoints, 1))
    def forward(self, x): return (self.body(x.flatten(1, 2)),)

def test_a_network_for_video_trains_on_clips(tmp_path):
    from poselab.train import Recipe, fit, history, views
    recipe = Recipe(data='clips', card='posetrack15', model=StandInConfig(), epochs=2, batch=8, images=20, workers=0, warmup=2, augment=CLIP_VIEWS, ema=0.)
    data = rendered_clips(4, seed=1), rendered_clips(1, seed=2)
    assert isinstance(views(recipe, data[0]), ClipDataset) and isinstance(views(recipe, data[0], CLIP_VIEWS), ClipDataset)
    fit(recipe, tmp_path, data, progress=False, accelerator='cpu', build=lambda r: StandIn(r.model))
    curve = history(tmp_path)
    assert set(curve) >= {'loss', 'val_off', 'val_hit'} and all(np.isfinite(list(c.values())).all() for c in curve.values())

def test_clips_by_name_and_films_stay_whole():
    from poselab.train import Recipe, split_films, training_data
    train,val = training_data(Recipe(data='clips', card='posetrack15', model=StandInConfig(), images=12))
    assert len({im.video for im in train.images}) == 3 and len(val) == 300 and not {im.video for im in train.images} & {im.video for im in val.images}
    many = rendered_clips(30, seed=1, frames=3, kinds=['clean'])
    a,b = split_films(many)
    assert len(a) + len(b) == 90 and len(b) and not {im.video for im in a.images} & {im.video for im in b.images}
    one = film(range(20))
    a,b = split_films(one)
    assert [im.frame for im in b.images] == [18, 19] and len(a) == 18
    loose = PoseData('loose', COCO, [ImageInfo(i, str(i), 0, 0) for i in range(50)], Instances.empty(17))
    assert [im.id for im in split_films(loose)[1].images] == np.flatnonzero(np.random.default_rng(0).random(50) < .1).tolist()

def test_bytes_of_clips_are_normalised_like_those_of_pictures():
    from poselab.models.checkpoints import normalize
    x = torch.randint(0, 256, (2, 3, 3, 8, 6), dtype=torch.uint8)
    assert torch.equal(normalize(x)[:, 1], normalize(x[:, 1]))

# ---- real films

def test_the_clip_with_pictures_gives_items():
    root = data_root()
    if root is None: pytest.skip('no shared data: set POSELAB_DATA')
    data = read_any(root/'posetrack_iqbal'/'060470979.json')
    ds = ClipDataset(data, (48,64))
    assert len(ds) == (data.instances.num_labelled > 0).sum() == 164 and ds[80][0].shape == (3, 3, 64, 48)
    assert ds.ids[0].tolist() == [1, 1, 2] and ds.ids[-1].tolist() == [40, 41, 41]
    assert all(ds.reader.follows(i, i + 1) for i in (1, 20, 40))

# ---- PoseTrack's files

def of_2017(path, films=('a',), n=2, **person):
    import json
    p = lambda i, x, y, seen=1: dict(id=[i], x=[x], y=[y], is_visible=[seen])
    rect = dict(x1=[0], y1=[0], x2=[30], y2=[40], track_id=[3], annopoints=[dict(point=[p(0, 5., 90.), p(11, 40., 50., 0), p(13, 6., 10.)])]) | person
    frames = [dict(image=[dict(name=f'images/{f}/{t:08d}.jpg')], is_labeled=[int(t == 1)], annorect=[rect] if t == 1 else [],
        ignore_regions=[dict(point=[dict(x=[0], y=[0]), dict(x=[9], y=[0]), dict(x=[9], y=[9])])]) for f in films for t in range(1, n + 1)]
    path.write_text(json.dumps(dict(annolist=frames)))
    return path

def test_2017_counts_joints_in_its_own_order(tmp_path):
    from poselab.evaluate.posetrack import ignore_regions
    data = read_any(of_2017(tmp_path/'x.json'))
    p,s = data.instances,data.schema
    assert s.name == 'posetrack' and len(data) == 2 and len(p) == 1 and p.track_id.tolist() == [3] and p.head.tolist() == [30.]
    at = {n: (p.keypoints[0, s.index(n)].tolist(), int(p.visible[0, s.index(n)])) for n in ('right_ankle', 'left_wrist', 'nose', 'left_ear')}
    assert at == {'right_ankle': ([5., 90.], 2), 'left_wrist': ([40., 50.], 1), 'nose': ([6., 10.], 2), 'left_ear': ([0., 0.], 0)}
    assert [(im.video, im.frame, im.extra['is_labeled']) for im in data.images] == [('a', 1, True), ('a', 2, False)]
    assert ignore_regions(data.images[0])[0].tolist() == [[0, 0], [9, 0], [9, 9]] and neighbours(data).tolist() == [[1, 1, 2], [1, 2, 2]]

def test_2017_with_a_joint_that_nobody_knows_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r'annolist\[0\] has a joint \[15\]'):
        read_any(of_2017(tmp_path/'x.json', annopoints=[dict(point=[dict(id=[15], x=[1], y=[1])])]))

@pytest.mark.parametrize('person', [dict(annopoints=[]), dict(annopoints=[{}])])
def test_2017_people_without_points_have_none(tmp_path, person):
    assert read_any(of_2017(tmp_path/'x.json', **person)).instances.visible.sum() == 0

def test_a_folder_of_sequences_is_one_data_set(tmp_path):
    for i in range(2): write_coco(rendered_clips(1, seed=i, frames=3, kinds=['clean'], card='posetrack'), tmp_path/f'{i}.json')
    data = read_any(tmp_path)
    assert len(data) == 6 and len({im.id for im in data.images}) == 6 and len(set(data.instances.id.tolist())) == len(data.instances)
    assert neighbours(data).tolist() == [[1,1,2], [1,2,3], [2,3,3], [4,4,5], [4,5,6], [5,6,6]]
    assert {data.info(int(i)).video for i in data.instances.image_id} == {'0-00000', '1-00000'}

def test_a_folder_with_other_json_is_no_folder_of_sequences(tmp_path):
    write_coco(rendered_clips(1, seed=0, frames=3, kinds=['clean']), tmp_path/'a.json')
    (tmp_path/'notes.json').write_text('{"fps": 25}')
    with pytest.raises(ValueError, match='holds no images'): read_any(tmp_path)

def test_the_sample_of_2018_and_the_sixty_clips():
    root = data_root()
    if root is None: pytest.skip('no shared data: set POSELAB_DATA')
    sample = read_any(root/'mmpose_samples'/'posetrack18'/'annotations'/'test_posetrack18_val.json')
    assert [(im.video, im.frame) for im in sample.images] == [('012834', 0), ('009473', 0), ('003418', 0)]
    assert neighbours(sample)[:, 1].tolist() == [im.id for im in sample.images] and len(triples(sample)[0]) == 14
    assert ClipDataset(sample, (24,32))[0][0].shape == (3, 3, 32, 24)
    short = to_card(sample, 'posetrack15')
    assert (short.instances.visible > 0).sum() == (sample.instances.visible > 0).sum() == 182
    clips = read_any(root/'posetrack_iqbal'/'annotations_60_videos.json.gz')
    rows,ids = triples(clips)
    assert len(clips) == 3092 and len(clips.instances) == 14574 and len({im.video for im in clips.images}) == 60
    assert len(rows) == 14557 # 17 people have keypoints on one line only, so no box
    video = {im.id: im.video for im in clips.images}
    assert all(len({video[i] for i in row}) == 1 for row in ids[::50].tolist())
    ends = (ids[:, 0] == ids[:, 1]) | (ids[:, 2] == ids[:, 1])
    assert ends.sum() > 0 and {clips.info(int(i)).frame for i in ids[ids[:, 0] == ids[:, 1], 1]} == {0}

# ---- watching

def around_of(items): return [[int(f[0,0,0]) for f in img.around] for _,img in items]

@given(st.integers(0, 9), st.sampled_from([1, 3, 5]))
def test_a_film_read_ahead_has_the_neighbours_of_a_list(n, T):
    from poselab.data.clips import in_time
    seen = around_of(in_time(((t, np.full((3, 4, 3), t, np.uint8)) for t in range(n)), T, 1, None))
    assert seen == (neighbours(film(range(n), people=False), T) - 1).tolist()

def test_reading_ahead_waits_for_one_frame_only():
    from poselab.data.clips import in_time
    asked = []
    def frames():
        for t in range(5): asked.append(t); yield t, np.full((3, 4, 3), t, np.uint8)
    watched = in_time(frames(), 3, 1)
    next(watched); assert asked == [0, 1]
    next(watched); assert asked == [0, 1, 2]

def test_a_lost_frame_another_size_and_a_cut_end_a_scene():
    from poselab.data.clips import frames_around, in_time
    pics = [np.full((8, 8, 3), 20, np.uint8), np.full((8, 8, 3), 20, np.uint8), None, np.full((8, 8, 3), 20, np.uint8), np.full((6, 8, 3), 20, np.uint8),
        np.full((6, 8, 3), (200, 30, 30), np.uint8)]
    out = [img for _,img in in_time(enumerate(pics), 3, 1)]
    assert out[2] is None
    assert [[f is pics[t + d] or (f.shape == pics[t].shape and np.shares_memory(f, pics[t + d])) for f,d in zip(out[t].around, (-1, 0, 1))] for t in (0,)] == [[False, True, True]]
    for t in (3, 4, 5): assert all(np.shares_memory(f, pics[t]) for f in out[t].around)
    assert all(np.shares_memory(a, pics[1]) == (d != 'before') for d,a in zip(('before', 'at', 'after'), out[1].around))
    plain = frames_around(pics[0], 5)
    assert len(plain) == 5 and all(np.shares_memory(p, pics[0]) for p in plain)

@pytest.fixture
def watcher():
    "A predictor whose network says how bright each frame is, by where its peak lies"
    from poselab.predict import LoadedModel, Predictor
    class Bright(nn.Module):
        def __init__(self): super().__init__(); self.cfg,self.seen = StandInConfig(input_size=(16,16)),[]
        def forward(self, x):
            from poselab.models.checkpoints import MEAN, STD
            self.seen.append((x[:, :, 0].amax((-1, -2))*STD[0] + MEAN[0]).round().int().tolist())
            maps = torch.zeros(len(x), 15, 8, 8); maps[..., 4, 4] = 1
            return (maps,)
    net = Bright()
    model = LoadedModel(net, Heatmap((16,16), (8,8), heatmap_sigma=1.), load_schema('posetrack15'), {}, 'bright')
    p = Predictor(model, flip_test=False, detector=lambda img: (np.array([[0., 0., *img.shape[1::-1]]]), np.ones(1)))
    p.saw = lambda: [row for batch in p.net.seen for row in batch]
    return p

def shades(n): return [np.full((20, 20, 3), 20 + 5*t, np.uint8) for t in range(n)] # all of one brightness to a histogram
BOXES = [np.array([[2., 2., 14, 14]])]

def test_a_stream_shows_before_at_and_after(watcher):
    people = list(watcher.stream(shades(4), boxes=BOXES*4, progress=False))
    assert watcher.saw() == [[20,20,25], [20,25,30], [25,30,35], [30,35,35]] and [len(p) for p in people] == [1]*4

def test_a_followed_person_is_seen_in_time(watcher):
    list(watcher.stream(shades(5), progress=False, every=3))
    assert watcher.saw()[-1] == [35, 40, 40] and [20, 25, 30] in watcher.saw()

def test_one_picture_is_shown_three_times(watcher):
    watcher.on_image(shades(1)[0], BOXES[0])
    list(watcher.stream(shades(1)[0], boxes=BOXES, progress=False))
    assert watcher.saw() == [[20]*3]*2

def test_a_frame_with_nobody_and_one_with_two(watcher):
    boxes = [np.zeros((0, 4)), np.repeat(BOXES[0], 2, 0), np.zeros((0, 4))]
    assert [len(p) for p in watcher.stream(shades(3), boxes=boxes, progress=False)] == [0, 2, 0] and watcher.saw() == [[20, 25, 30]]*2

def test_a_data_set_has_its_own_neighbours(watcher):
    from poselab.predict import predict_dataset
    grey = shades(4)
    data = film([3, 0, 1, 7], images={'a3': grey[0], 'a0': grey[1], 'a1': grey[2], 'a7': grey[3]}, size=(20,20))
    short = to_card(data, 'posetrack15')
    assert len(predict_dataset(watcher, short, progress=False)) == 4
    assert watcher.saw() == [[20]*3, [25,25,30], [25,30,30], [35]*3]
    watcher.net.seen.clear()
    list(watcher.stream(short, progress=False))
    assert watcher.saw() == [[20]*3, [25,25,30], [25,30,30], [35]*3]

def test_a_clip_of_one_person(watcher):
    from poselab.predict import predict_clip
    from poselab.records import Clip
    clip = Clip('x', 25., (20,20), 4, lambda: iter(shades(4)))
    assert len(list(predict_clip(watcher, clip, np.repeat(BOXES[0], 4, 0), progress=False))) == 4
    assert watcher.saw() == [[20,20,25], [20,25,30], [25,30,35], [30,35,35]]
