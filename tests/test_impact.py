"What errors cost: cases worked by hand, pycocotools and a plain loop as oracles, planted faults found again"
import importlib.util, json, time
from pathlib import Path
import numpy as np, pytest
from hypothesis import given, settings, strategies as st
from poselab.data.figures import rendered_dataset
from poselab.evaluate.errors import KEYPOINT_ERRORS, Thresholds, diagnose, error_counts, plant_faults
from poselab.evaluate.impact import (AP_LINES, KEYPOINT_MENDS, MENDS, ap_gains, ap_lines, ap_steps, best_scores, breakdown, choose, draw_breakdown,
                                     draw_gains, false_alarms, impact_lines, impact_report, labelled_borders, mean_ap, mend_cases, mend_explorer,
                                     mend_title, mended, mended_keypoints, overlap_counts, paint_mended, pairs_of, people_cells, placed,
                                     plant_people, pose_likeness, scoring_errors, suppressed)
from poselab.evaluate.metrics import coco_ap, keypoint_similarity
from poselab.records import ImageInfo, Instances, PoseData
from poselab.schema import load_schema
from test_errors import COCO, ELBOW, K2, WRIST, case, grid, one_image, people, reach
from test_metrics import data, pycocotools_ap, pycocotools_matches, random_case

SIGMAS = np.array(COCO.oks_sigmas)


def off(ks, at=None, area=1e4):
    "The person of `grid` with every keypoint at this similarity"
    at = grid()[0] if at is None else at
    r = np.array([reach(ks, k, area) for k in range(17)])
    return at + (r*(1 - 1e-9))[:,None]*[0, 1]


def predicted(*poses, score=None): return Instances.make(np.stack(poses), image_id=0, score=score or list(np.linspace(.9, .5, len(poses))))


def of_one(*poses, score=None): return diagnose(one_image(people(0)), predicted(*poses, score=score))


def gain(d, kind, legacy=False): return ap_gains(d, legacy=legacy)['alone'][kind]


