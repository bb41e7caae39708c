"A correction is a line in a log: nothing is lost, nothing else changes, and it can be taken back"
import copy, csv, gzip, json, multiprocessing, os, warnings
import numpy as np, pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from poselab.audit import Finding, Findings, audit, plant
from poselab.corrections import Change, ChangeLog, answer, changes_of, corrected, export_coco, remedy, spare, write_corrected
from poselab.data.datasets import read_coco, write_coco
from poselab.data.figures import rendered_dataset
from poselab.records import read_json
from poselab.schema import load_schema

COCO = load_schema('coco')
DATA = rendered_dataset(4, seed=1, people=(2, 3))
PEOPLE = list(zip(DATA.instances.image_id.tolist(), DATA.instances.id.tolist()))


@pytest.fixture
def labels(tmp_path):
    return write_coco(DATA, tmp_path/'labels.json')

def change(row=0, do='swap', *keypoints, **args):
    image, annotation = PEOPLE[row]
    return Change(annotation, image, remedy(COCO, do, *keypoints, **args), 'for a test')

def differing(a, b): return [i for i, (x, y) in enumerate(zip(a, b)) if x != y]


# --- remedies ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('args, words', [
    (('turn',), 'no remedy'), (('move', 'nose'), 'takes to'), (('swap', 'tail'), "no keypoint 'tail'"),
    (('drop',), 'one or more'), (('box', 'nose'), 'takes bbox')])
def test_a_remedy_that_makes_no_sense_is_refused_in_words(args, words):
    with pytest.raises(ValueError, match=words): remedy(COCO, *args)

@pytest.mark.parametrize('do, keypoints, args', [
    ('move', ['nose'], dict(to=(1, float('nan')))), ('move', ['nose'], dict(to='here')), ('visibility', ['nose'], dict(visible=3)),
    ('box', [], dict(bbox=(1, 2, 0, 4))), ('box', [], dict(bbox=(1, 2, 3))), ('area', [], dict(area=-1)), ('area', [], dict(area=None))])
def test_a_remedy_with_odd_numbers_names_the_value(do, keypoints, args):
    with pytest.raises(ValueError, match=f'{do}: {next(iter(args))}='): remedy(COCO, do, *keypoints, **args)

def test_mirror_partners_come_along_and_no_names_mean_everybody():
    assert remedy(COCO, 'swap', 'left_wrist') == dict(do='swap', keypoints=[9, 10])
    assert remedy(COCO, 'swap')['keypoints'] == list(range(17))

def test_each_remedy_changes_what_it_says_and_nothing_else():
    g, xy = DATA.instances, (12.5, 30)
    def after(*args, **kw): return corrected(DATA, [change(0, *args, **kw)]).instances
    swapped = after('swap', 'left_hip')
    assert (swapped.keypoints[0,11] == g.keypoints[0,12]).all() and (swapped.keypoints[0,:11] == g.keypoints[0,:11]).all()
    assert after('move', 'nose', to=xy).keypoints[0,0].tolist() == list(xy)
    assert after('drop', 'nose').visible[0,0] == 0 and after('visibility', 'nose', visible=1).visible[0,0] == 1
    assert after('box', bbox=(1, 2, 3, 4)).bbox[0].tolist() == [1, 2, 3, 4] and after('area', area=7).area[0] == 7
    assert after('drop_person').id.tolist() == g.id[1:].tolist()
    for out in (swapped, after('drop', 'nose'), after('area', area=7)): np.testing.assert_array_equal(out.keypoints[1:], g.keypoints[1:])

def test_a_keypoint_that_is_given_a_place_is_labelled():
    out = corrected(DATA, [change(0, 'drop', 'nose'), change(0, 'move', 'nose', to=(5, 6))]).instances
    assert out.visible[0,0] == 2 and out.keypoints[0,0].tolist() == [5, 6]

def test_a_keypoint_without_a_place_is_moved_before_it_is_visible():
    drop, seen = change(0, 'drop', 'nose'), change(0, 'visibility', 'nose', visible=2)
    data = copy.deepcopy(corrected(DATA, [drop]))
    data.instances.keypoints[0,0] = 0
    with pytest.raises(ValueError, match='nose is not labelled.*move it first'): corrected(data, [seen])
    out = corrected(data, [change(0, 'move', 'nose', to=(5, 6)), change(0, 'visibility', 'nose', visible=1)]).instances
    assert out.visible[0,0] == 1 and out.keypoints[0,0].tolist() == [5, 6]
    assert corrected(data, [change(0, 'visibility', 'nose', visible=0)]).instances.visible[0,0] == 0

