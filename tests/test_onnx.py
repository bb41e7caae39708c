"Networks as ONNX files: the same answers, run by onnxruntime behind the same Predictor"
import json, pickle, sys
from dataclasses import replace
from pathlib import Path
import numpy as np, pytest, torch
pytest.importorskip('onnx'); pytest.importorskip('onnxruntime')
from torch import nn
from poselab.data.figures import rendered_dataset
from poselab.models.hrnet import W32
from poselab.models.rtmpose import LAB, LARGE, MEDIUM, SMALL, TINY, VARIANTS
from poselab.onnx_export import OnnxNet, export_onnx, onnx_note
from poselab.predict import LoadedModel, Predictor, load_weights, network, predict_dataset
from poselab.schema import load_schema

PUBLISHED = dict(t=TINY, s=SMALL, m=MEDIUM, l=LARGE, fusion=VARIANTS['fusion'](MEDIUM), hrnet_w32=W32)
SMALL_LAB = replace(LAB, input_size=(64,64), widen=.125)
def model(cfg):
    "Untrained, with batch norms that have seen inputs: signals of the size of trained ones, not of 1e-6 or 1e6"
    torch.manual_seed(0)
    net = network(cfg)
    for m in net.modules():
        if isinstance(m, nn.Conv2d): nn.init.kaiming_normal_(m.weight)
        if isinstance(m, nn.BatchNorm2d): m.momentum = .5
    with torch.no_grad():
        for _ in range(3): net.train()(torch.randn(4, 3, *cfg.input_size[::-1]))
    return LoadedModel(net.eval(), cfg.codec, load_schema('rendered'), dict(seed=0))

@pytest.fixture(scope='module')
def made(tmp_path_factory):
    lab = model(SMALL_LAB)
    return lab, export_onnx(lab, tmp_path_factory.mktemp('onnx')/'lab.onnx')

def assert_equal_outputs(loaded, file, n=3):
    x = torch.randn(n, 3, *loaded.codec.input_size[::-1], generator=torch.Generator().manual_seed(1))
    with torch.no_grad(): want = loaded.model(x)
    got = OnnxNet(file, 1)(x)
    for a,b in zip(got if isinstance(got, tuple) else (got,), want, strict=True): torch.testing.assert_close(a, b, atol=1e-4*max(1., float(b.abs().max())), rtol=0)

@pytest.mark.parametrize('variant', VARIANTS)
def test_every_variant_answers_the_same(variant, tmp_path):
    loaded = model(VARIANTS[variant](SMALL_LAB))
    assert_equal_outputs(loaded, export_onnx(loaded, tmp_path/'v.onnx'))

@pytest.mark.parametrize('name', ['rendered', 'lspet'])
def test_shipped_weights_answer_the_same(name, tmp_path):
    loaded = load_weights(name)
    assert_equal_outputs(loaded, export_onnx(loaded, tmp_path/'w.onnx'))

@pytest.mark.parametrize('name,cfg', PUBLISHED.items())
def test_every_published_size_answers_the_same(name, cfg, tmp_path):
    loaded = model(cfg)
    assert_equal_outputs(loaded, export_onnx(loaded, tmp_path/'net.onnx', example=torch.randn(1, 3, *cfg.input_size[::-1])), 1)

def test_the_lab_size_answers_the_same_for_any_number_of_inputs(made):
    for n in (1, 2, 7): assert_equal_outputs(*made, n)

def test_a_fixed_number_of_inputs_is_filled_up(made, tmp_path):
    fixed = export_onnx(made[0], tmp_path/'fixed.onnx', batch=4)
    assert OnnxNet(fixed, 1).batch == 4 and OnnxNet(made[1], 1).batch is None
    for n in (1, 4, 6): assert_equal_outputs(made[0], fixed, n)

def test_the_predictor_finds_the_same_keypoints_from_either_file(made):
    data = rendered_dataset(3, seed=1)
    for flip in (False, True):
        a,b = (predict_dataset(Predictor(w, flip_test=flip), data, progress=False) for w in made)
        np.testing.assert_allclose(a.confidence, b.confidence, atol=1e-4)
        same = np.abs(a.keypoints - b.keypoints).max(-1) < 1e-6
        assert same.mean() > .98 # two bins as good as equal may change places