def plain():
    path = Path(__file__).parent/'bench'/'plain_errors.py'
    spec = importlib.util.spec_from_file_location('plain_errors', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- one fixture per row of the tables -----------------------------------------------------------------------

@pytest.mark.parametrize('ks, kind, goal', [(.95, 'good', .95), (.6, 'jitter', .85), (.84, 'jitter', .85), (.51, 'jitter', .85), (.3, 'miss', .5), (.01, 'miss', .5)])
def test_a_keypoint_is_pulled_just_as_far_as_its_name_says(ks, kind, goal):
    d = case({WRIST: grid()[0,WRIST] + [reach(ks, WRIST), 0]})
    assert d.error[0,WRIST] == kind
    xy = mended_keypoints(d)
    after = diagnose(d.truth, d.pred.replace(keypoints=xy))
    assert np.isclose(after.ks[0,WRIST], goal) and (np.delete(xy, WRIST, 1) == np.delete(d.pred.keypoints, WRIST, 1)).all()
    away = [p[0,WRIST] - grid()[0,WRIST] for p in (d.pred.keypoints, xy)]
    assert away[1][0] > 0 and away[1][1] == 0  # still on the same side of the truth


@pytest.mark.parametrize('target, area', [('partner', 1e4), ('neighbour', 1e4), ('neighbour', 4e4)])
def test_an_inverted_or_swapped_keypoint_keeps_the_similarity_it_had_with_the_wrong_owner(target, area):
    truth = people(0, 1000)
    truth.area[1] = area
    wrong = grid()[0,COCO.flip[WRIST]] if target == 'partner' else grid(1000)[0,WRIST]
    d = case({WRIST: wrong + [0, reach(.9, WRIST, 1e4 if target == 'partner' else area)]}, truth)
    assert d.error[0,WRIST] == ('inversion' if target == 'partner' else 'swap')
    after = diagnose(d.truth, d.pred.replace(keypoints=mended_keypoints(d)))
    assert np.isclose(after.ks[0,WRIST], .9) and after.error[0,WRIST] == 'good'


def test_only_the_chosen_kind_moves():
    d = case({WRIST: grid(1000)[0,WRIST], ELBOW: grid()[0,ELBOW] + [reach(.6, ELBOW), 0]})
    moved = {kind: np.argwhere((mended_keypoints(d, (kind,)) != d.pred.keypoints).any(-1)).tolist() for kind in KEYPOINT_MENDS}
    assert moved == dict(miss=[], inversion=[], swap=[[0,WRIST]], jitter=[[0,ELBOW]])


def test_an_unlabelled_keypoint_and_an_unmatched_prediction_do_not_move():
    truth = people(0)
    truth.visible[0,WRIST] = 0
    d = diagnose(one_image(truth), predicted(off(.6), off(.55)))
    moved = (mended_keypoints(d) != d.pred.keypoints).any(-1)
    assert not moved[1].any() and not moved[0,WRIST] and moved[0].sum() == 16


def test_background_is_taken_away_and_gains_what_it_cost():
    d = of_one(grid(-3000)[0], grid()[0])
    assert d.status.tolist() == ['background', 'matched']
    # one false alarm before the one right answer: precision 1/2 at every recall
    assert np.isclose(ap_gains(d)['ap'], .5) and np.isclose(gain(d, 'background'), .5) and gain(d, 'duplicates') == 0
    assert len(mended(d, 'background')[1]) == 1


def test_a_worse_duplicate_is_taken_away():
    truth = people(0, 1000)
    d = diagnose(one_image(truth), predicted(grid()[0], off(.6), grid(1000)[0]))
    assert d.status.tolist() == ['matched', 'duplicate', 'matched']
    # right, wrong, right: precision 1 up to recall .5, then 2/3
    assert np.isclose(ap_gains(d)['ap'], (51 + 50*2/3)/101) and np.isclose(ap_gains(d)['ap'] + gain(d, 'duplicates'), 1)


def test_a_better_placed_duplicate_is_half_of_a_scoring_error_and_stays():
    d = of_one(off(.6), grid()[0])
    assert d.status.tolist() == ['matched', 'duplicate'] and not false_alarms(d, 'duplicates').any()
    assert gain(d, 'duplicates') == 0 and gain(d, 'scores') > .3


def test_a_missed_person_is_forgotten():
    d = diagnose(one_image(people(0, 1000)), predicted(grid()[0]))
    assert d.gt_status.tolist() == ['matched', 'missed']
    assert np.isclose(ap_gains(d)['ap'], 51/101) and np.isclose(gain(d, 'missed'), 50/101)
    assert len(mended(d, 'missed')[0].instances) == 1 and len(d.truth.instances) == 2


def test_a_prediction_on_an_ignored_person_is_left_alone():
    truth = people(0, 1000)
    truth.iscrowd[1] = True
    d = diagnose(one_image(truth), predicted(grid(1000)[0], grid()[0]))
    assert d.status.tolist() == ['on_ignored', 'matched'] and np.isclose(ap_gains(d)['ap'], 1) and np.allclose(list(ap_gains(d)['alone'].values()), 0)
    assert len(mended(d, MENDS)[1]) == 2


def test_a_scoring_error_is_a_surer_but_worse_candidate():
    wrong = scoring_errors(of_one(off(.6), off(.9), score=[.8, .3]))
    assert {k: v.tolist() for k, v in wrong.items() if k in ('person', 'surest', 'best')} == dict(person=[0], surest=[0], best=[1])
    assert np.allclose([wrong['d_score'][0], wrong['d_oks'][0], wrong['size'][0]], [.5, .3, np.sqrt(.15)])


@pytest.mark.parametrize('poses, score', [((.9, .6), [.8, .3]), ((.6, .9), [.5, .5]), ((.6,), [.9]), ((.4, .9), [.9, .3]), ((.9, .9), [.3, .8])])
def test_no_scoring_error_without_two_candidates_of_which_the_worse_is_surer(poses, score):
    assert len(scoring_errors(of_one(*(off(x) for x in poses), score=score))['person']) == 0


def test_scoring_errors_come_largest_first_and_the_neighbours_prediction_is_no_candidate():
    truth = people(0, 1000)
    poses = [off(.6), off(.9), off(.55, grid(1000)[0]), off(.95, grid(1000)[0])]
    d = diagnose(one_image(truth), predicted(*poses, score=[.8, .7, .9, .2]))
    wrong = scoring_errors(d)
    assert wrong['person'].tolist() == [1, 0] and (np.diff(wrong['size']) < 0).all()
    shift = reach(.7, 16)
    close = PoseData('close', COCO, [ImageInfo(0, '0.jpg', 1500, 1500)], people(0, shift))
    pred = predicted(close.instances.keypoints[0], close.instances.keypoints[1], score=[.5, .9])  # each on its own person
    assert len(scoring_errors(diagnose(close, pred))['person']) == 0


# --- numbers worked on paper ---------------------------------------------------------------------------------

def test_jitter_on_paper():
    d = of_one(off(.6))  # OKS .6: three of ten lines; mended .85: eight
    assert np.isclose(ap_gains(d)['ap'], .3) and np.isclose(gain(d, 'jitter'), .5) and gain(d, 'miss') == 0
    assert np.isclose(gain(d, 'jitter', legacy=True), .7)  # .85^(1/4) = .960: all ten


def test_miss_on_paper():
    d = of_one(off(.3))  # mended .5: the first line only; legacy .5^(1/4) = .841: seven
    assert ap_gains(d)['ap'] == 0 and np.isclose(gain(d, 'miss'), .1) and np.isclose(gain(d, 'miss', legacy=True), .7)


def test_legacy_numbers_of_a_case_on_paper():
    "Two people: one found with OKS .6, one not at all; a false alarm scored between them, a second pose of the first person last"
    truth = people(0, 1000)
    d = diagnose(one_image(truth), predicted(off(.6), grid(-3000)[0], off(.55)))
    ours, old = ap_gains(d), ap_gains(d, legacy=True)
    assert np.isclose(ours['ap'], .3*51/101)                                        # half of the people at three lines
    assert np.isclose(ours['alone']['missed'], .3*50/101)                           # then one of one at these lines, nobody above
    assert np.isclose(old['ap'] + old['alone']['missed'], 1)                        # the lines above have nobody left and do not count
    assert list(old['steps']) == [k for k in MENDS if k != 'duplicates']
    expected = dict(miss=.3*51/101, swap=.3*51/101, inversion=.3*51/101, jitter=51/101, scores=51/101, background=51/101, missed=1.)
    assert all(np.isclose(old['steps'][k], x) for k, x in expected.items())
    assert np.isclose(ours['steps']['jitter'], .8*51/101) and np.isclose(ours['steps']['missed'], .8)


def test_legacy_background_is_whatever_matches_nobody_at_a_line():
    d = diagnose(one_image(people(0, 1000)), predicted(off(.6), grid(1000)[0]))
    assert d.status.tolist() == ['matched', 'matched'] and gain(d, 'background') == 0
    # up to .6 nothing changes (AP 1); at the seven lines above, the false alarm before the right answer goes: 1/2 -> 1 up to recall 1/2
    assert np.isclose(ap_gains(d)['ap'], .3 + .7*.5*51/101) and np.isclose(gain(d, 'background', legacy=True), .7*.5*51/101)


@settings(max_examples=50, deadline=None)
@given(st.floats(.01, .99), st.floats(1, 1e6), st.floats(.01, .2), st.floats(0, 6.28), st.floats(.1, 500))
def test_the_placed_keypoint_has_the_similarity_asked_for_and_lies_on_the_line(goal, area, sigma, angle, far):
    true = np.array([[300., 200.]])
    at = placed(true, true + far*np.array([np.cos(angle), np.sin(angle)]), [area], [sigma], [goal])
    assert np.isclose(keypoint_similarity(true[:,None], [area], at[:,None], [sigma])[0,0], goal, atol=1e-6)
    assert keypoint_similarity(true[:,None], [area], at[:,None], [sigma])[0,0] >= goal - 1e-12
    assert np.allclose((at - true)[0]/np.linalg.norm(at - true), [np.cos(angle), np.sin(angle)], atol=1e-6)
    old = placed(true, true + [far, 0], [area], [sigma], [goal], legacy=True)
    assert np.isclose(keypoint_similarity(true[:,None], [area], old[:,None], [sigma])[0,0], goal**.25, atol=1e-6)


def test_a_keypoint_predicted_nowhere_or_on_the_truth_is_placed_too():
    true = np.array([[10., 10.]]*2)
    at = placed(true, np.array([[np.nan, np.nan], [10., 10.]]), [1e4]*2, [.05]*2, [.5]*2)
    assert np.isfinite(at).all() and (at != true).any(1).all()
    d = case({WRIST: [np.nan, np.nan]})
    assert np.isclose(diagnose(d.truth, d.pred.replace(keypoints=mended_keypoints(d))).ks[0,WRIST], .5)


# --- AP against its oracles ----------------------------------------------------------------------------------

@pytest.mark.parametrize('seed', range(8))
def test_ap_equals_pycocotools_with_crowds_ties_and_unlabelled_people(seed):
    inst, pred, n = random_case(seed, dets=40 + 70*seed)
    truth = data(inst, n=n)
    t = pairs_of(truth, pred)
    assert np.isclose(mean_ap(ap_lines(t)), pycocotools_ap(truth, pred, SIGMAS)[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize('seed', range(4))
def test_sizes_as_groups_equal_apm_and_apl_when_false_alarms_are_charged_by_their_extent(seed):
    inst, pred, n = random_case(seed)
    truth, t = data(inst, n=n), pairs_of(data(inst, n=n), pred)
    extent = (np.ptp(pred.keypoints, 1).prod(-1))[t.keep]
    numbers = pycocotools_ap(truth, pred, SIGMAS)
    for (lo, hi), expected in zip(((32**2, 96**2), (96**2, 1e10)), numbers[3:5]):
        inside = lambda a: (a >= lo) & (a <= hi)
        assert np.isclose(mean_ap(ap_lines(t, inside(inst.area), inside(extent))), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize('thr', [.1, .5, .75, .95])
def test_matching_at_any_line_equals_pycocotools(thr):
    inst, pred, n = random_case(3, n_img=6, people=40, dets=150)
    truth = data(inst, n=n)
    expected = [m for _, m in sorted(pycocotools_matches(truth, pred, thr), key=lambda x: x[0])]
    assert choose(pairs_of(truth, pred), np.array([thr]))[0].tolist() == expected


def test_lines_do_not_disturb_each_other():
    inst, pred, n = random_case(5, dets=300)
    t = pairs_of(data(inst, n=n), pred)
    assert (choose(t) == np.concatenate([choose(t, np.array([x])) for x in AP_LINES])).all()


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 60), st.integers(0, 200), st.sampled_from(['coco', 'lspet', 'mpii']))
def test_steps_on_pairs_equal_evaluating_the_mended_files(seed, persons, dets, schema):
    s = load_schema(schema)
    inst, pred, n = random_case(seed, people=persons, dets=dets, K=s.num_keypoints)
    d = diagnose(data(inst, s, n), pred)
    order = tuple(np.random.default_rng(seed).permutation(MENDS))
    for i, ap in enumerate(ap_steps(d, order)):
        expected = coco_ap(*mended(d, order[:i]))['AP']
        assert np.isclose(ap, expected, rtol=0, atol=1e-12) or np.isnan(ap) and expected == -1


def test_a_plain_loop_with_pycocotools_finds_the_same_names_and_the_same_gains():
    inst, pred, n = random_case(11, n_img=25, people=60, dets=160, ties=False)
    truth = data(inst, n=n)
    d, expected = diagnose(truth, pred), plain().plain_diagnosis(truth, pred)
    assert all((d.error == e).sum() == c for e, c in expected['errors'].items())
    assert len(scoring_errors(d)['person']) == expected['scoring'] and (d.gt_status == 'missed').sum() == expected['missed']
    gains = ap_gains(d)
    for part in ('alone', 'steps'): assert all(np.isclose(gains[part][k], x, atol=1e-9) for k, x in expected['gains'][part].items()), part


# --- scores --------------------------------------------------------------------------------------------------

def test_suppression_on_paper():
    like = np.array([[[1, .5, 0], [.5, 1, 1], [0, 1, 1]]])
    got = suppressed(np.array([[.9, .8, .7]]), like)[0]
    # .9 stays and lowers the second to .8 e^-.5 = .485; then .7 is the surest and lowers that to .485 e^-2
    assert np.allclose(got, [.9, .8*np.exp(-.5)*np.exp(-2), .7])


def test_likeness_of_predictions_is_symmetric_and_one_for_copies():
    xy = np.stack([grid()[0], grid()[0], off(.6)])
    like = pose_likeness(np.stack([xy, xy[::-1]]), SIGMAS)
    area = np.mean([np.ptp(x, axis=0).prod() for x in (xy[0], xy[2])])
    assert like.shape == (2, 3, 3) and np.allclose(like, like.transpose(0, 2, 1)) and np.isclose(like[0,0,1], 1)
    assert np.isclose(like[0,0,2], keypoint_similarity(xy[None,0], [area], xy[None,2], SIGMAS).mean())
    xy[1,3] = np.nan
    holes = pose_likeness(xy[None], SIGMAS)
    assert np.isfinite(holes).all() and np.isclose(holes[0,0,1], 1)  # by the keypoints that both have


@pytest.mark.parametrize('seed', range(3))
def test_best_scores_equal_a_plain_loop(seed):
    inst, pred, n = random_case(seed, dets=120, ties=False)
    truth = data(inst, n=n)
    g = {c: getattr(inst, c) for c in ('keypoints', 'visible', 'area', 'bbox', 'image_id', 'iscrowd')}
    ignored = inst.iscrowd | ~(inst.visible > 0).any(1)
    expected, reference = np.zeros(len(pred)), plain()
    for i in range(n):
        dets = sorted(np.flatnonzero(pred.image_id == i), key=lambda q: -pred.score[q])
        here = reference.ideal_scores(g, np.flatnonzero(inst.image_id == i), dets, pred.keypoints, ignored, SIGMAS)
        for q, s in here.items(): expected[q] = s
    assert np.allclose(best_scores(truth, pred), expected, rtol=0, atol=1e-12)


def test_predictions_beyond_the_limit_get_no_score_and_leave():
    d = diagnose(one_image(people(0)), Instances.make(np.stack([off(.9)]*25), image_id=0, score=np.linspace(.2, .9, 25)))
    assert (best_scores(d.truth, d.pred)[:5] == 0).all() and len(mended(d, 'scores')[1]) == 20


def test_ideal_scores_are_the_best_order_of_clean_predictions():
    d = diagnose(one_image(people(0, 1000, 2000)), predicted(off(.6), off(.9, grid(1000)[0]), off(.75, grid(2000)[0]), score=[.9, .2, .5]))
    assert np.allclose(best_scores(d.truth, d.pred), [.6, .9, .75], atol=1e-6)


# --- properties ----------------------------------------------------------------------------------------------

@pytest.mark.parametrize('seed', range(2))
@pytest.mark.parametrize('legacy', [False, True])
def test_mending_never_lowers_ap_on_rendered_dancers(seed, legacy):
    truth = rendered_dataset(30, seed=seed, people=(1, 3))
    d = diagnose(truth, plant_people(truth, plant_faults(truth, seed=seed, rate=.2)[0], seed=seed)[0])
    gains = ap_gains(d, legacy=legacy)
    steps = [gains['ap'], *gains['steps'].values()]
    assert min(gains['alone'].values()) >= -1e-12 and steps[-1] <= 1 + 1e-12
    assert min(np.diff(steps)) >= -1e-12
    if legacy: assert np.isclose(steps[-1], 1)


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 10**6))
def test_predictions_in_another_order_cost_the_same(seed):
    inst, pred, n = random_case(seed % 1000, dets=60, ties=False)
    truth, order = data(inst, n=n), np.random.default_rng(seed).permutation(60)
    a, b = (ap_gains(diagnose(truth, p)) for p in (pred, pred[order]))
    assert all(np.isclose(a[part][k], b[part][k], atol=1e-9) for part in ('alone', 'steps') for k in MENDS)


