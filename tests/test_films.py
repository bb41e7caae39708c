"Films without a truth: each fault by hand, rates on planted ones, whatever the order and the numbers of the file, and the shell"
import json
from dataclasses import replace
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings, strategies as st
from poselab.cli import main
from poselab.data.clips import rendered_clips
from poselab.data.datasets import write_coco, write_results
from poselab.evaluate.films import (FILM_FAULTS, FilmLimits, apart, courses, draw_film, film_faults, film_lines, film_report, films_of, linked,
    off_course, plant_film_faults, spans, turned_frames)
from poselab.records import ImageInfo, Instances, PoseData
from poselab.schema import load_schema

COCO = load_schema('coco')
STAND = np.array([[100, 40], [103, 37], [97, 37], [107, 40], [93, 40], [115, 60], [85, 60], [120, 90], [80, 90], [122, 118], [78, 118],
    [110, 120], [90, 120], [111, 160], [89, 160], [112, 200], [88, 200]], float)
STEP = np.array([2., 1.]) # px per frame

def film(*people, tracks=None, confidence=.9, every=1, named=True):
    "People (T, 17, 2) who are all there in every frame"
    T,P = len(people[0]),len(people)
    images = [ImageInfo(t + 1, f'{t}.jpg', 640, 480, '', 'a' if named else '', every*t if named else -1) for t in range(T)]
    track = np.tile(np.arange(1, P + 1), T) if tracks is None else np.asarray(tracks).ravel()
    g = Instances.make(np.stack(people, 1).reshape(-1, 17, 2), image_id=np.repeat(np.arange(1, T + 1), P), track_id=track, confidence=confidence)
    return PoseData('by hand', COCO, images, g)

def walk(T=20, start=(0., 0.)): return STAND + np.asarray(start) + np.arange(T)[:,None,None]*STEP

def kinds(data, **limits): return [(f.kind, f.frame, f.last, f.keypoint) for f in film_faults(data, FilmLimits(**limits))]

@pytest.fixture(scope='module')
def dancers(): return rendered_clips(8, seed=4, frames=60, kinds=('clean', 'crossing'), fps=25., card='rendered', size=(256, 192), strength=(.2, .5))

# --- by hand -------------------------------------------------------------------------------------------------

def test_a_steady_walk_is_not_doubted():
    assert kinds(film(walk(), walk(start=(200, 0)))) == []
    assert kinds(film(walk()[::-1])) == [] and kinds(film(walk(3))) == [] and kinds(film(walk(1))) == []

@pytest.mark.parametrize('frames', [[7], [7, 8], [2], [17]])
def test_a_wrist_that_leaves_its_way_is_named_with_its_frames(frames):
    xy = walk(); xy[frames,COCO.index('left_wrist')] += (0, 90)
    assert kinds(film(xy)) == [('jump', frames[0], frames[-1], 'left_wrist')]

def test_exchanged_ankles_are_an_exchange_and_no_jump():
    xy,l,r = walk(),COCO.index('left_ankle'),COCO.index('right_ankle')
    xy[5:9,l],xy[5:9,r] = xy[5:9,r].copy(),xy[5:9,l].copy()
    assert kinds(film(xy)) == [('exchange', 5, 8, 'ankle')]

def test_the_shorter_part_of_a_film_is_the_turned_one():
    xy,l,r = walk(),COCO.index('left_ankle'),COCO.index('right_ankle')
    xy[13:,l],xy[13:,r] = xy[13:,r].copy(),xy[13:,l].copy()
    assert kinds(film(xy)) == [('exchange', 13, 19, 'ankle')]

def test_legs_that_cross_in_a_steady_walk_are_not_exchanged():
    t = np.arange(30)[:,None]
    left,right = np.hstack([100 + 4.*t, 200 + 0*t]), np.hstack([220 - 4.*t, 203 + 0*t])
    assert not turned_frames(left, right, 60.)[0].any()

def test_low_confidence_counts_from_three_frames_on():
    c = np.full((20, 17), .9); c[4:7,9] = .1; c[12:14,9] = .1
    assert kinds(film(walk(), confidence=c)) == [('unsure', 4, 6, 'left_wrist')]

def test_two_who_exchange_their_numbers_are_one_switch():
    tracks = [[1, 2]]*8 + [[2, 1]]*12
    assert kinds(film(walk(), walk(start=(200, 0)), tracks=tracks)) == [('switch', 8, 8, None)]

def test_a_new_number_for_an_old_person_is_broken_and_none_at_all_is_nothing():
    assert kinds(film(walk(), tracks=[[3]]*8 + [[5]]*12)) == [('broken', 8, 8, None)]
    assert kinds(film(walk(), walk(start=(200, 0)), tracks=np.full((20, 2), -1))) == []