@pytest.mark.parametrize('x, y, fits', [(-1, -1, True), (1.9, 1.9, True), (1e7, .5, False), (.5, -1e7, False), (2.1, .5, False)])
def test_a_place_far_outside_the_picture_is_refused(x, y, fits):
    info = DATA.info(PEOPLE[0][0])
    move = change(0, 'move', 'nose', to=(x*info.width, y*info.height))
    if fits: assert corrected(DATA, [move]).instances.keypoints[0,0,0] == x*info.width; return
    with pytest.raises(ValueError, match=f'nose to .* far outside the picture of {info.width} x {info.height}'): corrected(DATA, [move])

def test_the_original_data_stay_and_people_keep_their_order():
    before = copy.deepcopy(DATA.instances)
    out = corrected(DATA, [change(r, 'swap') for r in (5, 1, 3)])
    np.testing.assert_array_equal(DATA.instances.keypoints, before.keypoints)
    assert out.instances.id.tolist() == before.id.tolist() and len(out.images) == len(DATA.images)
    assert len(corrected(DATA, []).instances) == len(before)


# --- the log -------------------------------------------------------------------------------------------------

def test_fixed_twice_by_hand_is_twice_but_a_finding_is_mended_once(tmp_path):
    log = ChangeLog(tmp_path, by='me')
    doubt = Finding('swap_body', PEOPLE[0][0], PEOPLE[0][1], None, .9, 1., 0., 'x', remedy(COCO, 'swap'))
    log.append(change(), change())
    assert len(log.standing()) == 2
    log.append(answer(doubt)); log.append(answer(doubt))
    assert len(log.standing()) == 3
    log.append(answer(doubt, 'rejected'))
    assert [c.verdict for c in log.standing()] == ['fixed', 'fixed', 'rejected']

def test_undo_of_undo_of_undo(tmp_path):
    log = ChangeLog(tmp_path, by='me')
    with pytest.raises(ValueError, match='nothing to undo'): log.undo()
    first, = log.append(change())
    key, stands = first.key, []
    for _ in range(5):
        key = log.undo(key)['undo'] and log.rows()[-1]['key']
        stands.append(len(log.standing()))
    assert stands == [0, 1, 0, 1, 0] and len(log.rows()) == 6
    with pytest.raises(ValueError, match='undone already'): log.undo(first.key)
    with pytest.raises(ValueError, match="no line 'abc'"): log.undo('abc')

def test_undo_without_a_key_takes_the_last_that_stands(tmp_path):
    log = ChangeLog(tmp_path, by='me')
    log.append(*(change(r) for r in range(3)))
    log.undo(); log.undo()
    assert [c.annotation for c in log.standing()] == [PEOPLE[0][1]]

@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 10_000))
def test_a_log_cut_at_any_byte_keeps_all_whole_lines_and_goes_on(at, tmp_path_factory):
    folder = tmp_path_factory.mktemp('log')
    log = ChangeLog(folder, by='me')
    log.append(*(change(r, why) for r, why in enumerate(('swap', 'mirror', 'drop_person'))))
    data = log.file.read_bytes()
    cut = data[:at % (len(data) + 1)]
    log.file.write_bytes(cut)
    whole = [line for line in data.splitlines() if line in cut.splitlines()]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        log.append(change(4))
    rows = log.rows()
    assert [json.dumps(r).encode() for r in rows[:-1]] == whole and rows[-1]['annotation'] == PEOPLE[4][1]
    torn = cut not in (b'', *(b'\n'.join(whole) + end for end in (b'', b'\n')))
    assert bool(said) == torn == (folder/'changes.torn').exists()
    if torn: assert cut.endswith((folder/'changes.torn').read_bytes()[:-1])

def test_a_line_that_is_no_change_is_named_and_nothing_is_written(tmp_path):
    log = ChangeLog(tmp_path, by='me')
    log.append(change())
    log.file.write_bytes(log.file.read_bytes() + b'{"colour": 1, "key": "x"}\n')
    before = log.file.read_bytes()
    with pytest.raises(ValueError, match='line 2 is no change'): log.append(change())
    assert log.file.read_bytes() == before

def _write_many(folder, n):
    log = ChangeLog(folder, by=str(n))
    for _ in range(25): log.append(change(n))

def test_two_processes_write_into_one_log(tmp_path):
    both = [multiprocessing.get_context('fork').Process(target=_write_many, args=(tmp_path, n)) for n in (0, 1)]
    for p in both: p.start()
    for p in both: p.join(60)
    assert sorted(c.by for c in ChangeLog(tmp_path).standing()) == ['0']*25 + ['1']*25

