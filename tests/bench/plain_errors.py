"""The diagnosis written down as its definitions read, one person and one keypoint after the other; AP by pycocotools.

The analysis code of Ronchi and Perona is not on the package index, so this stands in as the peer of `bench_errors`. It is written from
the definitions of pages 25 and 25a and shares no line with poselab: same names, same mends, same order.
"""
import contextlib, io
import numpy as np

MENDS = ('miss', 'swap', 'inversion', 'jitter', 'scores', 'background', 'duplicates', 'missed')


def similarity(xy, area, at, sigmas):
    "Of one pose with one true pose, keypoint by keypoint"
    d2 = ((at - xy)**2).sum(-1)
    return np.exp(-d2/(2*sigmas)**2/(area + np.spacing(1))/2)


def one_oks(g, p, at, sigmas):
    "OKS of one pose with person p"
    labelled = g['visible'][p] > 0
    if labelled.any(): return similarity(g['keypoints'][p], g['area'][p], at, sigmas)[labelled].mean()
    x, y, w, h = g['bbox'][p]
    lo, hi = np.array([x - w, y - h]), np.array([x + 2*w, y + 2*h])
    out = np.maximum(lo - at, 0) + np.maximum(at - hi, 0)
    return similarity(np.zeros_like(at), g['area'][p], out, sigmas).mean()


def choose(order, people, table, ignored, crowd, thr):
    "COCO's matching in one image: order and people are rows, table[q, p] their OKS"
    taken, got = set(), {}
    for q in order:
        best, who = thr, -1
        for p in sorted(people, key=lambda p: ignored[p]):
            if p in taken and not crowd[p]: continue
            if who >= 0 and not ignored[who] and ignored[p]: break
            if table[q,p] < best: continue
            best, who = table[q,p], p
        got[q] = who
        if who >= 0: taken.add(who)
    return got


def name(g, people, p, at, k, flip, sigmas, labelled):
    "Name of one keypoint of a prediction that was matched with person p, and the similarity that named it"
    def near(o, j):
        if g['visible'][o][j] == 0: return -1.
        d2 = ((at[k] - g['keypoints'][o][j])**2).sum()
        return float(np.exp(-d2/(2*sigmas[k])**2/(g['area'][o] + np.spacing(1))/2))
    if not labelled: return 'unlabelled', 0.
    own, mirror = near(p, k), near(p, flip[k])
    other = max([near(o, j) for o in people if o != p for j in (k, flip[k])], default=-1.)
    best = max(own, mirror, other)
    if best < .5: return 'miss', .5
    if own >= best: return ('good', own) if own >= .85 else ('jitter', .85)
    return ('inversion', best) if mirror >= best else ('swap', best)


def likeness(a, b, sigmas):
    "OKS of two predictions"
    area = np.mean([np.ptp(x, axis=0).prod() for x in (a, b)])
    return similarity(a, area, b, sigmas).mean()


def ideal_scores(g, people, dets, xy, ignored, sigmas):
    "Largest OKS with anybody, then soft suppression, in one image; of equals the first in dets goes first"
    left = {q: max([one_oks(g, p, xy[q], sigmas) for p in people if not ignored[p]], default=0.) for q in dets}
    done = {}
    while left:
        top = max(left, key=left.get)
        done[top] = left.pop(top)
        for q in left: left[q] *= np.exp(-likeness(xy[top], xy[q], sigmas)**2/.5)
    return done


def pycocotools_ap(truth, g, people, xy, score, rows, image):
    "AP over all sizes"
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval
    flat = lambda xy, v: np.c_[xy, v].ravel().tolist()
    anns = [dict(id=i+1, image_id=int(g['image_id'][i]), category_id=1, iscrowd=int(g['iscrowd'][i]), area=float(g['area'][i]), bbox=g['bbox'][i].tolist(),
                 num_keypoints=int((g['visible'][i] > 0).sum()), keypoints=flat(g['keypoints'][i], g['visible'][i])) for i in people]
    dets = [dict(image_id=int(image[q]), category_id=1, score=float(score[q]), keypoints=flat(xy[q], np.ones(len(xy[q])))) for q in rows]
    with contextlib.redirect_stdout(io.StringIO()):
        api = COCO()
        api.dataset = dict(images=[dict(id=i.id) for i in truth.images], annotations=anns, categories=[dict(id=1, name='person')])
        api.createIndex()
        e = COCOeval(api, api.loadRes(dets), 'keypoints')
        e.params.kpt_oks_sigmas = np.asarray(truth.schema.oks_sigmas)
        e.params.areaRng, e.params.areaRngLbl = [[0, 1e10]], ['all'] # no more than is asked for
        e.evaluate(); e.accumulate()
    found = e.eval['precision']
    return float(found[found > -1].mean())


