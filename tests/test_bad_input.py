"What the house does with broken input: one sentence that names the file and the record, and nothing half done"
import copy, gzip, json, os, zipfile

import cv2, numpy as np, pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from poselab.data.datasets import read_any, read_coco, read_mpii, read_predictions, read_results
from poselab.records import ImageInfo, ImageSource, Instances, MemorySource, PoseData, inside_name, open_clip, read_image, read_json, write_video
from poselab.schema import load_schema

COCO = load_schema('coco')
PHOTO = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8), (9, 9), 3)
def encoded(img, ending='.png'): return cv2.imencode(ending, img[..., ::-1] if img.ndim == 3 and img.shape[2] == 3 else img)[1].tobytes()

# ---- pictures

@pytest.mark.parametrize('ending', ['.jpg', '.png', '.webp', '.bmp', '.tiff'])
@pytest.mark.parametrize('share', [.1, .5, .9])
def test_a_cut_image_is_refused_by_name(ending, share):
    data = encoded(PHOTO, ending)
    with pytest.raises(ValueError, match='cut.*is not a whole image|cut.*cannot be read'): read_image(data[:int(len(data)*share)], f'cut{ending}')

@pytest.mark.parametrize('data', [b'', b'\xff\xd8\xff', b'hello', b'<html></html>', bytes(500)])
def test_a_file_that_is_no_image_is_refused_by_name(tmp_path, data):
    (tmp_path/'x.jpg').write_bytes(data)
    with pytest.raises(ValueError, match=r'x\.jpg'): read_image(tmp_path/'x.jpg')
    with pytest.raises(ValueError, match=r'x\.jpg'): ImageSource(tmp_path).read('x.jpg')
    with pytest.raises(ValueError, match=r'x\.jpg'): open_clip(tmp_path/'x.jpg')

def test_a_missing_image_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='no.png'): read_image(tmp_path/'no.png')
    with pytest.raises(FileNotFoundError, match='not there'): read_image(tmp_path)

def test_grey_becomes_three_equal_channels():
    img = read_image(encoded(PHOTO[..., 0]))
    assert img.shape == (48, 64, 3) and (img == PHOTO[..., :1]).all()

def test_sixteen_bits_become_eight():
    deep = (PHOTO.astype(np.uint16) << 8) + 200
    assert np.abs(read_image(encoded(deep)).astype(int) - PHOTO).max() <= 1
    assert np.abs(read_image(encoded(deep[..., 0])).astype(int) - PHOTO[..., :1]).max() <= 1

def test_alpha_is_dropped():
    bgra = np.dstack([PHOTO[..., ::-1], np.full((48, 64), 3, np.uint8)])
    assert (read_image(encoded(bgra)) == PHOTO).all()

@pytest.mark.parametrize('mode, kind', [('P', 'PNG'), ('P', 'GIF'), ('1', 'PNG'), ('LA', 'PNG'), ('CMYK', 'JPEG'), ('L', 'TIFF')])
def test_unusual_kinds_look_as_they_do_elsewhere(mode, kind):
    Image,io = pytest.importorskip('PIL.Image'),__import__('io')
    img = Image.fromarray(PHOTO).convert(mode)
    with io.BytesIO() as f: img.save(f, kind); data = f.getvalue()
    assert np.abs(read_image(data).astype(float) - np.array(img.convert('RGB'))).mean() < 8

@pytest.mark.parametrize('turn', range(1, 9))
def test_exif_notes_are_followed(turn):
    Image,io = pytest.importorskip('PIL.Image'),__import__('io')
    from PIL import ImageOps
    exif = Image.Exif(); exif[0x112] = turn
    with io.BytesIO() as f: Image.fromarray(PHOTO).save(f, 'png', exif=exif); data = f.getvalue()
    with io.BytesIO(data) as f: upright = np.array(ImageOps.exif_transpose(Image.open(f)))
    assert (read_image(data) == upright).all() and (read_image(data, exif=False) == PHOTO).all()

def test_an_annotation_on_the_unturned_picture_gets_the_unturned_picture(tmp_path):
    Image = pytest.importorskip('PIL.Image')
    exif = Image.Exif(); exif[0x112] = 6
    Image.fromarray(PHOTO).save(tmp_path/'a.png', exif=exif)
    for size in ((64, 48), (48, 64)):
        data = PoseData('x', COCO, [ImageInfo(1, 'a.png', *size)], Instances.empty(17), ImageSource(tmp_path))
        assert data.image(1).shape == (size[1], size[0], 3)

