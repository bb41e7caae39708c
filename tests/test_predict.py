import json
from dataclasses import replace
from pathlib import Path
import cv2, numpy as np, pytest, torch
from safetensors.torch import save_file
from poselab.records import Clip, Instances, MemorySource, PoseData, ImageInfo, data_root, open_clip, write_video
from poselab.schema import load_schema
from poselab.data.figures import rendered_dataset
from poselab.models.rtmpose import LAB, VARIANTS, RTMPose
from poselab.predict import (LoadedModel, Predictor, default_detector, find_people, hog_detector, load_weights, normalize, predict_clip, predict_dataset,
    save_stream, save_weights, weights_path)

CFG = replace(LAB, input_size=(64,64), widen=.125)

@pytest.fixture(scope='module')
def net(): torch.manual_seed(0); return RTMPose(CFG).eval()

@pytest.fixture(scope='module')
def loaded(net, tmp_path_factory): return load_weights(save_weights(tmp_path_factory.mktemp('w')/'a.safetensors', net, 'rendered', dict(seed=3)))

@pytest.mark.parametrize('variant', VARIANTS)
def test_every_variant_survives_the_file(variant, tmp_path):
    net = RTMPose(VARIANTS[variant](CFG)).eval(); x = torch.randn(2,3,64,64)
    back = load_weights(save_weights(tmp_path/'v.safetensors', net, 'rendered', half=False))
    with torch.no_grad(): torch.testing.assert_close(back.model(x), net(x))
    assert back.model.cfg == net.cfg and back.name == 'v'

def test_half_precision_moves_a_keypoint_by_less_than_a_bin(net, loaded):
    x = torch.randn(8,3,64,64)
    with torch.no_grad(): a,b = net(x)[0],loaded.model(x)[0]
    assert (a - b).abs().max() < 2e-2*a.abs().max()

def test_weights_that_are_cut_short_or_foreign_are_refused_by_name(net, tmp_path):
    good = save_weights(tmp_path/'good.safetensors', net, 'rendered')
    for n in (0, 5, 2000, good.stat().st_size - 1):
        (tmp_path/'short.safetensors').write_bytes(good.read_bytes()[:n])
        with pytest.raises(ValueError, match='short.safetensors'): load_weights(tmp_path/'short.safetensors')
    save_file({'a': torch.zeros(2)}, tmp_path/'foreign.safetensors')
    with pytest.raises(ValueError, match='another kind'): load_weights(tmp_path/'foreign.safetensors')
    torch.save({'a': torch.zeros(2)}, tmp_path/'pickle.pt')
    with pytest.raises(ValueError, match='pickle.pt'): load_weights(tmp_path/'pickle.pt')

def test_weights_of_another_model_are_refused(net, tmp_path):
    from safetensors import safe_open
    from safetensors.torch import load_file
    good = save_weights(tmp_path/'good.safetensors', net, 'rendered')
    with safe_open(good, 'pt') as f: note = f.metadata()
    note['model'] = json.dumps({**json.loads(note['model']), 'num_keypoints': 14})
    save_file(load_file(good), tmp_path/'other.safetensors', note)
    with pytest.raises(ValueError, match='does not fit'): load_weights(tmp_path/'other.safetensors')

def test_an_unknown_name_lists_what_is_shipped():
    with pytest.raises(FileNotFoundError, match='shipped names'): load_weights('no_such_weights')

def test_nan_weights_are_not_written_and_the_old_file_stays(net, tmp_path):
    good = save_weights(tmp_path/'w.safetensors', net, 'rendered'); before = good.read_bytes()
    bad = RTMPose(CFG); torch.nn.init.constant_(bad.head.cls_x.weight, float('inf'))
    with pytest.raises(ValueError, match='nan or inf'): save_weights(good, bad, 'rendered')
    assert good.read_bytes() == before

@pytest.mark.parametrize('batch', [1, 3, 64])
def test_the_batch_size_changes_nothing(loaded, batch):
    data = rendered_dataset(5, seed=1)
    a,b = (predict_dataset(Predictor(loaded, batch=n), data, progress=False) for n in (batch, 64))
    np.testing.assert_allclose(a.keypoints, b.keypoints, atol=1.); assert (a.id == data.instances.id).all()
    assert ((a.confidence >= 0) & (a.confidence <= 1)).all() and np.isfinite(a.score).all()

def test_rows_come_back_in_the_order_of_the_data(loaded):
    data = rendered_dataset(4, seed=2)
    shuffled = replace(data, instances=data.instances[np.random.default_rng(0).permutation(len(data.instances))])
    pred = predict_dataset(Predictor(loaded, batch=2), shuffled, progress=False)
    assert (pred.id == shuffled.instances.id).all()

