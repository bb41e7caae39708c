"What the buttons of the panel do, without a browser: the dataset shows originals plus log, and the label file is never touched"
import base64, json, os, subprocess, sys
from dataclasses import replace
from test_browse import fo  # noqa: F401  first, because it sets the database's name
import cv2, numpy as np, pytest
from poselab import browse, plugin
from poselab.audit import plant
from poselab.data.datasets import read_coco, write_coco
from poselab.data.figures import rendered_dataset
from poselab.evaluate.errors import Thresholds, diagnose, error_counts, plant_faults
from poselab.evaluate.impact import ap_gains
from poselab.records import PoseData, read_json


def spoilt_scene():
    "Dancers of whom some have their arms exchanged in the labels, and predictions with planted errors"
    clean = rendered_dataset(40, seed=3)
    pred, _ = plant_faults(clean, seed=0, rate=.1)
    return clean, *plant(clean, 'swap_arms', .05, seed=4)[:2], pred


@pytest.fixture
def shown(fo, tmp_path):  # noqa: F811
    clean, truth, rows, pred = spoilt_scene()
    file = write_coco(truth, tmp_path/'labels.json')
    doc = read_json(file)
    doc['info'] = dict(year=1.25); doc['annotations'] = [a | dict(mood=[None, {'x': 1e-9}]) for a in doc['annotations']]
    file.write_text(json.dumps(doc))
    truth = read_coco(file, truth.source)
    name = f'plugin_{os.getpid()}'
    images, people = browse.build(truth, pred, diagnose(truth, pred), name, tmp_path/'media')
    images.info['labels'] = str(file); images.save()
    yield clean, truth, rows, pred, images, people, file
    browse.delete_built(name)


def person(people, ann): return people.match({'ann_id': int(ann)}).first()


# --- bars, without a database ---------------------------------------------------------------------------------

def test_each_bar_says_what_it_stands_for():
    drawn = plugin.bars({'nose': {'swap': 1}, 'left_wrist': {'swap': 2, 'miss': 4}}, dict(miss='red', swap='blue', jitter='x'))
    assert [t['name'] for t in drawn['data']] == ['miss', 'swap']
    assert [dict(zip(t['ids'], t['x'])) for t in drawn['data']] == [{'miss|nose': 0, 'miss|left_wrist': 4}, {'swap|nose': 1, 'swap|left_wrist': 2}]
    assert plugin.bars({}, {})['data'] == []
    json.dumps(drawn)

def test_the_waterfall_adds_up():
    clean, truth, _, pred = spoilt_scene()
    gains = ap_gains(diagnose(truth, pred))
    fall = plugin.gain_bars(gains)['in_turn']['data'][0]
    ends = dict(zip(fall['y'], np.add(fall['base'], fall['x'])))
    assert ends['as it is'] == pytest.approx(gains['ap']) and all(ends[k] == pytest.approx(v) for k, v in gains['steps'].items())


# --- out of the dataset ---------------------------------------------------------------------------------------

def test_the_table_comes_back_as_it_went_in(shown):
    _, truth, _, pred, images, people, _ = shown
    back, g = plugin.truth_of(images), truth.instances
    order = [back.instances.id.tolist().index(i) for i in g.id]
    b = back.instances[order]
    np.testing.assert_allclose(np.where(g.visible[..., None] > 0, g.keypoints, 0), b.keypoints, atol=1e-9)
    np.testing.assert_array_equal(b.visible, g.visible); np.testing.assert_allclose(b.bbox, g.bbox, atol=1e-9)
    np.testing.assert_allclose(b.area, g.area); assert back.schema.names == truth.schema.names
    p = plugin.predictions_of(images)
    np.testing.assert_allclose(p.keypoints[np.argsort(p.id)], pred.keypoints, atol=1e-9)
    assert plugin.error_counts_of(people) == plugin.error_counts_of(images)
    assert sum(sum(c.values()) for c in plugin.error_counts_of(images).values()) == error_counts(diagnose(truth, pred))[:,1:].sum()

def test_gains_are_those_of_the_library_and_are_remembered(shown):
    _, truth, _, pred, images, people, _ = shown
    gains, want = plugin.gains_of(people), ap_gains(diagnose(truth, pred))
    assert gains['ap'] == pytest.approx(want['ap']) and gains['alone'] == pytest.approx(want['alone'])
    assert plugin.pair_of(images)[0].info['gains'] == gains