def test_the_first_step_is_the_gain_alone_and_any_order_may_be_asked_for():
    inst, pred, n = random_case(2)
    d = diagnose(data(inst, n=n), pred)
    gains, back = ap_gains(d), ap_gains(d, MENDS[::-1])
    assert np.isclose(gains['steps']['miss'] - gains['ap'], gains['alone']['miss']) and list(back['steps']) == list(MENDS[::-1])
    assert all(np.isclose(gains['alone'][k], back['alone'][k]) for k in MENDS) and list(ap_gains(d, ('miss',))['steps']) == ['miss']


def test_thresholds_move_the_goals():
    d = diagnose(one_image(people(0)), predicted(off(.6)), Thresholds(good=.7))
    assert np.isclose(diagnose(d.truth, mended(d, 'jitter')[1]).oks[0], .7)


def test_an_unknown_kind_is_refused_with_the_known_ones():
    d = of_one(off(.6))
    with pytest.raises(ValueError, match="'typo'.*'jitter'"): mended(d, 'typo')


def test_the_diagnosed_data_are_not_changed():
    d = of_one(off(.6), off(.3), off(.9))
    before = d.pred.keypoints.copy(), d.pred.score.copy(), d.truth.instances.keypoints.copy()
    impact_report(d)
    assert (d.pred.keypoints == before[0]).all() and (d.pred.score == before[1]).all() and (d.truth.instances.keypoints == before[2]).all()


