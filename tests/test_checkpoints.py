"mmpose's files, as far as one can go without mmpose: its names are kept in tests/parity/rtmpose_s_names.json, written once by mmpose itself"
import json, shutil
from dataclasses import replace
from pathlib import Path
import numpy as np, pytest, torch
from poselab.models.checkpoints import (CSPNEXT, DEPTHWISE, RTMPOSE, Unread, guess_config, load_mmpose_checkpoint,
                                        read_checkpoint, rename)
from poselab.models.cspnext import CSPNeXt
from poselab.models.rtmpose import LARGE, MEDIUM, SMALL, TINY, RTMPose
from poselab.modules.blocks import set_batch_norm
from poselab.predict import Predictor, load_weights, save_weights

NAMES = {k: tuple(s) for k,s in json.loads((Path(__file__).parent/'parity'/'rtmpose_s_names.json').read_text()).items()}
RELEASED = dict(bn_eps=1e-5, bn_momentum=.1)
mirrored = lambda table: {ours: theirs for theirs,ours in table.items()}
body = lambda: set_batch_norm(CSPNeXt(.33, .5), 1e-5, .1)

@pytest.fixture(scope='module')
def state():
    "Random weights under mmpose's own names"
    g = torch.Generator().manual_seed(0)
    def numbers(name, shape):
        if name.endswith('num_batches_tracked'): return torch.tensor(3)
        return torch.rand(shape, generator=g) + .5 if name.endswith(('running_var', '.g')) else torch.randn(shape, generator=g)*.05
    return {k: numbers(k, s) for k,s in NAMES.items()}

@pytest.fixture
def keep(tmp_path):
    "Write a checkpoint, return its path"
    def keep(held, name='net.pth', **kwargs):
        torch.save(held, tmp_path/name, **kwargs)
        return tmp_path/name
    return keep

def same(model, state, table=RTMPOSE):
    got,want = model.state_dict(),rename(state, table)
    return got.keys() == want.keys() and all(torch.equal(got[k], want[k]) for k in want)

# --- names ---------------------------------------------------------------------------------------------------

def test_every_name_of_mmpose_becomes_one_of_ours_and_none_is_missing():
    ours = {k: tuple(v.shape) for k,v in RTMPose(SMALL).state_dict().items()}
    assert rename(NAMES, RTMPOSE) == ours and len(NAMES) == len(ours)

@pytest.mark.parametrize('cfg', [TINY, SMALL, MEDIUM, LARGE], ids='tsml')
def test_the_table_works_both_ways_at_every_size(cfg):
    with torch.device('meta'): names = dict.fromkeys(RTMPose(cfg).state_dict())
    theirs = rename(names, mirrored(RTMPOSE))
    assert rename(theirs, RTMPOSE) == names and not any('stages' in k or 'long' in k or 'mixer' in k for k in theirs)

@pytest.mark.parametrize('theirs,ours', [
    ('stage1.0.conv.weight', 'stages.0.0.0.weight'), ('stage3.1.blocks.11.conv1.bn.bias', 'stages.2.1.long.12.body.0.1.bias'),
    ('stage4.1.conv1.conv.weight', 'stages.3.1.squeeze.0.weight'), ('stage4.1.conv2.bn.running_var', 'stages.3.1.join.1.running_var'),
    ('stage2.0.depthwise_conv.conv.weight', 'stages.1.0.0.0.weight'), ('stage2.1.blocks.0.conv1.pointwise_conv.bn.bias', 'stages.1.1.long.1.body.0.1.1.bias')])
def test_names_by_hand(theirs, ours): assert list(rename({theirs: 0}, {**CSPNEXT, **DEPTHWISE})) == [ours]

def test_the_depthwise_backbone_has_a_name_for_everything():
    small = CSPNeXt(.33, .25, depthwise=True).state_dict()
    assert 'stages.1.1.long.1.body.0.1.1.bias' in small and 'stages.0.0.1.0.weight' in small

def test_the_longest_row_wins_whatever_the_order():
    table = {'a': 'x', 'a.b': 'y', 'b': 'z', 'a.{i}': 'n.{i-1}'}
    for t in (table, dict(reversed(table.items()))): assert list(rename({'a.b': 0, 'a.a.b': 1, 'a.4.b': 2}, t)) == ['y', 'x.y', 'n.3.z']

def test_a_stretch_ends_at_a_dot():
    with pytest.raises(ValueError, match="'weights'"): rename({'conv.weights': 0}, CSPNEXT)

def test_two_names_may_not_become_one():
    with pytest.raises(ValueError, match='b: another name became x'): rename({'a': 0, 'b': 1}, {'a': 'x', 'b': 'x'})

# --- files ---------------------------------------------------------------------------------------------------

