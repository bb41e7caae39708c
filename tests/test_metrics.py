"Metrics against cases worked on paper, and against pycocotools bit by bit"
import contextlib, io
import numpy as np, pytest
from hypothesis import given, settings, strategies as st
from poselab.data.figures import rendered_dataset
from poselab.evaluate.metrics import (AP_NAMES, ap_of_boxes, area_ap, best_first, box_ap, coco_ap, evaluate, says_boxes, keypoint_groups, keypoint_similarity, mpii_multiperson_map,
                                      oks, oks_rows, pair, pck, pck_torso, pckh, same_image)
from poselab.records import ImageInfo, Instances, PoseData
from poselab.schema import load_schema

COCO, MPII = load_schema('coco'), load_schema('mpii')


def data(people, schema=COCO, n=None, name='test'):
    n = n or int(people.image_id.max(initial=0)) + 1
    return PoseData(name, schema, [ImageInfo(i, f'{i}.jpg', 600, 600) for i in range(n)], people)


def random_case(seed, n_img=30, people=70, dets=220, K=17, ties=True):
    "People with crowds and unlabelled ones, predictions with noise, repeats and equal scores"
    rng = np.random.default_rng(seed)
    img, area = rng.integers(0, n_img, people), rng.uniform(400, 60000, people).round(2)
    side, corner = np.sqrt(area)*1.4, rng.uniform(0, 500, (people, 2))
    v = (rng.random((people, K)) < .75)*rng.integers(1, 3, (people, K))
    v[rng.random(people) < .15] = 0
    xy = (corner[:,None] + rng.random((people, K, 2))*side[:,None,None]).round(2)*(v > 0)[...,None]
    truth = Instances.make(xy, v, area=area, bbox=np.c_[corner, side, side].round(2), image_id=img, id=np.arange(people),
                           iscrowd=rng.random(people) < .08)
    src = rng.integers(0, people, dets)
    base = np.where(v[src][...,None] > 0, xy[src], corner[src][:,None] + rng.random((dets, K, 2))*side[src][:,None,None])
    noise = rng.normal(0, 1, base.shape)*(side[src]*rng.choice([0, .01, .04, .15], dets))[:,None,None]
    score = rng.random(dets).round(1 if ties else 6)
    return truth, Instances.make((base + noise).round(2), image_id=img[src], score=score), n_img


def oracle(truth, pred, sigmas, thresholds=None):
    "pycocotools after evaluation; annotation ids from 1, because it takes id 0 for 'unmatched'"
    from pycocotools.coco import COCO as Api
    from pycocotools.cocoeval import COCOeval
    g = truth.instances
    third = lambda i, xy, v: np.c_[xy[i], v[i]].ravel().tolist()
    anns = [dict(id=i+1, image_id=int(g.image_id[i]), category_id=1, iscrowd=int(g.iscrowd[i]), area=float(g.area[i]),
                 bbox=g.bbox[i].tolist(), num_keypoints=int((g.visible[i] > 0).sum()), keypoints=third(i, g.keypoints, g.visible))
            for i in range(len(g))]
    rows = [dict(image_id=int(pred.image_id[i]), category_id=1, score=float(pred.score[i]), keypoints=third(i, pred.keypoints, pred.visible))
            for i in range(len(pred))]
    with contextlib.redirect_stdout(io.StringIO()):
        api = Api()
        api.dataset = dict(images=[dict(id=i.id) for i in truth.images], annotations=anns, categories=[dict(id=1, name='person')])
        api.createIndex()
        e = COCOeval(api, api.loadRes(rows), 'keypoints')
        e.params.kpt_oks_sigmas = np.asarray(sigmas)
        if thresholds: e.params.iouThrs = np.array(thresholds)
        e.evaluate()
    return e


def pycocotools_ap(truth, pred, sigmas):
    "Its ten numbers"
    e = oracle(truth, pred, sigmas)
    with contextlib.redirect_stdout(io.StringIO()): e.accumulate(); e.summarize()
    return e.stats


def pycocotools_matches(truth, pred, thr):
    "(place among the predictions that count, matched person or -1) at one threshold, all areas"
    order = {q: i for i, q in enumerate(best_first(pred).tolist())}
    found = [e for e in oracle(truth, pred, truth.schema.oks_sigmas, [thr]).evalImgs if e and e['aRng'][0] == 0]
    everybody = [e for e in found if e['aRng'][1] > 1e9]
    return [(order[q-1], int(m)-1) for e in everybody for q, m in zip(e['dtIds'], e['dtMatches'][0])]


