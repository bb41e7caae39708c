"The log beside a dataset: it belongs to its labels, takes nothing that cannot be applied, and an export overwrites nothing"
import json, os
from dataclasses import replace
from test_browse import fo  # noqa: F401  first, because it sets the database's name
import numpy as np, pytest
from poselab import browse, plugin
from poselab.audit import Finding, Findings
from poselab.corrections import Change
from poselab.data.datasets import read_coco, write_coco
from poselab.data.figures import rendered_dataset
from poselab.records import Instances, read_json

DATA = rendered_dataset(3, seed=3, people=(1, 2))
ANN, IMAGE = int(DATA.instances.id[0]), int(DATA.instances.image_id[0])


@pytest.fixture
def built(fo, tmp_path):  # noqa: F811
    name = f'log_{os.getpid()}'
    def build(file='', data=None):
        data = read_coco(file, DATA.source) if data is None else data
        return browse.build(data, None, None, name, tmp_path/'media', labels=file)
    yield build
    browse.delete_built(name)


def place(ds, keypoint): # of the first person, px
    g = plugin.truth_of(plugin.pair_of(ds)[0]).instances
    return g.keypoints[g.id == ANN][0,keypoint].tolist()


def test_a_mended_file_is_not_mended_twice_and_the_old_log_is_kept(built, tmp_path):
    file, out = write_coco(DATA, tmp_path/'labels.json'), tmp_path/'out.json'
    images, _ = built(file)
    plugin.mend(images, (IMAGE, ANN), 'swap')
    plugin.export(images, out)
    images, people = built(out)
    for work in (plugin.catch_up, plugin.refresh, lambda ds: plugin.export(ds, tmp_path/'again.json'), plugin.take_back):
        with pytest.raises(ValueError, match='labels.json.*out.json.*new log'): work(people)
    assert not (tmp_path/'again.json').exists()
    assert 'changes.1.jsonl' in plugin.run('new_log', people, {}) and plugin.catch_up(people) == 0
    plugin.export(images, tmp_path/'again.json')
    assert read_json(tmp_path/'again.json') == read_json(out)

def test_labels_without_a_file_are_known_by_their_people(built):
    images, _ = built(data=DATA)
    plugin.mend(images, (IMAGE, ANN), 'drop', 'nose')
    plugin._people_hash.cache_clear()
    plugin.refresh(images, images.values('image_id'))
    images, _ = built(data=DATA)
    assert plugin.catch_up(images) == 1
    images, _ = built(data=rendered_dataset(3, seed=4, people=(1, 2)))
    with pytest.raises(ValueError, match='labels without a file'): plugin.catch_up(images)

def test_what_cannot_be_applied_is_not_written_and_findings_of_removed_people_are_closed(built, tmp_path):
    g = DATA.instances
    twin = g[:1].replace(id=np.array([900]))
    double = replace(DATA, instances=Instances.cat([g, twin]))
    images, people = built(write_coco(double, tmp_path/'labels.json'), double)
    def doubt(check, ann, **fix): return Finding(check, IMAGE, ann, None, .9, 1., 0., 'for a test', fix)
    arms = dict(do='swap', keypoints=[5, 6, 7, 8, 9, 10])
    plugin.show_findings(images, double, Findings([doubt('duplicate', 900, do='merge', person=ANN), doubt('swap_arms', 900, **arms),
                                                   doubt('duplicate', ANN, do='merge', person=900)]))
    plugin.respond(people, [0], 'accepted')
    assert [v for _, v, _ in plugin.findings_in(images)] == ['accepted', 'closed', 'closed'] and plugin.card(people) == {}
    for n in (1, 2):
        with pytest.raises(ValueError, match='900'): plugin.respond(people, [n], 'accepted')
    assert len(plugin.log_of(images).rows()) == 1
    plugin.export(images, tmp_path/'out.json')
    plugin.take_back(people)
    assert [v for _, v, _ in plugin.findings_in(images)] == ['open']*3
    plugin.respond(people, [1], 'accepted')
    with pytest.raises(ValueError, match='annotation 900'): plugin.take_back(people, plugin.log_of(images).rows()[1]['key'])
    assert len(plugin.log_of(images).rows()) == 3

def test_a_keypoint_without_a_place_and_a_place_without_a_picture_are_refused_before_they_are_written(built, tmp_path):
    visible = DATA.instances.visible.copy()
    visible[0,0] = 0
    images, people = built(data=replace(DATA, instances=DATA.instances.replace(visible=visible)))
    with pytest.raises(ValueError, match='far outside'): plugin.mend(people, (IMAGE, ANN), 'move', 'left_hip', to=(1e7, -1e7))
    with pytest.raises(ValueError, match='move it first'): plugin.mend(people, (IMAGE, ANN), 'visibility', 'nose', visible=2)
    assert plugin.log_of(images).rows() == []
    plugin.mend(people, (IMAGE, ANN), 'move', 'nose', to=(5, 6))
    plugin.mend(people, (IMAGE, ANN), 'visibility', 'nose', visible=1)
    assert place(people, 0) == pytest.approx([5, 6])

