"PoseTrack's average precision against a plain loop, worked cases, what is left out, and what evaluate makes of it"
import math
import numpy as np, pytest
from hypothesis import given, strategies as st
from poselab.data.clips import by_condition, rendered_clips
from poselab.data.datasets import read_any
from poselab.evaluate.metrics import evaluate
from poselab.evaluate.posetrack import (area_ap, group_means, ignore_regions, in_polygon, judged_frames, keypoint_ap, keypoint_groups,
    mpii_multiperson_map, posetrack_ap)
from poselab.records import ImageInfo, Instances, PoseData, data_root
from poselab.schema import load_schema

CARD = load_schema('posetrack15')

def plain_loop(truth, pred, thr=.5):
    "The definition, one keypoint of one pose of one frame at a time; own code, shares nothing with the library"
    K = truth.schema.num_keypoints
    claims,count = [[] for _ in range(K)],[0]*K
    def near(g, p, k):
        x,y = p.keypoints[0, k]; a,b = g.keypoints[0, k]
        return g.visible[0, k] > 0 and math.hypot(x - a, y - b) <= thr*g.head[0]
    for im in truth.images:
        people = [truth.instances[i] for i in np.flatnonzero(truth.instances.image_id == im.id)]
        people = [g for g in people if (g.visible > 0).any()]
        poses = [pred[i] for i in np.flatnonzero(pred.image_id == im.id)]
        if not people: continue
        for g in people:
            for k in range(K): count[k] += int(g.visible[0, k] > 0)
        share = [[sum(near(g, p, k) for k in range(K))/sum(g.visible[0] > 0) for g in people] for p in poses]
        wants = [max(range(len(people)), key=lambda j: s[j]) for s in share]
        owner = {}
        for j in range(len(people)):
            asks = [i for i in range(len(poses)) if wants[i] == j and share[i][j] > 0]
            if asks: owner[max(asks, key=lambda i: (share[i][j], poses[i].score[0]))] = j
        for i,p in enumerate(poses):
            for k in range(K):
                if np.isnan(p.keypoints[0, k]).any(): continue
                sure = p.confidence[0, k] if np.isfinite(p.confidence[0, k]) else p.score[0]
                claims[k].append((sure, i in owner and near(people[owner[i]], p, k)))
    out = []
    for k in range(K):
        right,curve = 0,[]
        for n,(_,ok) in enumerate(sorted(claims[k], key=lambda c: -c[0]), 1):
            right += ok
            curve.append((right, right/n))
        area = sum(max(p for r,p in curve if r >= step) for step in range(1, right + 1))
        out.append(area/count[k] if count[k] else math.nan)
    return np.array(out)

def crowd(seed, frames=4, spread=30., lost=.2, forgotten=.2, extra=2):
    "Frames of random people, and predictions that are off, missing, or of nobody"
    rng = np.random.default_rng(seed)
    per = rng.integers(0, 5, frames)
    n = int(per.sum())
    image_id = np.repeat(np.arange(1, frames + 1), per)
    centre = rng.uniform(0, 150, (n, 1, 2))
    xy = centre + rng.uniform(0, 60, (n, 15, 2))
    v = np.where(rng.random((n, 15)) < lost, 0, 2)
    people = Instances.make(xy, v, area=3600., image_id=image_id, head=rng.uniform(8, 30, n))
    keep = rng.random(n) > forgotten
    guess = xy[keep] + rng.normal(0, 1, (keep.sum(), 15, 2))*rng.uniform(1, spread, (keep.sum(), 1, 1))
    ghosts = rng.uniform(0, 200, (extra, 15, 2))
    xy2,ids = np.concatenate([guess, ghosts]),np.concatenate([image_id[keep], rng.integers(1, frames + 1, extra)])
    xy2[rng.random(xy2.shape[:2]) < .1] = np.nan
    pred = Instances.make(xy2, image_id=ids, score=rng.random(len(ids)), confidence=rng.random(xy2.shape[:2]))
    images = [ImageInfo(i, f'{i}.png', 200, 200, video='film', frame=i) for i in range(1, frames + 1)]
    return PoseData('crowd', CARD, images, people), pred

@given(st.integers(0, 10**6))
def test_the_definition_done_slowly_gives_the_same(seed):
    truth,pred = crowd(seed)
    if not (truth.instances.visible > 0).any(): return
    r,slow = posetrack_ap(truth, pred),plain_loop(truth, pred)
    np.testing.assert_allclose(r['per_keypoint'], slow, atol=1e-12)
    assert r['mean'] == pytest.approx(np.nanmean(slow))

def two(head=20.):
    pose = np.random.default_rng(3).uniform(0, 80, (1, 15, 2))
    people = Instances.make(np.concatenate([pose, pose + [200, 0]]), area=6400., image_id=1, head=head)
    return PoseData('two', CARD, [ImageInfo(1, 'a.png', 400, 200, video='film', frame=0)], people)

