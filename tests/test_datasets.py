import gzip, json, subprocess, sys, time, zipfile

import cv2, numpy as np, pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from poselab.data.datasets import (count_records, file_schema, find_card, head_size, read_any, read_coco, read_lspet,
    read_mpii_predictions, read_posetrack, read_predictions, read_results, write_coco, write_results)
from poselab.records import AREA_OF_BOX, COLUMNS, ImageInfo, Instances, PoseData, data_root, read_json
from poselab.schema import load_schema, read_card

COCO = load_schema('coco')

def real(name):
    root = data_root()
    if root is None or not (root/name).exists(): pytest.skip(f'no shared data: {name}')
    return root/name

def save(path, doc):
    path.write_text(json.dumps(doc))
    return path

def person(**change):
    "One sound COCO record"
    return dict(id=1, image_id=1, category_id=1, bbox=[10, 10, 50, 60], area=1500., iscrowd=0, num_keypoints=17,
                keypoints=[x for i in range(17) for x in (10 + i, 20 + i, 2)]) | change

def document(*people, images=1, **more):
    return dict(images=[dict(id=i + 1, file_name=f'{i + 1}.png', width=100, height=100) for i in range(images)],
                annotations=list(people), categories=[dict(id=1, name='person', keypoints=list(COCO.names))]) | more

# ---- round trips

hundredths = st.integers(-100_000, 500_000).map(lambda i: i/100)
@st.composite
def pose_data(draw):
    schema = load_schema(draw(st.sampled_from(['coco', 'lspet', 'mpii', 'crowdpose', 'dance_hrnet'])))
    p,k,n = draw(st.integers(0, 4)),schema.num_keypoints,draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    def cents(lo, hi, *shape): return rng.integers(lo*100, hi*100, shape)/100
    def maybe(col): return np.where(rng.random((p, *[1]*(col.ndim - 1))) < .5, col, np.nan)
    images = [ImageInfo(7*i + 1, f'{i}.png', 640, 480, draw(st.sampled_from(['', 'train'])), draw(st.sampled_from(['', 'a'])),
                        draw(st.integers(-1, 3)), draw(st.sampled_from([{}, {'license': 3}]))) for i in range(n)]
    people = Instances.make(cents(-50, 700, p, k, 2), rng.integers(0, 3, (p, k)), [dict(draw(st.sampled_from([{}, {'note': 'ü', 'n': [1, .5]}]))) for _ in range(p)],
        bbox=cents(1, 400, p, 4), area=rng.uniform(1, 9e4, p), image_id=rng.choice([i.id for i in images], p), id=rng.permutation(900)[:p] + 1,
        iscrowd=rng.random(p) < .3, track_id=rng.integers(-1, 5, p), score=maybe(rng.random(p)), confidence=maybe(rng.random((p, k)).round(6)),
        head=maybe(rng.uniform(5, 90, p)))
    return PoseData('x', schema, images, people, extra={'info': {'year': 2020}})

@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pose_data(), st.sampled_from(['a.json', 'a.json.gz']))
def test_what_is_written_is_read_again(tmp_path, data, name):
    back = read_any(write_coco(data, tmp_path/name))
    assert back.schema == data.schema and back.images == data.images and back.extra['info'] == data.extra['info']
    for n in ['keypoints', *COLUMNS]: np.testing.assert_array_equal(getattr(back.instances, n), getattr(data.instances, n), n)
    assert [{k: v for k,v in e.items() if k != 'poselab'} for e in back.instances.extra] == data.instances.extra

@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pose_data())
def test_results_come_back_as_they_were(tmp_path, data):
    p = data.instances.replace(score=np.random.default_rng(0).random(len(data.instances)), confidence=.25)
    back = read_results(write_results(p, tmp_path/'r.json'), data)
    for n in ('keypoints', 'image_id', 'score', 'confidence', 'track_id'): np.testing.assert_array_equal(getattr(back, n), getattr(p, n))

def test_a_models_own_boxes_come_back_and_others_lie_around_the_keypoints(tmp_path):
    p = Instances.make(np.random.default_rng(0).uniform(0, 90, (4, 17, 2)).round(2), image_id=1, score=.5, confidence=.5)
    p = p.replace(bbox=p.bbox + np.array([[0]*4, [-3, -4, 6, 9.12], [np.nan]*4, [2, 2, -5, -5]]))
    rows = read_json(write_results(p, tmp_path/'r.json'))
    assert ['bbox' in r for r in rows] == [False, True, False, True]
    back = read_results(tmp_path/'r.json', COCO)
    np.testing.assert_allclose(back.bbox[[0, 1, 3]], p.bbox[[0, 1, 3]], atol=1e-4)
    assert np.isfinite(back.bbox).all() and not any('bbox' in e for e in back.extra)