def test_after_a_build_with_other_predictions_gains_and_cases_are_theirs(fo, tmp_path):  # noqa: F811
    truth, name = rendered_dataset(6, seed=3, people=(1, 1)), f'newer_{os.getpid()}'
    poor, better = (plant_faults(truth, seed=0, rate=r)[0] for r in (.3, .05))
    images, people = browse.build(truth, poor, None, name, tmp_path)
    first, seen = plugin.gains_of(people), plugin.before_after(people, 'miss')
    browse.build(truth, better, None, name, tmp_path)
    assert plugin.gains_of(people)['ap'] == pytest.approx(ap_gains(diagnose(truth, better))['ap']) and plugin.gains_of(people)['ap'] > first['ap']
    assert seen[1] and plugin.before_after(people, 'miss')[1] != seen[1]
    browse.delete_built(name)

def test_errors_are_named_again_by_the_rules_of_the_build(fo, tmp_path):  # noqa: F811
    plain, name = rendered_dataset(4, seed=3, people=(1, 2)), f'rules_{os.getpid()}'
    pred, _ = plant_faults(plain, seed=0, rate=.2)
    wide = dict(oks_sigmas=tuple(2.5*s for s in plain.schema.oks_sigmas), flip=tuple(range(17)))
    strict, usual = Thresholds(good=.99, max_dets=7), Thresholds()
    for schema, rules in ((replace(plain.schema, name='my_own', **wide), usual), (replace(plain.schema, **wide), usual), (plain.schema, strict)):
        truth = replace(plain, schema=schema)
        d = diagnose(truth, pred, rules)
        images, people = browse.build(truth, pred, d, name, tmp_path)
        images.reload()  # from the database, as another process sees it
        assert plugin.schema_of(images) == schema and plugin.thresholds_of(images) == rules
        built = plugin.error_counts_of(images)
        assert sum(sum(c.values()) for c in built.values()) == error_counts(d)[:,1:].sum() != error_counts(diagnose(plain, pred))[:,1:].sum()
        plugin.refresh(people, images.values('image_id'))
        assert plugin.error_counts_of(images) == built == plugin.error_counts_of(people)
        assert browse.view_sheet(people, 1) is not None
    plugin.run_diagnosis(images, good=.9)
    assert plugin.thresholds_of(images) == Thresholds(good=.9, max_dets=7)
    browse.delete_built(name)

def test_a_dataset_of_somebody_else_is_refused_in_words(fo):  # noqa: F811
    ds = fo.Dataset(f'other_{os.getpid()}')
    with pytest.raises(ValueError, match='not built by poselab'): plugin.pair_of(ds)
    ds.delete()


@pytest.mark.parametrize('case', ['labels only', 'no predictions', 'nobody labelled'])
def test_a_build_with_one_side_only_is_read_corrected_and_written_out(fo, tmp_path, case):  # noqa: F811
    truth = rendered_dataset(3, seed=3, people=(1, 1))
    pred, _ = plant_faults(truth, seed=0)
    if case == 'nobody labelled': truth = PoseData('nobody', truth.schema, truth.images, truth.instances[:0], truth.source)
    name = f'one_side_{case.replace(" ", "_")}_{os.getpid()}'  # fresh: an earlier build would have declared the fields
    given = dict(zip(('labels only', 'no predictions', 'nobody labelled'), (None, pred[:0], pred)))[case]
    images, people = browse.build(truth, given, None, name, tmp_path/'media')
    assert [bool(s['truth_joints']) for s in people] == [case != 'nobody labelled']*3
    assert [bool(s['pred_joints']) for s in people] == [case == 'nobody labelled']*3
    assert plugin.catch_up(people) == 0 and not plugin.log_of(images).rows()
    if case != 'nobody labelled':
        g = truth.instances
        before = plugin.truth_of(images).instances
        plugin.mend(people, (g.image_id[0], g.id[0]), 'swap', 'left_wrist')
        after = plugin.truth_of(images).instances
        wrists = [truth.schema.index(f'{side}_wrist') for side in ('left', 'right')]
        np.testing.assert_allclose(after.keypoints[0, wrists], before.keypoints[0, wrists[::-1]], atol=1e-6)
        assert len(list(people)) == 3 and set(people.values('status')) == {'labelled' if case == 'labels only' else 'missed'}
    assert plugin.run_audit(images)
    assert 'written anew' in plugin.export(images, tmp_path/'out.json')
    assert len(read_coco(tmp_path/'out.json', False).instances) == len(truth.instances)
    browse.delete_built(name)


# --- bars filter ----------------------------------------------------------------------------------------------

