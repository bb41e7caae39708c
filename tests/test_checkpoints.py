"mmpose's files, as far as one can go without mmpose: its names are kept in tests/parity/rtmpose_s_names.json, written once by mmpose itself"
import json, shutil
from dataclasses import replace
from pathlib import Path
import numpy as np, pytest, torch
from poselab.models.checkpoints import (CSPNEXT, DEPTHWISE, HRNET, HRNET_BARE, RTMPOSE, Unread, guess_config, guess_hrnet,
                                        load_mmpose_checkpoint, read_checkpoint, rename)
from poselab.models.cspnext import CSPNeXt
from poselab.models.dancehrnet import HIGHER_LAB, DanceHRNet
from poselab.models.hrnet import HRNET_LAB, W32, W48, HRNetPose
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

# --- HRNet ----------------------------------------------------------------------------------------------------

def hrnet_names(cfg):
    "{name: shape} of an HRNet in the words of its authors, spelt out without our module"
    def layer(conv, norm, out, into, k):
        yield f'{conv}.weight', (out, into, k, k)
        for end in ('weight', 'bias', 'running_mean', 'running_var'): yield f'{norm}.{end}', (out,)
    s,c = cfg.stem,cfg.channels
    yield from layer('conv1', 'bn1', s, 3, 3)
    yield from layer('conv2', 'bn2', s, s, 3)
    for n in range(cfg.bottlenecks):
        at,wide = f'layer1.{n}',4*s if n else s
        for i,(a,b,k) in enumerate([(s, wide, 1), (s, s, 3), (4*s, s, 1)], 1): yield from layer(f'{at}.conv{i}', f'{at}.bn{i}', a, b, k)
        if n == 0: yield from layer(f'{at}.downsample.0', f'{at}.downsample.1', 4*s, s, 1)
    yield from layer('transition1.0.0', 'transition1.0.1', c[0], 4*s, 3)
    for t in range(1, len(c)): yield from layer(f'transition{t}.{t}.0.0', f'transition{t}.{t}.0.1', c[t], c[t - 1] if t > 1 else 4*s, 3)
    for t,count in enumerate(cfg.modules, 1):
        for m in range(count):
            for b in range(t + 1):
                for n in range(cfg.blocks):
                    at = f'stage{t + 1}.{m}.branches.{b}.{n}'
                    for i in (1, 2): yield from layer(f'{at}.conv{i}', f'{at}.bn{i}', c[b], c[b], 3)
            last = t == len(cfg.modules) and m == count - 1
            for o in range(1 if last else t + 1):
                for i in range(t + 1):
                    at = f'stage{t + 1}.{m}.fuse_layers.{o}.{i}'
                    if i > o: yield from layer(f'{at}.0', f'{at}.1', c[o], c[i], 1)
                    for j in range(o - i): yield from layer(f'{at}.{j}.0', f'{at}.{j}.1', c[o] if j == o - i - 1 else c[i], c[i], 3)
    yield 'final_layer.weight', (cfg.num_keypoints, c[0], 1, 1)
    yield 'final_layer.bias', (cfg.num_keypoints,)

HRNET_SIZES = dict(w32=W32, w48=W48, w32_mpii=replace(W32, num_keypoints=16), lab=replace(HRNET_LAB, input_size=(192, 256)))
as_mmpose = lambda names, head='head': {(f'{head}.{k}' if k.startswith('final') else f'backbone.{k}'): v for k,v in names.items()}

@pytest.fixture(scope='module')
def bare():
    "Random weights of the lab size under the authors' names, bare as their files are"
    g = torch.Generator().manual_seed(0)
    return {k: torch.rand(s, generator=g) + .5 if k.endswith('running_var') else torch.randn(s, generator=g)*.05 for k,s in hrnet_names(HRNET_LAB)}

