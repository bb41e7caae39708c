"From films to a data set: no model overwrites what a person did, no kill loses it, no split leaks"
import os
os.environ.setdefault('FIFTYONE_DATABASE_NAME', f'poselab_test_{os.getpid()}')  # before anything imports fiftyone
os.environ.setdefault('FIFTYONE_DO_NOT_TRACK', 'true')
import json
import numpy as np, pytest
from hypothesis import given, settings, strategies as st
from poselab import collect as c
from poselab.data.exchange import read_cvat, write_cvat
from poselab.data.datasets import read_coco
from poselab.data.video import Rules, extract
from poselab.records import Instances, write_video
from poselab.schema import load_schema, read_card

COCO = load_schema('coco')
POSE = np.stack([np.linspace(4, 20, 17), np.linspace(6, 40, 17)], 1)

class Model:
    "Finds the same people in every picture; `shift` moves them, so that another model is another model"
    def __init__(self, name='first', shift=0., people=1, die_after=None):
        self.schema,self.shift,self.people,self.die_after,self.seen = COCO,shift,people,die_after,0
        self.loaded = type('Loaded', (), dict(name=name))()
    def on_image(self, img, bbox=None, image_id=0):
        if bbox is None: self.seen += 1
        if self.die_after is not None and self.seen > self.die_after: raise KeyboardInterrupt
        xy = np.stack([POSE + self.shift + [24*i, 0] for i in range(self.people)]) if self.people else np.zeros((0, 17, 2))
        conf = np.where(np.arange(17) < 15, .9, .1)*np.ones((self.people, 1))
        return Instances.make(xy, confidence=conf, score=conf.mean(1) if self.people else None)

def film(path, seed, n=6):
    rng = np.random.default_rng(seed)
    write_video(path, [np.kron(rng.integers(0, 255, (6, 9, 3), np.uint8), np.ones((8, 8, 1), np.uint8)) for _ in range(n)], 6)

@pytest.fixture(scope='module')
def films(tmp_path_factory):
    home = tmp_path_factory.mktemp('films')
    for i,name in enumerate(('anna_1', 'anna_2', 'ben_1', 'cleo_1')): film(home/f'{name}.avi', i)
    return home

@pytest.fixture(scope='module')
def raw(films, tmp_path_factory):
    out = tmp_path_factory.mktemp('raw')
    extract(films, out/'frames', Rules(fps=3), progress=False)
    return out

@pytest.fixture
def home(raw, tmp_path):
    "A collection with frames and no labels"
    (tmp_path/'set').mkdir(); os.symlink(raw/'frames', tmp_path/'set'/'frames')
    return tmp_path/'set'

def label(home, *a, **k): return c.preannotate(home, Model(*a, **k), progress=False)

def edited(home, change, tool='cvat'):
    "What comes back after `change` of what was sent"
    out = c.send(home, tool)
    theirs = read_cvat(home/'cvat'/'annotations.xml', c.working(home))
    change(theirs)
    return write_cvat(theirs, home/'export.xml')

def move(rows, by=5.): return lambda data: data.instances.keypoints.__setitem__((rows, 0), data.instances.keypoints[rows, 0] + by)

# ---- guesses

def test_a_guess_is_marked_as_one_and_unsure_keypoints_go_out_as_occluded(home):
    data = label(home)
    assert set(c.state(data)) == {'predicted'} and len(data.instances) == len(data)
    assert (data.instances.visible == [2]*15 + [1]*2).all() and (data.instances.score > .5).all()

def test_keypoints_outside_the_picture_are_absent(home):
    v = label(home, shift=20.).instances.visible
    assert (v[:, -1] == 0).all() and (v[:, 0] == 2).all()

def test_of_two_guesses_in_one_place_one_is_kept():
    p = Instances.make(np.stack([POSE, POSE + 1, POSE + 30]), score=[.5, .9, .1])
    assert c.distinct(p).score.tolist() == [.9, .1]