def test_a_bar_filters_points_and_lines_together_on_both_datasets(shown):
    *_, images, people, _ = shown
    joint, errors = max(plugin.error_counts_of(images).items(), key=lambda c: sum(c[1].values()))
    error, n = max(errors.items(), key=lambda e: e[1])
    for ds in (images, people):
        view = plugin.view_of(ds, 'errors', f'{error}|{joint}')
        assert view.count_values('joint_errors.keypoints.label') == {error: n} == view.count_values('error_lines.polylines.error')
        assert set(view.values('joint_errors.keypoints.joint', unwind=True)) == {joint} and 0 < len(view) < len(ds)
    assert set(plugin.view_of(people, 'gains', error).distinct('joint_errors.keypoints.label')) == {error}
    assert len(plugin.view_of(people, 'gains', 'missed')) == people.count_values('status').get('missed', 0)
    with pytest.raises(ValueError, match='nothing to filter'): plugin.view_of(people, 'gains', 'scores')

def test_before_and_after_is_a_picture(shown):
    *_, images, people, _ = shown
    title, picture = plugin.before_after(people, 'miss')
    assert 'AP' in title and picture.startswith('data:image/jpeg;base64,') and len(picture) > 5000
    assert plugin.before_after(people, 'missed')[1] == ''


# --- findings -------------------------------------------------------------------------------------------------

def test_an_audit_draws_its_findings_and_lists_them_per_person(shown):
    _, truth, rows, _, images, people, _ = shown
    said = plugin.run_audit(images)
    images.reload(); people.reload()
    found = plugin.findings_in(images)
    assert said.startswith(f'{len(found)} findings') and [n for n, *_ in found] == sorted(n for n, *_ in found)
    arms = {f.person for *_, f in found if f.check == 'swap_arms'}
    assert arms and arms <= set(people.match({'checks': 'swap_arms'}).values('ann_id'))
    assert plugin.finding_counts_of(people)['swap_arms'] == {'open': len(arms)}
    view = plugin.view_of(people, 'findings', 'open|swap_arms')
    assert set(view.values('ann_id')) == arms and plugin.view_of(images, 'findings', 'open|swap_arms').count('findings.keypoints') == len(arms)

def test_accept_mends_the_person_in_place_reject_does_not_and_undo_brings_all_back(shown):
    clean, truth, rows, _, images, people, file = shown
    before = file.read_bytes()
    plugin.run_audit(images)
    n, _, f = next(r for r in plugin.findings_in(images, label='swap_arms') if r[2].person in truth.instances.id[rows])
    row = int(np.flatnonzero(truth.instances.id == f.person)[0])
    was, oks, tile = plugin.truth_of(images).instances, person(people, f.person).oks, person(people, f.person).filepath
    ids = people.values('id')

    plugin.respond(people, [n], 'accepted', by='me')
    now = plugin.truth_of(images)
    mine = now.instances[now.instances.id == f.person]
    np.testing.assert_allclose(mine.keypoints[0], np.where(clean.instances.visible[row][:, None] > 0, clean.instances.keypoints[row], 0), atol=.01)
    s = person(people, f.person)
    assert s.oks > oks and f.check not in s['checks'] and s.filepath == tile and people.values('id') == ids
    at, on = np.array(s.truth_joints.keypoints[0].points), mine.visible[0] > 0
    np.testing.assert_allclose(at[on], browse.crop_place(s.crop)(mine.keypoints[0])[on], atol=1e-9)
    assert plugin.finding_counts_of(images)['swap_arms']['accepted'] == 1
    others = now.instances.id != f.person
    np.testing.assert_allclose(now.instances.keypoints[others], was.keypoints[others], atol=1e-9)

    assert 'undone' in plugin.take_back(images)
    back = plugin.truth_of(images).instances
    np.testing.assert_allclose(back.keypoints, was.keypoints, atol=1e-9)
    assert person(people, f.person).oks == pytest.approx(oks) and f.check in person(people, f.person)['checks']

    plugin.respond(people, [n], 'rejected', 'she stands like that', by='me')
    np.testing.assert_allclose(plugin.truth_of(images).instances.keypoints, was.keypoints, atol=1e-9)
    assert plugin.findings_in(images, finding_id=n)[0][1] == 'rejected' and file.read_bytes() == before
    with pytest.raises(ValueError, match='No finding'): plugin.respond(people, [], 'accepted')