def test_a_log_refuses_other_labels_and_a_new_one_keeps_the_old(labels, tmp_path):
    log = ChangeLog(tmp_path/'log', by='me').belong(labels)
    log.append(change())
    export_coco(labels, log.standing(), tmp_path/'out.json')
    with pytest.raises(ValueError, match='labels.json.*out.json.*begin a new log'): ChangeLog(tmp_path/'log').belong(tmp_path/'out.json')
    moved = tmp_path/'moved.json'
    moved.write_bytes(labels.read_bytes())
    assert len(ChangeLog(tmp_path/'log').belong(moved).standing()) == 1 # the same labels in another place
    labels.write_text(labels.read_text() + ' ')
    with pytest.raises(ValueError, match='before it changed'): log.belong(labels)
    old = log.file.read_bytes()
    assert log.set_aside().read_bytes() == old and log.belong(labels).standing() == ()
    log.append(change(1))
    assert log.set_aside().name == 'changes.2.jsonl' and len(list(log.folder.glob('changes.*.labels.json'))) == 2

def test_what_cannot_be_applied_is_not_written_by_append_nor_by_undo(tmp_path):
    log, check = ChangeLog(tmp_path, by='me'), lambda changes: corrected(DATA, changes)
    gone, = log.append(change(0, 'drop_person'), check=check)
    with pytest.raises(ValueError, match='occurs 0 times'): log.append(change(1), change(0), check=check)
    assert len(log.rows()) == 1
    back = log.undo(gone.key, check=check)
    log.append(change(0), check=check)
    log.append(change(1, 'drop_person'), check=check)
    before = log.file.read_bytes()
    with pytest.raises(ValueError, match='occurs 0 times'): log.undo(back['key'], check=check) # she is gone before her arms are exchanged
    assert log.file.read_bytes() == before

def test_a_log_from_before_logs_knew_their_labels_learns_them(labels, tmp_path):
    ChangeLog(tmp_path/'log', by='me').append(change())
    assert len(ChangeLog(tmp_path/'log').belong(labels).standing()) == 1
    (tmp_path/'else.json').write_text('{}')
    with pytest.raises(ValueError, match='else.json'): ChangeLog(tmp_path/'log').belong(tmp_path/'else.json')


# --- export --------------------------------------------------------------------------------------------------

VALUES = st.recursive(st.none() | st.booleans() | st.integers(-2**70, 2**70) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
                      lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=4), x, max_size=3), max_leaves=6)
ODD = st.dictionaries(st.text(min_size=1, max_size=6).map(lambda s: f'odd_{s}'), VALUES, max_size=3)
HOW = st.sampled_from([('swap', ()), ('swap', ('left_knee',)), ('drop', ('nose', 'left_eye')), ('drop_person', ()), ('mirror', ())])

@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(top=ODD, ann=ODD, im=ODD, who=st.lists(st.integers(0, len(PEOPLE) - 1), max_size=3, unique=True), how=HOW, zipped=st.booleans())
def test_only_touched_annotations_differ(top, ann, im, who, how, zipped, tmp_path_factory):
    folder = tmp_path_factory.mktemp('round')
    file = write_coco(DATA, folder/'labels.json')
    doc = read_json(file)
    doc = top | doc | dict(licenses=[{'id': 1, 'name': None}])
    doc['annotations'] = [ann | a | dict(segmentation=[[1.005, 2]]) for a in doc['annotations']]
    doc['images'] = [im | i for i in doc['images']]
    text = json.dumps(doc)
    if zipped: file = folder/'labels.json.gz'; file.write_bytes(gzip.compress(text.encode()))
    else: file.write_text(text)
    bytes_before = file.read_bytes()
    said = export_coco(file, [change(r, how[0], *how[1]) for r in who], folder/('out.json.gz' if zipped else 'out.json'))
    new = read_json(said['out'])
    assert file.read_bytes() == bytes_before
    assert list(new) == list(doc) and all(new[k] == doc[k] for k in doc if k != 'annotations')
    old = {a['id']: a for a in doc['annotations']}
    ids = {PEOPLE[r][1] for r in who}
    assert [a['id'] for a in new['annotations']] == [i for i in old if not (i in ids and how[0] == 'drop_person')]
    for a in new['annotations']:
        if a['id'] not in ids: assert json.dumps(a) == json.dumps(old[a['id']])
        may = {'keypoints', *(['bbox'] if how[0] == 'mirror' else ['num_keypoints'] if how[0] == 'drop' else [])}
        assert list(a) == list(old[a['id']]) and {k for k in a if a[k] != old[a['id']][k]} <= may
    back = read_coco(said['out'], False).instances
    want = corrected(read_coco(file, False), [change(r, how[0], *how[1]) for r in who]).instances
    np.testing.assert_allclose(back.keypoints, want.keypoints); np.testing.assert_array_equal(back.visible, want.visible)