@pytest.mark.parametrize('seed', range(12))
def test_all_ten_numbers_equal_pycocotools_with_crowds_unlabelled_people_and_ties(seed):
    people, pred, n = random_case(seed, dets=100 + 60*seed)
    truth = data(people, n=n)
    np.testing.assert_allclose(list(coco_ap(truth, pred).values()), pycocotools_ap(truth, pred, COCO.oks_sigmas), rtol=0, atol=1e-12)


def test_more_than_twenty_predictions_in_an_image_equal_pycocotools():
    people, pred, n = random_case(99, n_img=3, people=40, dets=150)
    truth = data(people, n=n)
    np.testing.assert_allclose(list(coco_ap(truth, pred).values()), pycocotools_ap(truth, pred, COCO.oks_sigmas), rtol=0, atol=1e-12)


@pytest.mark.parametrize('schema', ['mpii', 'crowdpose'])
def test_other_keypoint_counts_and_sigmas_equal_pycocotools(schema):
    s = load_schema(schema)
    people, pred, n = random_case(5, K=s.num_keypoints)
    truth = data(people, s, n)
    np.testing.assert_allclose(list(coco_ap(truth, pred).values()), pycocotools_ap(truth, pred, s.oks_sigmas), rtol=0, atol=1e-12)


def test_image_order_and_file_order_of_ids_do_not_change_ap():
    people, pred, n = random_case(3, ties=False)
    truth = data(people, n=n)
    turned = PoseData('turned', COCO, truth.images[::-1], people)
    assert coco_ap(truth, pred) == coco_ap(turned, pred)
    far = 10**15 # ids too large for a float32, and far apart
    moved = PoseData('moved', COCO, [ImageInfo(i.id*7 + far, i.file, 9, 9) for i in truth.images], people.replace(image_id=people.image_id*7 + far))
    assert coco_ap(moved, pred.replace(image_id=pred.image_id*7 + far)) == coco_ap(truth, pred)


def test_the_truth_as_prediction_is_perfect_and_pure_noise_is_not():
    people, _, n = random_case(1)
    people = people[(people.visible > 0).any(1) & ~people.iscrowd]
    rng = np.random.default_rng(0)
    perfect = Instances.make(people.keypoints, image_id=people.image_id, score=rng.random(len(people)))
    kept = [i for i in range(n) if (people.image_id == i).sum() <= 20]
    assert len(kept) == n
    assert set(coco_ap(data(people, n=n), perfect).values()) == {1.}
    lost = perfect.replace(keypoints=perfect.keypoints + 1e5)
    assert set(coco_ap(data(people, n=n), lost).values()) == {0.}


def test_nobody_to_find_gives_minus_one_and_nothing_found_gives_zero():
    people, pred, n = random_case(2)
    nobody = coco_ap(data(Instances.empty(17), n=n), pred)
    assert set(nobody.values()) == {-1.}
    nothing = coco_ap(data(people, n=n), pred[:0])
    assert tuple(nothing) == AP_NAMES and nothing['AP'] == 0


def test_nothing_is_printed(capfd):
    people, pred, n = random_case(2)
    coco_ap(data(people, n=n), pred)
    out, err = capfd.readouterr()
    assert out == err == ''


def test_oks_gives_the_two_numbers_worked_on_paper():
    xy, v = np.full((1, 17, 2), 50.), np.full((1, 17), 2)
    nose = xy.copy(); nose[0,0,0] += 5.2
    assert np.isclose(keypoint_similarity(xy, [1e4], nose, COCO.oks_sigmas)[0,0], .60653, atol=1e-5)
    assert np.isclose(oks(xy, v, [1e4], xy + [3, 4], COCO.oks_sigmas)[0,0], .87115, atol=1e-5)


def test_unlabelled_keypoints_do_not_count():
    xy, v = np.full((1, 17, 2), 50.), np.full((1, 17), 2)
    off = xy.copy(); off[0,9] += 1000; v[0,9] = 0
    assert oks(xy, v, [1e4], off, COCO.oks_sigmas)[0,0] == 1


