"Poses as places in the App: read from the dataset, plotted and sorted with FiftyOne Brain"
from test_browse import fo  # noqa: F401  fixture; first, because it sets the database's name
import os, numpy as np, pytest
from dataclasses import replace
from poselab import browse, posespace
from poselab.compare import pose_vectors, rarity
from poselab.data.figures import rendered_dataset
from poselab.evaluate.errors import plant_faults
from poselab.records import Instances


@pytest.fixture(scope='module')
def built(fo, tmp_path_factory):  # noqa: F811
    pytest.importorskip('fiftyone.brain')
    truth = rendered_dataset(10, seed=3)
    truth.instances.visible[2, 4:] = 0; truth.instances.visible[5, 9] = 0
    pred = plant_faults(truth, seed=0)[0]
    pred = Instances.cat([pred, pred[:1].replace(score=.1)])
    pred.keypoints[-1] -= 5000
    name = f'space_{os.getpid()}'
    yield truth, pred, name, browse.build(truth, pred, None, name, tmp_path_factory.mktemp('space'))[1]
    browse.delete_built(name)


def test_poses_come_from_the_label_and_from_the_prediction_where_there_is_none(built):
    truth, pred, name, people = built
    ids, xy = posespace.stored_poses(name)
    g, row = truth.instances, {i: r for r, i in enumerate(ids)}
    assert ids == people.values('id')
    for i, ann, det in zip(*people.values(['id', 'ann_id', 'det_id'])):
        p = np.flatnonzero(g.id == ann)
        want = np.where(g.visible[p[0], :, None] > 0, g.keypoints[p[0]], np.nan) if len(p) else pred.keypoints[det]
        np.testing.assert_allclose(xy[row[i]], want, atol=1e-6)
    assert -1 in people.values('ann_id')


def test_a_label_that_moves_in_the_dataset_moves_in_the_space(built, fo):  # noqa: F811
    truth, _, name, _ = built
    images = fo.load_dataset(f'{name}-images')
    sample = images.first()
    label = sample.ground_truth.keypoints[0]
    before = label.points[0]
    label.points[0] = [.5, .5]; sample.save()
    ids, xy = posespace.stored_poses(name)
    i = fo.load_dataset(f'{name}-people').values('ann_id').index(label.ann_id)
    np.testing.assert_allclose(xy[i, 0], browse.from_rel([.5, .5], (256, 192)))
    label.points[0] = before; sample.save()


def test_the_plot_and_the_sorting_hold_everybody_with_a_pose(built, fo):  # noqa: F811
    _, _, name, people = built
    view = posespace.add_pose_space(name, 'pca')
    again = posespace.add_pose_space(name, 'pca')  # runs of the same name are replaced
    ids, xy = posespace.stored_poses(name)
    v = pose_vectors(xy, np.isfinite(xy).all(-1))
    known = np.isfinite(v).all(1)
    assert len(view) == len(again) == known.sum() == len(people) - 1
    people.reload()
    assert people.load_brain_results('pose').points.shape == (known.sum(), 2) and people.list_workspaces() == ['pose space']
    np.testing.assert_allclose(people.values('rarity'), rarity(v), equal_nan=True, rtol=1e-5)
    at = ids.index(view.first().id)
    want = [ids[i] for i in np.argsort(np.where(known, np.linalg.norm(v - v[at], axis=1), np.inf))[:6]]
    assert posespace.similar_people(name, view.first(), 6).values('id') == want


def test_what_is_missing_is_named_with_a_remedy(built, fo, tmp_path, monkeypatch):  # noqa: F811
    truth, pred, name, people = built
    with pytest.raises(ValueError, match="no dataset 'nobody-images': build 'nobody' first"): posespace.add_pose_space('nobody')
    two = truth.subset(image_ids=[truth.images[0].id])
    two = replace(two, schema=replace(two.schema, name='my_own'))  # no card is called that
    two.instances.visible[:, 3:] = 0
    browse.build(two, None, None, f'two_{os.getpid()}', tmp_path)
    with pytest.raises(ValueError, match='0 people with six'): posespace.add_pose_space(f'two_{os.getpid()}')
    with pytest.raises(ValueError, match=r"no similarity of poses yet: add_pose_space\('two_"): posespace.similar_people(f'two_{os.getpid()}', 'x')
    browse.delete_built(f'two_{os.getpid()}')
    monkeypatch.setattr(posespace, 'find_spec', lambda name: None)
    with pytest.raises(RuntimeError, match='pip install fiftyone-brain'): posespace.add_pose_space(name)