def test_results_of_another_category_are_refused_or_said(tmp_path):
    truth = read_coco(save(tmp_path/'t.json', document(person())))
    row = dict(image_id=1, keypoints=[5, 5, .5]*17, score=.9)
    mixed = save(tmp_path/'mixed.json', [row | dict(category_id=1), row, row | dict(category_id=18)])
    with pytest.raises(ValueError, match=r'result number 2 .*has category_id 18; the people of t are category 1'): read_results(mixed, truth)
    assert len(read_results(mixed, truth, faults=[])) == 2
    with pytest.warns(UserWarning, match=r'other\.json: every row has category_id 0'):
        assert len(read_results(save(tmp_path/'other.json', [row | dict(category_id=0)]*2), truth)) == 2

def test_what_is_left_out_says_whose_it_was(tmp_path):
    faults = []
    read_coco(save(tmp_path/'t.json', document(person(), person(id=7, area=-1))), faults=faults)
    assert [(f.image_id, f.person) for f in faults] == [(1, 7)] and 'annotation 7' in faults[0]

def test_coordinates_are_rounded_not_cut(tmp_path):
    data = PoseData('x', COCO, [ImageInfo(1, 'a', 100, 100)], Instances.make(np.full((1, 17, 2), 10.996), image_id=1, bbox=[[0, 0, 50, 50]]))
    assert read_json(write_coco(data, tmp_path/'a.json'))['annotations'][0]['keypoints'][:3] == [11, 11, 2]

def test_a_derived_area_is_never_written(tmp_path):
    one = person(); del one['area'], one['bbox']
    data = read_coco(save(tmp_path/'a.json', document(one)))
    assert data.instances.extra[0]['poselab']['derived'] == ['bbox', 'area']
    assert data.instances.area[0] == pytest.approx(AREA_OF_BOX*16*16)
    assert not {'area', 'bbox', 'poselab'} & set(read_json(write_coco(data, tmp_path/'b.json'))['annotations'][0])

def test_a_keypoint_that_was_not_predicted_is_no_nan_in_json(tmp_path):
    p = Instances.make(np.full((1, 17, 2), np.nan), image_id=1, score=.5)
    back = read_results(write_results(p, tmp_path/'r.json'), COCO)
    assert (back.confidence == 0).all() and (back.keypoints == 0).all()

def test_a_visible_nan_is_not_written(tmp_path):
    data = PoseData('x', COCO, [ImageInfo(1, 'a', 9, 9)], Instances.make(np.full((1, 17, 2), np.nan), image_id=1, id=5))
    with pytest.raises(ValueError, match='person 5'): write_coco(data, tmp_path/'a.json')
    assert not (tmp_path/'a.json').exists()

# ---- what real files hold

def test_crowds_specks_and_extra_fields_are_kept(tmp_path):
    crowd = person(id=2, iscrowd=1, keypoints=[0]*51, num_keypoints=0, segmentation=dict(counts='abc', size=[9, 9]))
    speck = person(id=3, bbox=[5, 5, 0, 2], keypoints=[0]*51, num_keypoints=0)
    bare = dict(id=4, image_id=1, category_id=1, bbox=[1, 1, 2, 2])
    p = read_coco(save(tmp_path/'a.json', document(person(), crowd, speck, bare))).instances
    assert p.iscrowd.tolist() == [False, True, False, False] and p.num_labelled.tolist() == [17, 0, 0, 0]
    assert p.extra[1]['segmentation'] == crowd['segmentation']

def test_a_keypoint_off_the_picture_is_kept_and_noted(tmp_path):
    kp = person()['keypoints']; kp[:2] = -5, 20; kp[3:5] = 100, 20; kp[6:9] = -9, -9, 0
    p = read_coco(save(tmp_path/'a.json', document(person(keypoints=kp)))).instances
    assert p.keypoints[0, :2].tolist() == [[-5, 20], [100, 20]] and p.extra[0]['poselab'] == {'outside': ['nose', 'left_eye']}

def test_other_categories_are_left_out(tmp_path):
    doc = document(person(), dict(id=2, image_id=1, category_id=18, bbox=[0, 0, 5, 5]))
    doc['categories'].append(dict(id=18, name='dog'))
    assert len(read_coco(save(tmp_path/'a.json', doc)).instances) == 1

def test_records_without_ids_are_numbered(tmp_path):
    a,b = person(),person()
    del a['id'], b['id']
    assert read_coco(save(tmp_path/'a.json', document(a, b))).instances.id.tolist() == [1, 2]

