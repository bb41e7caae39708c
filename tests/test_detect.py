from dataclasses import replace
import numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st
from safetensors.torch import load_file, save_file
from poselab.detect import (GREY, Detector, detector_path, from_letterbox, letterbox, load_detector, load_mmdet_checkpoint, mmdet_to_ours,
    save_detector)
from poselab.models.rtmdet import LAB, NANO, RTMDet

TOY = replace(LAB, widen=.0625, width=16, input_size=(96, 96))

@pytest.fixture(scope='module')
def net():
    torch.manual_seed(0); m = RTMDet(TOY)
    m.train()
    with torch.no_grad():
        for _ in range(3): m(torch.randn(2, 3, 96, 96))
        maps = m.eval().neck(m.backbone(torch.randn(2, 3, 96, 96))[1:])
        for level,t in zip(m.head.cls, maps): level[2].weight /= level(t).std(); level[2].bias -= level(t).mean() # scores of all sizes
    return m.eval()

def pictures(*sizes):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for w,h in sizes]

# --- letterbox -----------------------------------------------------------------------------------------------

def test_a_wide_picture_is_filled_below_with_grey_and_no_further_than_needed():
    x,zoom = letterbox(np.full((90, 160, 3), 200, np.uint8), (320, 320), tight=False)
    assert x.shape == (320, 320, 3) and zoom == 2 and (x[:180] == 200).all() and (x[180:] == GREY).all()
    assert letterbox(np.full((90, 160, 3), 200, np.uint8), (320, 320))[0].shape == (192, 320, 3)

@settings(max_examples=50, deadline=None)
@given(st.integers(1, 400), st.integers(1, 400), st.booleans())
def test_boxes_come_back_to_where_they_were(w, h, tight):
    x,zoom = letterbox(np.zeros((h, w, 3), np.uint8), (128, 96), tight)
    assert x.shape[0] <= 96 and x.shape[1] <= 128 and not x.shape[0] % 32 and not x.shape[1] % 32
    box = np.array([[0, 0, w, h], [w*.25, h*.5, w*.5, h*.25]])
    corners = np.concatenate([box[:, :2], box[:, :2] + box[:, 2:]], 1)*zoom
    np.testing.assert_allclose(from_letterbox(corners, zoom, (w, h)), box, atol=1e-9)

def test_boxes_end_where_the_picture_ends():
    assert from_letterbox([[-10, -10, 500, 20]], 2., (100, 50)).tolist() == [[0, 0, 100, 10]]
    assert from_letterbox(np.zeros((0, 4)), 2., (100, 50)).shape == (0, 4)

@pytest.mark.parametrize('bad', [np.zeros((5, 5), np.uint8), np.zeros((0, 5, 3), np.uint8), np.zeros((5, 5, 4), np.uint8)])
def test_what_is_no_picture_is_refused(bad):
    with pytest.raises(ValueError, match='RGB'): letterbox(bad, (64, 64))

# --- detector ------------------------------------------------------------------------------------------------

def test_many_pictures_of_many_shapes_give_what_each_gives_alone(net):
    d = Detector(net, score=.2)
    imgs = pictures((160, 90), (90, 160), (64, 64), (160, 90), (300, 31), (5, 5))
    together = d.on_images(imgs)
    assert sum(len(s) for _,s in together) > 5
    for img,(boxes,scores) in zip(imgs, together):
        b,s = d(img)
        np.testing.assert_allclose(scores, s, atol=1e-4); np.testing.assert_allclose(np.sort(boxes.sum(1)), np.sort(b.sum(1)), atol=1e-2)
        assert boxes.shape == (len(s), 4) and (boxes[:, 2:] > 0).all() and (np.diff(s) <= 0).all() and (s > .2).all()
        assert (boxes[:, :2] >= 0).all() and (boxes[:, :2] + boxes[:, 2:] <= np.array(img.shape[1::-1]) + 1e-9).all()

def test_where_nobody_is_there_is_no_box(net):
    boxes,scores = Detector(net, score=.999999)(pictures((80, 60))[0])
    assert boxes.shape == (0, 4) and scores.shape == (0,)
    assert Detector(net).on_images([]) == []

def test_a_higher_bar_keeps_the_best(net):
    img = pictures((96, 96))[0]
    low,high = Detector(net, score=.1, nms=.99)(img)[1],Detector(net, score=.3, nms=.99)(img)[1]
    np.testing.assert_allclose(high, low[low > .3], atol=1e-6)
    assert 0 < len(high) < len(low)

# --- weights -------------------------------------------------------------------------------------------------

