"The figures behind the widgets, and the widgets without a browser."
import re, subprocess, sys
import numpy as np, pytest
from poselab import widgets as W
from poselab.schema import load_schema

COCO = load_schema('coco')

def shapes_of(fig): return [(t.type, t.xaxis, t.yaxis) for t in fig.data]
def text_of(fig): return [fig.layout.title.text] + [a.text or '' for a in fig.layout.annotations]
def on_screen(box): return box.children[1].shown
def controls(box): return {c.description: c for c in box.children[0].children if c.description}

@pytest.fixture(scope='module')
def dances(): return W.demo_dances()
@pytest.fixture(scope='module')
def pair(dances): return W.make_pair(dances[0], dances[1]['left forearm 40° off, 1 s to 2 s'], COCO)

def test_importing_the_widgets_imports_neither_plotly_nor_torch():
    code = 'import sys, poselab.widgets; print([m for m in ("plotly", "ipywidgets", "torch") if m in sys.modules])'
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout.strip() == '[]'

# soft labels

def test_the_label_explorer_shows_the_numbers_of_the_paper():
    n = W.label_numbers(100.3)
    assert (n['bins'], n['at'], n['back']) == (384, 201, 100.5) and round(n['sigma'], 4) == 4.899
    assert round(n['peak'], 3) == .246 and round(n['inside'], 3) == .996
    flat = W.label_numbers(10., beta=1.)
    assert round(flat['peak'], 4) == .0068 and flat['inside'] < .13 and round(flat['mean']*2, 1) == 183.8

@pytest.mark.parametrize('x, beta, sigma, split', [(0., 1., .5, 1.), (191., 20., 20., 4.), (57.7, 5., None, 1.5), (100.3, 10., 4.9, 3.)])
def test_the_label_figure_keeps_its_traces_and_sums_to_one(x, beta, sigma, split):
    f = W.soft_label_figure(x, beta, sigma, split)
    assert shapes_of(f) == shapes_of(W.soft_label_figure())
    assert np.sum(f.data[4].y) == pytest.approx(1) and len(f.data[4].y) == round(192*split)

def test_a_coarser_split_brings_the_keypoint_back_further_off():
    off = [abs(W.label_numbers(100.3, split=s)['back'] - 100.3) for s in (1., 2., 4.)]
    assert off == sorted(off, reverse=True) and all(o <= .5/s + 1e-4 for o, s in zip(off, (1., 2., 4.)))

# gate