# --- groups of people ----------------------------------------------------------------------------------------

def test_borders_of_labelled_keypoints_are_in_proportion_and_cover_every_count():
    assert labelled_borders(17) == [(1, 5), (6, 10), (11, 15), (16, 17)] and labelled_borders(16) == [(1, 5), (6, 9), (10, 14), (15, 16)]
    for k in range(1, 140):
        counts = [n for a, b in labelled_borders(k) for n in range(a, b + 1)]
        assert counts == list(range(1, k + 1))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 40))
def test_overlaps_equal_a_plain_loop(seed, n):
    rng = np.random.default_rng(seed)
    box = np.c_[rng.uniform(0, 60, (n, 2)), rng.uniform(5, 60, (n, 2))]
    g = Instances.make(np.zeros((n, 3, 2)), bbox=box, image_id=rng.integers(0, 3, n), iscrowd=rng.random(n) < .2)
    def iou(a, b):
        side = np.maximum(np.minimum(a[:2] + a[2:], b[:2] + b[2:]) - np.maximum(a[:2], b[:2]), 0)
        return side.prod()/(a[2:].prod() + b[2:].prod() - side.prod())
    assert overlap_counts(g).tolist() == [sum(iou(box[i], box[j]) > .1 for j in range(n) if j != i and g.image_id[i] == g.image_id[j] and not g.iscrowd[j])
                                          for i in range(n)]