def test_weights_survive_the_file(net, tmp_path):
    back = load_detector(save_detector(tmp_path/'d.safetensors', net, dict(seed=3), half=False))
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        for a,b in zip(back.model(x), net(x)): torch.testing.assert_close(a, b)
    assert back.meta == dict(seed=3) and back.model.cfg == TOY and back.name == 'd'

def test_weights_that_are_cut_short_or_foreign_are_refused_by_name(net, tmp_path):
    good,bad = save_detector(tmp_path/'good.safetensors', net),tmp_path/'bad.safetensors'
    for n in (0, 7, 3000, good.stat().st_size - 1):
        bad.write_bytes(good.read_bytes()[:n])
        with pytest.raises(ValueError, match='bad.safetensors'): load_detector(bad)
    save_file({'a': torch.zeros(2)}, bad)
    with pytest.raises(ValueError, match='another kind'): load_detector(bad)
    with pytest.raises(ValueError, match='another kind'): Detector(bad)
    tensors,note = load_file(good),dict(format='poselab-rtmdet-1', model='{"deepen": 1}', eps='0.001', meta='{}')
    save_file(tensors, bad, note)
    with pytest.raises(ValueError, match='does not describe'): load_detector(bad)

def test_weights_of_another_shape_are_refused_by_name(net, tmp_path):
    from safetensors import safe_open
    good,bad = save_detector(tmp_path/'good.safetensors', net),tmp_path/'bad.safetensors'
    with safe_open(good, 'pt') as f: note = f.metadata()
    tensors = load_file(good); first = sorted(tensors)[0]
    for change in ({first: torch.zeros(3)}, {'extra': torch.zeros(1)}):
        save_file(tensors | change, bad, note)
        with pytest.raises(ValueError, match='does not fit'): load_detector(bad)
    save_file({k: v for k,v in tensors.items() if k != first}, bad, note)
    with pytest.raises(ValueError, match=first): load_detector(bad)

def test_numbers_that_are_none_are_not_kept(net, tmp_path):
    broken = RTMDet(TOY); broken.head.cls[0][2].bias.data[:] = torch.nan
    with pytest.raises(ValueError, match='nan'): save_detector(tmp_path/'x.safetensors', broken)
    assert not (tmp_path/'x.safetensors').exists()

def test_a_name_that_nobody_ships_is_refused():
    with pytest.raises(FileNotFoundError, match='people'): detector_path('horses')

# --- the peer's files ----------------------------------------------------------------------------------------

def test_a_checkpoint_that_would_run_code_or_is_none_is_refused(tmp_path):
    class Evil:
        def __reduce__(self): return (print, ('boo',))
    torch.save(dict(state_dict=Evil()), tmp_path/'evil.pth')
    with pytest.raises(ValueError, match='evil.pth'): load_mmdet_checkpoint(tmp_path/'evil.pth', NANO)
    with pytest.raises(FileNotFoundError, match='none.pth'): load_mmdet_checkpoint(tmp_path/'none.pth', NANO)
    torch.save([1, 2], tmp_path/'list.pth')
    with pytest.raises(ValueError, match='state_dict'): load_mmdet_checkpoint(tmp_path/'list.pth', NANO)
    torch.save(dict(state_dict={'backbone.stem.0.conv.weight': torch.zeros(8, 3, 3, 3)}), tmp_path/'part.pth')
    with pytest.raises(ValueError, match='does not fit'): load_mmdet_checkpoint(tmp_path/'part.pth', NANO)

def test_the_first_filters_are_turned_from_bgr_to_rgb():
    w = torch.randn(8, 3, 3, 3)
    out = mmdet_to_ours({'backbone.stem.0.conv.weight': w, 'data_preprocessor.mean': torch.zeros(3), 'a.bn.num_batches_tracked': torch.tensor(1)})
    assert list(out) == ['backbone.stem.0.0.weight'] and torch.equal(out['backbone.stem.0.0.weight'], w.flip(1))

# --- what is shipped -----------------------------------------------------------------------------------------

def test_the_shipped_detector_finds_a_drawn_dancer_and_nobody_on_a_plain_wall():
    try: d = Detector('people')
    except FileNotFoundError: pytest.skip('no weights `people` are shipped')
    from poselab.data.figures import rendered_dataset
    from poselab.data.geometry import box_iou
    data = rendered_dataset(8, 91, people=1)
    best = [box_iou(data.of(im.id).bbox, d(data.image(im.id))[0]).max(initial=0) for im in data.images]
    assert np.mean(np.array(best) > .5) >= .75
    assert d(np.full((120, 160, 3), 128, np.uint8))[0].shape == (0, 4)
