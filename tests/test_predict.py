import json
from dataclasses import replace
from pathlib import Path
import numpy as np, pytest, torch
from safetensors.torch import save_file
from poselab.records import Clip, Instances, MemorySource, PoseData, ImageInfo, data_root
from poselab.schema import load_schema
from poselab.data.figures import rendered_dataset
from poselab.models.rtmpose import LAB, VARIANTS, RTMPose
from poselab.predict import (LoadedModel, Predictor, find_people, load_weights, normalize, predict_clip, predict_dataset,
    save_weights, weights_path)

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
    spot = Predictor(LoadedModel(Mirror(CFG), loaded.codec, loaded.schema, {}), flip_test)
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