def test_a_picture_with_nobody_is_labelled_too_and_not_asked_again(home):
    data = label(home, people=0)
    model = Model(people=0)
    c.preannotate(home, model, progress=False)
    assert len(data.instances) == 0 and model.seen == 0

def test_the_same_weights_do_nothing_twice_and_others_replace_only_guesses(home):
    label(home)
    before = (home/'labels.json').read_bytes()
    same = Model(); c.preannotate(home, same, progress=False)
    assert same.seen == 0 and (home/'labels.json').read_bytes() == before
    assert np.allclose(label(home, 'second', shift=2.).instances.keypoints[:, 0], POSE[0] + 2)

@pytest.mark.parametrize('after', [0, 3, 7])
def test_a_killed_labelling_goes_on_where_the_last_save_was(home, after):
    with pytest.raises(KeyboardInterrupt): c.preannotate(home, Model(die_after=after), every=2, progress=False)
    model = Model()
    data = c.preannotate(home, model, every=2, progress=False)
    assert model.seen == len(data) - after//2*2
    assert len(data.instances) == len(data) and len(np.unique(data.instances.id)) == len(data)

def test_films_that_are_added_later_keep_the_old_ids(home, films, tmp_path):
    (home/'frames').unlink()
    extract([films/'ben_1.avi'], home/'frames', Rules(fps=3), progress=False)
    first = {im.file: im.id for im in label(home).images}
    extract(films, home/'frames', Rules(fps=3), progress=False)
    second = {im.file: im.id for im in label(home).images}
    assert len(second) > len(first) and all(second[f] == i for f,i in first.items()) and len(set(second.values())) == len(second)

def test_weights_of_another_schema_are_refused(home):
    label(home)
    other = Model(); other.schema = load_schema('mpii')
    with pytest.raises(ValueError, match='keypoints of coco, not mpii'): c.preannotate(home, other, progress=False)

# ---- what a person did stays

def test_what_a_person_moved_is_kept_and_no_model_touches_it(home):
    label(home)
    say = c.take_back(home, edited(home, move([2, 3])))
    assert (say.corrected, say.unchanged, len(say.conflicts)) == (2, len(c.working(home)) - 2, 0)
    kept = c.working(home).instances
    kept = kept[c.state(c.working(home)) == 'corrected']
    data = label(home, 'second', shift=3.)
    now = data.instances[np.isin(data.instances.id, kept.id)]
    for col in ('keypoints', 'visible', 'bbox', 'id', 'image_id'): assert np.array_equal(getattr(now, col), getattr(kept, col))
    assert np.isnan(now.score).all() and (c.state(data) == 'corrected').sum() == 2

@settings(deadline=None, max_examples=8)
@given(st.lists(st.tuples(st.integers(0, 7), st.sampled_from(['model', 'recall', 'move', 'delete', 'again', 'confirm'])), max_size=6))
def test_no_order_of_steps_loses_a_correction(raw, tmp_path_factory, steps):
    "Corrected people change only by a person's hand, whatever else happens"
    home = tmp_path_factory.mktemp('steps'); os.symlink(raw/'frames', home/'frames')
    label(home)
    for n,(who,what) in enumerate(steps):
        before = c.working(home)
        mine = before.instances[c.state(before) == 'corrected']
        touched,file = set(),None
        if what in ('model', 'recall'): c.preannotate(home, Model(f'model {n}', shift=n), recall=what == 'recall', progress=False)
        elif what == 'again' and (home/'export.xml').exists(): c.take_back(home, home/'export.xml')
        elif len(before.instances):
            row = who % len(before.instances)
            touched = {int(before.instances.id[row])}
            def change(d):
                i = np.flatnonzero(d.instances.id == list(touched)[0])
                if what == 'move': d.instances.keypoints[i, 0] += 5
                if what == 'confirm': d.instances.extra[i[0]]['state'] = 'corrected'
                if what == 'delete': d.instances = d.instances[d.instances.id != list(touched)[0]]
            c.take_back(home, edited(home, change))
        after = c.working(home).instances
        now = {int(i): r for r,i in enumerate(after.id)}
        for r,i in enumerate(mine.id.tolist()):
            assert i in now
            assert all(np.array_equal(getattr(after, col)[now[i]], getattr(mine, col)[r]) for col in ('keypoints', 'visible', 'bbox'))