@pytest.mark.parametrize('side, cell', [(31.9, 0), (32, 1), (63, 1), (64, 2), (96, 3), (127, 3), (128, 4), (900, 4)])
def test_a_person_is_as_large_as_a_square(side, cell):
    truth = people(0)
    truth.area[:] = side**2
    assert [bool(m[0]) for m in people_cells(one_image(truth))['size'].values()] == [i == cell for i in range(5)]


@pytest.mark.parametrize('schema', ['coco', 'lspet', 'mpii'])
def test_cells_add_up_to_all_people_and_all_judged_keypoints(schema):
    s = load_schema(schema)
    inst, pred, n = random_case(7, dets=200, K=s.num_keypoints)
    d = diagnose(data(inst, s, n), pred)
    real = d.gt_status != 'ignored'
    for row, cells in breakdown(d).items():
        if row != 'visibility':
            assert sum(c['people'] for c in cells) == real.sum() and sum(c['missed'] for c in cells) == (d.gt_status == 'missed').sum()
            assert all(c['matched'] + c['missed'] == c['people'] for c in cells)
        assert [sum(c[e] for c in cells) for e in KEYPOINT_ERRORS] == error_counts(d).sum(0).tolist()
        assert all(c['few'] == (c['people'] < 20) and c['keypoints'] == sum(c[e] for e in KEYPOINT_ERRORS) for c in cells)


