"An ablation compares like with like, goes on where it stopped, and says no more than its seeds allow"
import json, logging, shutil
from dataclasses import replace
import numpy as np, pytest, torch
from torch import nn
from poselab import ablate as A
from poselab.ablate import PAPER, Ablation, ablate, draw_ablation, mean_error, paired, read_ablation, report, try_out, variant, verdict
from poselab.data.augment import AugmentConfig
from poselab.data.figures import rendered_dataset
from poselab.models.rtmpose import LAB, VARIANTS, RTMPose, RTMPoseConfig

pytestmark = pytest.mark.filterwarnings('ignore')
logging.getLogger('lightning.pytorch').setLevel(logging.ERROR)
TOY = A.Recipe(model=replace(LAB, input_size=(64,64), widen=.0625), epochs=1, batch=8, warmup=2, ema=.5, workers=0, augment=AugmentConfig(half_body=0.))
QUIET = dict(progress=False, accelerator='cpu')

class Crude(nn.Module):
    "Nothing of ours, and no keypoint maps"
    def __init__(self, cfg):
        super().__init__()
        self.conv,self.pool = nn.Conv2d(3, cfg.num_keypoints, 7, 4, 3),nn.AdaptiveAvgPool2d((4, 4))
        self.x,self.y = (nn.Linear(16, n) for n in cfg.bins)
    def forward(self, x):
        t = self.pool(self.conv(x)).flatten(2)
        return self.x(t), self.y(t)

def ungated(cfg):
    "Ours, with a foreign neck"
    net = RTMPose(replace(cfg, gate='self', token_mixer=None))
    net.neck = nn.Sequential(); net.neck.forward = lambda maps: maps[-1]
    return net

TWO = dict(fusion=VARIANTS['fusion'], ungated=ungated)

@pytest.fixture(scope='module')
def dancers(): return tuple(rendered_dataset(n, seed=s, size=(64,64), people=1) for n,s in ((16,1), (8,2)))

@pytest.fixture(scope='module')
def finished(dancers, tmp_path_factory):
    "A folder with two variants and two seeds, and what `ablate` said"
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp('ablation')
    return folder, ablate(TWO, TOY, 2, folder, dancers, **QUIET)

@pytest.fixture
def counted(monkeypatch):
    "Which runs were really trained"
    calls,real = [],A.fit
    def fit(recipe, folder, *args, **kwargs):
        calls.append((folder.parent.name, recipe.seed))
        return real(recipe, folder, *args, **kwargs)
    monkeypatch.setattr(A, 'fit', fit)
    return calls

def rows(values, metric='PCK@0.2', names=('baseline', 'lgag')):
    "An ablation with these figures, (variants, seeds)"
    made = [dict(variant=v, seed=s, params=1000, mmacs=2., cpu_seconds=3., seconds=4., samples=80, people=9, **{metric: x})
            for v,line in zip(names, values) for s,x in enumerate(line)]
    recipe = dict(epochs=2, batch=8, data='rendered', model=dict(input_size=(64,64)))
    return Ablation(recipe, names, tuple(range(len(values[0]))), made)

# --- numbers -------------------------------------------------------------------------------------------------

def test_the_standard_error_of_1_2_3_is_one_over_root_3():
    assert mean_error([1, 2, 3]) == pytest.approx((2, 3**-.5, 3))
    assert mean_error([1, np.nan, 3]) == pytest.approx((2, 1, 2))
    m,se,n = mean_error([5]); assert (m, n) == (5, 1) and np.isnan(se)
    assert mean_error([])[2] == 0

@pytest.mark.parametrize('n,quantile', [(2, 12.706), (3, 4.303), (5, 2.776), (10, 2.262)]) # a printed table of t, 95 %
def test_the_interval_uses_students_t(n, quantile):
    d = np.arange(n, dtype=float); a = np.random.default_rng(0).normal(0, 5, n)
    found = paired(a, a + d)
    assert (found['high'] - found['mean'])/found['se'] == pytest.approx(quantile, abs=1e-3)
    assert found['mean'] == pytest.approx(d.mean()) and found['se'] == pytest.approx(d.std(ddof=1)/n**.5)

def test_what_two_runs_share_cancels_in_pairs():
    shared = np.array([-9., 0., 9.])
    assert paired(60 + shared, 61 + shared) == pytest.approx(dict(mean=1, se=0, low=1, high=1, pairs=3), abs=1e-9)
    assert mean_error(60 + shared)[1] > 5

def test_a_seed_that_one_side_lacks_is_left_out_of_the_pairs():
    assert paired([1, 2, np.nan], [2, 4, 90])['pairs'] == 2 and paired([1, 2, np.nan], [2, 4, 90])['mean'] == 1.5

