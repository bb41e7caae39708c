"""PoseTrack's AP against `poseval`, the benchmark's own program. Needs POSELAB_ORACLE, the python of an environment with poseval and shapely
(poseval is in no registry; PYTHONPATH may point to a checkout of github.com/svenkreiss/poseval).

What differs on purpose: of two predictions with equally many right keypoints on one person, poseval takes the first of the file, we the surer; the
predictions here are listed surest first, so both say the same. Nor do two keypoints share one confidence: poseval has no rule for their order.
"""
import json, os, subprocess
from pathlib import Path
import numpy as np, pytest
from poselab.data.clips import rendered_clips
from poselab.evaluate.posetrack import posetrack_ap
from poselab.records import ImageInfo, Instances, PoseData
from test_posetrack import crowd

ORACLE = os.environ.get('POSELAB_ORACLE')

def by_poseval(truth, pred, folder):
    if not ORACLE: pytest.skip('no oracle: set POSELAB_ORACLE to a python with poseval')
    if subprocess.run([ORACLE, '-c', 'import poseval.evaluateAP'], capture_output=True).returncode: pytest.skip('the oracle has no poseval')
    def rows(t, im, predicted):
        on = np.isfinite(t.keypoints).all(-1) if predicted else t.visible > 0
        def one(i):
            xy,seen = np.nan_to_num(t.keypoints[i]).tolist(),on[i].tolist()
            return [xy, seen, None, t.confidence[i].tolist()] if predicted else [xy, seen, float(t.head[i])]
        return [one(i) for i in np.flatnonzero(t.image_id == im.id)]
    frames = [dict(truth=rows(truth.instances, im, False), pred=rows(pred, im, True), x=im.extra.get('ignore_regions_x', []),
        y=im.extra.get('ignore_regions_y', [])) for im in truth.images]
    (folder/'in.json').write_text(json.dumps(dict(names=truth.schema.names, frames=frames)))
    subprocess.run([ORACLE, str(Path(__file__).parent/'parity'/'poseval_ap.py'), str(folder/'in.json'), str(folder/'out.json')], check=True)
    return json.loads((folder/'out.json').read_text())

def surest_first(pred): return pred[np.lexsort((-pred.score, pred.image_id))]

@pytest.mark.parametrize('seed', range(6))
def test_random_crowds_get_the_same_numbers(seed, tmp_path):
    truth,pred = crowd(seed, frames=12, extra=6)
    pred = surest_first(pred)
    want,r = by_poseval(truth, pred, tmp_path),posetrack_ap(truth, pred)
    np.testing.assert_allclose(r['per_keypoint'], want['per_keypoint'], atol=1e-9)
    assert r['mean'] == pytest.approx(want['mean'])

def test_with_ignore_regions_too(tmp_path):
    truth,pred = crowd(21, frames=12, extra=6)
    corners = dict(ignore_regions_x=[[-20, 90, 60, -20], [150, 190, 170]], ignore_regions_y=[[-20, -20, 120, 250], [10, 40, 200]])
    truth = PoseData('r', truth.schema, [ImageInfo(im.id, im.file, 200, 200, video='film', frame=im.frame, extra=corners) for im in truth.images], truth.instances)
    pred = surest_first(pred)
    want,r = by_poseval(truth, pred, tmp_path),posetrack_ap(truth, pred)
    np.testing.assert_allclose(r['per_keypoint'], want['per_keypoint'], atol=1e-9)

def test_rendered_films_too(tmp_path):
    truth = rendered_clips(10, seed=4)
    rng,g = np.random.default_rng(0),truth.instances
    pred = g.replace(keypoints=g.keypoints + rng.normal(0, 4, g.keypoints.shape), score=rng.random(len(g)), confidence=rng.random(g.visible.shape))
    pred = surest_first(Instances.cat([pred, pred.replace(keypoints=pred.keypoints + 8, score=rng.random(len(g)), confidence=rng.random(g.visible.shape))]))
    want,r = by_poseval(truth, pred, tmp_path),posetrack_ap(truth, pred)
    np.testing.assert_allclose(r['per_keypoint'], want['per_keypoint'], atol=1e-9)
    assert .05 < want['mean'] < .95
