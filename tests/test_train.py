import json, logging, os, signal, subprocess, sys, time
from dataclasses import replace
import numpy as np, pytest, torch
from poselab.data.augment import NONE, AugmentConfig
from poselab.data.figures import rendered_dataset
from poselab.models.rtmpose import LAB
from poselab.predict import load_weights
from poselab.schema import load_schema
from poselab.train import (RECIPES, EpochSampler, PoseDataModule, PoseModule, Recipe, TopDownDataset, fit, history, learning_rate)

TOY = Recipe(model=replace(LAB, input_size=(32,32), widen=.125), epochs=3, batch=8, warmup=2, ema=.5, workers=0)

@pytest.fixture(scope='module')
def dancers(): return tuple(rendered_dataset(n, seed=s, size=(48,48), people=1) for n,s in ((16,1), (8,2)))

@pytest.mark.parametrize('world', [1, 2, 3])
def test_every_item_is_seen_once_per_epoch_by_one_process(world):
    parts = []
    for rank in range(world):
        s = EpochSampler(12, 0, True, rank, world); s.set_epoch(2); parts += list(s)
    assert sorted(parts) == list(range(24, 36))

def test_epochs_differ_and_repeat():
    a,b = EpochSampler(20, 5),EpochSampler(20, 5)
    b.set_epoch(1); assert list(a) != [i - 20 for i in b]
    b.set_epoch(0); assert list(a) == list(b)

def test_an_item_is_the_same_whenever_it_is_asked_for(dancers):
    d = TopDownDataset(dancers[0], (32,32), AugmentConfig(), seed=3)
    e = TopDownDataset(dancers[0], (32,32), AugmentConfig(), seed=3, cache_mb=0)
    for i in (0, 5, 16, 21, 37): assert all((x == y).all() for x,y in zip(d[i], e[i]))
    assert any((x != y).any() for x,y in zip(d[0], d[16])) # the same picture, another epoch, another view

def test_people_without_a_keypoint_or_a_box_are_not_trained_on(dancers):
    inst = dancers[0].instances; vis = inst.visible.copy(); vis[0] = 0
    d = TopDownDataset(replace(dancers[0], instances=inst.replace(visible=vis)), (32,32))
    assert len(d) == len(inst) - 1
    with pytest.raises(ValueError, match='no person'):
        TopDownDataset(replace(dancers[0], instances=inst.replace(visible=vis*0)), (32,32))

def test_the_learning_rate_never_leaves_its_range():
    r = [learning_rate(t, 500, 50) for t in range(600)]
    assert 0 < min(r) and max(r) <= 1 and r[49] == pytest.approx(1) and r[-1] == pytest.approx(.01)

def test_gradients_reach_every_parameter(dancers):
    m = PoseModule(TOY, load_schema('rendered')); m.log = lambda *a,**k: None
    batch = next(iter(PoseDataModule(TOY, *dancers).train_dataloader()))
    m.training_step(batch, 0).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in m.parameters())
    idle = [n for n,p in m.named_parameters() if p.grad.abs().sum() == 0]
    assert all('gate' in n and n.endswith('0.bias') for n in idle) # a bias in front of a batch norm cannot matter

def test_the_heatmap_loss_is_smallest_on_the_truth():
    m = PoseModule(TOY, load_schema('rendered')); xy = torch.rand(2,17,2)*31; v = torch.ones(2,17)
    ys,xs = torch.meshgrid(torch.arange(4.), torch.arange(4.), indexing='ij')
    cell = xy*3/31
    near = -((xs - cell[...,0,None,None])**2 + (ys - cell[...,1,None,None])**2)/(2*.7**2)
    assert m.aux_loss(near, xy, v) < min(m.aux_loss(near.flip(-1), xy, v), m.aux_loss(near*0, xy, v), m.aux_loss(near*3, xy, v))

def test_a_killed_run_ends_on_the_same_curve(dancers, tmp_path):
    whole = fit(TOY, tmp_path/'whole', dancers, progress=False, accelerator='cpu')
    code = ("import sys, torch, lightning as L, poselab.train as T; sys.path.insert(0, sys.argv[2])\n"
            "from test_train import TOY; from poselab.data.figures import rendered_dataset\n"
            "d = tuple(rendered_dataset(n, seed=s, size=(48,48), people=1) for n,s in ((16,1), (8,2)))\n"
            "import os, signal\n"
            "T.PoseModule.on_train_epoch_start = lambda self: os.kill(os.getpid(), signal.SIGKILL) if self.current_epoch == 2 else None\n"
            "T.fit(TOY, sys.argv[1], d, progress=False, accelerator='cpu')\n")
    done = subprocess.run([sys.executable, '-c', code, str(tmp_path/'killed'), os.path.dirname(__file__)], capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()[-2000:]
    assert not (tmp_path/'killed'/'weights.safetensors').exists()
    again = fit(TOY, tmp_path/'killed', dancers, progress=False, accelerator='cpu')
    a,b = load_weights(whole),load_weights(again)
    for (k,x),(_,y) in zip(a.model.state_dict().items(), b.model.state_dict().items()): torch.testing.assert_close(x, y, msg=k)
    assert history(tmp_path/'killed')['loss'][2] == pytest.approx(history(tmp_path/'whole')['loss'][2], rel=1e-5)

def test_a_folder_of_another_recipe_is_refused(dancers, tmp_path):
    (tmp_path/'recipe.json').write_text(json.dumps({'lr': 1}))
    with pytest.raises(ValueError, match='another recipe'): fit(TOY, tmp_path, dancers, progress=False)

def test_the_shipped_recipes_name_their_cards_and_stay_small():
    from poselab.modules.counts import count_params
    from poselab.predict import network
    for r in RECIPES.values():
        assert load_schema(r.card).num_keypoints == r.model.num_keypoints
        assert count_params(network(r.model)) < 4_000_000

def test_a_run_of_an_earlier_version_goes_on_and_a_changed_one_does_not(tmp_path):
    import json
    from dataclasses import asdict, replace
    from poselab.train import RECIPES, _same_recipe
    r = RECIPES['rendered']
    old = json.loads(json.dumps(asdict(r)))
    del old['augment']['mosaic'], old['drop'] # fields that came later
    (tmp_path/'recipe.json').write_text(json.dumps(old))
    _same_recipe(r, tmp_path)
    (tmp_path/'recipe.json').write_text(json.dumps(old))
    with pytest.raises(ValueError, match='augment'): _same_recipe(replace(r, augment=replace(r.augment, mosaic=.5)), tmp_path)