@pytest.mark.parametrize('gate', W.UNTRAINED.values())
def test_the_gate_is_between_0_and_1_and_has_cells_of_its_stride(gate):
    a, b = W.gate_numbers(3, gate, 128), W.gate_numbers(3, gate, 256)
    assert a['gate'].min() > 0 and a['gate'].max() < 1 and np.ptp(a['gate']) > .02
    assert b['gate'].shape == tuple(2*s for s in a['gate'].shape) and b['img'].shape == (256, 256, 3)
    stride = {'skip': 16, 'skips': 8, 'self': 32}[gate]
    assert a['gate'].shape == (128//stride, 128//stride)

def test_another_dancer_is_another_gate_and_the_same_seed_the_same():
    a, b, c = (W.gate_numbers(s, 'skip', 128)['gate'] for s in (3, 4, 3))
    assert np.array_equal(a, c) and not np.array_equal(a, b)

def test_every_trained_gate_can_be_shown():
    for name in W.trained_gates(): assert 0 < W.gate_numbers(3, name, 128)['gate'].mean() < 1

def test_the_gate_figure_keeps_its_traces_for_any_picture():
    f = W.gate_figure(3, 'skip', 128)
    grey = np.full((40, 70, 3), 128, np.uint8)
    assert shapes_of(f) == shapes_of(W.gate_figure(image=grey, size=128)) == ([('image', 'x', 'y'), ('image', 'x3', 'y3'), ('heatmap', 'x2', 'y2')])
    assert 'on the dancer' in f.layout.title.text and 'on the dancer' not in W.gate_figure(image=grey, size=128).layout.title.text

def test_a_closed_cell_is_black_and_an_open_one_as_it_was():
    img = np.full((64, 64, 3), 200, np.uint8); a = np.zeros((2, 2)); a[:, 1] = 1
    out = W.dimmed(img, a)
    assert (out[:, :4] == 0).all() and (out[:, -4:] == 200).all()

# score player

def test_the_bar_of_the_wrong_limb_is_the_longest(pair):
    f = W.score_figure(pair, 37)
    bar = next(t for t in f.data if t.type == 'bar')
    assert bar.y[int(np.argmax(bar.x))] == 'left forearm' and 35 < max(bar.x) < 50

def test_the_wrong_limb_has_the_wrong_colour_and_no_other(pair):
    f = W.score_figure(pair, 37); limbs = [t for t in f.data if t.xaxis == 'x2'][1:]
    calm = W.heat([0.])[0]
    hot = [t.text[0] for t, c in ((t, t.line.color) for t in limbs) if abs(int(re.findall(r'\d+', c)[0]) - int(re.findall(r'\d+', calm)[0])) > 30]
    assert len(hot) == 1 and hot[0].startswith('left forearm')

def test_every_frame_has_the_same_traces(pair):
    for t in (0, 50, 99, 1000): assert shapes_of(W.score_figure(pair, t)) == shapes_of(W.score_figure(pair, 0))

def test_the_cursor_moves_with_the_frame(pair):
    at = [[t for t in W.score_figure(pair, i).data if t.xaxis == 'x4'][1].x[0] for i in (0, 25, 50)]
    assert at == [0., 1., 2.]

def test_the_ghost_of_the_same_dance_is_the_dance(dances):
    p = W.make_pair(dances[0], 2*dances[0] + 30, COCO)
    assert np.allclose(p.ghost, p.tested) and p.found == []

@pytest.mark.parametrize('name', ['0.3 s late', 'drags, then hurries', 'no mistake'])
def test_what_is_shown_is_what_was_scored_at_the_moments_of_the_warp(dances, name):
    for how in ('none', 'stretch', 'lag', 'dtw'):
        p = W.make_pair(dances[0], dances[1][name], COCO, align=how)
        np.testing.assert_allclose(p.tested, p.score.warp.apply(dances[1][name]))
        f = W.score_figure(p, 99)
        late = [t for t in f.data if t.xaxis == 'x5']
        assert len(late) == (3 if how in ('lag', 'dtw') else 0) and ('s late' in f.layout.title.text) == bool(late)
        if late: np.testing.assert_allclose(late[1].y, p.score.warp.shift()); assert late[2].y[0] == late[1].y[99] or np.isnan(late[2].y[0])

def test_a_lag_mends_who_is_late_and_only_a_warp_mends_who_hurries(dances):
    def total(name, how): return W.make_pair(dances[0], dances[1][name], COCO, align=how).score.total
    assert total('0.3 s late', 'lag') > .99 > total('0.3 s late', 'none')
    assert total('drags, then hurries', 'dtw') > .99 > total('drags, then hurries', 'lag') > total('drags, then hurries', 'none')

def test_the_player_starts_where_it_is_told_and_takes_dances_of_other_lengths(dances):
    box = W.score_player(dances[0], dances[1]['no mistake'][10:80], align='lag')
    assert controls(box)['align'].value == 'lag' and 'x5' in {t.xaxis for t in on_screen(box).data}
    for how in ('none', 'dtw', 'stretch'): controls(box)['align'].value = how; controls(box)['frame'].value = 99

# dragging

def test_a_drag_sets_several_controls_and_draws_once():
    import ipywidgets as w, plotly.graph_objects as go
    asked = []
    def figure(a, b): asked.append((a, b)); return go.Figure(layout_meta=dict(grab=[a, b]))
    box = W.live(figure, grab=lambda place, a, b: dict(a=place[0] + 0*b, b=place[1]), a=w.FloatSlider(1, min=0, max=5), b=w.FloatSlider(2, min=0, max=5))
    box.children[1].grabbed = [3., 99.]
    assert asked == [(1, 2), (3, 5)] and box.children[0].children[1].value == 5 # what lies beyond is as far as it goes
    box.children[0].children[0].value = 4
    assert asked[-1] == (4, 5)

def test_unknown_keypoints_are_shown_as_unknown(dances):
    xy = dances[0].copy(); xy[:, COCO.index('left_wrist')] = np.nan
    p = W.make_pair(dances[0], xy, COCO); f = W.score_figure(p, 10)
    bar = next(t for t in f.data if t.type == 'bar')
    assert bar.text[list(bar.y).index('left forearm')] == 'unknown'

@pytest.mark.parametrize('card', ['mpii', 'crowdpose', 'lspet', 'posetrack'])
def test_the_player_takes_other_schemas(card):
    s = load_schema(card); xy = np.random.default_rng(0).uniform(0, 200, (5, s.num_keypoints, 2))
    assert W.score_figure(W.make_pair(xy, xy[::-1], s), 2).data

# text, controls

def test_no_figure_has_latex_in_its_text(pair):
    for f in (W.soft_label_figure(), W.gate_figure(3, 'skip', 128), W.score_figure(pair, 3)):
        assert not any('$' in t for t in text_of(f))

@pytest.mark.parametrize('make, control, value', [
    (W.soft_label_explorer, 'β', 1.), (W.soft_label_explorer, 'bins per pixel', 4.), (W.soft_label_explorer, 'σ, bins', 12.),
    (W.soft_label_explorer, 'keypoint x, px', 20.), (W.gate_viewer, 'dancer', 9), (W.gate_viewer, 'input, px', 128),
    (W.gate_viewer, 'gate', 'self'), (W.score_player, 'frame', 80), (W.score_player, 'tested', '0.3 s late'),
    (W.score_player, 'align', 'dtw')])
def test_moving_a_control_changes_the_figure(make, control, value):
    box = make(); before = on_screen(box)
    controls(box)[control].value = value
    after = on_screen(box)
    assert before.layout.title.text != after.layout.title.text and before.data != after.data

@pytest.mark.parametrize('make', [W.soft_label_explorer, W.gate_viewer])
def test_every_slider_reaches_both_its_ends(make):
    box = make()
    for c in controls(box).values():
        for value in (c.min, c.max) if hasattr(c, 'max') else c.options.values():
            before = on_screen(box); c.value = value
            assert len(on_screen(box).data) == len(before.data) and on_screen(box).layout.title.text

def test_a_mistake_that_is_gone_leaves_no_shade_behind():
    box = W.score_player()
    assert len(on_screen(box).layout.shapes) == 1
    controls(box)['tested'].value = 'no mistake'
    assert len(on_screen(box).layout.shapes) == 0 and 'left forearm' not in text_of(on_screen(box))
    controls(box)['tested'].value = 'right thigh 35° off, 2.4 s to 3.2 s'
    assert len(on_screen(box).layout.shapes) == 1 and 'right thigh' in text_of(on_screen(box))

def test_what_the_browser_gets_is_strict_json(pair):
    import json
    def refuse(x): raise ValueError(x)
    for f in (W.soft_label_figure(0.), W.score_figure(pair, 0)): json.loads(f.to_json(), parse_constant=refuse)

def test_the_screen_is_small_and_needs_no_network():
    screen = W.screen_class()()
    assert len(W.SCREEN) < 8000 and 'http' not in W.SCREEN and len(screen.library) > 10**6

# one slider without Python

def test_a_slide_is_the_figure_that_the_function_would_give():
    values = (1., 5., 20.)
    fig = W.slides(lambda beta: W.soft_label_figure(20, beta=beta), beta=values)
    assert [s.label for s in fig.layout.sliders[0].steps] == [f.name for f in fig.frames] == ['1.0', '5.0', '20.0']
    for v,frame in zip(values, fig.frames):
        asked = W.soft_label_figure(20, beta=v)
        assert frame.layout.title.text == asked.layout.title.text
        seen = list(fig.data)
        for i,t in zip(frame.traces, frame.data): seen[i] = t
        for a,b in zip(seen, asked.data): assert np.array_equal(np.asarray(a.y, float), np.asarray(b.y, float)) and a.name == b.name

def test_what_never_changes_travels_once():
    fig = W.slides(lambda beta: W.soft_label_figure(20, beta=beta), beta=(1., 5.))
    assert 0 < len(fig.frames[0].traces) < len(fig.data) and 'template' not in fig.frames[0].layout.to_plotly_json()

def test_a_slide_puts_out_what_it_does_not_show():
    import plotly.graph_objects as go
    def lines(n): return go.Figure(go.Scatter(y=[0, 1]), layout=dict(shapes=[dict(type='line', x0=i, x1=i, y0=0, y1=1) for i in range(n)]))
    fig = W.slides(lines, n=(3, 1))
    assert [[s.visible for s in f.layout.shapes] for f in fig.frames] == [[True]*3, [True, False, False]]