def test_the_note_says_what_the_predictor_needs(made):
    back = load_weights(made[1])
    assert back.codec == made[0].codec and back.schema.names == made[0].schema.names and back.meta == dict(seed=0) and back.name == 'lab'
    assert json.loads(OnnxNet(made[1], 1).note['model'])['widen'] == .125

def test_no_people_no_rows(made):
    assert len(Predictor(made[1]).on_image(np.zeros((50,50,3), np.uint8), np.zeros((0,4)))) == 0

def test_any_module_goes_with_an_example(tmp_path):
    class Heads(nn.Module):
        def __init__(self): super().__init__(); self.a,self.b,self.c = (nn.Conv2d(3, n, 3, 2, 1) for n in (1,2,3))
        def forward(self, x): return [self.a(x), self.b(x)], self.c(x).sigmoid()
    net,x = Heads().eval(),torch.randn(2,3,17,15)
    with pytest.raises(ValueError, match='example input'): export_onnx(net, tmp_path/'h.onnx')
    out = OnnxNet(export_onnx(net, tmp_path/'h.onnx', example=x), 1)(x)
    with torch.no_grad(): (a,b),c = net(x)
    for got,want in zip(out, (a,b,c)): torch.testing.assert_close(got, want)

def test_a_detector_becomes_a_graph(tmp_path):
    from poselab.models.rtmdet import LAB as DETECT_LAB, RTMDet
    from poselab.onnx_export import _flat
    net = RTMDet(DETECT_LAB).eval()
    x = torch.randn(1, 3, *DETECT_LAB.input_size[::-1])
    out = OnnxNet(export_onnx(net, tmp_path/'d.onnx', batch=1, example=x), 1)(x)
    with torch.no_grad(): want = _flat(net(x))
    for got,w in zip(out, want): torch.testing.assert_close(got, w, atol=1e-4, rtol=1e-4)

def test_a_file_that_is_cut_short_or_foreign_is_refused_by_name(made, tmp_path):
    whole = made[1].read_bytes()
    for n in (0, 10, len(whole)//2):
        (tmp_path/'short.onnx').write_bytes(whole[:n])
        with pytest.raises(ValueError, match='short.onnx'): Predictor(tmp_path/'short.onnx')
    (tmp_path/'text.onnx').write_text('hello')
    with pytest.raises(ValueError, match='text.onnx is not a whole ONNX model'): Predictor(tmp_path/'text.onnx')
    foreign = export_onnx(nn.Conv2d(3, 1, 1).eval(), tmp_path/'foreign.onnx', example=torch.randn(1,3,4,4))
    with pytest.raises(ValueError, match='no note of poselab'): Predictor(foreign)
    with pytest.raises(FileNotFoundError, match='nowhere.onnx'): OnnxNet(tmp_path/'nowhere.onnx')

class Fickle(nn.Module):
    "Answers differently each time"
    def __init__(self): super().__init__(); self.n = 0
    def forward(self, x): self.n += 1; return x + self.n

def test_a_graph_that_answers_differently_is_not_written(tmp_path):
    (tmp_path/'f.onnx').write_bytes(b'old')
    with pytest.raises(ValueError, match='f.onnx: the graph differs'): export_onnx(Fickle().eval(), tmp_path/'f.onnx', example=torch.zeros(1,3,4,4))
    assert (tmp_path/'f.onnx').read_bytes() == b'old' and [p.name for p in tmp_path.iterdir()] == ['f.onnx']

def test_a_missing_runtime_is_named_with_the_remedy(made, monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    with pytest.raises(ImportError, match='pip install onnxruntime'): OnnxNet(made[1])

def test_a_net_travels_to_another_process(made):
    net = pickle.loads(pickle.dumps(OnnxNet(made[1], 1)))
    assert net.threads == 1 and net(torch.zeros(1,3,64,64))[0].shape == (1,17,128)

def test_a_codec_with_a_label_of_its_own_cannot_travel(made):
    odd = replace(made[0].codec, label=lambda mu, n: torch.ones(*mu.shape, n)/n)
    with pytest.raises(ValueError, match='label of its own'): onnx_note(replace(made[0], codec=odd))