def test_a_case_on_paper():
    data = two()
    exact = data.instances.keypoints
    pred = Instances.make(np.concatenate([exact[:1], exact[:1] + [0, 900], exact[1:]]), image_id=1, score=[.9, .8, .7])
    r = posetrack_ap(data, pred) # hit, false alarm, hit: 1/2 of recall at precision 1, 1/2 at 2/3
    assert r['per_keypoint'] == pytest.approx(np.full(15, .5 + .5*2/3)) and r['people'] == 2 and r['frames'] == 1

def test_half_a_head_is_the_limit():
    data = two(head=20.)
    for px,ap in ((9.99, 1.), (10.01, 0.)):
        xy = data.instances.keypoints.copy(); xy[:, 0, 0] += px # the noses
        assert posetrack_ap(data, data.instances.replace(keypoints=xy, score=1.))['per_keypoint'][0] == ap

def test_best_and_worst():
    data = two()
    g = data.instances
    assert posetrack_ap(data, g.replace(score=1.))['mean'] == 1 and posetrack_ap(data, g[:0].replace(score=1.))['mean'] == 0
    assert posetrack_ap(data, g.replace(score=1., keypoints=g.keypoints + 1000))['mean'] == 0

def test_a_keypoint_without_a_label_counts_as_wrong_here_and_not_in_mpii():
    data = two()
    v = data.instances.visible.copy(); v[0, 7] = 0
    data.instances = data.instances.replace(visible=v)
    said = data.instances.replace(score=[.9, .5]) # the surer of the two speaks of a wrist that nobody labelled
    assert posetrack_ap(data, said)['per_keypoint'][7] == .5 and mpii_multiperson_map(data, said)['per_keypoint'][7] == 1
    silent = said.keypoints.copy(); silent[0, 7] = np.nan
    assert posetrack_ap(data, said.replace(keypoints=silent))['mean'] == 1

def test_the_two_means_of_the_published_columns():
    for row,over15,over7 in (([89.9, 91.4, 88.8, 84.8, 88.5, 87.8, 81.0], 87.62, 87.46), ([86.7, 89.3, 85.6, 82.1, 85.0, 83.9, 79.3], 84.70, 84.56),
            ([87.2, 89.1, 85.2, 82.4, 85.1, 83.4, 79.2], 84.69, 84.51)):
        groups = keypoint_groups(CARD.names)
        each = np.array([next(c for (g,ks),c in zip(groups.items(), row) if k in ks) for k in range(15)])
        assert each.mean() == pytest.approx(over15, abs=.006) and np.mean(list(group_means(each, CARD.names).values())) == pytest.approx(over7, abs=.006)
        assert list(map(len, groups.values())) == [3, 2, 2, 2, 2, 2, 2]

def test_ears_that_nobody_labels_are_not_in_the_mean():
    data = rendered_clips(3, seed=2, card='posetrack', kinds=['clean'])
    r = posetrack_ap(data, data.instances.replace(score=1., keypoints=np.where((data.instances.visible > 0)[..., None], data.instances.keypoints, np.nan)))
    assert np.isnan(r['per_keypoint'][3:5]).all() and r['mean'] == r['mean_groups'] == 1

# ---- what is left out

def test_frames_without_labels_are_skipped_with_what_was_predicted_there():
    truth,pred = crowd(5)
    said = posetrack_ap(truth, pred)
    more = PoseData('more', CARD, truth.images + [ImageInfo(9, '9.png', 200, 200, video='film', frame=9, extra=dict(is_labeled=False)),
        ImageInfo(10, '10.png', 200, 200, video='film', frame=10)], truth.instances)
    alarms = Instances.cat([pred, pred.replace(image_id=9, score=2.), pred.replace(image_id=10, score=2.)])
    assert posetrack_ap(more, alarms)['mean'] == said['mean']
    told = PoseData('told', CARD, [ImageInfo(im.id, im.file, 200, 200, video='film', frame=im.frame, extra=dict(is_labeled=im.id != 2)) for im in truth.images], truth.instances)
    assert posetrack_ap(told, pred)['frames'] == said['frames'] - (2 in truth.instances.image_id)

def with_region(data, x, y):
    return PoseData('r', CARD, [ImageInfo(im.id, im.file, im.width, im.height, video=im.video, frame=im.frame,
        extra=dict(ignore_regions_x=[x], ignore_regions_y=[y])) for im in data.images], data.instances)

def test_a_region_swallows_people_and_alarms():
    data = two()
    g = data.instances
    right = with_region(data, [150, 400, 400, 150], [-50, -50, 200, 200]) # around the second person
    first = g[:1].replace(score=1.)
    assert posetrack_ap(data, first)['mean'] == .5 and posetrack_ap(right, first)['mean'] == 1 and posetrack_ap(right, first)['people'] == 1
    alarm = Instances.cat([first, g[1:].replace(score=2., keypoints=g.keypoints[1:] + 20)])
    assert posetrack_ap(right, alarm)['mean'] == 1 > posetrack_ap(data, alarm)['mean']