def test_a_person_without_labels_is_judged_by_a_box_grown_by_itself():
    v, box = np.zeros((1, 17)), np.array([[100., 100, 20, 40]])
    at = lambda x, y: oks(np.zeros((1, 17, 2)), v, [1e4], np.full((1, 17, 2), [x, y], float), COCO.oks_sigmas, box)[0,0]
    assert at(80, 60) == at(140, 180) == 1 and at(79, 60) < 1 and at(140, 181) < 1
    assert np.isnan(oks(np.zeros((1, 17, 2)), v, [1e4], np.zeros((1, 17, 2)), COCO.oks_sigmas)[0,0])


def test_a_keypoint_that_was_not_predicted_has_similarity_zero():
    xy, v = np.full((1, 17, 2), 50.), np.full((1, 17), 2)
    lost = xy.copy(); lost[0,3] = np.nan
    assert np.isclose(oks(xy, v, [1e4], lost, COCO.oks_sigmas)[0,0], 16/17)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(.1, 10))
def test_oks_is_between_0_and_1_and_does_not_change_when_everything_is_scaled(seed, scale):
    rng = np.random.default_rng(seed)
    xy, pred, v = rng.uniform(0, 300, (4, 17, 2)), rng.uniform(0, 300, (3, 17, 2)), rng.integers(0, 3, (4, 17))
    v[:,0] = 2
    area = rng.uniform(500, 90000, 4)
    a = oks(xy, v, area, pred, COCO.oks_sigmas)
    assert a.shape == (4, 3) and (a >= 0).all() and (a <= 1).all()
    np.testing.assert_allclose(oks(xy*scale, v, area*scale**2, pred*scale, COCO.oks_sigmas), a, atol=1e-9)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 6), max_size=12), st.lists(st.integers(0, 6), max_size=12))
def test_pairs_in_an_image_are_those_of_two_loops(a, b):
    i, j = same_image(np.array(a, int), np.array(b, int))
    assert list(zip(i.tolist(), j.tolist())) == [(x, y) for x in range(len(a)) for y in range(len(b)) if a[x] == b[y]]


def test_pck_counts_the_border_as_right_and_leaves_out_people_without_a_norm():
    pred = np.array([[[3., 4]], [[0, 5.001]], [[0, 0]], [[0, 0]]])
    r = pck(pred, np.zeros((4, 1, 2)), [[2], [1], [2], [2]], .5, [10, 10, np.nan, 0])
    assert r['mean'] == .5 and r['people'] == 2 and r['count'].tolist() == [2]


def test_pck_without_any_label_is_nan_not_zero():
    r = pck(np.zeros((2, 3, 2)), np.zeros((2, 3, 2)), np.zeros((2, 3)), .5, [1, 1])
    assert np.isnan(r['mean']) and np.isnan(r['per_keypoint']).all()


def body(shift=0.):
    "One person whose torso is 100 px long"
    xy = np.zeros((1, 17, 2)) + [[[50., 50]]]
    xy[0,COCO.index('left_shoulder')], xy[0,COCO.index('right_hip')] = (0, 0), (60, 80)
    return xy + shift


def test_the_torso_is_left_shoulder_to_right_hip_and_people_without_both_are_left_out():
    xy = np.concatenate([body(), body()])
    v = np.full((2, 17), 2); v[1,COCO.index('right_hip')] = 0
    pred = xy.copy(); pred[0,0,0] += 20; pred[0,1,0] += 20.01; pred[1] += 500
    truth = data(Instances.make(xy, v, image_id=[0, 1]))
    r = pck_torso(truth, Instances.make(pred, image_id=[0, 1], score=[1, 1]))
    assert r['people'] == 1 and r['per_keypoint'][0] == 1 and r['per_keypoint'][1] == 0 and np.isclose(r['mean'], 16/17)


def test_a_person_without_an_answer_has_all_keypoints_wrong():
    xy = np.concatenate([body(), body(200), body(400)])
    truth = data(Instances.make(xy, image_id=[0, 0, 1]))
    pred = Instances.make(xy[[1, 2]], image_id=[0, 1], score=[.5, .4])
    assert pair(truth, pred).tolist() == [-1, 0, 1]
    assert np.isclose(pck_torso(truth, pred)['mean'], 2/3) and pck_torso(truth, pred[:0])['mean'] == 0


