"The tag space explorer without a browser"
import subprocess, sys
import numpy as np, pytest
from hypothesis import given, settings, strategies as st
from poselab import tagspace as T
from poselab.data.figures import render_scene
from poselab.schema import load_schema


@pytest.fixture(scope='module')
def crowd(): return T.demo_crowd()


def test_importing_the_explorer_imports_neither_plotly_nor_torch():
    code = 'import sys, poselab.tagspace; print([m for m in ("plotly", "ipywidgets", "torch") if m in sys.modules])'
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout.strip() == '[]'


def test_learning_takes_everybody_from_one_heap_to_columns_of_their_own(crowd):
    _,_,on,_ = crowd
    tags = T.tag_path(on)
    first,last = (T.tag_space_numbers(t, on) for t in (tags[0], tags[-1]))
    assert tags.shape == (121, *on.shape) and first['right'] < .6 and last['right'] == 1 and last['found'] == len(on)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 8))
def test_who_is_taken_for_whom_is_a_matching(seed, P, K):
    r = np.random.default_rng(seed)
    n = T.tag_space_numbers(r.uniform(0, 4, (P,K)), on := r.random((P,K)) > .2, noise=.3, seed=seed)
    for k in range(K):
        who = n['taken'][:,k][n['taken'][:,k] >= 0]
        assert len(set(who.tolist())) == len(who)
    assert 0 <= n['right'] <= 1 and (n['taken'][~on] == -1).all()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 6))
def test_tags_far_apart_are_right_whatever_the_order_of_people(seed, P):
    order = np.random.default_rng(seed).permutation(P)
    n = T.tag_space_numbers(np.tile(5.*order[:,None], (1, 17)), np.ones((P,17), bool), noise=.1, seed=seed)
    assert n['right'] == 1 and n['found'] == P and (n['taken'] == np.arange(P)[:,None]).all()


def test_a_heap_has_no_right_places_by_chance_of_order():
    "Equal tags must not be right because candidates stand in the order of people"
    rights = [T.tag_space_numbers(np.zeros((5,17)), np.ones((5,17), bool), seed=s)['right'] for s in range(20)]
    assert .1 < np.mean(rights) < .5


@pytest.mark.parametrize('people', [0, 1, 5])
def test_a_figure_for_any_number_of_people(crowd, people):
    img,xy,on,schema = crowd
    f = T.tag_space_figure(img, xy[:people], on[:people], np.zeros((people,17)), schema)
    assert len(f.data) == 3*people and f'{people} people' in f.layout.title.text


def test_the_explorer_moves_its_arguments_and_takes_tags_from_anywhere():
    schema = load_schema('rendered')
    img,p = render_scene(3, (128,96), people=2)
    steps = np.stack([np.zeros((2,17)), np.tile([[0.],[9.]], (1,17))])
    box = T.tag_space_explorer((img, p.keypoints, p.visible > 0, schema), steps)
    controls = {c.description: c for c in box.children[0].children}
    assert controls['step'].max == 1 and '100%' in box.children[1].shown.layout.title.text
    controls['step'].value = 0
    assert '100%' not in box.children[1].shown.layout.title.text