@pytest.mark.parametrize('size', HRNET_SIZES)
@pytest.mark.parametrize('tongue', ['authors', 'mmpose', 'old mmpose'])
def test_every_name_of_an_hrnet_becomes_one_of_ours_and_none_is_missing(size, tongue):
    cfg = HRNET_SIZES[size]
    names = dict(hrnet_names(cfg))
    with torch.device('meta'): ours = {k: tuple(v.shape) for k,v in HRNetPose(cfg).state_dict().items() if 'num_batches' not in k}
    if tongue == 'authors': found = rename(names, HRNET_BARE)
    else: found = rename(as_mmpose(names, dict(mmpose='head').get(tongue, 'keypoint_head')), HRNET)
    assert found == ours and guess_hrnet({k: torch.empty(s, device='meta') for k,s in found.items()}) == cfg

@pytest.mark.parametrize('theirs,ours', [('conv2.weight', 'stem.1.0.weight'), ('layer1.0.downsample.1.running_var', 'bottlenecks.0.shortcut.1.running_var'),
    ('transition1.0.0.weight', 'transitions.0.0.0.weight'), ('transition1.1.0.1.bias', 'transitions.0.1.1.bias'), ('transition3.3.0.0.weight', 'transitions.2.3.0.weight'),
    ('stage3.2.branches.1.3.bn2.weight', 'stages.1.2.branches.1.3.body.1.1.weight'), ('stage4.0.fuse_layers.3.0.1.0.weight', 'stages.2.0.fuse.3.0.1.0.weight'),
    ('stage2.0.fuse_layers.0.1.1.bias', 'stages.0.0.fuse.0.1.1.bias')])
def test_names_of_an_hrnet_by_hand(theirs, ours): assert list(rename({theirs: 0}, HRNET_BARE)) == [f'backbone.{ours}']

@pytest.mark.parametrize('wrap', [lambda s: s, as_mmpose, lambda s: dict(state_dict=as_mmpose(s)), lambda s: {f'module.{k}': v for k,v in s.items()}],
                         ids=['bare', 'mmpose', 'wrapped', 'several cards'])
def test_an_hrnet_file_becomes_a_network_with_its_numbers_and_the_input_that_was_said(keep, bare, wrap):
    net = load_mmpose_checkpoint(keep(wrap(bare)), input_size=(96, 128))
    assert net.cfg == HRNET_LAB and not net.training
    state = net.state_dict()
    assert all(torch.equal(state[k], v) for k,v in rename(bare, HRNET_BARE).items())

def test_the_input_of_an_hrnet_is_the_common_one_unless_said(keep, bare):
    assert load_mmpose_checkpoint(keep(bare)).cfg.input_size == (192, 256)
    with pytest.raises(ValueError, match='multiple of 32'): load_mmpose_checkpoint(keep(bare), input_size=(100, 100))

@pytest.mark.parametrize('wrap', [lambda s: s, as_mmpose, lambda s: {**s, 'classifier.weight': torch.zeros(9, 4), 'incre_modules.0.0.conv1.weight': torch.zeros(4)}],
                         ids=['bare', 'mmpose', 'classifier'])
def test_a_backbone_comes_out_of_any_hrnet_file(keep, bare, wrap):
    net = HRNetPose(HRNET_LAB)
    head = net.head.weight.clone()
    load_mmpose_checkpoint(keep(wrap(bare)), net.backbone)
    assert net.backbone.stem[0][0].weight.equal(bare['conv1.weight']) and net.head.weight.equal(head)

@pytest.mark.parametrize('change,words', [(lambda s: drop(s, 'stage3.0.fuse_layers.2.0.1.0.weight'), r'lacks backbone\.stages\.1\.0\.fuse\.2\.0\.1\.0\.weight'),
    (lambda s: {**s, 'stage4.0.fuse_layers.1.0.0.0.weight': torch.zeros(2)}, r'has backbone\.stages\.2\.0\.fuse\.1\.0\.0\.0\.weight too much'),
    (lambda s: {**s, 'deconv_layers.0.weight': torch.zeros(2)}, r"holds no HRNet \(deconv_layers\.0\.weight: no row"),
    (lambda s: drop(s, 'final_layer.weight'), r"holds no HRNet \(it lacks 'head.weight'")], ids=['missing', 'unexpected', 'another', 'headless'])