def test_predictions_keep_their_numbers_when_a_picture_is_shown_again(shown):
    *_, images, people, _ = shown
    ids = sorted(images.values('predictions.keypoints.det_id', unwind=True))
    errors = plugin.error_counts_of(images)
    plugin.refresh(images, images.values('image_id'))
    assert sorted(images.values('predictions.keypoints.det_id', unwind=True)) == ids and plugin.error_counts_of(images) == errors
    for s in people:
        if s.det_id >= 0: assert s.pred_joints.keypoints[0].det_id == s.det_id

@pytest.mark.parametrize('do, args', [('swap', {}), ('move', dict(x=20., y=30., keypoint='nose')), ('drop', dict(keypoint='left_hip')),
                                      ('visibility', dict(keypoint='left_hip', visible='1')), ('drop_person', {})])
def test_each_remedy_by_hand_and_its_undo(do, args, shown):
    _, truth, _, _, images, people, file = shown
    ann = int(truth.instances.id[3])
    sample = person(people, ann)
    plugin.run('fix_label', people, dict(do=do, why='test') | args, selected=[sample.id])
    now = plugin.truth_of(images).instances
    mine, s = now[now.id == ann], person(people, ann)
    if do == 'drop_person': assert not len(mine) and s.worst in ('removed', 'background', 'duplicate')
    if do == 'move': np.testing.assert_allclose(mine.keypoints[0,0], (20, 30), atol=1e-9)
    if do == 'drop': assert mine.visible[0,11] == 0 and np.isnan(s.truth_joints.keypoints[0].points[11]).all()
    if do == 'visibility': assert s.truth_joints.keypoints[0].visible[11] == 'occluded'
    plugin.run('undo_change', people, {})
    np.testing.assert_allclose(plugin.truth_of(images).instances.keypoints, plugin.truth_of(images, original=True).instances.keypoints, atol=1e-9)
    assert person(people, ann).worst == sample.worst and person(people, ann).truth_joints.keypoints[0].visible == sample.truth_joints.keypoints[0].visible

def test_a_remedy_that_cannot_be_is_refused_before_it_is_written(shown):
    *_, images, people, _ = shown
    for who, params, words in ((people.values('id')[:2], {}, '2 people'), ([], {}, '0 people'),
                               (people.values('id')[:1], dict(do='move', keypoint='tail', x=1, y=2), 'no keypoint')):
        with pytest.raises(ValueError, match=words): plugin.run('fix_label', people, params, selected=who)
    assert plugin.log_of(images).rows() == []
    with pytest.raises(ValueError, match='nothing to undo'): plugin.run('undo_change', people, {})
    with pytest.raises(ValueError, match='ends in .json'): plugin.run('export_labels', people, {})
    with pytest.raises(ValueError, match='between 0 and 1'): plugin.run('run_diagnosis', people, dict(good=2))

def test_other_thresholds_name_other_errors(shown):
    *_, images, people, _ = shown
    before = plugin.error_counts_of(images)
    plugin.run('run_diagnosis', people, dict(match=.1, good=.99, near=.5))
    total = lambda c: sum(sum(v.values()) for v in c.values())
    assert total(plugin.error_counts_of(images)) > total(before)

def test_a_label_that_is_selected_in_a_picture_is_meant(shown):
    *_, images, people, _ = shown
    plugin.run_audit(images)
    s = images.match({'findings.keypoints.label': 'swap_arms'}).first()
    label = next(k for k in s.findings.keypoints if k.label == 'swap_arms')
    who = plugin.chosen(images, labels=[dict(label_id=str(label.id), sample_id=str(s.id), field='findings')])
    assert who == dict(people=[(s.image_id, label.ann_id)], findings=[label.finding_id])
    sample = person(people, label.ann_id)
    assert label.finding_id in plugin.chosen(people, [sample.id])['findings']
    now = plugin.card(people, who['findings'])
    assert now['ann_id'] == label.ann_id and 'swap arms' in now['text'] and plugin.card(people, bar='open|nothing') == {}
    two = plugin.card_picture(people, label.finding_id)
    plugin.respond(people, [label.finding_id], 'accepted')
    one = plugin.card_picture(people, label.finding_id)
    wide = lambda uri: cv2.imdecode(np.frombuffer(base64.b64decode(uri.split(',')[1]), np.uint8), cv2.IMREAD_COLOR).shape
    assert (wide(two), wide(one)) == ((220, 444, 3), (220, 220, 3))

