import math
from datetime import datetime, timezone
import cv2, numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st
from torch import nn
from poselab.modules.blocks import fuse
from poselab.modules.coordinate import FEATURES, SCA, CoordAtt, coordinate_explorer, coordinate_numbers, coordinate_picture
from poselab.modules.counts import count_params
from poselab.modules.ghost import C3

@pytest.mark.parametrize('ch,n', [(384, 28_488), (512, 50_272)])
def test_coordinate_attention_has_the_specified_number_of_weights(ch, n): assert count_params(CoordAtt(ch)) == n

@settings(max_examples=20, deadline=None)
@given(h=st.integers(1, 13), w=st.integers(1, 13), ch=st.sampled_from([1, 3, 8, 200]))
def test_one_gate_per_row_and_one_per_column(h, w, ch):
    m,x = CoordAtt(ch).eval(),torch.randn(2, ch, h, w)
    r,c = m.attention(x)
    assert r.shape == (2, ch, h, 1) and c.shape == (2, ch, 1, w)
    assert 0 < r.min() and r.max() < 1 and 0 < c.min() and c.max() < 1
    torch.testing.assert_close(m(x), x*r*c)

def test_the_gradient_reaches_every_parameter_and_the_input():
    torch.manual_seed(0)
    m,x = CoordAtt(16),torch.randn(3, 16, 7, 5, requires_grad=True)
    y = m(x); (y*torch.randn_like(y)).sum().backward()
    taught = [p for n,p in m.named_parameters() if n != 'squeeze.0.bias'] # the batch norm behind it takes it away
    assert len(taught) == 7 and all(t.grad.abs().sum() > 0 for t in [*taught, x])
    assert m.squeeze[0].bias.grad.abs().max() < 1e-4*m.squeeze[0].weight.grad.abs().max()

def test_two_rows_and_a_column_by_hand():
    m = CoordAtt(1, least=1).eval()
    for layer,w,b in ((m.squeeze[0], 2., 0.), (m.rows, 1., -1.), (m.columns, -1., .5)):
        nn.init.constant_(layer.weight, w); nn.init.constant_(layer.bias, b)
    bn,swish,sigmoid = (1 + 1e-5)**-.5,lambda v: v*min(max(v + 3, 0), 6)/6,lambda v: 1/(1 + math.exp(-v))
    rows = [sigmoid(swish(2*v*bn) - 1) for v in (1., -.5)] # means of rows of one cell
    column = sigmoid(-swish(2*.25*bn) + .5)
    y = m(torch.tensor([1., -.5]).reshape(1, 1, 2, 1)).flatten().tolist()
    assert y == pytest.approx([1*rows[0]*column, -.5*rows[1]*column], rel=1e-4)

@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 99))
def test_the_row_gate_does_not_care_where_in_the_row_a_thing_is(seed):
    torch.manual_seed(seed)
    m,x = CoordAtt(4).eval(),torch.randn(2, 4, 5, 7)
    torch.testing.assert_close(m.attention(x)[0], m.attention(x[..., torch.randperm(7)])[0])

def test_a_cell_reaches_the_far_end_of_its_row_and_of_its_column_and_nothing_else():
    torch.manual_seed(0)
    m,x = CoordAtt(8).eval(),torch.randn(1, 8, 9, 9, requires_grad=True)
    m(x)[0, :, 0, 0].sum().backward()
    seen = x.grad.abs().sum((0, 1)) > 0
    assert seen[0].all() and seen[:, 0].all() and not seen[1:, 1:].any()

def test_a_map_and_its_transpose_agree_when_rows_and_columns_share_weights():
    torch.manual_seed(0)
    m,x = CoordAtt(8).eval(),torch.randn(2, 8, 6, 9)
    m.columns.load_state_dict(m.rows.state_dict())
    torch.testing.assert_close(m(x.mT).mT, m(x))

def test_another_number_of_channels_is_refused():
    with pytest.raises(RuntimeError, match='8 channels'): CoordAtt(8)(torch.randn(1, 6, 4, 4))

def test_the_fused_module_is_the_same_module():
    torch.manual_seed(0)
    m,x = CoordAtt(8),torch.randn(4, 8, 7, 5)
    for _ in range(20): m(x) # statistics of its own
    torch.testing.assert_close(fuse(m)(x), m.eval()(x), atol=1e-5, rtol=1e-4)

@pytest.mark.parametrize('ch,n', [(384, 364_296), (512, 645_472)])
def test_sca_has_the_specified_number_of_weights(ch, n): assert count_params(SCA(ch, ch)) == n

@settings(max_examples=12, deadline=None)
@given(h=st.integers(1, 13), w=st.integers(1, 13), a=st.integers(1, 20), half=st.integers(1, 12), depth=st.integers(0, 2))
def test_sca_gates_what_its_two_halves_say(h, w, a, half, depth):
    m,x = SCA(a, 2*half, depth, shortcut=a % 2 == 0).eval(),torch.randn(2, a, h, w)
    rows,columns = m.attention(x)
    assert rows.shape == (2, 2*half, h, 1) and columns.shape == (2, 2*half, 1, w)
    torch.testing.assert_close(m(x), m.join(torch.cat([m.long(x), m.short(x)], 1)*rows*columns))