def test_a_deleted_person_does_not_come_back(home):
    label(home)
    say = c.take_back(home, edited(home, lambda d: setattr(d, 'instances', d.instances[1:])))
    assert say.removed == 1
    data = label(home, 'second')
    assert len(data.instances) == len(data) - 1 and 1 not in data.instances.id

def test_an_id_is_never_given_twice(home):
    last = label(home).instances.id.max()
    c.take_back(home, edited(home, lambda d: setattr(d, 'instances', d.instances[:-1])))
    new = label(home, 'second').instances.id
    assert last not in new and new.max() > last

def test_a_person_drawn_in_the_tool_is_added_once(home):
    label(home)
    def draw(d):
        one = d.instances[:1]
        new = one.replace(keypoints=one.keypoints + [40, 0], bbox=one.bbox + [40, 0, 0, 0], id=999)
        d.instances = Instances.cat([d.instances, new])
    file = edited(home, draw)
    text = file.read_text().replace('<attribute name="id">999</attribute>', '')
    file.write_text(text)
    assert c.take_back(home, file).added == 1 and c.take_back(home, file).added == 0
    assert (c.state(c.working(home)) == 'corrected').sum() == 1

def test_taking_back_twice_changes_nothing(home):
    label(home)
    file = edited(home, move([0, 1]))
    c.take_back(home, file)
    before = (home/'labels.json').read_bytes()
    say = c.take_back(home, file)
    assert (home/'labels.json').read_bytes() == before and (say.corrected, say.added, say.removed, len(say.conflicts)) == (0, 0, 0, 0)

def test_two_people_who_disagree_are_reported_and_ours_stays_unless_theirs_is_preferred(home):
    label(home)
    file = edited(home, move([0], 5.))
    mine = c.working(home); mine.instances.keypoints[0, 0] += 2; mine.instances.extra[0]['state'] = 'corrected'; c.save(mine, home)
    say = c.take_back(home, file)
    here = c.working(home)
    assert len(say.conflicts) == 1 and np.allclose(here.instances.keypoints[0, 0], mine.instances.keypoints[0, 0])
    stored = json.loads((home/'conflicts.json').read_text())[0]
    assert np.allclose(stored['theirs'][0][:2], POSE[0] + 5, atol=.02) and np.allclose(stored['ours'][0][:2], POSE[0] + 2, atol=.02)
    c.take_back(home, file, prefer='theirs')
    assert np.allclose(c.working(home).instances.keypoints[0, 0], POSE[0] + 5, atol=.02)

def test_an_old_export_does_not_undo_a_later_correction(home):
    label(home)
    old = edited(home, lambda d: None)
    mine = c.working(home); mine.instances.keypoints[0, 0] += 2; mine.instances.extra[0]['state'] = 'corrected'; c.save(mine, home)
    c.send(home, 'cvat') # the corrected pose is what was sent last
    say = c.take_back(home, old)
    assert len(say.conflicts) == 1 and np.allclose(c.working(home).instances.keypoints[0, 0], POSE[0] + 2)

def test_a_removal_of_what_we_corrected_is_a_conflict(home):
    label(home)
    file = edited(home, lambda d: setattr(d, 'instances', d.instances[1:]))
    mine = c.working(home); mine.instances.keypoints[0, 0] += 2; mine.instances.extra[0]['state'] = 'corrected'; c.save(mine, home)
    say = c.take_back(home, file)
    assert say.removed == 0 and say.conflicts[0]['theirs'] is None and len(c.working(home).instances) == len(mine.instances)

def test_confirmed_and_reviewed_labels_count_as_corrected(home):
    label(home)
    say = c.take_back(home, edited(home, lambda d: d.instances.extra[0].update(state='corrected')))
    assert say.confirmed == 1
    assert c.take_back(home, edited(home, lambda d: None), reviewed=True).confirmed == len(c.working(home)) - 1