def test_forms_ask_what_is_needed(shown):
    *_, images, people, _ = shown
    names = lambda *args, **kw: [f['name'] for f in plugin.form(*args, **kw)]
    assert names('undo_change') == [] and names('fix_label', people) == ['do', 'keypoint', 'why']
    assert names('fix_label', people, dict(do='move')) == ['do', 'keypoint', 'x', 'y', 'why'] and names('fix_label', people, dict(do='drop_person')) == ['do', 'why']
    s = people.match({'status': 'matched'}).first()
    x = next(f for f in plugin.form('fix_label', people, dict(do='move', keypoint='nose'), (s.image_id, s.ann_id)) if f['name'] == 'x')
    assert x['default'] == pytest.approx(plugin.predicted(people, (s.image_id, s.ann_id), 'nose')[0]) and x['default'] > 0


# --- round trip -----------------------------------------------------------------------------------------------

def test_coco_to_fiftyone_to_coco_changes_only_what_was_fixed(shown, tmp_path):
    clean, truth, rows, _, images, people, file = shown
    old = read_json(file)
    plugin.run_audit(images)
    n, _, f = next(r for r in plugin.findings_in(images, label='swap_arms') if r[2].person in truth.instances.id[rows])
    plugin.run('answer_findings', people, dict(finding_id=n, verdict='accepted'))
    other = int(truth.instances.id[3])
    plugin.run('fix_label', people, dict(do='drop', keypoint='nose', why='behind the hat'), selected=[person(people, other).id])
    plugin.run('export_labels', people, dict(out=str(tmp_path/'out.json')))
    new = read_json(tmp_path/'out.json')
    assert [k for k in old if old[k] != new[k]] == ['annotations']
    differ = {a['id']: {k for k in a if a[k] != b[k]} for a, b in zip(old['annotations'], new['annotations']) if a != b}
    assert differ[f.person] == {'keypoints'} and differ.get(other, set()) <= {'keypoints', 'num_keypoints'} and set(differ) <= {f.person, other}
    log = json.loads((tmp_path/'out.changes.json').read_text())
    assert [r['verdict'] for r in log] == ['accepted', 'fixed'] and log[1]['why'] == 'behind the hat'
    with pytest.raises(ValueError, match='original'): plugin.run('export_labels', people, dict(out=str(file)))
    assert read_json(file) == old

def test_building_again_and_refreshing_shows_the_log_again(shown, tmp_path):
    _, truth, _, pred, images, people, file = shown
    ann = int(truth.instances.id[3])
    plugin.run('fix_label', people, dict(do='move', keypoint='nose', x=20., y=30.), selected=[person(people, ann).id])
    images, people = browse.build(truth, pred, diagnose(truth, pred), images.name.removesuffix('-images'), tmp_path/'media', labels=file)
    assert plugin.catch_up(images) == 1 and plugin.catch_up(people) == 0
    now = plugin.truth_of(images).instances
    np.testing.assert_allclose(now.keypoints[now.id == ann][0,0], (20, 30), atol=1e-9)

def test_labels_that_came_from_no_file_are_written_anew(shown, tmp_path):
    *_, images, people, _ = shown
    images.info['labels'] = ''; images.save()
    assert 'anew' in plugin.run('export_labels', people, dict(out=str(tmp_path/'out.json')))
    assert len(read_coco(tmp_path/'out.json', False).instances) == len(plugin.truth_of(images).instances)


# --- the plugin itself ----------------------------------------------------------------------------------------

def test_fiftyone_finds_the_plugin_with_all_operators(fo):  # noqa: F811
    import fiftyone.operators as foo
    ours = [o for o in foo.list_operators(enabled=True) if o.uri.startswith('@poselab/pose-errors')]
    assert {o.name for o in ours} == {*plugin.OPERATORS, 'pose_errors'}

@pytest.mark.parametrize('chosen', [True, False])
def test_a_plugin_folder_of_ones_own_stays_in_use(chosen, tmp_path):
    own = tmp_path/'plugins'/'mine'
    own.mkdir(parents=True)
    (own/'fiftyone.yml').write_text('name: "@me/mine"\n'); (own/'__init__.py').write_text('def register(p): pass\n')
    home = tmp_path/'data'
    env = os.environ | dict(FIFTYONE_DEFAULT_DATASET_DIR=str(home))
    env.pop('FIFTYONE_PLUGINS_DIR', None)
    if chosen: env['FIFTYONE_PLUGINS_DIR'] = str(tmp_path/'plugins')
    code = 'from poselab import browse; browse.start_database(); import fiftyone.plugins as fop; print(sorted(p.name for p in fop.list_plugins()))'
    for _ in range(2): out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, env=env, timeout=300)
    found = out.stdout.strip().splitlines()[-1]
    assert '@poselab/pose-errors' in found and ('@me/mine' in found) == chosen, out.stderr[-500:]