def test_a_picture_of_another_size_is_refused():
    data = PoseData('x', COCO, [ImageInfo(1, 'a.png', 640, 480)], Instances.empty(17), MemorySource({'a.png': PHOTO}))
    with pytest.raises(ValueError, match='a.png is 64x48.*640x480'): data.image(1)

# ---- names that climb

HOSTILE = ['../up.png', '/etc/passwd', 'a/../../up.png', '..\\up.png', 'a\\..\\..\\up.png', 'C:\\up.png', 'c:up.png', '\\\\server\\up.png', '', '.', 'a\0.png', '..']

@pytest.mark.parametrize('name', HOSTILE)
def test_no_name_leaves_its_folder(tmp_path, name):
    (tmp_path/'in').mkdir(); (tmp_path/'up.png').write_bytes(encoded(PHOTO))
    with zipfile.ZipFile(tmp_path/'z.zip', 'w') as z: z.writestr('../up.png', encoded(PHOTO))
    for source in (ImageSource(tmp_path/'in'), ImageSource(tmp_path/'z.zip')):
        with pytest.raises(ValueError, match='leaves its folder'): source.read(name)

@settings(max_examples=300, deadline=None)
@given(st.text('ab./\\:\0', max_size=8))
def test_every_accepted_name_stays_inside(name):
    try: inside = inside_name(name)
    except ValueError: return
    assert os.path.normpath(os.path.join('/house/in', inside)).startswith('/house/in/') and '\\' not in inside

def test_a_link_out_of_the_folder_is_refused_unless_allowed(tmp_path):
    (tmp_path/'in').mkdir(); (tmp_path/'up.png').write_bytes(encoded(PHOTO))
    os.symlink('../up.png', tmp_path/'in'/'a.png'); os.symlink('..', tmp_path/'in'/'b')
    for name in ('a.png', 'b/up.png'):
        with pytest.raises(ValueError, match='link out of'): ImageSource(tmp_path/'in').read(name)
    assert (ImageSource(tmp_path/'in', follow_links=True).read('a.png') == PHOTO).all()

def test_a_folder_that_is_itself_a_link_is_fine(tmp_path):
    (tmp_path/'in').mkdir(); (tmp_path/'in'/'a.png').write_bytes(encoded(PHOTO)); os.symlink('in', tmp_path/'link')
    assert (ImageSource(tmp_path/'link').read('a.png') == PHOTO).all()

def test_a_climbing_name_in_an_annotation_file_opens_nothing(tmp_path):
    (tmp_path/'in').mkdir(); (tmp_path/'up.png').write_bytes(encoded(PHOTO))
    doc = sound(); doc['images'][0]['file_name'] = '../up.png'
    data = read_coco(save(tmp_path/'in'/'a.json', doc))
    assert data.source is None
    with pytest.raises((ValueError, FileNotFoundError), match=r'\.\./up\.png'): read_coco(tmp_path/'in'/'a.json', tmp_path/'in')

def test_a_broken_zip_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path/'z.zip', 'w') as z: z.writestr('a.png', encoded(PHOTO))
    data = bytearray((tmp_path/'z.zip').read_bytes()); data[60:90] = bytes(30)
    (tmp_path/'z.zip').write_bytes(data)
    with pytest.raises(ValueError, match='z.zip: a.png cannot be unpacked'): ImageSource(tmp_path/'z.zip').read('a.png')
    (tmp_path/'cut.zip').write_bytes(data[:100])
    with pytest.raises(ValueError, match='cut.zip is neither'): ImageSource(tmp_path/'cut.zip')
    with pytest.raises(FileNotFoundError, match='nowhere'): ImageSource(tmp_path/'nowhere')

# ---- json

@pytest.mark.parametrize('data, says', [(b'', 'is empty'), (b'  \n', 'is empty'), (b'hello', 'is not json'), (b'{"a": [1, 2', 'cut short'), (b'[{"a": "b', 'cut short'),
    (b'{"a": 1,}', 'is not json'), (b'\xff\xfe\x00\x01', 'not even text'), (gzip.compress(b'[1]')[:12], 'gzipped but broken'),
    (gzip.compress(b'[1, 2'), 'cut short'), (b'\x1f\x8bxxx', 'gzipped but broken'), (b'['*100_000, 'nested'), (b'42', 'no known pose format'),
    (b'{"flour": 500}', "no known pose format.*'flour'"), (b'["a"]', 'no known pose format')])