def plain_diagnosis(truth, pred, kinds=MENDS, max_dets=20):
    "Counts of names and statuses, number of scoring errors, and the AP gains, alone and one after the other"
    g = {c: getattr(truth.instances, c) for c in ('keypoints', 'visible', 'area', 'bbox', 'image_id', 'iscrowd')}
    sigmas, flip = np.asarray(truth.schema.oks_sigmas), truth.schema.flip
    ignored = [bool(c) or not (v > 0).any() for c, v in zip(g['iscrowd'], g['visible'])]
    people_of, dets_of = {i.id: [] for i in truth.images}, {i.id: [] for i in truth.images}
    for p, i in enumerate(g['image_id']): people_of[i].append(p)
    for q, i in enumerate(pred.image_id): dets_of[i].append(q)
    names, goal, owner, status, missed, scoring, rows = {}, {}, {}, {}, set(), 0, []
    for image, dets in dets_of.items():
        people = people_of[image]
        dets = sorted(dets, key=lambda q: -pred.score[q])[:max_dets]
        rows += dets
        table = {(q, p): one_oks(g, p, pred.keypoints[q], sigmas) for q in dets for p in people}
        got = choose(dets, people, table, ignored, g['iscrowd'], .1)
        taker = {p: q for q, p in got.items() if p >= 0 and not ignored[p]}
        missed |= {p for p in people if not ignored[p] and p not in taker}
        real = [p for p in people if not ignored[p]]
        favourite = {q: max(real, key=lambda p: table[q,p], default=None) for q in dets}
        for q in dets:
            p, top = got[q], max([table[q,o] for o in people], default=0.)
            if p >= 0: status[q] = 'on_ignored' if ignored[p] else 'matched'
            elif top < .1: status[q] = 'background'
            else:
                f = favourite[q]
                good_half = f is not None and f in taker and top > table[taker[f],f]
                status[q] = 'good half' if good_half else 'duplicate'
            if status[q] == 'matched':
                owner[q] = p
                for k in range(len(sigmas)):
                    names[q,k], goal[q,k] = name(g, people, p, pred.keypoints[q], k, flip, sigmas, g['visible'][p][k] > 0)
        for p in real:
            mine = [q for q in dets if favourite[q] == p and table[q,p] >= .5]
            if len(mine) > 1:
                surest, best = max(mine, key=lambda q: pred.score[q]), max(mine, key=lambda q: table[q,p])
                scoring += surest != best

    def ap_after(done):
        xy, score = pred.keypoints.copy(), pred.score.copy()
        for (q, k), error in names.items():
            if error not in done: continue
            p = owner[q]
            away = xy[q,k] - g['keypoints'][p][k]
            r = np.sqrt(-2*g['area'][p]*(2*sigmas[k])**2*np.log(goal[q,k]))*(1 - 1e-9)
            xy[q,k] = g['keypoints'][p][k] + away/np.sqrt((away**2).sum())*r
        stay = [q for q in rows if not (status[q] == 'background' and 'background' in done or status[q] == 'duplicate' and 'duplicates' in done)]
        if 'scores' in done:
            for image, people in people_of.items():
                dets = sorted((q for q in dets_of[image] if q in status), key=lambda q: -pred.score[q])
                new = ideal_scores(g, people, dets, xy, ignored, sigmas)
                for q, s in new.items(): score[q] = s
        people = [p for p in range(len(g['area'])) if not (p in missed and 'missed' in done)]
        return pycocotools_ap(truth, g, people, xy, score, stay, pred.image_id)

    ap = ap_after(())
    alone = {k: ap_after((k,)) - ap for k in kinds}
    steps = {k: ap_after(kinds[:i+1]) if i else ap + alone[k] for i, k in enumerate(kinds)}
    count = lambda values: {v: sum(x == v for x in values) for v in sorted(set(values))}
    return dict(errors=count(list(names.values())), status=count(list(status.values())), missed=len(missed), scoring=scoring,
                gains=dict(ap=ap, alone=alone, steps=steps))