def test_verdicts_say_better_worse_undecided_or_nothing():
    say = lambda *values: verdict(rows(values).summary()[1], 'baseline').rsplit(': ')[-1]
    assert say([.5, .6, .7], [.6, .7, .81]) == 'better.'
    assert say([.6, .7, .81], [.5, .6, .7]) == 'worse.'
    assert say([.5, .6, .7], [.51, .62, .73]) == 'undecided.'
    assert 'nothing can be said' in verdict(rows([[.5], [.9]]).summary()[1], 'baseline')

def test_published_figures_stand_in_columns_of_their_own():
    text = report(rows([[.5, .6], [.6, .71]]), markdown=True)
    head,_,first,second = text.splitlines()[:4]
    column = [c.strip() for c in head.split('|')].index('paper: COCO AP, %')
    assert [r.split('|')[column].strip() for r in (first, second)] == ['71.4', '73.45']
    assert '55.0 ± 5.0' in first and '10.5 ± 0.5' in second
    assert 'paper' not in report(rows([[.5], [.6]], names=('baseline', 'mine')))
    assert len({len(x) for x in PAPER.values()}) == 1

# --- equal budgets -------------------------------------------------------------------------------------------

def test_every_run_has_the_same_budget(finished):
    _,found = finished
    assert len(found.runs) == 4 and len({(r['samples'], r['steps'], r['epochs'], r['people']) for r in found.runs}) == 1
    assert found.runs[0]['samples'] == 16 and np.isfinite(found.values()).all()

def test_all_runs_of_a_seed_start_from_the_same_backbone():
    start = {}
    for k,c in (VARIANTS | TWO).items():
        v = variant(k, c, TOY)
        torch.manual_seed(5); start[k] = (v.build or A.PoseModule.__init__.__globals__['first_model'])(v.recipe).backbone.state_dict()
    for other in start.values(): assert all(torch.equal(a, b) for a,b in zip(start['baseline'].values(), other.values()))

@pytest.mark.parametrize('change,word', [(dict(epochs=9), 'budget'), (dict(images=9, batch=2), 'batch, images'),
    (lambda c: replace(c, input_size=(96,96)), 'same task'), (lambda c: replace(c, num_keypoints=14), 'same task'), (lambda c: 3, 'int')])
def test_a_variant_that_changes_the_task_or_the_budget_is_refused(change, word):
    with pytest.raises(ValueError, match=word) as e: variant('odd', change, TOY)
    assert "'odd'" in str(e.value)

def test_runs_on_different_amounts_of_data_are_not_compared(finished, tmp_path):
    folder = shutil.copytree(finished[0], tmp_path/'copy')
    note = folder/'fusion'/'seed-0'/'result.json'
    note.write_text(json.dumps(json.loads(note.read_text()) | dict(samples=17)))
    with pytest.raises(ValueError, match='different amounts'): read_ablation(folder)

# --- broken variants -----------------------------------------------------------------------------------------

def missing(cfg): raise KeyError('no such part')
def wrong_shape(cfg): return nn.Sequential(Crude(replace(cfg, split=1.)))
def dead_end(cfg):
    net = RTMPose(cfg); net.neck.forward = lambda maps: maps[-1]
    return net

@pytest.mark.parametrize('change,word', [(missing, 'no such part'), (wrong_shape, 'codec reads'), (dead_end, 'fails'), (Crude, 'aux=0')])
def test_a_broken_variant_is_named_before_anything_is_trained(change, word, tmp_path, dancers, counted):
    with pytest.raises(ValueError, match=word) as e: ablate(TWO | dict(suspect=change), TOY, 2, tmp_path/'x', dancers, **QUIET)
    assert "'suspect'" in str(e.value) and not counted and not (tmp_path/'x').exists()

def test_trying_out_leaves_the_generator_of_chance_alone():
    torch.manual_seed(3); before = torch.get_rng_state()
    try_out(variant('fusion', VARIANTS['fusion'], TOY))
    assert torch.equal(before, torch.get_rng_state())

# --- going on ------------------------------------------------------------------------------------------------

def test_after_an_interruption_only_the_missing_runs_are_trained(dancers, tmp_path, counted, monkeypatch):
    real = A.run_one
    def once(v, seed, *args, **kwargs):
        if counted: raise KeyboardInterrupt
        return real(v, seed, *args, **kwargs)
    monkeypatch.setattr(A, 'run_one', once)
    with pytest.raises(KeyboardInterrupt): ablate(TWO, TOY, 1, tmp_path, dancers, **QUIET)
    monkeypatch.setattr(A, 'run_one', real)
    assert len(read_ablation(tmp_path).runs) == 1
    ablate(TWO, TOY, 1, tmp_path, dancers, **QUIET)
    assert counted == [('fusion', 0), ('ungated', 0)]

def test_a_finished_ablation_costs_nothing_and_says_the_same(finished, dancers, counted):
    folder,found = finished
    assert ablate(TWO, TOY, 2, folder, dancers, **QUIET).runs == found.runs and not counted
    saved = json.loads((folder/'results.json').read_text())
    assert saved['runs'] == found.runs and len(saved['summary']) == 2