def test_swapping_twice_gives_the_document_back(labels, tmp_path):
    export_coco(labels, [change(2), change(2)], tmp_path/'twice.json')
    assert read_json(tmp_path/'twice.json') == read_json(labels)

def test_numbers_are_moved_not_rounded_and_the_rest_of_an_annotation_stays(labels, tmp_path):
    doc = read_json(labels)
    doc['annotations'][0]['keypoints'][15:21] = [1.123456789, 2, 2, 3e-9, 4.5, 1]
    labels.write_text(json.dumps(doc))
    export_coco(labels, [change(0, 'swap', 'left_shoulder')], tmp_path/'out.json')
    new = read_json(tmp_path/'out.json')['annotations'][0]
    assert new['keypoints'][15:21] == [3e-9, 4.5, 1, 1.123456789, 2, 2]
    assert {k for k in new if new[k] != doc['annotations'][0][k]} == {'keypoints'}

def test_fields_that_the_file_does_not_have_are_not_invented(labels, tmp_path):
    doc = read_json(labels)
    for a in doc['annotations']: [a.pop(k) for k in ('num_keypoints', 'bbox', 'area', 'iscrowd')]
    labels.write_text(json.dumps(doc))
    export_coco(labels, [change(0, 'drop', 'nose'), change(1, 'mirror'), change(2, 'box', bbox=(1, 2, 3, 4))], tmp_path/'out.json')
    new = read_json(tmp_path/'out.json')['annotations']
    assert 'bbox' not in new[0] and 'num_keypoints' not in new[0] and 'bbox' not in new[1] and new[2]['bbox'] == [1, 2, 3, 4]

def test_other_categories_and_faulty_neighbours_stay_as_they_are(labels, tmp_path):
    doc = read_json(labels)
    doc['categories'].append(dict(id=7, name='ball'))
    doc['annotations'] += [dict(id=1, image_id=PEOPLE[0][0], category_id=7, bbox=[1, 2, 3, 4]),
                           dict(id=900, image_id=PEOPLE[0][0], category_id=1, keypoints=[1, 2])]
    labels.write_text(json.dumps(doc))
    assert export_coco(labels, [change(0)], tmp_path/'out.json')['changed'] == 1
    new = read_json(tmp_path/'out.json')
    assert differing(doc['annotations'], new['annotations']) == [0] and len(new['annotations']) == len(doc['annotations'])

def test_the_log_beside_the_copy_says_who_what_why_before_and_after(labels, tmp_path):
    log = ChangeLog(tmp_path/'log', by='me')
    log.append(change(0, 'move', 'nose', to=(5, 6)), change(1, 'drop_person'))
    done = export_coco(labels, log.standing(), tmp_path/'out.json')
    assert (done['changed'], done['removed']) == (1, 1)
    moved, dropped = json.loads((tmp_path/'out.changes.json').read_text())
    assert moved['by'] == 'me' and moved['why'] == 'for a test' and moved['keypoints'] == ['nose'] and moved['time'].endswith('+00:00')
    was = read_json(labels)['annotations'][0]['keypoints'][:3]
    assert moved['before'] == {'keypoints': {'nose': was}} and moved['after'] == {'keypoints': {'nose': [5, 6, was[2]]}}
    assert dropped['before'] == read_json(labels)['annotations'][1] and dropped['after'] is None
    assert [r['do'] for r in csv.DictReader((tmp_path/'out.changes.csv').open())] == ['move', 'drop_person']

def test_the_original_is_never_the_target(labels, tmp_path):
    before = labels.read_bytes()
    os.symlink(labels, tmp_path/'link.json'); os.link(labels, tmp_path/'hard.json')
    for out in (labels, tmp_path/'link.json', tmp_path/'hard.json', tmp_path/'x'/'..'/'labels.json'):
        with pytest.raises(ValueError, match='original'): export_coco(labels, [change()], out)
    assert labels.read_bytes() == before