def test_a_file_that_is_no_annotation_file_is_named(tmp_path, data, says):
    (tmp_path/'x.json').write_bytes(data)
    with pytest.raises(ValueError, match=f'x.json.*{says}'): read_any(tmp_path/'x.json')

def test_the_wrong_top_level_is_named(tmp_path):
    save(tmp_path/'a.json', [1]); save(tmp_path/'b.json', {})
    with pytest.raises(ValueError, match='a.json holds a list at the top, a dict'): read_coco(tmp_path/'a.json')
    with pytest.raises(ValueError, match='b.json holds a dict at the top, a list'): read_results(tmp_path/'b.json', COCO)
    with pytest.raises(FileNotFoundError, match='c.json'): read_json(tmp_path/'c.json')

# ---- annotations

def save(path, doc):
    path.write_text(json.dumps(doc))
    return path

def sound():
    person = dict(image_id=1, category_id=1, bbox=[10, 10, 50, 60], area=1500., iscrowd=0, keypoints=[x for i in range(17) for x in (10 + i, 20 + i, 2)])
    return dict(images=[dict(id=1, file_name='1.png', width=100, height=80)], annotations=[person | dict(id=i) for i in (41, 42, 43)],
                categories=[dict(id=1, name='person', keypoints=list(COCO.names))])

def keypoints(i, value):
    kp = sound()['annotations'][0]['keypoints']; kp[i] = value
    return dict(keypoints=kp)

FAULTS = {'48 keypoint numbers': dict(keypoints=[1, 1, 2]*16), '54 keypoint numbers': dict(keypoints=[1, 1, 2]*18), '34 keypoint numbers': dict(keypoints=[1, 1]*17),
    'not a number': keypoints(4, float('nan')), 'not a number ': keypoints(4, float('inf')), 'not a number  ': keypoints(4, None),
    'keypoint numbers': keypoints(4, 'left'), 'visibility 3': keypoints(2, 3), 'visibility -1': keypoints(2, -1), 'visibility 0.97': keypoints(2, .97),
    'occurred before': dict(id=41), 'whole number as id': dict(id='x'), 'image that is not listed': dict(image_id=9), 'not listed': dict(image_id=None),
    r'no size \(50 x 0 px\)': dict(bbox=[10, 10, 50, 0]), r'no size \(-5': dict(bbox=[10, 10, -5, 60]), 'outside its image': dict(bbox=[200, 10, 50, 60]),
    'outside its image ': dict(bbox=[-60, 10, 50, 60]), 'box that is not 4': dict(bbox=[1, 2, 3]), 'box that is not 4 ': dict(bbox=[1, 2, 3, float('nan')]),
    'box that is not 4  ': dict(bbox='big'), 'area': dict(area=-1), 'area ': dict(area='big'), 'area  ': dict(area=float('nan')), 'score': dict(score='high'),
    'confidence': dict(confidence=[1, 2]), 'head_size': dict(head_size='x')}

@pytest.mark.parametrize('says', FAULTS)
def test_a_faulty_person_is_named_and_can_be_left_out(tmp_path, says):
    doc = sound(); doc['annotations'][1] |= FAULTS[says]
    file = save(tmp_path/'a.json', doc)
    with pytest.raises(ValueError, match=rf'a\.json: annotation \S+ \(image \S+\) .*{says.strip()}.*faults=\[\]'): read_any(file)
    sentences = []
    left = read_any(file, faults=sentences).instances
    assert left.id.tolist() == [41, 43] and len(sentences) == 1 and 'a.json' in sentences[0]

IMAGE_FAULTS = {'occurred before': dict(id=1), 'whole number as id': dict(id=None), 'whole number as id ': dict(id=[1]), 'size of -5': dict(id=2, width=-5), 'size of x': dict(id=2, width='x')}

@pytest.mark.parametrize('says', IMAGE_FAULTS)
def test_a_faulty_picture_is_named_and_can_be_left_out(tmp_path, says):
    doc = sound(); doc['images'].append(dict(file_name='2.png', width=9, height=9) | IMAGE_FAULTS[says])
    file = save(tmp_path/'a.json', doc)
    with pytest.raises(ValueError, match=rf'a\.json: image .*2\.png.*{says.strip()}'): read_any(file)
    assert len(read_any(file, faults=[])) == 1

