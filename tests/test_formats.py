"Labels in YOLO-pose, MPII, PoseTrack and by name: what goes out comes back"
import json, sys, types
from dataclasses import replace
import cv2, numpy as np, pytest
from poselab.data import formats
from poselab.data.datasets import read_mpii, read_posetrack, write_coco
from poselab.data.figures import rendered_dataset
from poselab.data.formats import open_labels, read_yolo, read_zoo, write_labels, write_mpii, write_posetrack, write_yolo
from poselab.records import ImageInfo, ImageSource, Instances, MemorySource, PoseData
from poselab.schema import load_schema


@pytest.fixture
def truth():
    data = rendered_dataset(6, seed=3)
    data.instances.visible[1, 9] = 0; data.instances.visible[2, :4] = 1
    return data


def with_files(data, folder, ending='png'):
    folder.mkdir(parents=True, exist_ok=True)
    for i in data.images: cv2.imwrite(str(folder/f'{i.id}.{ending}'), data.image(i.id)[..., ::-1])
    infos = [replace(im, file=f'{im.id}.{ending}') for im in data.images]
    return PoseData(data.name, data.schema, infos, data.instances, ImageSource(folder))


def same_people(a, b, atol):
    assert (a.visible == b.visible).all()
    np.testing.assert_allclose(np.where(a.visible[..., None] > 0, a.keypoints, 0), np.where(b.visible[..., None] > 0, b.keypoints, 0), atol=atol)


# --- YOLO ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('card', ['coco', 'mpii', 'lspet', 'crowdpose'])
def test_yolo_brings_back_keypoints_visibility_boxes_and_names(tmp_path, card):
    schema, rng = load_schema(card), np.random.default_rng(0)
    K = schema.num_keypoints
    people = Instances.make(rng.uniform(5, 180, (7, K, 2)), rng.integers(0, 3, (7, K)), image_id=[1, 1, 2, 2, 2, 4, 4])
    infos = [ImageInfo(i, f'{"ab"[i % 2]}/{i}.png', 200 + i, 190, split='val' if i == 4 else 'train') for i in (1, 2, 3, 4)]
    data = PoseData('x', schema, infos, people, MemorySource({im.file: np.full((190, im.width, 3), 9, np.uint8) for im in infos}))
    back = read_yolo(write_yolo(data, tmp_path))
    assert back.schema.names == schema.names and [im.split for im in back.images] == ['train']*3 + ['val']
    for im in data.images:
        here = next(b for b in back.images if b.file.endswith(im.file))
        a, b = data.of(im.id), back.of(here.id)
        assert (here.width, here.height) == (im.width, im.height) and len(a) == len(b)
        same_people(a, b, 1e-4)
        np.testing.assert_allclose(a.bbox, b.bbox, atol=1e-4)
    assert back.image(back.images[0].id).shape[2] == 3


def test_a_yolo_line_is_shares_of_the_picture_as_other_programs_write_it(tmp_path):
    xy = np.zeros((1, 17, 2)); xy[0, 9] = 30, 40
    v = np.zeros((1, 17), int); v[0, 9] = 2
    data = PoseData('x', load_schema('coco'), [ImageInfo(1, 'a.jpg', 200, 100)], Instances.make(xy, v, bbox=[[20, 10, 40, 60]], image_id=1), None)
    write_yolo(data, tmp_path)
    line = np.array((tmp_path/'labels/train/a.txt').read_text().split(), float)
    assert line[:5].tolist() == [0, .2, .4, .2, .6] and line[5 + 27:5 + 30].tolist() == [.15, .4, 2] and line[5:].sum() == pytest.approx(2.55)