class HistoryBuffer: # as mmengine pickles one: arrays, and functions found by getattr
    def __init__(self): self.values,self.how = np.arange(3.),[np.float64(2), HistoryBuffer.mean]
    def mean(self): raise AssertionError('foreign code has run')
    def __setstate__(self, state): raise AssertionError('foreign code has run')

def test_a_file_full_of_foreign_objects_is_read_and_none_of_them_is_made(keep, state):
    held = read_checkpoint(keep(dict(meta=dict(seed=np.int64(1), epoch=420), message_hub={'loss': HistoryBuffer()}, state_dict=state)))
    assert isinstance(held['message_hub']['loss'], Unread) and held['meta']['epoch'] == 420
    assert torch.equal(held['state_dict']['head.cls_x.weight'], state['head.cls_x.weight'])

class Copy:
    def __init__(self, path): self.path = path
    def __reduce__(self): return shutil.copy, (__file__, str(self.path))
class Shell:
    def __reduce__(self): import os; return os.system, ('echo',)

def test_a_program_in_a_file_does_not_run(keep, state, tmp_path):
    file = keep(dict(state_dict=state, extra=Copy(tmp_path/'ran')))
    assert same(load_mmpose_checkpoint(file), state) and not (tmp_path/'ran').exists()
    with pytest.raises(ValueError, match='without running code'): load_mmpose_checkpoint(keep(dict(state_dict=state, extra=Shell())))

def test_old_files_that_are_no_zip_are_read(keep, state):
    assert same(load_mmpose_checkpoint(keep(dict(state_dict=state), _use_new_zipfile_serialization=False)), state)

def test_an_old_file_with_foreign_objects_says_what_to_do(keep, state):
    with pytest.raises(ValueError, match='save its .state_dict. alone'):
        load_mmpose_checkpoint(keep(dict(state_dict=state, hub=HistoryBuffer()), _use_new_zipfile_serialization=False))

@pytest.mark.parametrize('wrap', [lambda s: s, lambda s: dict(model=s), lambda s: dict(state_dict={f'module.{k}': v for k,v in s.items()}),
    lambda s: dict(meta={}, ema_state_dict={'steps': torch.tensor(9), **{f'module.{k}': v for k,v in s.items()}})], ids=['bare', 'model', 'module', 'ema'])
def test_weights_are_found_in_every_wrapping(keep, state, wrap): assert same(load_mmpose_checkpoint(keep(wrap(state))), state)

def test_of_two_sets_the_averaged_one_is_taken_and_the_other_can_be_had(keep, state):
    raw = {k: v*2 for k,v in state.items()}
    file = keep(dict(state_dict=state, ema_state_dict={'steps': torch.tensor(9), **{f'module.{k}': v for k,v in raw.items()}}))
    assert same(load_mmpose_checkpoint(file), state) and same(load_mmpose_checkpoint(file, which='ema_state_dict'), raw)

def test_counters_that_old_files_lack_are_not_missed(keep, state):
    old = {k: v for k,v in state.items() if not k.endswith('num_batches_tracked')}
    m = load_mmpose_checkpoint(keep(dict(state_dict=old)))
    assert m.state_dict()['head.cls_x.weight'].equal(state['head.cls_x.weight'])

# --- models --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('change', [{}, dict(num_keypoints=26), dict(input_size=(288, 384)), dict(hidden=128, gau_s=64), dict(deepen=.167, widen=.375)], ids=str)
def test_the_size_is_told_by_the_shapes(change):
    cfg = replace(SMALL, **RELEASED, **change)
    with torch.device('meta'): assert guess_config(RTMPose(cfg).state_dict()) == cfg

def test_three_bins_per_pixel_are_told_by_hand(keep, state):
    cfg = guess_config(rename(state, RTMPOSE), split=4.)
    assert cfg.input_size == (96, 128)

def test_batch_norms_are_the_released_ones(keep, state):
    m = load_mmpose_checkpoint(keep(dict(state_dict=state)))
    norms = [b for b in m.modules() if isinstance(b, torch.nn.BatchNorm2d)]
    assert {(b.eps, b.momentum) for b in norms} == {(1e-5, .1)} and m.cfg == replace(SMALL, **RELEASED) and not m.training

@pytest.mark.parametrize('make', [lambda s: dict(state_dict=s), lambda s: {k.removeprefix('backbone.'): v for k,v in s.items() if 'backbone' in k},
    lambda s: dict(state_dict={**{k: v for k,v in s.items() if 'backbone' in k}, 'neck.x': torch.zeros(2), 'bbox_head.rtm_cls.0.weight': torch.zeros(2)})],
    ids=['pose', 'bare', 'detector'])