def test_crowds_and_boxes_without_area_are_left_out(loaded):
    data = rendered_dataset(3, seed=2, people=1)
    bbox = data.instances.bbox.copy(); bbox[1, 2:] = 0
    data = replace(data, instances=data.instances.replace(bbox=bbox, iscrowd=np.array([False,False,True])))
    assert predict_dataset(Predictor(loaded), data, progress=False).id.tolist() == [1]

class Mirror(torch.nn.Module):
    "Points at the brightest column and row: right answers without training"
    def __init__(self, cfg): super().__init__(); self.cfg = cfg; self.w = torch.nn.Parameter(torch.zeros(1))
    def forward(self, x):
        g = x.mean(1); w,h = (round(s*self.cfg.split) for s in self.cfg.input_size)
        f = lambda m,n: torch.nn.functional.interpolate(m[:, None], n, mode='linear', align_corners=True).expand(-1, 17, -1)
        return f(g.amax(1), w), f(g.amax(2), h)

@pytest.mark.parametrize('flip_test', [False, True])
def test_a_bright_spot_comes_back_in_image_px(loaded, flip_test):
    img = np.zeros((200,300,3), np.uint8); img[88:93, 148:153] = 255
    spot = Predictor(LoadedModel(Mirror(CFG), loaded.codec, loaded.schema, {}), flip_test=flip_test)
    xy = spot.on_image(img, np.array([[120.,60,64,64]])).keypoints[0]
    np.testing.assert_allclose(xy, np.tile([[150.,90.]], (17,1)), atol=1.5)

def test_no_people_no_rows(loaded):
    assert len(Predictor(loaded).on_image(np.zeros((50,50,3), np.uint8), np.zeros((0,4)))) == 0

def test_where_nobody_is_found_the_whole_picture_is_the_box():
    np.testing.assert_array_equal(find_people(np.zeros((300,200,3), np.uint8)), [[0,0,200,300]])
    np.testing.assert_array_equal(find_people(np.zeros((30,20,3), np.uint8)), [[0,0,20,30]])

def test_a_clip_gives_one_row_per_frame_as_they_come(loaded):
    frames = [np.random.default_rng(i).integers(0, 255, (80,60,3), dtype=np.uint8) for i in range(4)]
    rows = predict_clip(Predictor(loaded), Clip('noise', 25., (60,80), 4, lambda: iter(frames)), progress=False)
    first = next(rows); rest = list(rows)
    assert [int(r.image_id[0]) for r in [first, *rest]] == [0,1,2,3] and all(len(r) == 1 for r in rest)

def test_bytes_are_normalised_channel_by_channel():
    x = torch.zeros(1,3,2,2, dtype=torch.uint8)
    torch.testing.assert_close(normalize(x)[0,:,0,0], torch.tensor([-123.675/58.395, -116.28/57.12, -103.53/57.375]))

# ---- streams

PIXELS = [np.full((96,80,3), 40*i, np.uint8) for i in range(5)]
BOX = np.array([[10.,10,40,60]])
def one_person(img): return BOX, np.ones(1)
def nobody(img): return np.zeros((0,4)), np.zeros(0)

class Sure(torch.nn.Module):
    "Sure of every keypoint, wherever: a person who can be followed"
    def __init__(self, at): super().__init__(); self.at = at; self.w = torch.nn.Parameter(torch.zeros(1))
    def forward(self, x):
        out = torch.zeros(len(x), 17, 128); out.scatter_(2, torch.tensor(self.at)[None, :, None].expand(len(x), -1, 1), 5.)
        return out, out.flip(1)

@pytest.fixture(scope='module')
def sure(loaded): return LoadedModel(Sure(np.linspace(22, 106, 17).round().astype(int).tolist()), loaded.codec, loaded.schema, {})

def ids(rows): return [r.image_id.tolist() for r in rows]

def test_every_kind_of_source_gives_the_same_people(loaded, tmp_path):
    for i,img in enumerate(PIXELS): cv2.imwrite(str(tmp_path/f'{i}.png'), img)
    predictor = Predictor(loaded, one_person, flip_test=False)
    kinds = [PIXELS, np.stack(PIXELS), iter(PIXELS), tmp_path, str(tmp_path), open_clip(tmp_path),
             write_video(tmp_path.parent/'film.avi', PIXELS), open_clip(tmp_path.parent/'film.avi')]
    runs = [list(predictor.stream(k, every=1, progress=False)) for k in kinds]
    for rows in runs:
        assert ids(rows) == [[0],[1],[2],[3],[4]] and [r.id.tolist() for r in rows] == [[1],[2],[3],[4],[5]]
        np.testing.assert_allclose(rows[0].keypoints, runs[0][0].keypoints, atol=2)
    assert ids(predictor.stream(tmp_path/'3.png', progress=False)) == [[0]] and ids(predictor.stream(PIXELS[2], progress=False)) == [[0]]