def test_a_group_of_everybody_differs_from_ap_only_by_background():
    inst, pred, n = random_case(7)
    inst = inst[~inst.iscrowd & (inst.visible > 0).any(1)]
    inst.area[:] = 50**2
    truth = data(inst, n=n)
    d = diagnose(truth, pred)
    cell = [c for c in breakdown(d)['size'] if c['people']]
    assert len(cell) == 1 and np.isclose(cell[0]['ap'], ap_gains(d)['ap'] + ap_gains(d)['alone']['background'])


def test_groups_on_paper_do_not_pay_for_each_other():
    truth = people(0, 1000)
    truth.area[1] = 50**2
    small = off(.6, grid(1000)[0], 50**2)
    rows = breakdown(diagnose(one_image(truth), predicted(small, grid()[0], grid(-4000)[0])))['size']
    assert [(c['people'], None if np.isnan(c['ap']) else round(c['ap'], 6)) for c in rows] == [(0, None), (1, .3), (0, None), (1, 1.), (0, None)]


def test_occluded_and_visible_keypoints_are_judged_apart():
    truth = people(0)
    truth.visible[0,:8] = 1
    xy = grid()[0].copy(); xy[:8] = off(.6)[:8]
    occluded, visible = breakdown(diagnose(one_image(truth), predicted(xy)))['visibility']
    assert (occluded['jitter'], occluded['good'], round(occluded['ap'], 6)) == (8, 0, .3)
    assert (visible['jitter'], visible['good'], round(visible['ap'], 6)) == (0, 9, 1.)