@given(st.integers(0, 10**6), st.integers(3, 9))
def test_inside_a_polygon_is_what_opencv_says(seed, corners):
    import cv2
    rng = np.random.default_rng(seed)
    polygon,points = rng.integers(0, 100, (corners, 2)).astype(np.float32),rng.uniform(-5, 105, (40, 2))
    want = np.array([cv2.pointPolygonTest(polygon, p.tolist(), False) for p in points])
    far = np.abs([cv2.pointPolygonTest(polygon, p.tolist(), True) for p in points]) > 1e-3
    assert (in_polygon(points, polygon)[far] == (want[far] > 0)).all()

def test_regions_that_do_not_pair_up_are_refused_and_slivers_ignored():
    with pytest.raises(ValueError, match='do not belong together'): ignore_regions(ImageInfo(1, 'a', 9, 9, extra=dict(ignore_regions_x=[[1, 2, 3]], ignore_regions_y=[[1, 2]])))
    assert ignore_regions(ImageInfo(1, 'a', 9, 9, extra=dict(ignore_regions_x=[[1, 2], [0, 5, 5]], ignore_regions_y=[[1, 2], [0, 0, 5]])))[0].tolist() == [[0, 0], [5, 0], [5, 5]]
    assert ignore_regions(ImageInfo(1, 'a', 9, 9)) == []

@pytest.mark.parametrize('spoil,say', [(dict(head=np.nan), 'no head size'), (dict(visible=0), 'no labelled person')])
def test_what_cannot_be_judged_is_an_error(spoil, say):
    data = two()
    pred = data.instances.replace(score=1.)
    data.instances = data.instances.replace(**spoil)
    with pytest.raises(ValueError, match=say): posetrack_ap(data, pred)

def test_predictions_must_fit():
    data = two()
    with pytest.raises(ValueError, match='no score'): posetrack_ap(data, data.instances)
    with pytest.raises(ValueError, match='15 keypoints'): posetrack_ap(data, Instances.empty(17))
    with pytest.raises(ValueError, match='image ids'): posetrack_ap(data, data.instances.replace(image_id=77, score=1.))

# ---- conditions, and evaluate

def test_conditions_are_judged_apart():
    data = rendered_clips(8, seed=3)
    pred = data.instances.replace(score=1., keypoints=np.where((data.instances.visible > 0)[..., None], data.instances.keypoints, np.nan))
    for ids in by_condition(data).values():
        if ids: assert posetrack_ap(data.subset(ids), pred[np.isin(pred.image_id, ids)])['mean'] == 1

def test_evaluate_gives_films_posetracks_and_crowds_mpiis_number():
    film = two()
    out = evaluate(film, film.instances.replace(score=1.))
    assert out['PoseTrackAP'] == out['PoseTrackAP groups'] == out['PoseTrackAP wrist'] == out['PoseTrackAP nose'] == 1 and 'MPII-mAP' not in out
    still = PoseData('still', CARD, [ImageInfo(1, 'a.png', 400, 200)], film.instances)
    out = evaluate(still, film.instances.replace(score=1.))
    assert out['MPII-mAP'] == out['MPII-mAP head'] == 1 and 'PoseTrackAP' not in out

def test_evaluate_says_nothing_where_heads_or_scores_or_company_are_missing():
    film = two()
    pred = film.instances.replace(score=1.)
    assert 'PoseTrackAP' not in evaluate(PoseData('x', CARD, film.images, film.instances.replace(head=[20., np.nan])), pred)
    assert 'PoseTrackAP' not in evaluate(film, film.instances)
    alone = PoseData('x', CARD, [ImageInfo(1, 'a.png', 400, 200)], film.instances[:1])
    assert 'MPII-mAP' not in evaluate(alone, pred[:1])

# ---- real files

def test_the_labelled_frames_of_posetrack18_judge_themselves():
    root = data_root()
    if root is None: pytest.skip('no shared data: set POSELAB_DATA')
    data = read_any(root/'mmpose_samples'/'posetrack18'/'annotations'/'test_posetrack18_val.json')
    seen = judged_frames(data, data.instances.replace(score=1.))[0].instances
    assert (seen.visible <= data.instances.visible).all() and [len(ignore_regions(im)) for im in data.images] == [4, 2, 9]
    pred = data.instances.replace(score=1., keypoints=np.where((data.instances.visible > 0)[..., None], data.instances.keypoints, np.nan))
    r = posetrack_ap(data, pred)
    assert r['mean'] == 1 and np.isnan(r['per_keypoint'][3:5]).all() and r['frames'] == 3
    assert evaluate(data, pred)['PoseTrackAP'] == 1