def test_seventeen_keypoints_without_names_are_cocos(tmp_path):
    assert read_coco(save(tmp_path/'a.json', document(person(), categories=[dict(id=1, name='person')]))).schema == COCO
    short = person(keypoints=[1, 1, 2]*5)
    with pytest.raises(ValueError, match='names no keypoints'): read_coco(save(tmp_path/'b.json', document(short, categories=[])))
    assert read_coco(save(tmp_path/'c.json', document(person(), categories=[])), schema='coco').schema == COCO

def test_a_list_of_names_finds_its_card_or_makes_a_schema():
    assert find_card([n.replace('_', ' ').upper() for n in COCO.names]) is COCO
    assert find_card(COCO.names[::-1]) is None
    own = file_schema('f', dict(keypoints=['Left Hand', 'Right Hand', 'tail'], skeleton=[[0, 2], [1, 2], [2, 0], [5, 6]]), 3)
    assert own.names == ('left_hand', 'right_hand', 'tail') and own.limbs == ((0, 2), (1, 2)) and own.flip == (1, 0, 2)

def test_fewer_keypoints_than_names_is_fine_only_if_a_card_says_so(tmp_path):
    names = list(COCO.names) + ['left_toe', 'right_toe']
    assert read_coco(save(tmp_path/'a.json', document(person(), categories=[dict(id=1, keypoints=names)]))).schema == COCO
    with pytest.raises(ValueError, match='16 keypoints need 48'):
        read_coco(save(tmp_path/'b.json', document(person(keypoints=[1, 1, 2]*12), categories=[dict(id=1, keypoints=names[3:])])))

# ---- formats

def test_the_content_decides_not_the_name(tmp_path):
    (tmp_path/'homework').write_bytes(gzip.compress(json.dumps(document(person())).encode()))
    (tmp_path/'bom.txt').write_bytes(b'\xef\xbb\xbf' + json.dumps(document(person())).encode())
    assert len(read_any(tmp_path/'homework').instances) == len(read_any(tmp_path/'bom.txt').instances) == 1

def test_pictures_are_found_beside_the_file(tmp_path):
    img = cv2.imencode('.png', np.full((100, 100, 3), 7, np.uint8))[1].tobytes()
    for where in ('a', 'b/images', 'c', 'd'): (tmp_path/where).mkdir(parents=True)
    (tmp_path/'a'/'1.png').write_bytes(img); (tmp_path/'b'/'images'/'1.png').write_bytes(img)
    with zipfile.ZipFile(tmp_path/'c'/'pics.zip', 'w') as z: z.writestr('inner/1.png', img)
    for where in 'abc': assert read_any(save(tmp_path/where/'x.json', document(person()))).image(1).max() == 7
    assert read_any(save(tmp_path/'d'/'x.json', document(person()))).source is None
    assert read_any(tmp_path/'a'/'x.json', False).source is None
    assert read_any(tmp_path/'d'/'x.json', tmp_path/'b'/'images').image(1).shape == (100, 100, 3)
    assert len(read_any(tmp_path/'a').instances) == 1 # a folder with one annotation file
    for where in ('b', 'c'): assert read_any(tmp_path/'d'/'x.json', tmp_path/where).image(1).max() == 7 # one floor down
    with pytest.raises(FileNotFoundError, match='none of the images'): read_any(tmp_path/'d'/'x.json', tmp_path/'d')
    with pytest.raises(FileNotFoundError, match='nowhere is not there'): read_any(tmp_path/'d'/'x.json', tmp_path/'nowhere')

def test_a_folder_of_pictures_is_a_data_set_without_people(tmp_path):
    for i in range(3): (tmp_path/f'{i}.png').write_bytes(cv2.imencode('.png', np.full((9, 9, 3), i, np.uint8))[1].tobytes())
    data = read_any(tmp_path)
    assert len(data) == 3 and len(data.instances) == 0 and data.image(3).max() == 2 and data.schema == COCO
    (tmp_path/'notes.json').write_text('{"camera": 1}')
    assert len(read_any(tmp_path)) == 3
    assert len(read_any(tmp_path/'1.png')) == 1