def test_numbers_are_overruled_only_where_somebody_else_is_clearly_nearer():
    two = np.stack([STAND, STAND + 1.]); size = np.array([60., 60.]) # nearly in one place
    assert linked(apart(two, two[::-1], size), np.array([1, 2]), np.array([1, 2])).tolist() == [0, 1]

def test_a_film_of_every_third_frame_is_followed_and_a_hole_ends_a_course():
    assert len(courses(film(walk(), every=3), 'a')[0]) == 1
    data = film(walk())
    assert len(courses(replace(data, instances=data.instances[data.instances.image_id != 9]), 'a')[0]) == 2

def test_keypoints_that_were_not_predicted_are_not_judged():
    xy = walk(); xy[6:10,9] = np.nan
    c = np.full((20, 17), .9); xy[:,10],c[:,10] = 0,0
    assert [k for k in kinds(film(xy, confidence=c)) if k[0] == 'jump'] == []

# --- planted -------------------------------------------------------------------------------------------------

def cells(faults): return {(f.kind, f.video, f.frame) if f.keypoint is None else (f.kind, r, f.keypoint) for f in faults for r in f.rows}

@pytest.mark.parametrize('kind', FILM_FAULTS)
def test_planted_faults_come_back(dancers, kind):
    hit = n = m = 0
    for seed in (11, 12, 13):
        data,planted = plant_film_faults(dancers, seed)
        a,b = ({c for c in x if c[0] == kind} for x in (planted, cells(film_faults(data))))
        hit,n,m = hit + len(a & b),n + len(a),m + len(b)
    assert n >= 9 and hit/n >= .95 and hit/m >= .95, (n, m, hit)

@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10**6))
def test_the_order_of_the_file_and_the_size_of_the_picture_change_nothing(dancers, seed):
    data,_ = plant_film_faults(dancers.subset([im.id for im in dancers.images[:180]]), 3)
    order = np.random.default_rng(seed).permutation(len(data.instances))
    g = data.instances[order]
    large = replace(data, instances=g.replace(keypoints=3*g.keypoints, bbox=3*g.bbox, area=9*g.area))
    said = lambda d: sorted((f.kind, f.video, f.frame, f.last, f.keypoint or '') for f in film_faults(d))
    assert said(large) == said(data)

# --- report and shell ----------------------------------------------------------------------------------------

def test_the_report_counts_what_was_found_and_is_json(dancers):
    data,_ = plant_film_faults(dancers, 3)
    r,found = film_report(data),film_faults(data)
    assert json.loads(json.dumps(r)) == r and len(r['films']) == 8 == len(films_of(data))
    for kind in FILM_FAULTS: assert sum(f['faults'][kind] for f in r['films']) == sum(f.kind == kind for f in found)
    wrists = sum(row['jump'] for f in r['films'] for row in f['keypoints'] if row['keypoint'] == 'left_wrist')
    assert wrists == sum(len(f.rows) for f in found if f.kind == 'jump' and f.keypoint == 'left_wrist')
    assert len(draw_film(data).get_yticklabels()) == 17

def test_nobody_and_empty_films_are_no_error():
    data = film(walk())
    nobody = replace(data, instances=data.instances[:0])
    assert film_faults(nobody) == [] and 'nothing' in '\n'.join(film_lines(film_report(nobody)))
    with pytest.raises(ValueError, match="film 'a' of by hand has no people"): draw_film(nobody)
    assert spans(np.array([True, True, False, True])) == [(0, 1), (3, 3)] and off_course(STAND[None], 50.).shape == (1, 17)

def test_diagnose_prints_the_faults_of_a_films_poses_without_a_truth(tmp_path):
    xy = walk(); xy[7,9] += (0, 90)
    write_results(film(xy, named=False).instances.replace(score=.9), tmp_path/'dance.poses.json', 'coco')
    run = lambda *words: CliRunner().invoke(main, ['diagnose', *map(str, words)])
    said = run('--pred', tmp_path/'dance.poses.json')
    assert said.exit_code == 0 and 'left_wrist is' in said.stdout and '20 frames, 1 people; 1 jump' in said.stdout
    found = json.loads(run('--pred', tmp_path/'dance.poses.json', '--json').stdout)
    assert [f['kind'] for f in found['films']['faults']] == ['jump']
    assert run().exit_code == 2 and '--gt' in run().output

def test_diagnose_with_a_truth_that_has_films_says_both(tmp_path):
    truth = film(walk()); truth = replace(truth, instances=truth.instances.replace(confidence=np.nan))
    xy = walk(); xy[7,9] += (0, 90)
    write_coco(truth, tmp_path/'truth.json'); write_results(film(xy).instances.replace(score=.9), tmp_path/'pred.json')
    said = CliRunner().invoke(main, ['diagnose', '--gt', str(tmp_path/'truth.json'), '--pred', str(tmp_path/'pred.json')])
    assert said.exit_code == 0 and 'gained by mending' in said.stdout and 'left_wrist is' in said.stdout
