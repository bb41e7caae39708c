"Every network of the house goes the same way: train, keep, load, predict, ONNX"
from dataclasses import fields, replace
import numpy as np, pytest, torch
from poselab.data.augment import AugmentConfig
from poselab.data.figures import rendered_dataset
from poselab.evaluate.metrics import evaluate
from poselab.models.dancehrnet import DANCE_LAB
from poselab.models.hrnet import HRNET_LAB, HRNetConfig
from poselab.models.rhpnet import RHPNET_LAB
from poselab.models.rtmpose import LAB
from poselab.models.vit import VIT_LAB
from poselab.onnx_export import export_onnx
from poselab.predict import NETWORKS, Predictor, load_weights, network, predict_dataset, save_weights
from poselab.train import OPTIMIZERS, Recipe, first_model, fit, optimizer_for, resized

TINY = dict(
    rtmpose=replace(LAB, input_size=(64, 96), widen=.125),
    hrnet=replace(HRNET_LAB, channels=(8, 8, 16, 16), input_size=(64, 96)),
    rhpnet=replace(RHPNET_LAB, channels=(16, 16, 16, 16), input_size=(64, 96)),
    dancehrnet=replace(DANCE_LAB, channels=(8, 8, 16, 16), num_keypoints=17, input_size=(96, 64)),
    vit=replace(VIT_LAB, dim=32, depth=2, deconv=(16,), input_size=(64, 96)))
QUICK = dict(epochs=1, batch=4, warmup=2, ema=.5, workers=0, augment=AugmentConfig(half_body=0., scale=(.9, 1.1), angle=.3))

@pytest.fixture(scope='module')
def dancers(): return rendered_dataset(10, seed=2, size=(160, 120), people=1)

def test_the_table_has_every_configuration_once():
    assert len({c for c,_ in NETWORKS.values()}) == len({n for _,n in NETWORKS.values()}) == len(NETWORKS)
    assert {type(c) for c in TINY.values()} <= {c for c,_ in NETWORKS.values()}

def test_what_describes_no_network_is_refused_by_name():
    with pytest.raises(TypeError, match='dict describes none of RTMPoseConfig'): network({})

@pytest.mark.parametrize('kind', TINY)
def test_a_network_goes_through_the_house(kind, dancers, tmp_path):
    file = fit(Recipe(model=TINY[kind], **QUICK), tmp_path/'run', (dancers, dancers), progress=False, accelerator='cpu')
    loaded = load_weights(file)
    assert loaded.model.cfg == TINY[kind] and loaded.codec == TINY[kind].codec
    found = predict_dataset(Predictor(loaded), dancers, progress=False)
    assert np.isfinite(found.keypoints).all() and 'AP' in evaluate(dancers, found)
    again = predict_dataset(Predictor(export_onnx(loaded, tmp_path/'net.onnx')), dancers, progress=False)
    np.testing.assert_allclose(again.confidence, found.confidence, atol=1e-4)

@pytest.mark.parametrize('kind', ['hrnet', 'rhpnet']) # RTMPose's classifiers and tags want more steps than a test has
def test_a_network_learns_one_dancer_by_heart(kind, dancers, tmp_path):
    one = dancers.subset([dancers.images[0].id])
    still = replace(QUICK['augment'], flip=0., scale=(1., 1.), turn=0., shift_chance=0., erase=0., blur=0.)
    recipe = Recipe(model=TINY[kind], **{**QUICK, 'augment': still, 'batch': 1, 'epochs': 60, 'ema': 0., 'lr': 4e-3, 'flat': .8})
    found = predict_dataset(Predictor(fit(recipe, tmp_path, (one, one), progress=False, accelerator='cpu'), flip_test=False), one, progress=False)
    off = np.linalg.norm(found.keypoints - one.instances.keypoints, axis=-1)[one.instances.visible > 0]
    assert np.median(off) < .08*one.instances.bbox[0, 2:].max()

@pytest.mark.parametrize('kind', TINY)
def test_a_network_begins_at_another_size_with_what_it_knew(kind):
    net = network(TINY[kind]).eval()
    big = resized(net, (96, 128)).eval()
    assert big.cfg.input_size == (96, 128)
    same = resized(net, TINY[kind].input_size).eval()
    x = torch.randn(1, 3, *TINY[kind].input_size[::-1], generator=torch.Generator().manual_seed(0))
    with torch.no_grad(): torch.testing.assert_close(same(x)[0], net(x)[0], atol=1e-4, rtol=1e-4)