def test_posetracks_one_means_labelled(tmp_path):
    pt = load_schema('posetrack')
    ann = person(image_id=10_000_000_012, keypoints=[5, 5, 1]*15 + [0, 0, 0]*2, track_id=4, bbox_head=[0, 0, 30, 40], scores=[])
    doc = document(ann, categories=[dict(id=1, keypoints=list(pt.names))])
    doc['images'][0] |= dict(id=10_000_000_012, frame_id=10_000_000_012, vid_id='0001', file_name='v/000012.jpg')
    data = read_posetrack(save(tmp_path/'a.json', doc))
    assert data.schema == pt and set(data.instances.visible[0]) == {0, 2}
    assert data.instances.head[0] == pytest.approx(30) and data.instances.track_id[0] == 4
    assert data.images[0].frame == 12 and data.images[0].video == '0001'

def test_head_size_is_six_tenths_of_the_diagonal(): assert head_size([10, 10, 40, 50]) == pytest.approx(30)

def test_both_forms_of_mpii_give_one_person(tmp_path):
    xy = [[11 + i, 21] for i in range(15)]
    listed = [dict(image='a.jpg', joints=xy + [[-1, -1]], joints_vis=[1]*15 + [0], center=[50, 60], scale=1.)]
    items = dict(joint_names=list(load_schema('mpii').names), items=[dict(image='a.jpg', gt=xy + [None], mpii_visible_flag=[0] + [1]*14 + [0],
        center=[50, 75], scale=1.25, head_box=[0, 0, 30, 40], pred=[[14, 25]]*15 + [None])])
    a,b = (read_any(save(tmp_path/f'{i}.json', d)).instances for i,d in enumerate((listed, items)))
    np.testing.assert_allclose(a.keypoints, b.keypoints); np.testing.assert_allclose(a.bbox, b.bbox)
    assert a.keypoints[0, 0].tolist() == [10, 20] and a.bbox[0].tolist() == [-51, -26, 200, 200]
    assert a.visible[0].tolist() == [2]*15 + [0] and b.visible[0].tolist() == [1] + [2]*14 + [0]
    assert np.isnan(a.head[0]) and b.head[0] == pytest.approx(30)
    pred = read_mpii_predictions(tmp_path/'1.json')
    assert np.isnan(pred.keypoints[0, 15]).all() and pred.keypoints[0, 0].tolist() == [13, 24] and pred.confidence[0, 15] == 0

def test_results_may_stand_alone(tmp_path):
    found = read_any(save(tmp_path/'r.json', [dict(image_id=i, keypoints=[1, 2, .5]*17) for i in (3, 3, 9)]))
    assert [i.id for i in found.images] == [3, 9] and found.instances.score.tolist() == [.5]*3
    with pytest.raises(ValueError, match='say whose they are'): read_any(save(tmp_path/'s.json', [dict(image_id=1, keypoints=[1, 2, .5]*14)]))
    assert read_any(tmp_path/'s.json', schema='lspet').schema.name == 'lspet'

def test_a_model_that_found_nobody_is_no_error(tmp_path):
    truth = read_coco(save(tmp_path/'t.json', document(person())))
    assert len(read_predictions(save(tmp_path/'r.json', []), truth)) == 0

def test_annotations_with_scores_are_predictions_too(tmp_path):
    truth = read_coco(save(tmp_path/'t.json', document(person())))
    assert read_predictions(save(tmp_path/'p.json', document(person(score=.7))), truth).score.tolist() == [.7]
    other = document(person(keypoints=[1, 1, 2]*14), categories=[dict(id=1, keypoints=list(load_schema('lspet').names))])
    with pytest.raises(ValueError, match='keypoints of lspet'): read_predictions(save(tmp_path/'q.json', other), truth)

# ---- real files

REAL = [('annotations/coco_val2017_525_person_keypoints.json.gz', 'coco', 525, 2126), ('annotations/crowdpose_val_2000.json.gz', 'crowdpose', 2000, 8527),
    ('annotations/studio1000_gt_coco17.json.gz', 'coco', 1000, 1000), ('annotations/studio1000_litehrnet18_results.json.gz', 'coco', 1000, 1000),
    ('annotations/mpii_valid_2958_gt_and_pred.json.gz', 'mpii', 2729, 2958), ('coco_mini/person_keypoints_val.json', 'coco', 57, 177),
    ('lspet/lspet_256.json', 'lspet', 8843, 8843), ('posetrack_iqbal/060470979.json', 'lspet', 41, 164),
    ('posetrack_iqbal/annotations_60_videos.json.gz', 'lspet', 3092, 14574), ('mmpose_samples/aic/test_aic.json', 'test_aic', 3, 9),
    ('mmpose_samples/crowdpose/test_crowdpose.json', 'crowdpose', 2, 5), ('mmpose_samples/humanart/test_humanart.json', 'coco', 3, 4),
    ('mmpose_samples/jhmdb/test_jhmdb_sub1.json', 'test_jhmdb_sub1', 3, 3), ('mmpose_samples/mpii/test_mpii.json', 'mpii', 5, 5),
    ('mmpose_samples/mpii/test_mpii_trb.json', 'test_mpii_trb', 5, 5), ('mmpose_samples/ochuman/test_ochuman.json', 'coco', 3, 5),
    ('mmpose_samples/coco/test_coco_wholebody.json', 'coco', 4, 14), ('mmpose_samples/posetrack18/annotations/test_posetrack18_val.json', 'posetrack', 3, 14)]