def test_what_is_submitted_in_label_studio_counts_as_looked_at(home):
    label(home)
    out = c.send(home, 'label-studio')
    tasks = json.loads((out/'tasks.json').read_text())
    for t in tasks[:3]: t['annotations'] = [dict(result=t['predictions'][0]['result'], was_cancelled=False)]
    (home/'back.json').write_text(json.dumps(tasks))
    say = c.take_back(home, home/'back.json')
    assert say.confirmed == 3 and (c.state(c.working(home)) == 'corrected').sum() == 3

def test_pictures_that_are_out_wait_unless_they_are_recalled(home):
    label(home); c.send(home, 'cvat')
    second = Model('second'); c.preannotate(home, second, progress=False)
    assert second.seen == 0
    c.preannotate(home, second, recall=True, progress=False)
    assert second.seen == len(c.working(home))

def test_a_correction_of_a_guess_that_was_replaced_meanwhile_finds_its_person(home):
    label(home)
    file = edited(home, move([0]))
    c.preannotate(home, Model('second', shift=1.), recall=True, progress=False)
    say = c.take_back(home, file)
    data = c.working(home)
    assert say.corrected + say.added >= 1 and np.allclose(data.of(data.images[0].id).keypoints[0, 0], POSE[0] + 5, atol=.02)
    assert len(data.instances) == len(data) # nobody twice

@pytest.mark.parametrize('when', ['sent.json', 'labels.json'])
def test_a_kill_while_sending_or_taking_back_loses_nothing(home, monkeypatch, when):
    label(home)
    file = edited(home, move([0]))
    before = {f.name: f.read_bytes() for f in home.glob('*.json')}
    real = c.write_coco
    def dying(data, path):
        if str(path).endswith(when): raise KeyboardInterrupt
        return real(data, path)
    monkeypatch.setattr(c, 'write_coco', dying)
    with pytest.raises(KeyboardInterrupt): c.take_back(home, file) if when == 'labels.json' else c.send(home, 'cvat')
    monkeypatch.setattr(c, 'write_coco', real)
    assert (home/'labels.json').read_bytes() == before['labels.json']
    assert c.take_back(home, file).corrected == 1

def test_a_broken_file_changes_nothing(home):
    label(home); file = edited(home, move([0]))
    before = (home/'labels.json').read_bytes()
    file.write_text(file.read_text()[:900])
    with pytest.raises(ValueError, match='export.xml'): c.take_back(home, file)
    assert (home/'labels.json').read_bytes() == before

def test_nothing_to_work_on_is_said(tmp_path, home):
    with pytest.raises(ValueError, match='pre-annotate'): c.working(home)
    with pytest.raises(ValueError, match='give films first'): c.collect([], tmp_path/'none', progress=False)
    assert not (tmp_path/'none').exists()
    with pytest.raises(ValueError, match='no tool'): label(home) and c.send(home, 'paint')
    with pytest.raises(ValueError, match='nobody has corrected'): c.finish(home)
    with pytest.raises(ValueError, match='prefer'): c.take_back(home, edited(home, lambda d: None), prefer='mine')

# ---- the result

@given(st.lists(st.sampled_from('abcdef'), min_size=1, max_size=60), st.floats(0, .95), st.integers(0, 99))
def test_a_group_is_never_divided_and_both_sides_have_one_where_there_are_two(groups, val, seed):
    split = c.split_groups(groups, val, seed)
    assert set(split) == set(groups) and split == c.split_groups(groups[::-1], val, seed)
    sides = set(split.values())
    assert sides == ({'train', 'val'} if len(split) > 1 and val > 0 else {'train'})

