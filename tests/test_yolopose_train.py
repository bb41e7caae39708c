"Single-stage pose from pictures to AP: learned by heart, kept, predicted, judged, as ONNX, as a detector"
from dataclasses import replace
import numpy as np, pytest, torch
from poselab.codecs.anchors import fit_anchors
from poselab.data.figures import rendered_dataset
from poselab.data.mosaic import MOSAIC, MosaicDataset
from poselab.evaluate.errors import diagnose
from poselab.evaluate.metrics import coco_ap, evaluate
from poselab.models.yolopose import YOLOPOSE_LAB
from poselab.onnx_export import export_onnx
from poselab.predict import LoadedModel, PeopleDetector, Predictor, load_weights, network, normalize, predict_dataset, save_weights
from poselab.records import Instances
from poselab.train import Recipe, fit, views

ANCHORS = fit_anchors(rendered_dataset(300, 22, (256,192), (1,3)), (128,128))
TINY = replace(YOLOPOSE_LAB, width=.0625, input_size=(128,128), anchors=ANCHORS, bn_momentum=.1)


@pytest.fixture(scope='module')
def pair(): return rendered_dataset(4, 5, (128,128), (1,2))


@pytest.fixture(scope='module')
def learned(pair):
    "A network that has seen four pictures and nothing else"
    torch.manual_seed(0)
    cfg = replace(TINY, width=.125)
    net,items = network(cfg).to(memory_format=torch.channels_last),views(Recipe(model=cfg, augment=MOSAIC), pair)
    x,*labels = (torch.stack([torch.as_tensor(items[i][k]) for i in range(len(pair))]) for k in range(4))
    opt,target = torch.optim.AdamW(net.parameters(), 6e-3, weight_decay=.01),cfg.codec.encode(*labels)
    fall = torch.optim.lr_scheduler.OneCycleLR(opt, 6e-3, 120, pct_start=.2)
    for _ in range(120):
        loss = cfg.codec.loss(net(normalize(x)), *target)
        opt.zero_grad(); loss.backward(); torch.nn.utils.clip_grad_norm_(net.parameters(), 10.); opt.step(); fall.step()
    return LoadedModel(net.eval(), cfg.codec, pair.schema, {})


def test_four_pictures_are_learned_by_heart(learned, pair):
    found = predict_dataset(Predictor(learned, flip_test=False), pair, progress=False)
    assert coco_ap(pair, found)['AP'] > .5 and 'AP' in evaluate(pair, found)


def test_the_boxes_are_the_networks_own_and_serve_as_detector(learned, pair):
    who = PeopleDetector(learned, score=.3)
    boxes,scores = who(pair.image(1))
    assert len(boxes) and (np.diff(scores) <= 0).all() and (boxes[:,:2] >= 0).all() and (boxes[:,:2] + boxes[:,2:] <= 128).all()
    from poselab.data.geometry import box_iou
    assert box_iou(pair.of(1).bbox, boxes).max(1).max() > .5
    top = Predictor('rendered', detector=who, flip_test=False).on_image(pair.image(1))
    np.testing.assert_allclose(top.bbox, boxes)


def test_errors_are_named(learned, pair):
    found = predict_dataset(Predictor(learned, flip_test=False), pair, progress=False)
    got = diagnose(pair, found)
    assert len(got.status) == len(found) and (got.gt_status == 'matched').any()


def test_a_network_for_one_person_at_a_time_is_no_detector():
    with pytest.raises(ValueError, match='whole pictures'): PeopleDetector('rendered')


@pytest.fixture(scope='module')
def fresh(tmp_path_factory):
    "An untrained network that believes in somebody"
    torch.manual_seed(0)
    net = network(TINY).eval()
    for conv in net.head.box: torch.nn.init.constant_(conv.bias, .3)
    return load_weights(save_weights(tmp_path_factory.mktemp('w')/'w.safetensors', net, 'rendered'))


def test_weights_bring_their_anchors_along(fresh):
    assert fresh.model.cfg == TINY and fresh.codec.anchors == TINY.codec.anchors == ANCHORS


