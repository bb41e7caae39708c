"Labels go to CVAT and Label Studio and come back as they went, except where a person moved them"
import json, zipfile
import numpy as np, pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp
from poselab.data.datasets import write_coco
from poselab.data.exchange import (assemble, cvat_labels, from_percent, label_studio_config, layout, picture_size, read_cvat, read_label_studio,
                                   read_labels, to_percent, write_cvat, write_label_studio)
from poselab.records import ImageInfo, Instances, MemorySource, PoseData
from poselab.schema import load_schema, make_schema

COCO = load_schema('coco')
SMALL = make_schema('small', dict(keypoints=['head', 'left_hand', 'right_hand'], skeleton_base=0, skeleton=[[0, 1], [0, 2]], flip_pairs=[[1, 2]],
    upper_body=['head', 'left_hand', 'right_hand'], lower_body=[], torso=None, oks_sigmas=[.1, .1, .1], oks_sigmas_source='test'))
SIZES = [(640, 480), (37, 641), (1920, 1080)]

@st.composite
def data_sets(draw):
    "Up to three pictures of different sizes with up to three people each, coordinates to two decimals"
    schema = draw(st.sampled_from([COCO, SMALL]))
    images = [ImageInfo(10*i + 3, f'film_{i}/f{i:06d} & "x".jpg', *SIZES[i], video=f'film_{i}', frame=i) for i in range(draw(st.integers(1, 3)))]
    rows,K = [],schema.num_keypoints
    for im in images:
        for _ in range(draw(st.integers(0, 3))):
            v = draw(hnp.arrays(int, K, elements=st.integers(0, 2)))
            xy = draw(hnp.arrays(int, (K, 2), elements=st.integers(-2000, 200000)))/100*(v > 0)[:, None]
            box = np.array(draw(st.lists(st.integers(1, 90000), min_size=4, max_size=4)))/100
            rows.append((xy, v, box, im.id, draw(st.integers(-1, 5)), draw(st.sampled_from([np.nan, 0., .5, 1/3])), draw(st.sampled_from([None, 'predicted', 'corrected']))))
    if not rows: return PoseData('set', schema, images, Instances.empty(K))
    xy,v,box,image_id,track,score,state = zip(*rows)
    ids = draw(st.permutations(range(1, len(rows) + 1)))
    p = Instances.make(np.array(xy), np.array(v), [dict(state=s) if s else {} for s in state], bbox=np.array(box), image_id=image_id, id=ids, track_id=track, score=score)
    return PoseData('set', schema, images, p)

def assert_same(a, b, state=True):
    a,b = (p[np.argsort(p.id)] for p in (a.instances, b.instances))
    for c in ('keypoints', 'visible', 'bbox', 'id', 'image_id', 'track_id', 'score'):
        assert np.array_equal(getattr(a, c), getattr(b, c), equal_nan=c == 'score'), c
    if state: assert [e.get('state') for e in a.extra] == [e.get('state') for e in b.extra]

@pytest.fixture(scope='module')
def home(tmp_path_factory): return tmp_path_factory.mktemp('exchange')

@settings(deadline=None, max_examples=40)
@given(data=data_sets())
def test_cvat_brings_everything_back_exactly(home, data):
    back = read_labels(write_cvat(data, home/'a.xml'), data)
    assert_same(back, data)
    assert {im.id for im in back.images} == {im.id for im in data.images}
    alone = read_cvat(home/'a.xml', schema=data.schema)
    assert [im.file for im in alone.images] == sorted(im.file for im in data.images) and len(alone.instances) == len(data.instances)

@settings(deadline=None, max_examples=40)
@given(data=data_sets())
def test_label_studio_brings_everything_back_exactly(home, data):
    back = read_label_studio(write_label_studio(data, home/'a.json'), data, predictions=True)
    assert_same(back, data)

@settings(deadline=None, max_examples=20)
@given(data=data_sets())
def test_coco_is_read_through_the_same_door(home, data):
    keep = (data.instances.visible > 0).any(1)
    data.instances = data.instances[keep]
    inside = all(((p.bbox[:, :2] < [data.info(i).width, data.info(i).height]).all()) for i in data.instances.image_id.tolist() for p in [data.of(i)])
    data.extra = dict(last_id=99)
    if inside: assert_same(read_labels(write_coco(data, home/'c.json'), data), data)

