"Average precision per keypoint by PoseTrack's own program; runs where `poseval` and shapely are installed. Arguments: json in, json out"
import contextlib, io, json, sys
from poseval import eval_helpers
from poseval.evaluateAP import computeMetrics

ID = {n: i for i,n in eval_helpers.Joint().name.items()} | {'head_bottom': eval_helpers.Joint().neck}

def person(names, xy, on, head=None, confidence=None):
    points = [dict(id=[ID[n]], x=[p[0]], y=[p[1]], **({} if confidence is None else dict(score=[c])))
        for n,p,o,c in zip(names, xy, on, confidence or [0]*len(xy)) if o]
    box = {} if head is None else dict(x1=[0], y1=[0], x2=[head/.6], y2=[0]) # a box with this diagonal
    return dict(annopoints=[dict(point=points)] if points else [], track_id=[0], **box)

def frame(names, f, key):
    regions = [dict(point=[dict(x=[a], y=[b]) for a,b in zip(*xy)]) for xy in zip(f['x'], f['y'])]
    people = [person(names, *p) for p in f[key]]
    return dict(annorect=people, ignore_regions=regions, seq_id=0)

doc = json.load(open(sys.argv[1]))
truth,pred = ([frame(doc['names'], f, key) for f in doc['frames']] for key in ('truth', 'pred'))
with contextlib.redirect_stdout(io.StringIO()):
    both = eval_helpers.removeIgnoredPoints(*eval_helpers.cleanupData(truth, pred))
    scores,labels,n,_ = eval_helpers.assignGTmulti(*both, .5)
    ap,*_ = computeMetrics(scores, labels, n)
order = [ID[n] for n in doc['names']]
json.dump(dict(per_keypoint=[float(ap[i, 0])/100 for i in order], mean=float(ap[-1, 0])/100), open(sys.argv[2], 'w'))