@settings(max_examples=6, deadline=None)
@given(half=st.integers(2, 12), shortcut=st.booleans(), seed=st.integers(0, 99))
def test_the_gradient_reaches_every_parameter_of_sca(half, shortcut, seed):
    torch.manual_seed(seed)
    m,x = SCA(6, 2*half, 2, shortcut),torch.randn(4, 6, 7, 5, requires_grad=True)
    y = m(x); (y*torch.randn_like(y)).sum().backward()
    assert not [n for n,p in m.named_parameters() if not p.grad.abs().sum() > 0 and n != 'gate.squeeze.0.bias'] and x.grad.abs().sum() > 0

def test_sca_hears_a_cross_three_cells_wide_and_nothing_else():
    torch.manual_seed(0)
    m,x = SCA(8, 8).eval(),torch.randn(1, 8, 11, 13, requires_grad=True)
    m(x)[0, :, 4, 9].sum().backward()
    seen = x.grad.abs().sum((0, 1)) > 0
    cross = torch.zeros(11, 13, dtype=torch.bool); cross[3:6] = True; cross[:, 8:11] = True
    assert torch.equal(seen, cross)

def test_an_open_gate_leaves_a_c3_with_depthwise_convolutions():
    torch.manual_seed(0)
    m,plain,x = SCA(8, 8).eval(),C3(8, 8, depthwise=True).eval(),torch.randn(2, 8, 5, 7)
    plain.load_state_dict({k: v for k,v in m.state_dict().items() if not k.startswith('gate')})
    for conv in (m.gate.rows, m.gate.columns): nn.init.zeros_(conv.weight); nn.init.constant_(conv.bias, 40.)
    torch.testing.assert_close(m(x), plain(x))

def test_the_fused_sca_is_the_same_in_any_layout():
    torch.manual_seed(0)
    m,x = SCA(8, 8),torch.randn(4, 8, 7, 5)
    for _ in range(20): m(x)
    torch.testing.assert_close(fuse(m)(x), m.eval()(x), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(m(x.to(memory_format=torch.channels_last)), m(x), atol=1e-5, rtol=1e-4)

@settings(max_examples=20, deadline=None)
@given(feature=st.sampled_from(list(FEATURES)), threshold=st.floats(0, 1.2), steep=st.floats(1, 60), h=st.integers(2, 40), w=st.integers(2, 40), seed=st.integers(0, 9))
def test_the_explorers_gates_follow_the_formula(feature, threshold, steep, h, w, seed):
    img = np.random.default_rng(seed).integers(0, 256, (h, w, 3), np.uint8)
    n = coordinate_numbers(img, feature, threshold, steep, side=16)
    loudest = max(n['feature'].mean(0).max(), n['feature'].mean(1).max(), 1e-6)
    for gates,axis in ((n['rows'], 1), (n['columns'], 0)):
        want = 1/(1 + np.exp(-steep*(n['feature'].mean(axis)/loudest - threshold)))
        np.testing.assert_allclose(gates, want, atol=2e-3)
    np.testing.assert_allclose(n['passed'], n['feature']*n['rows'][:, None]*n['columns'], atol=1e-5)
    assert coordinate_picture(n, 2).shape == ((len(n['rows']) + 4)*2 + 24, 3*(len(n['columns']) + 5)*2, 3)

def test_one_orange_cell_opens_its_row_and_its_column():
    img = np.zeros((12, 16, 3), np.uint8); img[3, 5] = 255, 100, 0
    n = coordinate_numbers(img, 'orange', .5, side=16)
    assert (n['rows'] > .5).nonzero()[0].tolist() == [3] and (n['columns'] > .5).nonzero()[0].tolist() == [5]
    assert n['passed'].argmax() == 3*16 + 5 and (n['passed'] > 0).sum() == 1

def test_a_picture_without_the_feature_opens_nothing_and_fails_nothing():
    n = coordinate_numbers(np.full((30, 20, 3), 128, np.uint8), 'orange')
    assert n['rows'].max() < .01 and n['passed'].sum() == 0 and coordinate_picture(n).dtype == np.uint8

def test_an_unknown_feature_is_refused_with_the_names():
    with pytest.raises(ValueError, match="'smell'; there are orange, blue"): coordinate_numbers(np.zeros((4, 4, 3), np.uint8), 'smell')

def test_the_explorer_answers_its_controls_and_reads_a_file():
    pytest.importorskip('ipywidgets')
    png = cv2.imencode('.png', np.random.default_rng(1).integers(0, 256, (8, 8, 3), np.uint8))[1].tobytes()
    box = coordinate_explorer(dict(noise=np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)))
    picture,feature,threshold,_,upload = box.children[0].children
    words,screen = box.children[1:]
    def bring(data): upload.value = (dict(name='me', type='image/png', size=len(data), content=data, last_modified=datetime.now(timezone.utc)),)
    before = screen.value; feature.value = 'dark'
    assert screen.value != before and 'dark passes' in words.value
    before = screen.value; bring(png)
    assert picture.value == 'my own' and screen.value != before
    for bad in (b'', b'words', png[:20]):
        before = screen.value; bring(bad)
        assert 'no picture' in words.value and picture.value == 'my own' and screen.value == before
    bring(cv2.imencode('.png', np.zeros((7200, 7200), np.uint8))[1].tobytes())
    assert '7200×7200 px; take one of at most 50 million' in words.value and screen.value == before

def test_the_explorer_brings_pictures_of_its_own():
    pytest.importorskip('ipywidgets')
    assert len(coordinate_explorer().children[0].children[0].options) == 6