def test_an_export_replaces_nothing_foreign_and_always_has_a_log(built, tmp_path):
    images, people = built(data=DATA)
    plugin.mend(people, (IMAGE, ANN), 'drop', 'nose', why='behind the hat')
    out = tmp_path/'out.json'
    out.write_text('my thesis')
    with pytest.raises(ValueError, match='no export of ours'): plugin.run('export_labels', people, dict(out=str(out)))
    assert out.read_text() == 'my thesis'
    assert 'written anew' in plugin.run('export_labels', people, dict(out=str(out), overwrite=True))
    assert [r['why'] for r in read_json(tmp_path/'out.changes.json')] == ['behind the hat']
    plugin.run('export_labels', people, dict(out=str(out))) # an export of ours may be renewed
    assert [f['name'] for f in plugin.form('export_labels')] == ['out', 'overwrite']

def test_labels_of_any_format_that_can_be_browsed_can_be_audited_again(built, tmp_path):
    from poselab.data.formats import open_labels, write_labels
    write_labels(DATA, tmp_path/'yolo', 'yolo')
    file = next((tmp_path/'yolo').rglob('*.yaml'))
    images, _ = built(file, open_labels(file))
    assert 'doubt' in plugin.run_audit(images) or 'findings' in plugin.run_audit(images)

def test_the_audit_goes_on_after_a_removed_picture_and_leaves_out_what_the_build_left_out(built, tmp_path):
    file = write_coco(DATA, tmp_path/'labels.json')
    doc = read_json(file)
    doc['annotations'].append(dict(doc['annotations'][0], id=77, keypoints=[1, 2]))
    file.write_text(json.dumps(doc))
    images, people = built(file, read_coco(file, DATA.source, faults=[]))
    plugin.log_of(images).append(Change(-1, IMAGE, dict(do='remove_picture'), 'twice in the set'))
    said = plugin.run_audit(people)
    assert 'findings' in said or 'doubt' in said
    assert len(plugin.truth_of(images).images) == 3 # the App shows it, so that undo can bring it back

def test_findings_about_the_whole_set_are_told(built, monkeypatch):
    images, people = built(data=DATA)
    assert plugin.whole_set(people) == []
    found = Findings([Finding('missing', -1, -1, 'nose', .9, 1., 5., 'noses are missing')])
    monkeypatch.setattr(plugin, 'audit', lambda *a, **k: found)
    assert plugin.run_audit(images) == '1 findings: 1 missing'
    images.reload()
    assert plugin.whole_set(people) == ['noses are missing'] and plugin.finding_counts_of(images) == {}

def test_a_verdict_stands_after_the_labels_are_built_again(built, monkeypatch):
    images, people = built(data=DATA)
    found = Findings([Finding('swap_arms', IMAGE, ANN, None, .9, 1., 5., 'crossed', dict(do='swap', keypoints=[5, 6])),
                      Finding('box', IMAGE, ANN, None, .8, 1., 5., 'too small')])
    monkeypatch.setattr(plugin, 'audit', lambda *a, **k: found)
    plugin.run_audit(images)
    plugin.respond(images, [0], 'rejected', why='he does cross them')
    assert plugin.finding_counts_of(people) == dict(swap_arms=dict(rejected=1), box=dict(open=1))
    images, people = built(data=DATA)
    plugin.run_audit(images)
    for ds in (images, people):
        assert plugin.finding_counts_of(ds) == dict(swap_arms=dict(rejected=1), box=dict(open=1))
        assert [t for t in ds.match({'n_findings': 1}).first().tags if t.startswith('audit')] == ['audit: box']

def test_other_models_are_judged_again_by_mended_labels(fo, tmp_path): # noqa: F811
    g = DATA.instances
    def says(xy): return Instances.make(xy, image_id=g.image_id, id=np.arange(len(g)) + 1, score=.9, confidence=np.ones(g.visible.shape))
    wrong = replace(DATA, instances=g.replace(keypoints=g.keypoints + 4.))
    name = f'two_{os.getpid()}'
    try:
        images, people = browse.build(wrong, says(wrong.instances.keypoints), None, name, tmp_path/'media', others={'Second one': says(g.keypoints)})
        here = people.match({'ann_id': ANN}).first()
        before = here['oks'], here['oks_second_one'], here['agree_second_one']
        for k,n in enumerate(DATA.schema.names):
            if g.visible[0,k]: plugin.mend(images, (IMAGE, ANN), 'move', n, to=tuple(g.keypoints[0,k].tolist()))
        here = plugin.pair_of(images)[1].match({'ann_id': ANN}).first()
        assert before[0] > .99 > before[1] > .1 and here['oks_second_one'] > .99 > here['oks']
        assert here['agree_second_one'] == pytest.approx(before[2], abs=1e-6) # of the two models, whatever the labels say
        assert here['pred_second_one'].polylines
        pic = plugin.pair_of(images)[0].match({'image_id': IMAGE}).first()
        assert np.isfinite(pic['agree_second_one']) and pic['predictions_second_one'].keypoints
        plugin.mend(images, (IMAGE, ANN), 'drop_person')
    finally: browse.delete_built(name)

def test_a_build_of_an_older_version_is_sent_back(built):
    images, people = built(data=DATA)
    people.delete_sample_field('crop')
    with pytest.raises(ValueError, match='older poselab.*build it again'): plugin.run_audit(images)
    images, people = built(data=DATA)
    assert people.has_field('crop')