def test_a_kept_run_that_was_not_judged_yet_is_judged_and_not_trained(finished, dancers, counted, tmp_path):
    folder = shutil.copytree(finished[0], tmp_path/'copy')
    (folder/'ungated'/'seed-1'/'result.json').unlink()
    assert np.array_equal(ablate(TWO, TOY, 2, folder, dancers, **QUIET).values(), finished[1].values()) and not counted

def test_a_folder_of_another_recipe_or_another_variant_is_refused(finished, dancers, counted):
    folder = finished[0]
    with pytest.raises(ValueError, match='epochs, lr'): ablate(TWO, replace(TOY, lr=1., epochs=7), 2, folder, dancers, **QUIET)
    with pytest.raises(ValueError, match='another variant under the name ungated'): ablate(TWO | dict(ungated=VARIANTS['lgag']), TOY, 2, folder, dancers, **QUIET)
    with pytest.raises(ValueError, match='under the name fusion'): ablate(dict(fusion=dict(lr=1.)), TOY, 2, folder, dancers, **QUIET)
    assert not counted
    with pytest.raises(FileNotFoundError, match='no ablation'): read_ablation(folder/'fusion')

def test_ctrl_c_in_the_training_loop_is_ctrl_c_outside(dancers, tmp_path, monkeypatch):
    import signal
    def stopped(*args, **kwargs): signal.signal(signal.SIGINT, signal.SIG_IGN); raise SystemExit(1) # as Lightning does
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(A, 'fit', stopped)
    with pytest.raises(KeyboardInterrupt): ablate(TWO, TOY, 1, tmp_path, dancers, **QUIET)
    assert signal.getsignal(signal.SIGINT) == before and read_ablation(tmp_path).runs == []

def test_a_run_that_fails_is_named(dancers, tmp_path, monkeypatch):
    def fails(*args, **kwargs): raise ValueError('nan or inf.')
    monkeypatch.setattr(A, 'fit', fails)
    with pytest.raises(RuntimeError, match="'fusion', seed 4: nan or inf.*kept"): ablate(TWO, TOY, [4], tmp_path, dancers, **QUIET)

# --- foreign networks, picture -------------------------------------------------------------------------------

def test_a_network_of_ones_own_is_trained_and_judged(dancers, tmp_path):
    found = ablate(dict(crude=Crude, quick=dict(lr=3e-3)), replace(TOY, aux=0., model=replace(TOY.model, gate='skip')), 1, tmp_path, dancers, **QUIET)
    assert np.isfinite(found.values()).all() and found.runs[0]['params'] == sum(p.numel() for p in Crude(TOY.model).parameters())
    from poselab.predict import load_weights
    with pytest.raises(ValueError, match='own-network'): load_weights(tmp_path/'crude'/'seed-0'/'weights.safetensors')

def test_a_variant_can_grow_on_a_trained_backbone(tmp_path):
    from poselab.predict import save_weights
    old = save_weights(tmp_path/'old.safetensors', RTMPose(TOY.model), 'rendered', half=False)
    kept = A.load_weights(old).model.backbone.state_dict()
    for change in (VARIANTS['baseline'], ungated):
        net = A.on_backbone(change, old)(TOY.model)
        assert all(torch.equal(kept[k], v) for k,v in net.backbone.state_dict().items() if not k.endswith('tracked'))
    assert variant('mine', A.on_backbone(ungated, old), TOY).build is not None
    new = save_weights(tmp_path/'new.safetensors', RTMPose(TOY.model), 'rendered', half=False)
    marks = [A.on_backbone(ungated, p).backbone for p in (old, old, new)]
    assert marks[0] == marks[1] != marks[2]
    ablate(dict(mine=A.on_backbone(ungated, old)), TOY, 0, tmp_path/'runs', **QUIET)
    with pytest.raises(ValueError, match='under the name mine'): ablate(dict(mine=A.on_backbone(ungated, new)), TOY, 0, tmp_path/'runs', **QUIET)

def test_the_picture_shows_every_run_and_every_difference(finished):
    matplotlib = pytest.importorskip('matplotlib'); matplotlib.use('agg')
    left,right = draw_ablation(rows([[.5, .6, .7], [.6, .7, .81]]))
    assert left.lines[0].get_ydata().tolist() == pytest.approx([50, 60]) # one line per seed
    assert right.lines[0].get_xdata().tolist() == pytest.approx([10, 10, 11])
    left.figure.canvas.draw(); matplotlib.pyplot.close(left.figure)
    axes = draw_ablation(finished[1], 'AP'); axes[0].figure.canvas.draw(); matplotlib.pyplot.close(axes[0].figure)

def test_a_report_of_nothing_says_so(): assert 'No run is finished' in report(Ablation({}, ('a', 'b'), (0,), []))