# --- nothing, nobody, and odd input --------------------------------------------------------------------------

def test_no_predictions_and_no_people_give_a_whole_report():
    inst, pred, n = random_case(0)
    none = impact_report(diagnose(data(inst, n=n), pred[:0]), legacy=True)
    assert none['gains']['ap'] == 0 and none['gains']['alone']['jitter'] == 0 and none['gains']['steps']['missed'] is None
    nobody = impact_report(diagnose(data(inst[:0], n=n), pred), legacy=True)
    assert nobody['gains']['ap'] is None and nobody['scoring']['count'] == 0 and all(c['people'] == 0 for r in nobody['breakdown'].values() for c in r)
    crowds = inst.replace(iscrowd=np.ones(len(inst), bool))
    only = impact_report(diagnose(data(crowds, n=n), pred))
    both = impact_report(diagnose(data(inst[:0], n=n), pred[:0]))
    for r in (none, nobody, only, both): assert json.loads(json.dumps(r)) == r and impact_lines(r)


def test_keypoints_that_were_not_predicted_and_one_lonely_keypoint():
    inst, pred, n = random_case(4)
    pred.keypoints[::3,:5] = np.nan
    pred.keypoints[5] = np.nan
    gains = impact_report(diagnose(data(inst, n=n), pred))['gains']
    assert 0 <= gains['ap'] <= gains['steps']['jitter'] <= 1
    xy = mended_keypoints(d := diagnose(data(inst, n=n), pred))
    assert np.isfinite(xy[d.error == 'miss']).all()


def test_the_report_holds_everything_and_reads_as_lines():
    truth = rendered_dataset(20, seed=4, people=(1, 3))
    d = diagnose(truth, plant_people(truth, plant_faults(truth, rate=.2)[0], seed=2)[0])
    r = impact_report(d, legacy=True, worst=2)
    assert set(r) == {'name', 'keypoints', 'images', 'people', 'predictions', 'thresholds', 'status', 'errors', 'scoring', 'gains', 'breakdown', 'legacy'}
    assert len(r['scoring']['worst']) <= 2 <= r['scoring']['count'] or r['scoring']['count'] < 2
    first = r['scoring']['worst'][0]
    row = int(np.flatnonzero(truth.instances.id == first['annotation'])[0])
    assert first['person'] == row and first['image_id'] == truth.instances.image_id[row]
    text = '\n'.join(impact_lines(r))
    for word in (*MENDS, *truth.schema.names, 'size', 'overlap', 'labelled', 'visibility', 'Ronchi', 'fewer than 20'): assert word in text
    assert f'{r["gains"]["ap"]:.3f}' in text and max(map(len, impact_lines(r))) < 120


# --- planted faults ------------------------------------------------------------------------------------------

@pytest.mark.parametrize('seed', range(2))
def test_planted_people_faults_are_recovered(seed):
    truth = rendered_dataset(80, seed=50 + seed, people=(1, 3))
    pred, planted = plant_people(truth, plant_faults(truth, seed=seed, rate=0)[0], seed=seed)
    d = diagnose(truth, pred)
    seen = dict(scores=np.isin(np.arange(len(truth.instances)), scoring_errors(d)['person']), missed=d.gt_status == 'missed',
                background=d.status == 'background', duplicates=d.status == 'duplicate')
    for kind, was in planted.items():
        right = (was & seen[kind]).sum()
        assert was.sum() > 8 and right >= .95*was.sum() - 1e-9 and right >= .95*seen[kind].sum() - 1e-9, kind