def test_truth_without_a_file_and_other_files_are_refused_in_words(labels, tmp_path):
    with pytest.raises(ValueError, match='came from no file'): export_coco('', [change()], tmp_path/'out.json')
    with pytest.raises(ValueError, match='annotation 999'): export_coco(labels, [Change(999, PEOPLE[0][0], remedy(COCO, 'swap'))], tmp_path/'out.json')
    with pytest.raises(ValueError, match='no picture 77'): export_coco(labels, [Change(1, 77, remedy(COCO, 'swap'))], tmp_path/'out.json')
    with pytest.raises(ValueError, match='keypoint number 40'): corrected(DATA, [Change(PEOPLE[0][1], PEOPLE[0][0], dict(do='drop', keypoints=[40]))])
    with pytest.raises(ValueError, match='no image 77'): corrected(DATA, [Change(1, 77, remedy(COCO, 'swap'))])
    with pytest.raises(ValueError, match='verdict'): Change(1, 1, verdict='maybe')
    with pytest.raises(ValueError, match='written as .json'): export_coco(labels, [change()], tmp_path/'.profile')
    (tmp_path/'x.mat').write_bytes(bytes(range(200)))
    with pytest.raises(ValueError, match='Only a COCO file'): export_coco(tmp_path/'x.mat', [change()], tmp_path/'out.json')
    assert not (tmp_path/'out.json').exists() and not (tmp_path/'.profile').exists()

def test_an_unwritten_export_leaves_an_older_one_whole(labels, tmp_path):
    export_coco(labels, [change()], tmp_path/'out.json')
    before = (tmp_path/'out.json').read_bytes()
    with pytest.raises(ValueError): export_coco(labels, [change(), change(0, 'drop_person'), change()], tmp_path/'out.json')
    assert (tmp_path/'out.json').read_bytes() == before

def test_labels_of_no_file_are_written_with_their_log_and_nothing_foreign_is_replaced(tmp_path):
    changes = [change(0, 'move', 'nose', to=(5, 6)), change(1, 'drop_person')]
    done = write_corrected(DATA, changes, tmp_path/'out.json')
    moved, dropped = read_json(done['log'])
    assert moved['after']['keypoints']['nose'][:2] == [5, 6] and dropped['after'] is None
    np.testing.assert_allclose(np.reshape(dropped['before']['keypoints'], (-1, 3))[:,:2], DATA.instances.keypoints[1])
    assert len(read_coco(done['out'], False).instances) == len(PEOPLE) - 1 and (tmp_path/'out.changes.csv').exists()
    other = tmp_path/'other.json'
    other.write_text('{}')
    with pytest.raises(ValueError, match='other.json exists .*other.changes.json'): spare(other)
    assert spare(other, True) == other and spare(done['out']) and spare(tmp_path/'none.json')


# --- from an audit -------------------------------------------------------------------------------------------

def doubt(check, chance, fix, person=0): return Finding(check, PEOPLE[person][0], PEOPLE[person][1], None, chance, 1., 0., check, fix)

def test_of_two_remedies_for_one_keypoint_the_likelier_is_taken():
    doubts = Findings([doubt('swap_body', .9, remedy(COCO, 'swap')), doubt('swap_arms', .8, remedy(COCO, 'swap', 'left_wrist')),
                       doubt('box', .7, remedy(COCO, 'box', bbox=(1, 2, 3, 4))), doubt('swap_arms', .6, remedy(COCO, 'swap', 'left_wrist'), 1),
                       doubt('mirrored', .55, remedy(COCO, 'mirror')), doubt('limb', .4, remedy(COCO, 'drop', 'nose'), 2),
                       doubt('few', .9, None, 2), doubt('near_duplicate', .9, dict(do='remove_picture'), 3)])
    assert [c.check for c in changes_of(doubts)] == ['swap_body', 'box', 'swap_arms']
    assert 'limb' in [c.check for c in changes_of(doubts, .3)] and 'near_duplicate' in [c.check for c in changes_of(doubts, pictures=True)]
    with pytest.raises(ValueError, match='between 0 and 1'): changes_of(doubts, 2)

def test_accepting_all_likely_findings_brings_planted_people_back_and_harms_nobody():
    data = rendered_dataset(120, seed=3)
    spoilt, rows, _ = plant(data, 'swap_legs', .1, seed=0)
    mended = corrected(spoilt, changes_of(audit(spoilt).of('swap_legs')))
    same = (mended.instances.keypoints == data.instances.keypoints).all((1, 2))
    assert same[rows].mean() >= .5 and np.delete(same, rows).mean() > .99 # what is less likely than .5 waits for a person

def test_a_finding_is_fixed_only_with_a_remedy():
    d = doubt('swap_body', .9, remedy(COCO, 'swap'))
    assert answer(d).fix == d.fix and answer(d, 'rejected').fix is None
    with pytest.raises(ValueError, match='fix='): answer(d, 'fixed')
    with pytest.raises(ValueError, match='fix='): answer(d, 'accepted', fix=d.fix)