def test_weights_of_one_network_are_no_start_for_another(tmp_path):
    file = save_weights(tmp_path/'a.safetensors', network(TINY['hrnet']), 'rendered')
    with pytest.raises(ValueError, match='another network'): first_model(Recipe(model=TINY['rtmpose'], start=str(file)))

def test_a_network_begins_with_the_backbone_of_a_smaller_one_and_a_frozen_one_asks_for_it(tmp_path):
    from poselab.studies import FILMS
    donor = HRNetConfig(**{f.name: getattr(TINY['rhpnet'], f.name) for f in fields(HRNetConfig)})
    file = save_weights(tmp_path/'a.safetensors', network(donor), 'rendered', half=False)
    net = first_model(Recipe(model=TINY['rhpnet'], start=str(file)))
    have, own = load_weights(file).model.backbone.state_dict(), net.backbone.state_dict()
    same = [k for k in have if k in own and torch.equal(have[k], own[k])]
    assert type(net.cfg) is type(TINY['rhpnet']) and len(same) > len(have)/2
    with pytest.raises(ValueError, match='rendered-vit'): first_model(FILMS)
    own, have = first_model(replace(FILMS, start='rendered-vit')).backbone.state_dict(), load_weights('rendered-vit').model.backbone.state_dict()
    assert own.keys() == have.keys() and all(torch.equal(own[k], have[k]) for k in own)

def test_what_the_papers_print_can_be_trained():
    from poselab.models.dancehrnet import DANCE_LAB
    from poselab.models.yolopose import YOLOPOSE_LAB
    assert replace(DANCE_LAB, normalize=True).codec.normalize and not DANCE_LAB.codec.normalize
    assert not replace(YOLOPOSE_LAB, oks_two=False).codec.oks_two and YOLOPOSE_LAB.codec.oks_two

@pytest.mark.parametrize('paper', ['dancehrnet', 'rhpnet', 'yolopose', 'vremd'])
def test_every_papers_recipe_fits_its_own_card(paper):
    from poselab.schema import load_schema
    from poselab.studies import PAPERS
    recipe, names = PAPERS[paper], load_schema(PAPERS[paper].card).names
    assert recipe.model.num_keypoints == len(names)
    if paper == 'dancehrnet': assert names[recipe.model.order[0]] in ('neck', 'chest', 'left_shoulder', 'right_shoulder', 'left_hip', 'right_hip')

def test_single_photographs_are_no_films():
    from poselab.studies import FILMS, on_data
    with pytest.raises(ValueError, match='films'): on_data(FILMS, 'lspet')

@pytest.mark.parametrize('name', OPTIMIZERS)
def test_every_optimiser_moves_every_weight(name):
    torch.manual_seed(0)
    net = network(TINY['hrnet'])
    before = {k: p.detach().clone() for k,p in net.named_parameters()}
    opt = optimizer_for(net, Recipe(model=TINY['hrnet'], warmup=0, lr=1. if name in ('sgd', 'adadelta') else 1e-3), 10, name)['optimizer']
    (net(torch.randn(4, 3, 96, 64))[0] - 1).square().sum().backward()
    opt.step()
    assert not [k for k,p in net.named_parameters() if torch.equal(p, before[k])]

def test_an_unknown_optimiser_is_refused():
    with pytest.raises(ValueError, match="'lion'"): Recipe(optimizer='lion')

@pytest.mark.parametrize('paper', ['dancehrnet', 'rhpnet', 'yolopose', 'vremd'])
def test_every_papers_recipe_takes_a_file_of_other_keypoints(paper, tmp_path):
    from poselab.cli import own_recipe
    from poselab.data.datasets import write_coco
    from poselab.data.figures import rendered_dataset
    from poselab.studies import PAPERS
    assert paper in PAPERS and len(PAPERS) == 4
    write_coco(rendered_dataset(2, 5), tmp_path/'own.json')
    recipe = own_recipe(tmp_path/'own.json', paper)
    assert recipe.model.num_keypoints == 17 and type(recipe.model) is type(PAPERS[paper].model)
    with torch.device('meta'): network(recipe.model)
    if paper == 'dancehrnet': assert sorted(recipe.model.order) == list(range(17))
    if paper == 'rhpnet': assert recipe.model.order == PAPERS[paper].model.order # there `order` is that of blocks