@pytest.mark.parametrize('change, says', [(dict(images=None), "'images' is no list"), (dict(annotations={}), "'annotations' is no list"), (dict(annotations=[5]), r'annotations\[0\] is a int'),
    (dict(categories=[dict(id=1, keypoints=['a', 'a'])]), 'more than once'), (dict(categories=[dict(id=1, keypoints=['a']), dict(id=2, keypoints=['b'])]), 'several categories')])
def test_a_faulty_frame_of_the_file_is_named(tmp_path, change, says):
    with pytest.raises(ValueError, match=f'a.json.*{says}'): read_any(save(tmp_path/'a.json', sound() | change))

def test_a_person_without_keypoints_may_have_any_box(tmp_path):
    doc = sound(); doc['annotations'][1] |= dict(keypoints=[0]*51, bbox=[0, 0, 0, 0])
    assert len(read_any(save(tmp_path/'a.json', doc)).instances) == 3

RESULT_FAULTS = {'48 keypoint numbers': dict(keypoints=[1, 1, 1]*16), 'not a number': dict(keypoints=[float('nan')]*51), 'has no keypoints': dict(keypoints=None),
    'score that is not': dict(score='x'), 'score that is not ': dict(score=float('nan')), 'whole number as image_id': dict(image_id='x'), 'truth does not have': dict(image_id=77)}

@pytest.mark.parametrize('says', RESULT_FAULTS)
def test_a_faulty_result_is_named_and_can_be_left_out(tmp_path, says):
    truth = read_any(save(tmp_path/'truth.json', sound()))
    rows = [dict(image_id=1, category_id=1, keypoints=[5, 5, .5]*17, score=.9) for _ in range(3)]
    rows[1] |= RESULT_FAULTS[says]
    file = save(tmp_path/'r.json', rows)
    with pytest.raises(ValueError, match=rf'r\.json: result number 1 .*{says.strip()}'): read_predictions(file, truth)
    assert len(read_predictions(file, truth, faults=[])) == 2

MPII_FAULTS = {'keypoint numbers': dict(joints=[[1, 1]]*15), 'not a number': dict(joints=[[1, 1]]*15 + ['x']), 'no size': dict(scale=0), 'a box that is not': dict(scale=float('nan'))}

@pytest.mark.parametrize('says', MPII_FAULTS)
def test_a_faulty_mpii_item_is_named(tmp_path, says):
    items = [dict(image='a.jpg', joints=[[9, 9]]*16, joints_vis=[1]*16, center=[50, 50], scale=1.) for _ in range(2)]
    items[1] |= MPII_FAULTS[says]
    with pytest.raises(ValueError, match=rf'm\.json: annotation 2 .*{says}'): read_mpii(save(tmp_path/'m.json', items))

JUNK = st.sampled_from([None, 'x', '', [], {}, -1, 1e308, float('nan'), float('inf'), True, [[1]], 10**30, 0, [None], {'a': 1}, '7', 2.5])

@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_junk_anywhere_is_read_or_refused_by_file_name(tmp_path, data):
    doc = copy.deepcopy(sound())
    part = data.draw(st.sampled_from(['images', 'annotations', 'categories']))
    junk = data.draw(JUNK)
    key = data.draw(st.sampled_from(['id', 'image_id', 'category_id', 'keypoints', 'bbox', 'area', 'iscrowd', 'track_id', 'score', 'head_box', 'bbox_head', 'confidence',
        'file_name', 'width', 'height', 'split', 'vid_id', 'frame_id', 'name', 'skeleton', 'segmentation', None]))
    if key is None: doc[part][0] = junk
    else: doc[part][0][key] = junk
    file = save(tmp_path/'junk.json', doc)
    for faults in (None, []):
        try: found = read_any(file, faults=faults)
        except ValueError as e: assert 'junk.json' in str(e)
        else: assert np.isfinite(found.instances.keypoints).all() and np.isfinite(found.instances.bbox).all()