def test_best_pairs_are_taken_first_and_each_prediction_once():
    xy = np.concatenate([body(), body(8)])
    truth = data(Instances.make(xy, area=1e4, image_id=0))
    pred = Instances.make(np.concatenate([body(7), body(30)]), image_id=0, score=[.9, .8])
    assert pair(truth, pred).tolist() == [1, 0]


def test_unscored_predictions_with_the_same_ids_answer_row_by_row():
    xy = np.concatenate([body(), body(8)])
    truth = data(Instances.make(xy, area=1e4, image_id=0, id=[5, 6]))
    crossed = Instances.make(xy[::-1], image_id=0, id=[5, 6])
    assert pair(truth, crossed).tolist() == [0, 1] and pair(truth, crossed.replace(score=1.)).tolist() == [1, 0]


def test_pckh_leaves_out_pelvis_and_thorax_and_what_the_model_does_not_have():
    xy = np.arange(32.).reshape(1, 16, 2)
    truth = data(Instances.make(xy, head=10., image_id=0), MPII)
    pred = xy.copy(); pred[0,0] += [5.1, 0]; pred[0,6:8] += 99; pred[0,1] = np.nan
    r = pckh(truth, Instances.make(pred, image_id=0))
    assert np.isnan(r['per_keypoint'][[1, 6, 7]]).all() and r['per_keypoint'][0] == 0 and np.isclose(r['mean'], 12/13)


def test_evaluate_returns_what_applies_and_nothing_else():
    people, pred, n = random_case(1)
    r = evaluate(data(people, n=n), pred)
    assert {'AP', 'AR', 'PCK@0.2', 'PCK@0.2 left_wrist'} <= set(r) and not any(k.startswith('PCKh') for k in r)
    assert all(isinstance(x, (int, float)) and np.isfinite(x) for x in r.values())
    mute = evaluate(data(people.replace(head=20.), n=n), pred.replace(score=np.nan))
    assert 'AP' not in mute and {'PCKh@0.5', 'PCKh@0.1', 'PCKh@0.5 pooled'} <= set(mute)


@pytest.mark.parametrize('change, words', [
    (lambda p: p.replace(score=np.nan), 'has no score'),
    (lambda p: p.replace(image_id=p.image_id + 10**6), 'not in test'),
    (lambda p: Instances.make(p.keypoints[:,:14], image_id=p.image_id, score=p.score), '17 keypoints, the predictions 14')])
def test_numbers_over_the_wrong_things_are_refused_in_words(change, words):
    people, pred, n = random_case(1)
    with pytest.raises(ValueError, match=words): coco_ap(data(people, n=n), change(pred))