@pytest.mark.parametrize('file, schema, images, people', REAL)
def test_every_real_file_is_read(file, schema, images, people):
    data = read_any(real(file))
    assert (data.schema.name, len(data), len(data.instances)) == (schema, images, people)
    p = data.instances
    labelled = p.visible.any(1)
    assert np.isfinite(p.keypoints).all() and (p.area[labelled] > 0).mean() > .99 and set(np.unique(p.visible)) <= {0, 1, 2}
    if 'mmpose_samples' in file or 'coco_mini' in file: assert data.image(data.images[-1].id).ndim == 3

@pytest.mark.parametrize('file', [r[0] for r in REAL if 'mpii' not in r[0] and 'results' not in r[0] and '60' not in r[0]])
def test_real_files_survive_the_round_trip(file, tmp_path):
    data = read_any(real(file), False)
    back = read_any(write_coco(data, tmp_path/'a.json'), False)
    assert back.images == data.images
    np.testing.assert_allclose(back.instances.keypoints, data.instances.keypoints, atol=.005 + 1e-9)
    for n in ('visible', 'image_id', 'id', 'iscrowd', 'track_id', 'head'): np.testing.assert_array_equal(getattr(back.instances, n), getattr(data.instances, n))
    assert back.instances.extra == data.instances.extra

def test_a_coco_file_is_written_as_it_was(tmp_path):
    file = real('coco_mini/person_keypoints_train.json')
    old,new = read_json(file),read_json(write_coco(read_coco(file), tmp_path/'a.json'))
    assert new['annotations'] == old['annotations'] and new['images'] == old['images'] and new['licenses'] == old['licenses']

def test_the_table_holds_what_a_plain_loop_finds():
    file = real('annotations/crowdpose_val_2000.json.gz')
    p = read_coco(file).instances
    for i,a in enumerate(read_json(file)['annotations']):
        xyv = np.reshape(a['keypoints'], (-1, 3))
        assert (p.keypoints[i] == xyv[:, :2]).all() and (p.visible[i] == xyv[:, 2]).all()
        assert (p.id[i], p.image_id[i], p.iscrowd[i]) == (a['id'], a['image_id'], a['iscrowd']) and p.bbox[i].tolist() == a['bbox']
        assert p.area[i] == pytest.approx(.53*a['bbox'][2]*a['bbox'][3])

@pytest.mark.parametrize('name', ['coco', 'lspet', 'mpii'])
def test_our_counts_are_the_cards_counts(name):
    card = read_card(name)
    for split,s in card.splits.items():
        if not s['files']: continue
        found = count_records(read_any(real(s['files']['annotations']), False).subset(split=s['files'].get('split')))
        assert card.check(split, {k: n for k,n in found.items() if k in s['counts']}) == []

def test_lspet_comes_with_its_pictures():
    real('lspet')
    val = read_lspet(split='val')
    assert len(val) == 500 and val.image(val.images[7].id).shape[:2] == (val.images[7].height, val.images[7].width)

def test_posetrack_clips_are_in_order():
    data = read_any(real('posetrack_iqbal/060470979.json'))
    assert [i.frame for i in data.images] == list(range(41)) and set(data.instances.track_id) == {1, 2, 3, 4}
    assert np.isfinite(data.instances.head).mean() > .9

def test_eleven_thousand_people_are_read_in_about_a_second(tmp_path):
    rng = np.random.default_rng(0)
    kp = np.concatenate([rng.integers(0, 90, (11_000, 17, 2)), rng.integers(0, 3, (11_000, 17, 1))], 2).reshape(11_000, 51)
    people = [person(id=i, image_id=i % 5000 + 1, keypoints=k) for i,k in enumerate(kp.tolist())]
    file = save(tmp_path/'a.json', document(*people, images=5000))
    start = time.process_time()
    assert len(read_any(file, False).instances) == 11_000
    assert time.process_time() - start < 2. # half a second on an idle core

def test_readers_do_not_load_torch():
    code = 'import sys, poselab.data.datasets; print([m for m in ("torch", "fiftyone", "matplotlib", "pandas") if m in sys.modules])'
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.strip() == '[]'
