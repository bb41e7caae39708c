import math
import pytest, torch
from hypothesis import given, settings, strategies as st
from torch import nn
from poselab.modules.blocks import fuse
from poselab.modules.coordinate import CoordAtt
from poselab.modules.counts import count_params

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