def test_predictions_of_some_images_only_count_the_others_as_missed():
    people, _, n = random_case(1)
    people = people[(people.visible > 0).any(1) & ~people.iscrowd]
    pred = Instances.make(people.keypoints, image_id=people.image_id, score=1.)
    half = pred[pred.image_id < n//2]
    r = coco_ap(data(people, n=n), half)
    assert 0 < r['AR'] < 1 and np.isclose(r['AR'], len(half)/len(people))


def test_rows_of_truth_and_prediction_agree_with_the_full_table():
    people, pred, _ = random_case(7)
    table = oks(people.keypoints, people.visible, people.area, pred.keypoints[:5], COCO.oks_sigmas, people.bbox)
    rows = oks_rows(people.keypoints[:5], people.visible[:5], people.area[:5], pred.keypoints[:5], COCO.oks_sigmas, people.bbox[:5])
    assert (np.diag(table) == rows).all()


# ---- average precision per keypoint, people matched by PCKh

def multiperson_by_loops(truth, pred, thr=.5):
    "The same from its definition: one image, one prediction, one keypoint after the other"
    g,K = truth.instances,truth.schema.num_keypoints
    people = [i for i in range(len(g)) if (g.visible[i] > 0).any() and not g.iscrowd[i]]
    rows,found = {k: [] for k in range(K)},[sum(g.visible[i,k] > 0 for i in people) for k in range(K)]
    right = lambda q,i,k: g.visible[i,k] > 0 and np.hypot(*(pred.keypoints[q,k] - g.keypoints[i,k])) <= thr*g.head[i]
    for im in truth.images:
        here,preds = [i for i in people if g.image_id[i] == im.id],[q for q in range(len(pred)) if pred.image_id[q] == im.id]
        share = {(q,i): sum(right(q,i,k) for k in range(K))/(g.visible[i] > 0).sum() for q in preds for i in here}
        wants = {q: max(here, key=lambda i: (share[q,i], -i)) for q in preds if any(share[q,i] > 0 for i in here)}
        owner = {}
        for i in here:
            mine = [q for q in wants if wants[q] == i]
            if mine: owner[min(mine, key=lambda q: (-share[q,i], -pred.score[q]))] = i
        for q in preds:
            for k in range(K):
                if np.isnan(pred.keypoints[q,k]).any() or (q in owner and g.visible[owner[q],k] == 0): continue
                sure = pred.confidence[q,k] if np.isfinite(pred.confidence[q,k]) else pred.score[q]
                rows[k].append((sure, q in owner and bool(right(q, owner[q], k))))
    def ap(k):
        best = sorted(rows[k], key=lambda r: -r[0])
        points = [(sum(h for _,h in best[:j+1])/found[k], sum(h for _,h in best[:j+1])/(j + 1)) for j in range(len(best))]
        total,last = 0.,0.
        for j,(recall,_) in enumerate(points):
            total += (recall - last)*max(p for _,p in points[j:])
            last = recall
        return total
    return [ap(k) if found[k] else np.nan for k in range(K)]


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_average_precision_per_keypoint_is_that_of_its_definition(seed):
    rng = np.random.default_rng(seed)
    people, pred, n = random_case(seed, 6, 14, 30, ties=False)
    people = people.replace(head=np.sqrt(people.area)/rng.uniform(2, 4, len(people)))
    conf = rng.random(pred.visible.shape); conf[rng.random(conf.shape) < .2] = np.nan
    gone = pred.keypoints.copy(); gone[rng.random(conf.shape) < .1] = np.nan
    pred = Instances.make(gone, image_id=pred.image_id, score=pred.score, confidence=conf, bbox=pred.bbox)
    if not ((people.visible > 0).any(1) & ~people.iscrowd).any(): return
    truth = data(people, n=n)
    got = mpii_multiperson_map(truth, pred)
    np.testing.assert_allclose(got['per_keypoint'], multiperson_by_loops(truth, pred), atol=1e-12)
    assert 0 <= got['mean'] <= 1 and got['people'] == ((people.visible > 0).any(1) & ~people.iscrowd).sum()


def test_multiperson_map_is_one_for_the_truth_and_zero_for_nothing_and_for_the_wrong_image():
    people, _, n = random_case(3)
    people = people[~people.iscrowd & (people.visible > 0).any(1)].replace(head=15.)
    truth,same = data(people, n=n + 1),people.replace(score=1.)
    assert mpii_multiperson_map(truth, same)['mean'] == 1 and mpii_multiperson_map(truth, same[:0])['mean'] == 0
    assert mpii_multiperson_map(truth, same.replace(image_id=n))['mean'] == 0


def test_multiperson_map_by_hand():
    "Two people, heads of 20 px, so 10 px are right: one found, one doubled with a lower score, one false alarm between"
    xy = np.concatenate([body(), body() + 100])
    truth = data(Instances.make(xy, image_id=0, head=20.))
    pred = Instances.make(np.concatenate([xy[:1] + [9,0], xy[:1] + 400, xy[:1], xy[1:] + [0,11]]), image_id=0, score=[.9,.8,.7,.6])
    each = mpii_multiperson_map(truth, pred)['per_keypoint'] # of the first person's two the first counts: both have all right, it has the higher score
    assert np.allclose(each, .5) # 1 of 2 found at precision 1; the one 11 px off is nobody's
    nearer = pred.replace(keypoints=np.concatenate([pred.keypoints[:3], xy[1:] + [0,10]]))
    assert np.allclose(mpii_multiperson_map(truth, nearer)['per_keypoint'], .5 + .5*2/4) # found at the fourth place


def test_unlabelled_keypoints_of_a_matched_person_are_not_judged_but_those_of_nobody_are():
    xy,v = body(),np.full((1, 17), 2); v[0,9] = 0
    both = np.concatenate([xy, xy + 200, xy + 300])
    truth = data(Instances.make(both[:2], np.concatenate([v, np.full((1, 17), 2)]), image_id=0, head=20.))
    pred = Instances.make(both, image_id=0, score=[.9, .5, .7])
    assert mpii_multiperson_map(truth, pred)['per_keypoint'][9] == .5 # the false alarm at .7 comes before the only labelled wrist
    assert mpii_multiperson_map(truth, pred[:2])['per_keypoint'][9] == 1


def test_groups_have_the_columns_of_the_published_table_and_leave_the_trunk_out():
    mpii = keypoint_groups(MPII.names)
    assert list(mpii) == ['head', 'shoulder', 'elbow', 'wrist', 'hip', 'knee', 'ankle'] and all(len(k) == 2 for k in mpii.values())
    assert {MPII.names[k] for ks in mpii.values() for k in ks} == set(MPII.names) - {'pelvis', 'thorax'}
    assert [len(k) for k in keypoint_groups(COCO.names).values()] == [5, 2, 2, 2, 2, 2, 2]


def test_area_under_precision_over_recall():
    assert area_ap([.9, .8, .7], [True, False, True], 2) == pytest.approx(.5 + .5*2/3)
    assert area_ap([], [], 3) == 0 and np.isnan(area_ap([.5], [False], 0)) and area_ap([.1, .9], [True, True], 4) == .5


@pytest.mark.parametrize('change, words', [
    (lambda g,p: (g.replace(head=np.nan), p), 'people have no head size'),
    (lambda g,p: (g.replace(visible=0, head=9.), p), 'no labelled person'),
    (lambda g,p: (g.replace(head=9.), p.replace(score=np.nan)), 'has no score')])
def test_multiperson_map_is_refused_in_words_where_it_means_nothing(change, words):
    people, pred, n = random_case(1)
    g,p = change(people, pred)
    with pytest.raises(ValueError, match=words): mpii_multiperson_map(data(g, n=n), p)


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_ap_of_boxes_is_that_of_pycocotools(seed):
    pytest.importorskip('pycocotools')
    from pycocotools.coco import COCO as Api
    from pycocotools.cocoeval import COCOeval
    rng,n = np.random.default_rng(seed),4
    image,found_image = np.sort(rng.integers(1, n + 1, 9)),rng.integers(1, n + 1, 14)
    boxes = np.concatenate([rng.uniform(0, 90, (9, 2)), rng.uniform(5, 60, (9, 2))], 1)
    found = np.concatenate([boxes + rng.normal(0, 3, boxes.shape), rng.uniform(1, 50, (5, 4))]).clip(.5)
    found_image[:9],score,crowd = image,rng.permutation(14)/14,rng.random(9) < .2
    rows = lambda i, b, **more: [dict(id=k + 1, image_id=int(x), category_id=1, bbox=y.tolist(), area=float(y[2]*y[3]), **{c: v[k].item() for c,v in more.items()})
                                 for k,(x,y) in enumerate(zip(i, b))]
    gt,dt = Api(),Api()
    head = dict(images=[dict(id=k) for k in range(1, n + 1)], categories=[dict(id=1, name='person')], info={})
    gt.dataset = dict(head, annotations=rows(image, boxes, iscrowd=crowd.astype(int)))
    dt.dataset = dict(head, annotations=rows(found_image, found, score=score, iscrowd=np.zeros(14, int)))
    with contextlib.redirect_stdout(io.StringIO()):
        gt.createIndex(); dt.createIndex()
        ev = COCOeval(gt, dt, 'bbox'); ev.evaluate(); ev.accumulate(); ev.summarize()
    ours = ap_of_boxes(image, boxes, found_image, found, score, n, crowd)
    assert np.allclose([ours[k] for k in ('AP', 'AP50', 'AP75')], ev.stats[:3])


def test_boxes_are_judged_only_where_a_model_said_its_own():
    truth = rendered_dataset(6, 3)
    g = truth.instances
    given = Instances.make(g.keypoints + 1, bbox=g.bbox, image_id=g.image_id, score=np.ones(len(g)))
    around = Instances.make(g.keypoints + 1, image_id=g.image_id, score=np.ones(len(g)))
    own = given.replace(bbox=g.bbox + [2, 2, -1, 3])
    for pred in (given, around, own[:0]): assert not says_boxes(truth, pred) and 'box AP' not in evaluate(truth, pred)
    assert evaluate(truth, own)['box AP'] == box_ap(truth, own)['AP'] > .6
    assert says_boxes(truth, own)