def test_percent_of_the_edge_is_0_and_100():
    assert from_percent([[0, 0], [100, 100]], (64, 48)).tolist() == [[-.5, -.5], [63.5, 47.5]]
    assert to_percent([[31.5, 23.5]], (64, 48)).tolist() == [[50, 50]]

# ---- as the tools write it

CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta><job><id>7</id><size>2</size><mode>annotation</mode><labels><label><name>person</name><type>skeleton</type></label></labels></job></meta>
  <image id="0" name="waltz/a.jpg" width="100" height="80">
    <skeleton label="person" source="manual" z_order="0" group_id="4">
      <points label="head" source="manual" outside="0" occluded="0" points="10.50,20.50">
      </points>
      <points label="right_hand" source="manual" outside="1" occluded="0" points="1.00,2.00">
      </points>
      <points label="left_hand" source="manual" outside="0" occluded="1" points="30.75,40.00">
      </points>
      <attribute name="id">12</attribute>
      <attribute name="state">corrected</attribute>
    </skeleton>
    <box label="person_box" source="manual" occluded="0" xtl="5.50" ytl="6.50" xbr="45.50" ybr="66.50" z_order="0" group_id="4">
    </box>
    <tag label="blurred" source="manual">
    </tag>
  </image>
  <image id="1" name="waltz/b.jpg" width="100" height="80">
  </image>