def test_a_data_set_keeps_its_own_ids_and_boxes(loaded):
    data = rendered_dataset(5, seed=1)
    predictor = Predictor(loaded, nobody)
    rows = Instances.cat(list(predictor.stream(data, progress=False)))
    want = predict_dataset(predictor, data, progress=False)
    assert rows.image_id.tolist() == want.image_id.tolist() and (rows.track_id == -1).all()
    np.testing.assert_allclose(rows.keypoints, want.keypoints, atol=1.)

@pytest.mark.parametrize('every', [1, 3])
def test_nobody_gives_an_empty_table_for_every_frame(loaded, every):
    rows = list(Predictor(loaded, nobody).stream(PIXELS, every=every, progress=False))
    assert [len(r) for r in rows] == [0]*5 and all(r.keypoints.shape == (0,17,2) for r in rows)

def test_the_detector_looks_only_now_and_then(sure):
    looks = []
    def detector(img): looks.append(img[0,0,0]); return one_person(img)
    rows = list(Predictor(sure, detector).stream(PIXELS*4, every=8, progress=False))
    assert len(looks) == 3 and len(rows) == 20 and all(len(r) == 1 and r.track_id[0] == 1 for r in rows)

def test_people_are_numbered_and_newcomers_join(sure):
    def detector(img): b = np.array([[10.,10,40,60],[200,10,40,60]]); n = 1 + (img[0,0,0] >= 80); return b[:n], np.ones(n)
    frames = [np.full((120,300,3), 40*i, np.uint8) for i in range(5)]
    rows = list(Predictor(sure, detector).stream(frames, every=1, progress=False))
    assert [r.track_id.tolist() for r in rows] == [[1],[1],[1,2],[1,2],[1,2]]
    plain = list(Predictor(sure, detector).stream(frames, track=False, every=1, progress=False))
    assert all((r.track_id == -1).all() for r in plain)

def test_two_boxes_on_one_person_become_one(sure):
    def detector(img): return np.array([[10.,10,40,60],[11,10,40,60]]), np.ones(2)
    assert [len(r) for r in Predictor(sure, detector).stream(PIXELS, every=2, progress=False)] == [1]*5

def test_known_boxes_are_used_frame_by_frame(loaded):
    boxes = [BOX, np.zeros((0,4)), np.concatenate([BOX, BOX + 5]), [[1,1,0,5]], BOX]
    rows = list(Predictor(loaded, nobody).stream(PIXELS, boxes=boxes, progress=False))
    assert [len(r) for r in rows] == [1,0,2,0,1]

def test_rows_come_while_the_source_still_runs(loaded):
    "A frame's people arrive before the frame after next is made, whatever the source promises"
    made = []
    def camera():
        for i in range(1000): made.append(i); yield PIXELS[0]
    stream = Predictor(loaded, one_person).stream(camera(), every=5, progress=False)
    next(stream); assert len(made) < 8
    stream.close()

def test_a_broken_picture_is_named_and_left_out(loaded, tmp_path):
    for i,img in enumerate(PIXELS[:3]): cv2.imwrite(str(tmp_path/f'{i}.png'), img)
    (tmp_path/'1.png').write_bytes(b'no picture')
    with pytest.warns(UserWarning, match='1.png is not a whole image'):
        rows = list(Predictor(loaded, one_person).stream(tmp_path, progress=False))
    assert ids(rows) == [[0],[],[2]]