@pytest.mark.parametrize('seed', range(2))
def test_planted_keypoint_faults_are_recovered_where_only_one_explanation_is_near(seed):
    truth = rendered_dataset(60, seed=70 + seed, people=(1, 3))
    pred, planted = plant_faults(truth, seed=seed, rate=.25)
    d, g, flip = diagnose(truth, pred), truth.instances, np.array(COCO.flip)
    near = np.zeros((3, *planted.shape), bool)
    for p in range(len(g)):
        for o in np.flatnonzero(g.image_id == g.image_id[p]):
            for slot, k in enumerate((np.arange(17), flip)):
                ks = keypoint_similarity(g.keypoints[[o]][:,k], g.area[[o]], pred.keypoints[[p]], SIGMAS)[0]
                hit = (ks >= .5) & (g.visible[o,k] > 0) & ((slot == 0) | (k != np.arange(17)))
                near[slot if o == p else 2,p] |= hit
    meant = np.stack([np.isin(planted, ('good', 'jitter')), planted == 'inversion', planted == 'swap'])
    clear = ~(near & ~meant).any(0) & (planted != '') & (d.det_gt == np.arange(len(pred)))[:,None]
    for kind in KEYPOINT_ERRORS:
        was, said = (planted == kind) & clear, (d.error == kind) & clear
        assert was.sum() > 40 and (was & said).sum() >= .95*max(was.sum(), said.sum()), kind


def test_planting_nothing_changes_nothing():
    truth = rendered_dataset(5, seed=1, people=2)
    pred, _ = plant_faults(truth, rate=0)
    same, planted = plant_people(truth, pred, rate=0)
    assert (same.keypoints == pred.keypoints).all() and not any(m.any() for m in planted.values())


# --- pictures ------------------------------------------------------------------------------------------------

@pytest.fixture(scope='module')
def spoilt():
    truth = rendered_dataset(25, seed=6, people=(1, 3))
    return diagnose(truth, plant_people(truth, plant_faults(truth, rate=.25)[0], seed=3, rate=.15)[0])


def test_a_mended_case_is_painted_before_and_after(spoilt):
    gains = ap_gains(spoilt)
    for kind in MENDS[:-1]:
        q = mend_cases(spoilt, kind)[0]
        img = spoilt.truth.image(int(spoilt.pred.image_id[q]))
        before = img.copy()
        tile = paint_mended(img, spoilt, kind, q, 120)
        assert tile.shape == (120, 244, 3) and (img == before).all()
        assert (tile[:,:120] != tile[:,124:]).any() == (kind != 'scores')
        assert f'{gains["ap"] + gains["alone"][kind]:.3f}' in mend_title(spoilt, gains, kind, q)
    assert len(mend_cases(spoilt, 'missed')) == 0


def test_waterfall_and_groups_are_drawn(spoilt):
    import matplotlib
    matplotlib.use('agg')
    left, right = draw_gains(ap_gains(spoilt))
    widths = [p.get_width() for p in right.patches]
    assert len(left.patches) == 8 and np.isclose(sum(widths), 1)
    cells = breakdown(spoilt)
    axes = draw_breakdown(cells)
    grey = [p.get_facecolor()[:3] for p in axes[0][0].patches]
    assert [len(set(np.round(c, 3))) == 1 for c in grey] == [c['few'] for c in cells['size']]


def test_the_explorer_shows_the_chosen_case(spoilt):
    box = mend_explorer(spoilt, size=80)
    (kind, number), text, view = box.children[0].children, *box.children[1:]
    first = view.value
    kind.value = 'swap'
    assert text.value.startswith('swap') and view.value != first and number.max == len(mend_cases(spoilt, 'swap')) - 1
    number.value = 1
    q = mend_cases(spoilt, 'swap')[1]
    assert text.value == mend_title(spoilt, ap_gains(spoilt), 'swap', q).replace('\n', '<br>')


def test_an_explorer_of_perfect_predictions_says_so():
    with pytest.raises(ValueError, match='no error'): mend_explorer(of_one(grid()[0]))


def test_eleven_thousand_people_take_seconds_not_minutes():
    inst, pred, n = random_case(0, n_img=5000, people=11_000, dets=30_000)
    start = time.process_time()
    r = impact_report(diagnose(data(inst, n=n), pred))
    assert time.process_time() - start < 10 and r['predictions'] == 30_000
