"Explorers of anchors: which rows answer for a box, and which are believed"
import numpy as np, pytest
from hypothesis import given, strategies as st
from poselab.candidates import SIZE, assignment_explorer, assignment_figure, assignment_numbers, candidate_explorer, candidate_figure, candidate_numbers, demo_codec

side = st.floats(1, 250)

@given(st.floats(0, 250), st.floats(0, 250), side, side)
def test_whoever_answers_is_near_the_middle_of_the_box_and_alike_in_size(x, y, w, h):
    inside = x + w/2 + .5 < SIZE and y + h/2 + .5 < SIZE
    levels = assignment_numbers(x, y, w, h)
    assert len(levels) == 4
    for n in levels:
        off = np.abs((n['cells'] + .5)*n['stride'] - .5 - [x + w/2, y + h/2])
        assert (off <= 1.5*n['stride'] + 1e-3).all()
        assert set(n['anchor']) <= set(np.flatnonzero(n['alike'])) and (inside or not len(n['cells']))
        if inside: assert set(n['anchor']) == set(np.flatnonzero(n['alike']))

def test_perfect_answers_are_one_box_a_dancer():
    n = candidate_numbers(noise=0.)
    assert n['kept'].sum() == len(n['truth']) == 3 < len(n['boxes'])
    assert np.abs(n['boxes'][n['kept']][:, None] - n['truth']).max(-1).min(0).max() < .5

def test_each_threshold_has_its_own_work():
    noisy = lambda **kw: candidate_numbers(noise=.3, **kw)
    assert len(noisy(score=.9)['boxes']) < len(noisy(score=.05)['boxes'])
    calm = lambda **kw: candidate_numbers(noise=.1, **kw)
    assert calm(share=.95)['kept'].sum() > calm(share=.65)['kept'].sum() >= calm(share=.1)['kept'].sum()
    assert len(candidate_numbers(noise=0., score=.9999)['boxes']) == 0 # nobody is that sure, and nothing breaks
    assert candidate_numbers(seed=1)['boxes'].tolist() == candidate_numbers(seed=1)['boxes'].tolist()

def test_figures_say_their_numbers():
    assert f"{sum(len(n['cells']) for n in assignment_numbers())} of {sum(3*(SIZE//s)**2 for s in demo_codec().strides):,} candidates" in assignment_figure().layout.title.text
    assert '3 believed, 3 there' in candidate_figure(noise=0.).layout.title.text
    assert '0 believed' in candidate_figure(noise=0., score=.9999).layout.title.text

def test_both_explorers_are_controls_over_a_picture(): assert [len(e().children) for e in (assignment_explorer, candidate_explorer)] == [2, 2]