@pytest.mark.parametrize('size', [(128,128), (200,90), (33,70)])
def test_people_come_back_in_the_pictures_own_px(fresh, size):
    img = np.random.default_rng(0).integers(0, 255, (*size[::-1], 3), np.uint8)
    p = Predictor(fresh, flip_test=False)
    people,(one,) = p.on_image(img),p.groups(p.cut(img, None)[0])
    zoom = min(127/max(size[0] - 1, 1), 127/max(size[1] - 1, 1))
    np.testing.assert_allclose(people.bbox[:,2:]*zoom, one[3][:,2:], rtol=1e-6)
    offset = (127 - (np.array(size) - 1)*zoom)/2
    np.testing.assert_allclose(people.keypoints*zoom + offset, one[0], rtol=1e-4, atol=1e-3)


def test_the_flip_test_averages_both_looks(fresh):
    img = np.random.default_rng(0).integers(0, 255, (128, 128, 3), np.uint8)
    a,b = (Predictor(fresh, flip_test=True).on_image(i) for i in (img, img[:,::-1].copy()))
    mirrored = b.keypoints[:,list(fresh.schema.flip)]*[-1, 1] + [127, 0]
    best = [int(np.abs(mirrored - k).max((1, 2)).argmin()) for k in a.keypoints[:5]]
    np.testing.assert_allclose(mirrored[best], a.keypoints[:5], atol=.05)


def test_the_graph_says_the_same_and_suppression_stays_outside(fresh, tmp_path):
    img = np.random.default_rng(1).integers(0, 255, (128, 128, 3), np.uint8)
    file = export_onnx(fresh, tmp_path/'net.onnx')
    a,b = (Predictor(w, flip_test=False).on_image(img) for w in (fresh, file))
    np.testing.assert_allclose(b.score, a.score, atol=1e-4); np.testing.assert_allclose(b.bbox, a.bbox, atol=1e-2)
    np.testing.assert_allclose(b.keypoints, a.keypoints, atol=1e-2)


def test_several_scales_are_refused(fresh):
    with pytest.raises(ValueError, match='one size of input'): Predictor(fresh, scales=(1., 1.5))


def test_pictures_of_nobody_are_part_of_training(pair, tmp_path):
    bare = replace(pair, instances=pair.instances[pair.instances.image_id == 1])
    recipe = Recipe(model=TINY, epochs=1, batch=4, warmup=1, ema=0., aux=0., workers=0, mild=1., augment=MOSAIC)
    assert isinstance(views(recipe, bare, recipe.augment), MosaicDataset) and len(views(recipe, bare)) == 4
    none = replace(pair, instances=Instances.empty(17))
    file = fit(recipe, tmp_path, (none, bare), progress=False, accelerator='cpu')
    assert all(torch.isfinite(t).all() for t in load_weights(file).model.state_dict().values())


def test_photographs_of_nobody_do_not_stop_the_training():
    from poselab.data.datasets import read_any
    from poselab.records import data_root
    root = data_root()
    if root is None or not (root/'coco_mini').is_dir(): pytest.skip('no outside data: set POSELAB_DATA')
    data = read_any(root/'coco_mini/person_keypoints_train.json')
    nobody = [i for i,im in enumerate(data.images) if not len(data.of(im.id))]
    cfg = replace(TINY, num_keypoints=17)
    net = network(cfg).train()
    items = MosaicDataset(data, cfg.input_size, replace(MOSAIC, mosaic=0.))
    assert len(items) == len(data.images) and len(nobody) >= 8
    opt = torch.optim.SGD(net.parameters(), 1e-3)
    for rows in (nobody[:4], nobody[4:8], range(8)): # two batches of nobody at all, then a mixed one
        x,*labels = (torch.stack([torch.as_tensor(items[i][k]) for i in rows]) for k in range(4))
        loss = cfg.codec.loss(net(normalize(x)), *cfg.codec.encode(*labels))
        opt.zero_grad(); loss.backward(); opt.step()
        assert torch.isfinite(loss) and all(torch.isfinite(p).all() for p in net.parameters())
    assert all(len(found) == 4 for found in cfg.codec.decode(net.eval()(normalize(x))))