@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_junk_in_other_formats_is_read_or_refused_by_file_name(tmp_path, data):
    names = dict(mpii=list(load_schema('mpii').names), lspet=list(load_schema('lspet').names))
    item = dict(image='a.jpg', gt=[[9, 9]]*16, mpii_visible_flag=[1]*16, center=[50, 50], scale=1., head_box=[1, 1, 9, 9], pred=[[8, 8]]*16)
    clip = dict(video='a', split='x', frames=[[dict(track_id=1, keypoints=[1, 1, 2]*14, head_box=[1, 1, 9, 9])]])
    doc = data.draw(st.sampled_from([[dict(image='a.jpg', joints=[[9, 9]]*16, joints_vis=[1]*16, center=[50, 50], scale=1.)],
        dict(joint_names=names['mpii'], items=[item]), dict(joint_names=names['lspet'], skeleton=[[1, 2]], videos=[clip])]))
    doc = copy.deepcopy(doc)
    places = [(doc, k) for k in doc] if isinstance(doc, dict) else [(doc, 0)]
    for d in (doc if isinstance(doc, list) else doc.get('items') or doc['videos']): places += [(d, k) for k in d]
    if 'videos' in doc: places += [(clip := doc['videos'][0]['frames'], 0), (clip[0], 0)] + [(clip[0][0], k) for k in clip[0][0]]
    if 'items' in doc: places += [(doc['items'][0]['pred'], 0), (doc['items'][0]['gt'], 0)]
    at,key = data.draw(st.sampled_from(places))
    at[key] = data.draw(JUNK)
    file = save(tmp_path/'junk.json', doc)
    truth = PoseData('x', load_schema('mpii'), [ImageInfo(1, 'a.jpg', 0, 0)], Instances.empty(16))
    for read in (read_any, lambda f: read_predictions(f, truth)):
        try: read(file)
        except ValueError as e: assert 'junk.json' in str(e)

# ---- videos

@pytest.mark.parametrize('data', [b'', b'hello', bytes(1000), b'\x00\x00\x00\x18ftypmp42' + bytes(16)])
def test_a_video_without_frames_is_named(tmp_path, data):
    (tmp_path/'v.mp4').write_bytes(data)
    for read in (open_clip, read_any):
        with pytest.raises(ValueError, match='v.mp4'): read(tmp_path/'v.mp4')

def test_a_video_header_without_frames_is_named(tmp_path):
    out = cv2.VideoWriter(str(tmp_path/'v.avi'), cv2.VideoWriter_fourcc(*'MJPG'), 25, (32, 24)); out.release()
    with pytest.raises(ValueError, match='v.avi'): open_clip(tmp_path/'v.avi')

def test_a_video_that_ends_early_says_how_much_there_was(tmp_path):
    frames = [np.roll(PHOTO, 3*i, 1) for i in range(40)]
    whole = write_video(tmp_path/'v.avi', frames).read_bytes()
    (tmp_path/'cut.avi').write_bytes(whole[:len(whole)//2])
    got = []
    with pytest.raises(ValueError, match=r'cut.avi ends after \d+ of 40 frames'):
        for f in open_clip(tmp_path/'cut.avi').frames(): got.append(f)
    assert 10 < len(got) < 30
    assert len(list(open_clip(tmp_path/'cut.avi', strict=False).frames())) == len(got)

def test_a_folder_without_pictures_is_named(tmp_path):
    (tmp_path/'notes.txt').write_text('x')
    with pytest.raises(ValueError, match='holds no images'): open_clip(tmp_path)
    with pytest.raises(FileNotFoundError, match='nowhere'): open_clip(tmp_path/'nowhere')

def test_a_broken_picture_in_a_folder_is_named_when_its_turn_comes(tmp_path):
    (tmp_path/'0.png').write_bytes(encoded(PHOTO)); (tmp_path/'1.png').write_bytes(b'')
    frames = open_clip(tmp_path).frames()
    next(frames)
    with pytest.raises(ValueError, match=r'1\.png is empty'): next(frames)

def test_a_video_is_not_written_by_halves(tmp_path):
    old = write_video(tmp_path/'v.mp4', [PHOTO]*3).read_bytes()
    for frames,says in (([], 'no frames'), ([PHOTO, PHOTO[:20]], 'frame 1'), ([PHOTO.astype(float)], 'frame 0')):
        with pytest.raises(ValueError, match=says): write_video(tmp_path/'v.mp4', frames)
    assert (tmp_path/'v.mp4').read_bytes() == old and os.listdir(tmp_path) == ['v.mp4']
    with pytest.raises(ValueError, match='.webm'): write_video(tmp_path/'v.mkv', [PHOTO])

def test_a_faulty_row_of_results_alone_can_be_left_out(tmp_path):
    good = dict(image_id=1, keypoints=[5., 5., .9]*17, score=.9)
    file = tmp_path/'results.json'; file.write_text(json.dumps([good, dict(good, keypoints=[1.]*7)]))
    with pytest.raises(ValueError, match='results.json: result number 1'): read_any(file)
    said = []
    assert len(read_any(file, faults=said).instances) == 1 and len(said) == 1