def test_the_finished_set_holds_only_what_a_person_decided_and_splits_by_dancer(home):
    label(home)
    c.take_back(home, edited(home, lambda d: [e.update(state='corrected') for e in d.instances.extra[:-1]]))
    done = c.finish(home, val=.3, group=lambda f: f.split('_')[0])
    data = read_coco(home/'dataset.json', home/'frames')
    assert len(data) == len(done) == len(c.working(home)) - 1 and set(c.state(data)) == {'corrected'}
    side = {}
    for im in data.images: side.setdefault(im.video.split('_')[0], set()).add(im.split)
    assert all(len(s) == 1 for s in side.values()) and {s for ss in side.values() for s in ss} == {'train', 'val'}
    assert data.image(data.images[0].id).shape == (48, 72, 3)

def test_the_card_is_one_that_poselab_reads_and_its_numbers_are_the_files(home):
    label(home)
    c.take_back(home, edited(home, lambda d: None), reviewed=True)
    c.finish(home)
    card = read_card(home/'set.md')
    data = read_coco(home/'dataset.json', False)
    assert card.schema.names == COCO.names and card.status == 'held'
    for split,known in card.splits.items():
        part = data.subset(split=split)
        assert known['num_examples'] == len(part) and card.check(split, {k: v for k,v in c.measured(part).items()}) == []
    heads = [l[3:] for l in card.text.splitlines() if l.startswith('## ')]
    assert heads == ['One record', 'Who annotated it, and how', 'What is missing or wrong', 'Who is in the pictures', 'Do not use it for',
                     'How to cite']

def test_a_set_from_one_film_has_no_validation_and_its_card_says_so(home, films):
    (home/'frames').unlink(); extract(films/'ben_1.avi', home/'frames', Rules(fps=3), progress=False)
    label(home); c.take_back(home, edited(home, lambda d: None), reviewed=True)
    assert {im.split for im in c.finish(home).images} == {'train'}
    assert 'no honest validation' in str(read_card(home/'set.md').head['pose']['known_issues'])

def test_one_call_goes_on_from_wherever_it_stopped(films, tmp_path):
    rules = Rules(fps=3)
    one = c.collect(films, tmp_path/'set', Model(), rules, export='cvat', progress=False)
    assert one['people'] == one['predicted'] == one['sent'] == one['pictures'] and one['films'] == 4
    data = c.working(tmp_path/'set'); theirs = read_cvat(tmp_path/'set'/'cvat'/'annotations.xml', data)
    for e in theirs.instances.extra: e['state'] = 'corrected'
    two = c.collect([], tmp_path/'set', Model('second'), rules, labels=write_cvat(theirs, tmp_path/'b.xml'), progress=False)
    assert two['corrected'] == two['people'] and two['decided'] == two['pictures'] and two['dataset'].endswith('dataset.json')
    json.dumps(two)

# ---- FiftyOne

@pytest.fixture(scope='session')
def fo():
    from poselab import browse
    pytest.importorskip('fiftyone')
    if why := browse.database_problem(): pytest.skip(why)
    yield (module := browse.start_database())
    if module.config.database_name.startswith('poselab_test_'):
        from fiftyone.core import odm
        odm.drop_database()

def test_labels_survive_fiftyone_and_edits_there_come_back(fo, home):
    data = label(home, people=2)
    ds = c.to_fiftyone(home, f'labels_{os.getpid()}')
    back = c.from_fiftyone(ds, data)
    sent = c.working(home).instances
    for col in ('keypoints', 'visible', 'id', 'image_id', 'bbox'):
        assert np.allclose(getattr(back.instances, col), getattr(sent, col), atol=1e-3), col
    assert c.take_back(home, back).unchanged == len(data.instances)
    first,second,third = ds.limit(3)
    k = first['labels'].keypoints[0]; k.points[0] = [.5, .5]; first.save()
    second.tags.append('checked'); second.save()
    third['labels'].keypoints[1].tags.append('reject'); third.save()
    say = c.take_back(home, c.from_fiftyone(ds.name, c.working(home)))
    assert (say.corrected, say.confirmed, say.removed, len(say.conflicts)) == (1, 2, 1, 0)
    now = c.working(home)
    assert np.allclose(now.instances.keypoints[now.instances.id == k['ann_id'], 0], [35.5, 23.5]) # the middle of 72 x 48 px
    ds.delete()
