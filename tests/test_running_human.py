"The reader of Running Human: what the paper states, in our reading of its format; the real set is not public"
import json
import numpy as np, pytest
from poselab.data.datasets import read_any, read_running_human
from poselab.schema import load_schema, read_card

COCO = load_schema('coco')
COUNTS = read_card('running_human').head['pose']['counts']

def runner(i, image=1, **more):
    return dict(id=i, image_id=image, category_id=1, bbox=[10, 5, 40, 90], area=1800,
                keypoints=[x for k in range(17) for x in (10 + k, 5 + 4*k, 2)]) | more

def save(path, annotations, images=1, splits=None):
    pictures = [dict(id=k + 1, file_name=f'{k + 1}.jpg', width=200, height=100) | ({'split': splits[k]} if splits else {}) for k in range(images)]
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(json.dumps(dict(images=pictures, annotations=annotations, categories=[dict(id=1, name='person', keypoints=list(COCO.names))])))
    return path

def full(path, split):
    "A set of the right size"
    n,m = COUNTS[split]['images'],COUNTS[split]['people']
    return save(path, [runner(i + 1, 1 + i % n) for i in range(m)], n)

def test_the_whole_set_passes_split_by_split(tmp_path):
    for split in ('train', 'val'): full(tmp_path/'annotations'/f'{split}.json', split)
    for split,people in (('train', 930), ('val', 358)):
        data = read_running_human(tmp_path, split)
        assert (len(data), len(data.instances)) == (COUNTS[split]['images'], people) and data.schema == COCO

def test_one_file_with_both_splits(tmp_path):
    train,val = COUNTS['train'],COUNTS['val']
    people = [runner(i + 1, 1 + i % 839) for i in range(train['people'])] + [runner(5000 + i, 840 + i % 277) for i in range(val['people'])]
    path = save(tmp_path/'all.json', people, 1116, ['train']*839 + ['val']*277)
    assert len(read_running_human(path).instances) == 1288
    assert len(read_running_human(path, 'val').instances) == 358 and len(read_running_human(path, 'train')) == 839

def test_occluded_joints_become_visibility_one_and_parts_are_kept(tmp_path):
    hidden = [int(n.startswith('left_')) for n in COCO.names]
    absent = [x for k in range(17) for x in ((0, 0, 0) if k == 1 else (10 + k, 5 + 4*k, 2))] # the left eye has no place
    path = save(tmp_path/'val.json', [runner(1), runner(2, joint_occlusion=hidden, part_occlusion=dict(left_arm=1, trunk=0)),
                                      runner(3, keypoints=absent, joint_occlusion=hidden)])
    v = read_running_human(path, check=False).instances
    assert (v.visible[0] == 2).all()
    assert (v.visible[1] == np.where(hidden, 1, 2)).all() and v.extra[1]['part_occlusion'] == dict(left_arm=1, trunk=0)
    assert v.visible[2, 1] == 0 and (v.visible[2, 3::2] == 1).all()

def test_labels_that_already_say_occluded_stay(tmp_path):
    path = save(tmp_path/'val.json', [runner(1, keypoints=[x for k in range(17) for x in (10 + k, 5, 1)], joint_occlusion=[0]*17)])
    assert (read_running_human(path, check=False).instances.visible == 1).all()

def test_the_generic_reader_reads_it_too_and_keeps_the_fields(tmp_path):
    path = save(tmp_path/'val.json', [runner(1, joint_occlusion=[1]*17, part_occlusion=dict(head=1))])
    data = read_any(path)
    assert data.schema == COCO and data.instances.extra[0]['part_occlusion'] == dict(head=1) and (data.instances.visible == 2).all()

def test_half_a_set_and_the_enlarged_one_do_not_pass(tmp_path):
    few = save(tmp_path/'few.json', [runner(1)])
    with pytest.raises(ValueError, match='1 images, the card says 277; 1 people, the card says 358'): read_running_human(few, 'val')
    with pytest.raises(ValueError, match='the card says 1116; 1 people, the card says 1288'): read_running_human(few)
    n,m = (COUNTS['train_augmented'][k] for k in ('images', 'people'))
    copies = save(tmp_path/'train.json', [runner(i + 1, 1 + i % n) for i in range(m)], n)
    with pytest.raises(ValueError, match='erased and gridded copies'): read_running_human(copies, 'train')
    assert len(read_running_human(copies, 'train', check=False)) == 2197

@pytest.mark.parametrize('more, says', [
    (dict(joint_occlusion=[0]*16), 'annotation 7 has a joint_occlusion that is not 17 times'), (dict(joint_occlusion=[2]*17), 'joint_occlusion'),
    (dict(joint_occlusion='left'), 'joint_occlusion'), (dict(joint_occlusion=[.5]*17), 'joint_occlusion'),
    (dict(part_occlusion=[1, 0]), 'annotation 7 has a part_occlusion'), (dict(part_occlusion=dict(arm='yes')), 'part_occlusion'),
    (dict(part_occlusion=None), 'part_occlusion'), (dict(keypoints=[1, 2, 3]), 'has 3 keypoint numbers'), (dict(bbox=[1, 2]), 'box'), (dict(image_id=9), 'not listed')])
def test_a_broken_record_is_named(tmp_path, more, says):
    path = save(tmp_path/'val.json', [runner(7, **more)])
    with pytest.raises(ValueError, match=says): read_running_human(path, check=False)

def test_faulty_records_can_be_left_out(tmp_path):
    path = save(tmp_path/'val.json', [runner(1), runner(2, bbox=[1, 2])]); faults = []
    assert len(read_running_human(path, check=False, faults=faults).instances) == 1 and len(faults) == 1

def test_which_file_is_meant_must_be_clear(tmp_path):
    with pytest.raises(ValueError, match='there are none'): read_running_human(tmp_path, 'val')
    for n in ('a_train.json', 'a_val.json', 'b_val.json'): save(tmp_path/n, [runner(1)])
    with pytest.raises(ValueError, match='a_val.json, b_val.json'): read_running_human(tmp_path, 'val')
    with pytest.raises(ValueError, match="say split='train' or 'val'"): read_running_human(tmp_path)
    with pytest.raises(ValueError, match="no split 'test'"): read_running_human(tmp_path, 'test')
    with pytest.raises(FileNotFoundError): read_running_human(tmp_path/'nowhere.json')