</annotations>
"""

def sent(schema=SMALL, n=1):
    images = [ImageInfo(5, 'waltz/a.jpg', 100, 80), ImageInfo(6, 'waltz/b.jpg', 100, 80)]
    return PoseData('sent', schema, images, Instances.make(np.zeros((1, schema.num_keypoints, 2)), image_id=5, id=[12]))

def test_an_export_of_cvat_is_read_as_cvat_means_it(tmp_path):
    (tmp_path/'annotations.xml').write_text(CVAT)
    p = read_cvat(tmp_path/'annotations.xml', sent()).instances
    assert p.keypoints.tolist() == [[[10, 20], [30.25, 39.5], [0, 0]]] and p.visible.tolist() == [[2, 1, 0]]
    assert p.bbox.tolist() == [[5, 6, 40, 60]] and p.id.tolist() == [12] and p.image_id.tolist() == [5] and p.extra == [dict(state='corrected')]

def test_the_zip_of_cvat_is_read_too(tmp_path):
    with zipfile.ZipFile(tmp_path/'job.zip', 'w') as z: z.writestr('annotations.xml', CVAT)
    assert len(read_labels(tmp_path/'job.zip', sent()).instances) == 1
    with zipfile.ZipFile(tmp_path/'two.zip', 'w') as z: z.writestr('a.xml', CVAT); z.writestr('b.xml', CVAT)
    with pytest.raises(ValueError, match='holds 2 xml files'): read_labels(tmp_path/'two.zip', sent())

def test_points_of_a_group_without_a_skeleton_are_one_person(tmp_path):
    loose = """<annotations><image id="0" name="a.jpg" width="100" height="80">
      <points label="head" occluded="0" points="1.5,2.5" group_id="1"/><points label="left_hand" occluded="1" points="3.5,4.5" group_id="1"/>
      <points label="head" occluded="0" points="11.5,12.5" group_id="2"/><box label="person" occluded="0" xtl="0" ytl="0" xbr="9" ybr="9" group_id="1"/>
      <points label="person" occluded="0" points="1,1;2,2;3,3"/></image></annotations>"""
    (tmp_path/'a.xml').write_text(loose)
    p = read_cvat(tmp_path/'a.xml', schema=SMALL).instances
    assert p.visible.tolist() == [[2, 1, 0], [2, 0, 0], [2, 2, 2]] and p.bbox[0].tolist() == [-.5, -.5, 9, 9]

def test_a_box_alone_is_a_person_without_keypoints(tmp_path):
    (tmp_path/'a.xml').write_text('<annotations><image id="0" name="a.jpg" width="9" height="9"><box label="person_box" occluded="0" xtl="1" ytl="1" xbr="4" ybr="5"/></image></annotations>')
    p = read_cvat(tmp_path/'a.xml', schema=SMALL).instances
    assert p.num_labelled.tolist() == [0] and p.bbox.tolist() == [[.5, .5, 3, 4]]

def test_the_labels_of_a_cvat_task_fit_the_file():
    person,box = cvat_labels(sent())
    assert [l['name'] for l in person['sublabels']] == list(SMALL.names) and person['type'] == 'skeleton' and box['type'] == 'rectangle'
    assert {a['name'] for a in person['attributes']} == {'id', 'track', 'score', 'state'} and person['svg'].count('data-label-name') == 3
    json.dumps([person, box])

def test_a_drawing_has_a_place_for_keypoints_nobody_has():
    assert np.isfinite(layout(sent())).all() and np.ptp(layout(PoseData('none', COCO, [], Instances.empty(17))), axis=0).min() > 50

def region(kind, i, value, **more): return dict(id=i, type=kind, to_name='image', original_width=100, original_height=80, image_rotation=0, value=value) | more
def tasks(result, **more): return [dict(id=3, data=dict(image='/data/upload/1/0a1b-a.jpg', file='waltz/a.jpg'), predictions=[],
    annotations=[dict(id=1, completed_by=1, was_cancelled=False, updated_at='2024-02-01T00:00:00Z', result=result) | more])]
BOX = region('rectanglelabels', 'person-12', dict(x=6, y=8.125, width=40, height=75, rotation=0, rectanglelabels=['person']), from_name='box')
HEAD = region('keypointlabels', 'k1', dict(x=10.5, y=25.625, width=.3, keypointlabels=['head']), from_name='keypoint', parentID='person-12', score=.5)
HAND = region('keypointlabels', 'k2', dict(x=30.75, y=50, width=.3, keypointlabels=['left_hand']), from_name='keypoint', parentID='person-12')
HIDDEN = region('choices', 'k2', dict(x=30.75, y=50, width=.3, choices=['occluded']), from_name='visibility')

def ls(tmp_path, doc, **kwargs):
    (tmp_path/'ls.json').write_text(json.dumps(doc))
    return read_label_studio(tmp_path/'ls.json', sent(), **kwargs)

def test_an_export_of_label_studio_is_read_as_it_means_it(tmp_path):
    p = ls(tmp_path, tasks([BOX, HEAD, HAND, HIDDEN])).instances
    assert p.keypoints.tolist() == [[[10, 20], [30.25, 39.5], [0, 0]]] and p.visible.tolist() == [[2, 1, 0]]
    assert p.bbox.tolist() == [[5.5, 6, 40, 60]] and p.id.tolist() == [12] and p.image_id.tolist() == [5]

def test_skipped_tasks_are_not_there_and_the_newest_submission_counts(tmp_path):
    assert len(ls(tmp_path, tasks([BOX], was_cancelled=True))) == 0
    doc = tasks([BOX, HEAD])
    doc[0]['annotations'].append(dict(result=[], was_cancelled=False, updated_at='2024-03-01T00:00:00Z'))
    got = ls(tmp_path, doc)
    assert len(got) == 1 and len(got.instances) == 0 # the person was deleted in the newer one

def test_a_keypoint_without_a_parent_goes_to_the_smallest_box_around_it(tmp_path):
    small = region('rectanglelabels', 'new', dict(x=5, y=20, width=10, height=10, rotation=0, rectanglelabels=['person']))
    lone = {k: v for k,v in HEAD.items() if k != 'parentID'}
    p = ls(tmp_path, tasks([BOX, small, lone])).instances
    assert p.num_labelled.tolist() == [0, 1] and p.id.tolist() == [12, 13] and p.extra[1] == dict(added=True)
    far = region('keypointlabels', 'k9', dict(x=99, y=99, width=.3, keypointlabels=['head']))
    with pytest.raises(ValueError, match='k9 belongs to no box'): ls(tmp_path, tasks([BOX, small, far]))

def test_the_picture_is_found_by_the_end_of_its_name(tmp_path):
    doc = tasks([BOX]); del doc[0]['data']['file']
    assert ls(tmp_path, doc).images[0].id == 5

def test_the_labelling_interface_names_every_keypoint_in_order():
    import xml.etree.ElementTree as ET
    points = ET.fromstring(label_studio_config(COCO)).find('KeyPointLabels')
    assert [l.get('value') for l in points] == list(COCO.names) and [l.get('model_index') for l in points] == [str(i) for i in range(17)]

# ---- who is who

def test_a_copy_made_in_the_tool_is_a_new_person(tmp_path):
    inner = CVAT[CVAT.index('<skeleton'):CVAT.index('</skeleton>') + 11]
    (tmp_path/'a.xml').write_text(CVAT.replace('<tag', inner + '<tag'))
    p = read_cvat(tmp_path/'a.xml', sent()).instances
    assert p.id.tolist() == [12, 13] and ['added' in e for e in p.extra] == [False, True]

def test_an_unknown_size_is_read_off_the_picture_or_said(tmp_path):
    data = PoseData('d', SMALL, [ImageInfo(1, 'a', 0, 0)], Instances.empty(3), MemorySource({'a': np.zeros((4, 6, 3), np.uint8)}))
    assert picture_size(data, data.images[0]) == (6, 4)
    data.source = None
    with pytest.raises(ValueError, match='size of a is unknown'): write_cvat(data, tmp_path/'a.xml')

# ---- broken

@pytest.mark.parametrize('change, words', [
    (lambda t: t[:400], 'not whole XML'), (lambda t: '', 'is empty'), (lambda t: '<html/>', "not CVAT's"), (lambda t: 'word', 'not json'),
    (lambda t: t.replace('<annotations>', '<!DOCTYPE a [<!ENTITY b "c">]><annotations>'), 'entities'),
    (lambda t: t.replace('<version>', '<track id="0"/><version>'), 'CVAT for images'),
    (lambda t: t.replace('"head"', '"hat"'), "waltz/a.jpg, person 1: 'hat' is no keypoint"),
    (lambda t: t.replace('10.50,20.50', '10.50'), 'not pairs'), (lambda t: t.replace('10.50,20.50', 'nan,1'), 'not pairs'),
    (lambda t: t.replace('10.50,20.50', '1,1;2,2'), 'has 2 points'), (lambda t: t.replace('right_hand', 'left_hand'), 'occurs twice'),
    (lambda t: t.replace('xtl="5.50"', 'xtl="x"'), 'four corners'), (lambda t: t.replace('xtl="5.50"', 'xtl="99"'), 'not in order'),
    (lambda t: t.replace('waltz/a.jpg', 'tango/z.jpg'), 'not in sent'), (lambda t: t.replace('width="100"', 'width="90"'), '90x80')])
def test_a_broken_cvat_file_is_named_with_its_place(tmp_path, change, words):
    (tmp_path/'bad.xml').write_text(change(CVAT))
    with pytest.raises(ValueError, match=words) as e: read_labels(tmp_path/'bad.xml', sent())
    assert 'bad.xml' in str(e.value)

@pytest.mark.parametrize('doc, words', [
    ([dict(image='a.jpg')], 'JSON-MIN'), (tasks([BOX | dict(value={})]), 'no numbers'), (tasks([BOX | dict(original_width=0)]), 'original_width'),
    (tasks([BOX | dict(image_rotation=90)]), 'turned'), (tasks([BOX | dict(value=BOX['value'] | dict(rotation=20))]), 'upright'),
    (tasks([BOX, HEAD, HEAD]), 'occurs twice'), (tasks([BOX, HEAD | dict(value=HEAD['value'] | dict(keypointlabels=['hat']))]), 'no keypoint'),
    (tasks([BOX, HEAD | dict(value=dict(x=None, y=1, keypointlabels=['head']))]), 'no numbers'), (dict(items=[]), 'neither')])
def test_a_broken_label_studio_file_is_named_with_its_task(tmp_path, doc, words):
    (tmp_path/'bad.json').write_text(json.dumps(doc))
    with pytest.raises(ValueError, match=words) as e: read_labels(tmp_path/'bad.json', sent())
    assert 'bad.json' in str(e.value)

def test_faulty_pictures_can_be_left_out_and_are_said(tmp_path):
    second = CVAT[CVAT.index('<skeleton'):CVAT.index('</skeleton>') + 11].replace('>12<', '>13<')
    (tmp_path/'a.xml').write_text(CVAT.replace('"head"', '"hat"').replace('height="80">\n  </image>', f'height="80">{second}</image>'))
    faults = []
    got = read_labels(tmp_path/'a.xml', sent(), faults)
    assert len(faults) == 1 and 'hat' in faults[0] and got.instances.id.tolist() == [13] and [im.id for im in got.images] == [6]

def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(FileNotFoundError): read_labels(tmp_path/'none.xml', sent())

@settings(deadline=None, max_examples=60)
@given(cut=st.integers(0, len(CVAT)), noise=st.binary(max_size=5))
def test_no_damage_ends_in_anything_but_a_sentence(home, cut, noise):
    data = CVAT.encode()
    (home/'x.xml').write_bytes(data[:cut] + noise + data[cut + len(noise):])
    try: read_labels(home/'x.xml', sent())
    except ValueError as e: assert 'x.xml' in str(e)