def test_yolo_of_two_numbers_lists_text_files_and_missing_labels_is_read(tmp_path):
    (tmp_path/'images/a').mkdir(parents=True); (tmp_path/'labels/a').mkdir(parents=True)
    for n in 'xy': cv2.imwrite(str(tmp_path/f'images/a/{n}.png'), np.zeros((50, 100, 3), np.uint8))
    (tmp_path/'labels/a/x.txt').write_text('0 .5 .5 .2 .4 .45 .5 0 0\n\n')
    (tmp_path/'list.txt').write_text('images/a/x.png\nimages/a/y.png\n')
    (tmp_path/'d.yaml').write_text('train: list.txt\nkpt_shape: [2, 2]\nkpt_names: {0: [left_a, right_a]}\n')
    data = read_yolo(tmp_path/'d.yaml')
    assert len(data) == 2 and data.instances.visible.tolist() == [[2, 0]] and data.instances.keypoints[0, 0].tolist() == [45, 25]
    assert data.instances.bbox.tolist() == [[40, 15, 20, 20]]


@pytest.mark.parametrize('text, words', [('[1, 2', 'not whole YAML'), ('[1]', 'no data set'), ('train: images\n', 'kpt_shape is None'),
    ('train: images\nkpt_shape: [5, 3]\n', 'names none of its 5 keypoints.*schema='), ('train: nowhere\nkpt_shape: [17, 3]\n', 'nowhere is not there'),
    ('kpt_shape: [17, 3]\n', 'no pictures')])
def test_a_broken_yaml_says_what_is_wrong_and_what_to_do(tmp_path, text, words):
    (tmp_path/'images').mkdir(); (tmp_path/'d.yaml').write_text(text)
    with pytest.raises((ValueError, FileNotFoundError), match=words): read_yolo(tmp_path/'d.yaml')


def test_a_wrong_line_names_file_line_and_numbers_and_can_be_left_out(tmp_path, truth):
    file = write_yolo(truth, tmp_path)
    label = sorted((tmp_path/'labels').rglob('*.txt'))[0]
    label.write_text('0 1 2\n0 ' + 'nan '*55 + '\n' + label.read_text())
    with pytest.raises(ValueError, match=r'line 1: 3 entries.*make 56 numbers'): read_yolo(file)
    faults = []
    assert len(read_yolo(file, faults=faults).instances) == len(truth.instances) and len(faults) == 2


def test_pictures_that_would_share_a_text_file_and_labels_that_are_no_numbers_are_refused(tmp_path, truth):
    twin = PoseData('x', truth.schema, [ImageInfo(1, 'a.png', 9, 9), ImageInfo(2, 'a.jpg', 9, 9)], truth.instances[:0], None)
    with pytest.raises(ValueError, match='share one text file'): write_yolo(twin, tmp_path)
    truth.instances.keypoints[0, 5] = np.nan; truth.instances.visible[0, 5] = 2
    with pytest.raises(ValueError, match='person 1 has a labelled keypoint that is not a number'): write_yolo(truth, tmp_path)


# --- MPII, PoseTrack -----------------------------------------------------------------------------------------

@pytest.mark.parametrize('ending', ['.json', '.json.gz'])
def test_mpii_brings_back_places_and_visibility_and_its_own_fields(tmp_path, truth, ending):
    truth.instances.extra[0] = dict(center=[50., 60.], scale=1.5, head_box=[1, 2, 30, 40])
    back = read_mpii(write_mpii(truth, tmp_path/f'm{ending}'), False)
    same_people(truth.instances, back.instances, 1e-3)
    assert [back.info(i).file for i in back.instances.image_id.tolist()] == [truth.info(i).file for i in truth.instances.image_id.tolist()]
    assert back.instances.extra[0]['center'] == [50., 60.] and np.isfinite(back.instances.head[0])
    again = read_mpii(write_mpii(back, tmp_path/'again.json'), False)
    same_people(back.instances, again.instances, 1e-9)
    np.testing.assert_allclose(again.instances.bbox, back.instances.bbox, atol=1e-6)
    box = truth.instances.bbox[3]
    np.testing.assert_allclose(back.instances.bbox[3], [*(box[:2] + box[2:]/2 - box[2:].max()/2), *[box[2:].max()]*2], atol=1e-6)