def test_a_backbone_comes_out_of_any_file_that_has_one(keep, state, make):
    want = {k.removeprefix('backbone.'): v for k,v in state.items() if 'backbone' in k}
    assert same(load_mmpose_checkpoint(keep(make(state)), body()), want, CSPNEXT)

def test_a_backbone_can_be_put_into_a_variant(keep, state):
    net = RTMPose(replace(SMALL, gate='skip', keypoint_conv='3x3x3', token_mixer=None, **RELEASED))
    head = net.head.cls_x.weight.clone()
    load_mmpose_checkpoint(keep(dict(state_dict=state)), net.backbone)
    assert net.backbone.stem[0][0].weight.equal(state['backbone.stem.0.conv.weight']) and net.head.cls_x.weight.equal(head)

def test_a_model_with_another_eps_is_refused(keep, state):
    with pytest.raises(ValueError, match='eps 0.001, mmpose trained with 1e-5'): load_mmpose_checkpoint(keep(dict(state_dict=state)), CSPNeXt(.33, .5))

def drop(s, k): return {n: v for n,v in s.items() if n != k}
FAULTS = dict(
    missing=(lambda s: drop(s, 'backbone.stage2.0.conv.weight'), r'lacks backbone\.stages\.1\.0\.0\.weight'),
    without_a_head=(lambda s: drop(s, 'head.cls_x.weight'), r'head\.cls_x\.weight'),
    unexpected=(lambda s: {**s, 'backbone.stage2.2.conv.weight': torch.zeros(2)}, r'has backbone\.stages\.1\.2\.0\.weight too much'),
    another=(lambda s: {**s, 'backbone.layer1.0.conv1.weight': torch.zeros(2)}, r'backbone\.layer1\.0\.conv1\.weight'),
    shape=(lambda s: {**s, 'head.mlp.1.weight': torch.zeros(256, 108)}, r'head\.mlp\.1\.weight is 256×108, this model has 256×48'),
    no_tensor=(lambda s: {'epoch': 3, 'lr': .1}, 'holds no weights'))

@pytest.mark.parametrize('fault', FAULTS)
def test_a_file_that_does_not_fit_is_refused_by_its_first_name(keep, state, fault):
    change,words = FAULTS[fault]
    with pytest.raises(ValueError, match=words) as e: load_mmpose_checkpoint(keep(dict(state_dict=change(state)), 'strange.pth'))
    assert 'strange.pth' in str(e.value) and '\n' not in str(e.value)

def test_what_does_not_fit_changes_nothing(keep, state):
    net = body(); before = {k: v.clone() for k,v in net.state_dict().items()}
    with pytest.raises(ValueError): load_mmpose_checkpoint(keep(drop(state, 'backbone.stage4.2.final_conv.conv.weight')), net)
    assert all(before[k].equal(v) for k,v in net.state_dict().items())

@pytest.mark.parametrize('content', [b'', b'buy milk', b'\x80\x04'], ids=['empty', 'text', 'stub'])
def test_what_is_no_checkpoint_is_refused(tmp_path, content):
    (tmp_path/'a.pth').write_bytes(content)
    with pytest.raises(ValueError, match='a.pth.*(not a whole torch checkpoint|cannot be read)'): load_mmpose_checkpoint(tmp_path/'a.pth')

def test_half_a_file_is_refused(keep, state):
    file = keep(dict(state_dict=state)); file.write_bytes(file.read_bytes()[:-10_000])
    with pytest.raises(ValueError, match='copy it again'): load_mmpose_checkpoint(file)

def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere.pth'): load_mmpose_checkpoint(tmp_path/'nowhere.pth')

def test_a_list_and_an_unknown_wrapping_are_refused(keep, state):
    with pytest.raises(ValueError, match='holds a list'): load_mmpose_checkpoint(keep([1, 2]))
    with pytest.raises(ValueError, match="no 'ema_state_dict'"): load_mmpose_checkpoint(keep(dict(state_dict=state)), which='ema_state_dict')

# --- and on ---------------------------------------------------------------------------------------------------

def test_a_loaded_model_is_saved_read_again_and_predicts(keep, state, tmp_path):
    m = load_mmpose_checkpoint(keep(dict(state_dict=state)))
    file = save_weights(tmp_path/'s.safetensors', m, 'coco', dict(source='mmpose'), half=False)
    again = load_weights(file)
    assert again.model.cfg == m.cfg and again.schema.num_keypoints == 17
    x = torch.randn(1, 3, 256, 192)
    with torch.no_grad(): assert all(torch.equal(a, b) for a,b in zip(again.model(x), m(x)))
    found = Predictor(file).on_image(np.random.default_rng(0).integers(0, 255, (300, 200, 3), dtype=np.uint8), np.array([[20., 20, 150, 250]]))
    assert found.keypoints.shape == (1, 17, 2) and np.isfinite(found.keypoints).all()
