"YOLO-Pose's published layout, written down layer by layer, against the table that translates it"
import pickle
import pytest, torch
from safetensors.torch import save_file
from poselab.models.checkpoints import YOLOPOSE, load_yolopose_checkpoint, normalize, rename
from poselab.models.yolopose import YOLOPose, YOLOPoseConfig

BN = ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked')
def conv(name, a, b, ks, groups=1): # a convolution and its batch norm
    return {f'{name}.conv.weight': (b, a//groups, ks, ks)} | {f'{name}.bn.{k}': () if k == 'num_batches_tracked' else (b,) for k in BN}
def c3(name, a, b, n):
    h = b//2
    out = conv(f'{name}.cv1', a, h, 1) | conv(f'{name}.cv2', a, h, 1) | conv(f'{name}.cv3', 2*h, b, 1)
    for i in range(n): out |= conv(f'{name}.m.{i}.cv1', h, h, 1) | conv(f'{name}.m.{i}.cv2', h, h, 3)
    return out

def layout(c=(32, 64, 128, 256, 384, 512), n=(1, 3, 3, 1, 1), K=17):
    "Names and shapes of the 34 layers, finest first; c: channels by stage, n: bottlenecks"
    out = conv('model.0.conv', 12, c[0], 3)
    for i in range(4): out |= conv(f'model.{2*i + 1}', c[i], c[i + 1], 3) | c3(f'model.{2*i + 2}', c[i + 1], c[i + 1], n[i])
    out |= conv('model.9', c[4], c[5], 3) | conv('model.10.cv1', c[5], c[5]//2, 1) | conv('model.10.cv2', 2*c[5], c[5], 1) | c3('model.11', c[5], c[5], n[4])
    for layer,a,b in ((12, c[5], c[4]), (16, c[4], c[3]), (20, c[3], c[2])): out |= conv(f'model.{layer}', a, b, 1) | c3(f'model.{layer + 3}', 2*b, b, n[0])
    for layer,a,b in ((24, c[2], c[3]), (27, c[3], c[4]), (30, c[4], c[5])): out |= conv(f'model.{layer}', a, a, 3) | c3(f'model.{layer + 2}', 2*a, b, n[0])
    for i,ch in enumerate(c[2:]):
        out |= {f'model.33.m.{i}.weight': (18, ch, 1, 1), f'model.33.m.{i}.bias': (18,)}
        for j in range(11): out |= conv(f'model.33.m_kpt.{i}.{j}', ch, ch, 1 if j % 2 else 3, 1 if j % 2 else ch)
        out |= {f'model.33.m_kpt.{i}.11.weight': (9*K, ch, 1, 1), f'model.33.m_kpt.{i}.11.bias': (9*K,)}
    return out

SMALL = dict(c=(8, 16, 32, 64, 96, 128), K=5)

def numbers(seed=0, **kw):
    g = torch.Generator().manual_seed(seed)
    def made(name, shape): return torch.tensor(7) if name.endswith('tracked') else torch.rand(shape, generator=g)*.2 + (.5 if 'running_var' in name else -.1)
    return {k: made(k, s) for k,s in layout(**kw).items()}

def test_the_published_layout_fills_the_published_network_and_nothing_is_left():
    with torch.device('meta'): want = {k: tuple(v.shape) for k,v in YOLOPose(YOLOPoseConfig()).state_dict().items()}
    got = rename(layout(), YOLOPOSE)
    assert got == want and len(got) == len(layout())

@pytest.mark.parametrize('suffix', ['pt', 'safetensors'])
def test_there_and_back_through_a_file(tmp_path, suffix):
    torch.manual_seed(0)
    cfg = YOLOPoseConfig(width=.125, num_keypoints=5, input_size=(128, 64), joined=True)
    net = YOLOPose(cfg)
    with torch.no_grad():
        for _ in range(3): net(torch.rand(2, 3, 64, 128))
    net.eval()
    where = {v: k for k,v in rename({k: k for k in layout(**SMALL)}, YOLOPOSE).items()} # foreign name -> ours
    state = {k: net.state_dict()[where[k]].clone() for k in layout(**SMALL)}
    state['model.33.anchor_grid'] = torch.tensor(cfg.anchors).reshape(4, 1, 3, 1, 1, 2)
    file = tmp_path/f'w.{suffix}'
    save_file(state, file) if suffix == 'safetensors' else torch.save(state, file)
    again = load_yolopose_checkpoint(file, (128, 64))
    assert not again.training and again.cfg.joined and again.cfg.num_keypoints == 5
    assert torch.tensor(again.cfg.anchors).allclose(torch.tensor(cfg.anchors), atol=1e-3)
    x = torch.randint(0, 256, (2, 3, 64, 128), dtype=torch.uint8)
    for a,b in zip(again(normalize(x)), net(x.float()/255)): torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-4)

def test_anchors_in_cells_become_px(tmp_path):
    px = torch.arange(24.).reshape(4, 3, 2) + 8
    torch.save({'state_dict': numbers(**SMALL) | {'model.33.anchors': px/torch.tensor([8., 16., 32., 64.]).view(4, 1, 1)}}, tmp_path/'w.pt')
    assert torch.equal(torch.tensor(load_yolopose_checkpoint(tmp_path/'w.pt').cfg.anchors), px)

def test_the_size_is_read_from_the_shapes(tmp_path):
    torch.save(numbers(c=(8, 16, 32, 64, 96, 128), n=(2, 6, 6, 2, 2), K=3), tmp_path/'w.pt')
    net = load_yolopose_checkpoint(tmp_path/'w.pt', (256, 192), joined=False)
    assert net.cfg.depths == (2, 6, 6, 2, 2) and net.cfg.channels == (8, 16, 32, 64, 96, 128) and net.cfg.input_size == (256, 192) and not net.cfg.joined
    assert net.cfg.anchors == YOLOPoseConfig(input_size=(256, 192)).anchors

class Model: # what a YOLO file pickles
    def __init__(self): self.layers = 34

@pytest.mark.parametrize('held', [dict(model=Model(), epoch=3), dict(ema=Model()), Model()], ids=['model', 'ema', 'bare'])
def test_a_pickled_model_is_refused_with_the_way_out(tmp_path, held):
    torch.save(held, tmp_path/'w.pt')
    with pytest.raises(ValueError, match='pickled model|not named weights') as e: load_yolopose_checkpoint(tmp_path/'w.pt')
    if isinstance(held, dict): assert 'torch.save(' in str(e.value) and 'where it was made' in str(e.value)

def test_no_code_of_the_file_runs(tmp_path):
    class Loud:
        def __reduce__(self): return (open, (str(tmp_path/'ran'), 'w'))
    torch.save({'model': Loud()}, tmp_path/'w.pt')
    with pytest.raises(ValueError): load_yolopose_checkpoint(tmp_path/'w.pt')
    assert not (tmp_path/'ran').exists()

@pytest.mark.parametrize('change,why', [
    (lambda s: s.pop('model.2.cv3.bn.bias'), 'lacks backbone.stages.0.1.join.1.bias'),
    (lambda s: s.update({'model.34.conv.weight': torch.zeros(1)}), 'model.34'),
    (lambda s: s.update({'model.5.conv.weight': torch.zeros(64, 32, 5, 5)}), 'of another size'),
    (lambda s: s.clear() or s.update({'backbone.conv1.weight': torch.zeros(1)}), 'no YOLO-Pose with four levels')])
def test_what_does_not_fit_is_named(tmp_path, change, why):
    state = numbers(**SMALL); change(state)
    torch.save(state, tmp_path/'w.pt')
    with pytest.raises(ValueError, match=why): load_yolopose_checkpoint(tmp_path/'w.pt')