def test_posetrack_brings_back_films_frames_and_tracks_one_file_each(tmp_path, truth):
    infos = [replace(im, video=f'film/{n % 2}', frame=n) for n, im in enumerate(truth.images)]
    data = PoseData('x', truth.schema, infos, truth.instances.replace(track_id=np.arange(len(truth.instances))), None)
    files = write_posetrack(data, tmp_path/'out')
    assert len(files) == 2
    back = read_posetrack(tmp_path/'out', False)
    assert {(im.video, im.frame) for im in back.images} == {(im.video, im.frame) for im in infos}
    order = [int(np.flatnonzero(back.instances.id == i)[0]) for i in data.instances.id]
    same_people(data.instances, back.instances[order], .006)
    assert (back.instances.track_id[order] == data.instances.track_id).all()
    with pytest.raises(ValueError, match='belongs to no film.*write COCO'): write_posetrack(truth, tmp_path)


# --- one door ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('kind', ['coco', 'mpii', 'posetrack', 'yolo', 'cvat'])
def test_what_is_written_by_name_is_recognised_by_its_content(tmp_path, truth, kind):
    data = with_files(truth, tmp_path/'pictures')
    data = PoseData(data.name, data.schema, [replace(im, video='film', frame=n) for n, im in enumerate(data.images)], data.instances, data.source)
    path = tmp_path/dict(coco='c.json', mpii='m.json', posetrack='p', yolo='y', cvat='c.xml')[kind]
    write_labels(data, path, kind)
    back = open_labels(path/'dataset.yaml' if kind == 'yolo' else path/'film.json' if kind == 'posetrack' else path,
                       None if kind == 'yolo' else tmp_path/'pictures')
    assert len(back.instances) == len(truth.instances) and back.image(back.images[0].id).shape == (192, 256, 3)
    assert (back.instances.visible > 0).sum() == (truth.instances.visible > 0).sum()


def test_an_unknown_format_is_refused_by_name(tmp_path, truth):
    with pytest.raises(ValueError, match="'voc' is no format we write: coco, mpii"): write_labels(truth, tmp_path, 'voc')


# --- by name -------------------------------------------------------------------------------------------------

@pytest.fixture
def zoo(monkeypatch):
    "FiftyOne's zoo, as far as it is needed"
    fake, top = types.ModuleType('fiftyone.zoo'), types.ModuleType('fiftyone')
    top.zoo = fake
    monkeypatch.setitem(sys.modules, 'fiftyone', top); monkeypatch.setitem(sys.modules, 'fiftyone.zoo', fake)
    return fake


def test_offline_a_data_set_by_name_says_what_to_do(zoo):
    def fails(*args, **kwargs): raise ConnectionError('Name or service not known')
    zoo.download_zoo_dataset = fails
    with pytest.raises(RuntimeError, match='coco-2017 cannot be fetched.*is there a network.*--gt FILE'): read_zoo()
    for wrong, words in ((('lsp',), "only coco-2017"), (('coco-2017', 'test'), 'only validation, train')):
        with pytest.raises(ValueError, match=words): read_zoo(*wrong)


def test_what_the_zoo_fetched_is_read_with_our_reader_and_only_fetched_pictures_count(zoo, tmp_path, truth):
    data = with_files(truth, tmp_path/'coco-2017/validation/data')
    (tmp_path/'coco-2017/raw').mkdir()
    write_coco(data, tmp_path/'coco-2017/raw/person_keypoints_val2017.json')
    (tmp_path/f'coco-2017/validation/data/{data.images[5].file}').unlink()
    asked = []
    def fetch(*args, **kwargs): asked.append((args, kwargs)); return None, str(tmp_path/'coco-2017/validation')
    zoo.download_zoo_dataset = fetch
    found = read_zoo(most=5)
    assert len(found) == 5 and len(found.instances) == (truth.instances.image_id != truth.images[5].id).sum() and found.image(1) is not None
    assert asked == [(('coco-2017',), dict(split='validation', max_samples=5))]
    (tmp_path/'coco-2017/raw/person_keypoints_val2017.json').unlink()
    with pytest.raises(RuntimeError, match='fetch coco-2017 again'): read_zoo()