def test_of_a_film_that_ends_early_what_was_read_is_kept(loaded, tmp_path):
    whole = write_video(tmp_path/'whole.avi', PIXELS*8)
    (tmp_path/'half.avi').write_bytes(whole.read_bytes()[:whole.stat().st_size//2])
    with pytest.warns(UserWarning, match=r'half.avi ends after \d+ of \d+ frames.*are kept'):
        rows = list(Predictor(loaded, one_person).stream(tmp_path/'half.avi', progress=False))
    assert 5 < len(rows) < 40 and all(len(r) == 1 for r in rows)

def test_the_time_of_each_frame_is_kept(loaded, tmp_path):
    film = write_video(tmp_path/'f.avi', PIXELS, 10.)
    times = [r.extra[0]['time'] for r in Predictor(loaded, one_person).stream(film, progress=False)]
    np.testing.assert_allclose(times, np.arange(5)/10, atol=1e-3)

def test_pictures_in_no_form_that_is_known_are_refused(loaded):
    stream = Predictor(loaded, one_person).stream([np.zeros((4,4))], progress=False)
    with pytest.raises(ValueError, match='Picture 0 has shape'): list(stream)
    with pytest.raises(ValueError, match='every=-1'): Predictor(loaded, one_person).stream(PIXELS, every=-1).__next__()

def test_smoothing_calms_a_trembling_person(sure):
    rng = np.random.default_rng(0)
    boxes = [BOX + np.pad(rng.normal(size=2)*2, (0,2)) for _ in range(30)]
    a,b = (Instances.cat(list(Predictor(sure).stream(PIXELS*6, boxes=boxes, smooth=s, progress=False))).keypoints for s in (False, True))
    assert np.abs(np.diff(b, axis=0)).mean() < .8*np.abs(np.diff(a, axis=0)).mean()

def test_films_are_not_mirrored_unless_asked(loaded):
    seen = []
    class Spy(torch.nn.Module):
        def __init__(self): super().__init__(); self.w = torch.nn.Parameter(torch.zeros(1))
        def forward(self, x): seen.append(len(x)); return torch.zeros(len(x),17,128),torch.zeros(len(x),17,128)
    for flip,film,calls in ((None,True,1), (None,False,2), (True,True,2), (False,False,1)):
        seen.clear(); Predictor(LoadedModel(Spy(), loaded.codec, loaded.schema, {}), flip_test=flip).on_image(PIXELS[0], BOX, film=film)
        assert len(seen) == calls

def test_opencvs_finder_guesses_the_whole_picture_with_score_zero():
    boxes,scores = hog_detector(np.zeros((300,200,3), np.uint8))
    assert boxes.tolist() == [[0,0,200,300]] and scores.tolist() == [0]
    assert callable(default_detector())

def test_a_stream_is_written_as_film_and_results_or_not_at_all(loaded, tmp_path):
    predictor = Predictor(loaded, one_person)
    everybody = save_stream(predictor.watch(PIXELS, every=1, progress=False), predictor.schema, tmp_path/'a.json', tmp_path/'a.avi', 10.)
    clip,rows = open_clip(tmp_path/'a.avi'),json.loads((tmp_path/'a.json').read_text())
    assert len(clip) == 5 and clip.fps == 10 and [r['image_id'] for r in rows] == [1,2,3,4,5] == everybody.image_id.tolist()
    def broken(): yield from PIXELS[:2]; raise RuntimeError('unplugged')
    with pytest.raises(RuntimeError, match='unplugged'):
        save_stream(predictor.watch(broken(), progress=False), predictor.schema, tmp_path/'b.json', tmp_path/'b.avi')
    assert sorted(p.name for p in tmp_path.iterdir()) == ['a.avi', 'a.json']
    assert len(save_stream(Predictor(loaded, nobody).watch(PIXELS, progress=False), predictor.schema, tmp_path/'c.json')) == 0

def test_memory_does_not_grow_with_the_length_of_a_film(loaded):
    import gc, weakref
    alive,most = [],0
    class Frame(np.ndarray): pass
    def frames():
        for i in range(40):
            img = np.zeros((96,80,3), np.uint8).view(Frame); alive.append(weakref.ref(img)); yield img
    for _ in Predictor(loaded, one_person).stream(frames(), every=5, progress=False): most = max(most, sum(r() is not None for r in alive))
    assert most <= 8

def test_a_torch_checkpoint_given_as_weights_names_the_reader_for_it(tmp_path):
    torch.save(dict(state_dict={}), tmp_path/'rtmpose.pth')
    with pytest.raises(ValueError, match='load_mmpose_checkpoint'): load_weights(tmp_path/'rtmpose.pth')


def test_a_detector_is_opened_by_name_and_looks_for_people_instead_of_the_annotated_boxes():
    from poselab.detect import Detector
    from poselab.predict import PeopleDetector, hog_detector, open_detector
    assert open_detector('hog') is hog_detector and isinstance(open_detector('people'), Detector)
    assert isinstance(open_detector('rendered-crowd'), PeopleDetector)
    with pytest.raises(ValueError, match='finds none'): open_detector('lspet')
    data = rendered_dataset(3, seed=5)
    whole = lambda img: (np.array([[0., 0, *img.shape[1::-1]]]), np.ones(1))
    predictor = Predictor('rendered', detector=whole)
    found = predict_dataset(predictor, data, progress=False, find=True)
    assert len(found) == 3 and np.allclose(found.bbox[:, :2], 0) # one box a picture, whoever is in it
    given = predict_dataset(predictor, data, progress=False)
    assert len(given) == len(data.instances) and np.allclose(given.bbox, data.instances.bbox)

def test_the_single_stage_weights_find_people_and_serve_a_network_that_sees_one_at_a_time():
    from poselab.evaluate.metrics import evaluate
    from poselab.predict import open_detector
    data = rendered_dataset(16, 31)
    alone = evaluate(data, predict_dataset(Predictor('rendered-yolopose'), data, progress=False))
    assert alone['box AP50'] > .6 and alone['PCK@0.2'] > .35
    both = evaluate(data, predict_dataset(Predictor('rendered', detector=open_detector('rendered-yolopose')), data, progress=False, find=True))
    assert both['AP50'] > alone['AP50']