def test_an_hrnet_file_that_does_not_fit_is_refused_by_its_first_name(keep, bare, change, words):
    with pytest.raises(ValueError, match=words): load_mmpose_checkpoint(keep(change(bare)), input_size=(96, 128))

def test_neither_family_takes_the_files_of_the_other(keep, bare, state):
    with pytest.raises(ValueError, match='holds no RTMPose'): load_mmpose_checkpoint(keep(bare), RTMPose(replace(SMALL, **RELEASED)))
    with pytest.raises(ValueError, match='holds no HRNet'): load_mmpose_checkpoint(keep(dict(state_dict=state)), HRNetPose(HRNET_LAB))

# ---- HigherHRNet, by its authors' names

HIGHER = replace(HIGHER_LAB, num_keypoints=5, head_blocks=2)

def higher_names(cfg):
    "Names and shapes of a HigherHRNet as its authors leave it, written down apart from the table"
    for name,shape in hrnet_names(replace(HRNET_LAB, num_keypoints=1)):
        if not name.startswith('final_layer'): yield name, shape
    K,c = cfg.num_keypoints,cfg.channels[0]
    tags = cfg.tag_dim*(K if cfg.tags_per_keypoint else 1)
    for i,out in enumerate((K + tags, K)): yield from ((f'final_layers.{i}.weight', (out, c, 1, 1)), (f'final_layers.{i}.bias', (out,)))
    def norm(at): return [(f'{at}.{w}', (c,)) for w in ('weight', 'bias', 'running_mean', 'running_var')]
    yield from (('deconv_layers.0.0.0.weight', (c + K + tags, c, 4, 4)), *norm('deconv_layers.0.0.1'))
    for n in range(1, cfg.head_blocks + 1):
        for i in (1, 2): yield from ((f'deconv_layers.0.{n}.0.conv{i}.weight', (c, c, 3, 3)), *norm(f'deconv_layers.0.{n}.0.bn{i}'))

@pytest.mark.parametrize('kw', [{}, dict(tag_dim=2), dict(tags_per_keypoint=False), dict(head_blocks=0)], ids=str)
@pytest.mark.parametrize('tongue', ['authors', 'old mmpose'])
def test_a_higherhrnet_file_becomes_a_network_of_its_size(keep, kw, tongue):
    cfg,g = replace(HIGHER, **kw),torch.Generator().manual_seed(0)
    bare = {k: torch.rand(s, generator=g) + .5 if k.endswith('running_var') else torch.randn(s, generator=g)*.05 for k,s in higher_names(cfg)}
    heads = ('final_layers', 'deconv_layers')
    file = keep(bare if tongue == 'authors' else {f'{"keypoint_head" if k.startswith(heads) else "backbone"}.{k}': v for k,v in bare.items()})
    net = load_mmpose_checkpoint(file, input_size=(256, 256))
    assert net.cfg == cfg and load_mmpose_checkpoint(file).cfg.input_size == (512, 512)
    assert net.head.finer[0].weight.equal(bare['deconv_layers.0.0.0.weight']) and net.head.final[1].bias.equal(bare['final_layers.1.bias'])
    if cfg.head_blocks: assert net.head.finer[4].body[1][0].weight.equal(bare['deconv_layers.0.2.0.conv2.weight'])
    body = load_mmpose_checkpoint(file, HRNetPose(HRNET_LAB).backbone)
    assert body.stem[0][0].weight.equal(bare['conv1.weight'])

def test_a_higherhrnet_does_not_fill_a_network_with_other_parts(keep):
    file = keep({k: torch.zeros(s) for k,s in higher_names(HIGHER)})
    with pytest.raises(ValueError, match='too much|lacks'): load_mmpose_checkpoint(file, DanceHRNet(replace(HIGHER, cbam='branch')))
    with pytest.raises(ValueError, match='too much|lacks'): load_mmpose_checkpoint(file, HRNetPose(HRNET_LAB))
