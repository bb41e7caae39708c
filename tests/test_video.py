"From film to pictures: what is chosen, why the rest is not, and a run that was killed goes on"
import json
from dataclasses import replace
import cv2, numpy as np, pytest
from hypothesis import given, settings, strategies as st
from poselab.data.video import (Rules, change, colours, extract, extracted, find_films, looked_at, measure, picture_name, read_index,
                                repainted, sharpness, thumbnail, verdicts)
from poselab.records import Clip, data_root, read_image, write_video
from poselab.schema import load_schema

def scene(seed, n, size=(64, 48)):
    "A textured room with a bright square that jumps"
    rng = np.random.default_rng(seed)
    room = cv2.resize(rng.integers(0, 255, (12, 16, 3), np.uint8), size, interpolation=cv2.INTER_NEAREST)//3 + np.uint8(40*(seed % 4))
    out = []
    for i in range(n):
        img = room.copy()
        x = (7*i) % (size[0] - 12)
        img[10:30, x:x + 12] = 250
        out.append(img)
    return out

def clip_of(frames, name='film', fps=10., times=None):
    t = np.arange(len(frames))/fps if times is None else times
    return Clip(name, fps, frames[0].shape[1::-1], len(frames), lambda: iter(frames), clock=lambda: zip(map(float, t), frames))

quiet = dict(progress=False)

@pytest.fixture
def film(tmp_path): return write_video(tmp_path/'waltz.avi', scene(1, 12) + scene(2, 12), 10)

# ---- measures

@given(st.lists(st.integers(0, 50), min_size=4, max_size=4), st.lists(st.integers(0, 50), min_size=4, max_size=4))
def test_repainted_is_a_distance_between_0_and_1(a, b):
    a,b = ((np.array(x) + 1e-9)/(np.sum(x) + 4e-9) for x in (a, b))
    assert -1e-9 <= repainted(a, b) <= 1 + 1e-9 and repainted(a, b) == repainted(b, a) and repainted(a, a) == 0

def test_colours_do_not_care_where_things_are():
    img = scene(3, 1)[0]
    assert repainted(colours(img), colours(img[:, ::-1])) < .1 and np.isclose(colours(img).sum(), 1)

def test_blur_lowers_sharpness_and_the_box_decides_where():
    img = scene(3, 1)[0]
    soft = cv2.GaussianBlur(img, (0, 0), 2)
    half = img.copy(); half[:, :32] = soft[:, :32]
    assert sharpness(soft) < .5*sharpness(img)
    assert sharpness(half, [36, 0, 28, 48]) == sharpness(img, [36, 0, 28, 48]) > 2*sharpness(half, [0, 0, 28, 48])
    assert sharpness(img, [500, 500, 10, 10]) == 0

def test_an_arm_that_moves_is_a_change_although_the_mean_hardly_moves():
    a,b = scene(1, 2)
    assert change(thumbnail(a), thumbnail(b)) > 50 and change(thumbnail(a), thumbnail(a)) == 0

# ---- what is looked at

def test_a_changing_rate_is_sampled_by_time():
    times = [0, .05, .1, .9, .95, 1.0, 1.6, 2.1]
    seen = [i for i,*_ in looked_at(clip_of(scene(1, 8), times=times), Rules(fps=2))]
    assert seen == [0, 3, 5, 6, 7] # first at or after 0, .5, 1, 1.5, 2

@settings(deadline=None, max_examples=25)
@given(st.integers(1, 9), st.integers(1, 30))
def test_a_stride_takes_every_nth_frame(stride, n):
    assert [i for i,*_ in looked_at(clip_of(scene(1, 1)*n), Rules(stride=stride))] == list(range(0, n, stride))

def test_the_first_frame_after_a_cut_is_always_looked_at():
    seen = measure(clip_of(scene(1, 7) + scene(2, 7)), Rules(fps=1), False)
    assert [(m['frame'], m['scene']) for m in seen] == [(0, 0), (7, 1), (10, 1)]

def test_more_pictures_a_second_than_the_film_has_gives_every_frame_once():
    assert [i for i,*_ in looked_at(clip_of(scene(1, 5)), Rules(fps=100))] == [0, 1, 2, 3, 4]

def test_a_slow_bow_is_compared_with_the_last_kept_picture():
    rows = [dict(sharpness=10., thumb=np.full((2, 2), 3*i, np.uint8)) for i in range(9)]
    assert verdicts(rows, Rules(same=6)) == ['', 'near-duplicate']*4 + ['']

def test_a_blurred_frame_gives_way_before_it_can_make_others_duplicates():
    thumb = np.zeros((2, 2), np.uint8)
    rows = [dict(sharpness=s, thumb=thumb) for s in (1., 10., 10.)]
    assert verdicts(rows, Rules()) == ['blurred', '', 'near-duplicate']
    assert verdicts(rows, Rules(blur=0, same=0)) == ['']*3 and verdicts([], Rules()) == []

def test_a_black_film_is_not_blurred():
    assert verdicts(measure(clip_of([np.zeros((48, 64, 3), np.uint8)]*5), Rules(stride=1), False), Rules(stride=1))[0] == ''

@pytest.mark.parametrize('wrong', [dict(fps=2, stride=3), dict(fps=0), dict(fps=float('nan')), dict(stride=0), dict(blur=1.), dict(quality=0)])
def test_rules_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError): Rules(**wrong)

# ---- written down

def test_names_sort_by_time_and_say_the_film():
    names = [picture_name('waltz', i, i/30) for i in (0, 9, 10, 100, 99999)]
    assert names == sorted(names) and all(n.startswith('waltz/waltz_f') for n in names)

def test_every_frame_looked_at_is_kept_or_has_a_reason(film, tmp_path):
    doc, = extract(film, tmp_path/'out', Rules(fps=5), **quiet)
    assert doc == read_index(tmp_path/'out'/'waltz.json')
    assert all(bool(p['file']) != bool(p['dropped']) for p in doc['pictures'])
    files = {p.relative_to(tmp_path/'out').as_posix() for p in (tmp_path/'out').rglob('*.jpg')}
    assert files == {p['file'] for p in doc['pictures'] if p['file']} and len(files) == doc['kept']

def test_a_picture_is_the_frame_its_name_says(film, tmp_path):
    doc, = extract(film, tmp_path/'out', Rules(stride=3, blur=0, same=0, quality=100), **quiet)
    frames = scene(1, 12) + scene(2, 12)
    for p in doc['pictures']:
        got = read_image(tmp_path/'out'/p['file']).astype(int)
        errors = [np.abs(got - f).mean() for f in frames]
        assert np.argmin(errors) == p['frame']

class Killed(Exception): pass

@pytest.mark.parametrize('after', [0, 1, 4])
def test_a_run_killed_while_writing_goes_on_and_ends_as_if_nothing_had_happened(film, tmp_path, monkeypatch, after):
    from poselab.data import video
    whole, = extract(film, tmp_path/'whole', Rules(fps=5), **quiet)
    real,left = video.write_whole,[after + 1] # the index first
    def dying(path, data):
        if left[0] == 0: raise Killed
        left[0] -= 1
        return real(path, data)
    monkeypatch.setattr(video, 'write_whole', dying)
    with pytest.raises(Killed): extract(film, tmp_path/'out', Rules(fps=5), **quiet)
    assert len(list((tmp_path/'out').rglob('*.jpg'))) == after and not list((tmp_path/'out').rglob('*.part*'))
    monkeypatch.setattr(video, 'write_whole', real)
    assert extract(film, tmp_path/'out', Rules(fps=5), **quiet) == [whole]
    for p in (tmp_path/'whole').rglob('*.jpg'): assert p.read_bytes() == (tmp_path/'out'/p.relative_to(tmp_path/'whole')).read_bytes()

def test_a_run_killed_while_measuring_leaves_nothing_half(film, tmp_path):
    frames = scene(1, 12)
    def broken():
        yield from enumerate(frames[:5])
        raise Killed
    with pytest.raises(Killed): extract(replace(clip_of(frames), clock=broken), tmp_path/'out', **quiet)
    assert not list((tmp_path/'out').iterdir())

def test_deleted_pictures_come_back_and_the_others_are_not_touched(film, tmp_path):
    extract(film, tmp_path/'out', Rules(fps=5), **quiet)
    files = sorted((tmp_path/'out').rglob('*.jpg'))
    before = {f: (f.read_bytes(), f.stat().st_mtime_ns) for f in files}
    for f in files[-2:]: f.unlink()
    extract(film, tmp_path/'out', Rules(fps=5), **quiet)
    assert all(f.read_bytes() == before[f][0] for f in files) and all(f.stat().st_mtime_ns == before[f][1] for f in files[:-2])

def test_a_finished_film_is_not_opened_again(film, tmp_path, monkeypatch):
    from poselab.data import video
    extract(film, tmp_path/'out', **quiet)
    monkeypatch.setattr(video, 'open_clip', lambda *a, **k: pytest.fail('opened'))
    extract(film, tmp_path/'out', **quiet)

def test_other_rules_or_another_film_of_that_name_are_refused(film, tmp_path):
    extract(film, tmp_path/'out', **quiet)
    with pytest.raises(ValueError, match='fps 2.0, not 3'): extract(film, tmp_path/'out', Rules(fps=3), **quiet)
    write_video(film, scene(3, 9), 10)
    with pytest.raises(ValueError, match='another film'): extract(film, tmp_path/'out', **quiet)

# ---- films

def test_a_folder_of_films_and_one_of_frames_are_told_apart(film, tmp_path):
    (tmp_path/'still').mkdir()
    for i,img in enumerate(scene(4, 3)): cv2.imwrite(str(tmp_path/'still'/f'{i}.png'), img)
    assert set(find_films(tmp_path)) == {'waltz'} and set(find_films([film, tmp_path/'still'])) == {'waltz', 'still'}
    doc, = extract(tmp_path/'still', tmp_path/'out', Rules(stride=1), **quiet)
    assert doc['looked_at'] == 3 and doc['bytes'] is None

def test_two_films_of_one_name_are_refused_and_the_same_film_twice_is_one(film, tmp_path):
    (tmp_path/'b').mkdir(); (tmp_path/'b'/'waltz.avi').write_bytes(film.read_bytes())
    with pytest.raises(ValueError, match='rename one'): find_films([film, tmp_path/'b'])
    assert len(find_films([film, film, str(film)])) == 1

def test_a_name_with_spaces_and_signs_becomes_a_plain_one():
    assert list(find_films(clip_of(scene(1, 2), 'Anna & Jo: Nr. 3.mp4'))) == ['Anna_Jo_Nr_3']

def test_broken_films_are_named_and_the_others_go_on(film, tmp_path):
    (tmp_path/'empty.mp4').write_bytes(b''); (tmp_path/'text.mov').write_text('no film'); (tmp_path/'half.avi').write_bytes(film.read_bytes()[:film.stat().st_size//2])
    faults = []
    done = extract(tmp_path, tmp_path/'out', faults=faults, **quiet)
    assert [d['film'] for d in done] == ['waltz'] and [f.split(':')[0] for f in faults] == ['empty', 'half', 'text']
    with pytest.raises(ValueError, match='0 bytes'): extract(tmp_path/'empty.mp4', tmp_path/'out', **quiet)
    part, = extract(tmp_path/'half.avi', tmp_path/'out2', strict=False, **quiet)
    assert 0 < part['kept']

def test_nothing_readable_is_an_error_even_when_faults_are_collected(tmp_path):
    (tmp_path/'empty.mp4').write_bytes(b'')
    with pytest.raises(ValueError, match='None of the 1 films'): extract(tmp_path, tmp_path/'out', faults=[], **quiet)

@pytest.mark.parametrize('what', ['gone.mp4', '.', []])
def test_no_films_is_said_in_words(tmp_path, what):
    with pytest.raises((ValueError, FileNotFoundError)): extract(tmp_path/what if isinstance(what, str) else what, tmp_path/'out', **quiet)

def test_a_film_that_changes_its_size_is_refused(tmp_path):
    with pytest.raises(ValueError, match='split the film'): extract(clip_of(scene(1, 3) + scene(1, 3, (32, 24))), tmp_path/'out', **quiet)

def test_pictures_are_upright_as_the_clip_gives_them(tmp_path):
    doc, = extract(clip_of(scene(1, 3, (48, 64))), tmp_path/'out', **quiet)
    assert doc['size'] == [48, 64] and read_image(next((tmp_path/'out').rglob('*.jpg'))).shape == (64, 48, 3)

def test_a_broken_index_is_named(film, tmp_path):
    (tmp_path/'out').mkdir(); (tmp_path/'out'/'waltz.json').write_text('{"film": "waltz"')
    with pytest.raises(ValueError, match='waltz.json'): extract(film, tmp_path/'out', **quiet)
    (tmp_path/'out'/'waltz.json').write_text('{}')
    with pytest.raises(ValueError, match='no index'): extract(film, tmp_path/'out', **quiet)

def test_extracted_pictures_are_a_data_set(film, tmp_path):
    extract(film, tmp_path/'out', Rules(fps=5), **quiet)
    data = extracted(tmp_path/'out', load_schema('coco'))
    assert {im.video for im in data.images} == {'waltz'} and data.image(1).shape == (48, 64, 3)
    with pytest.raises(ValueError, match='run extract'): extracted(tmp_path, load_schema('coco')) if (tmp_path/'none').mkdir() else extracted(tmp_path/'none', load_schema('coco'))

def test_memory_does_not_grow_with_the_film():
    "What is kept of a frame is a thumbnail"
    row = measure(clip_of(scene(1, 2, (640, 480))), Rules(stride=1), False)[0]
    assert row['thumb'].nbytes < 1500 and set(row) == {'frame', 'time', 'scene', 'sharpness', 'thumb'}

def test_a_real_film_gives_pictures_of_its_size(tmp_path):
    if data_root() is None: pytest.skip('no shared data: set POSELAB_DATA')
    doc, = extract(data_root()/'videos'/'pose2sim_single_cam01.mp4', tmp_path/'out', Rules(fps=1), **quiet)
    assert doc['kept'] >= 1 and read_image(next((tmp_path/'out').rglob('*.jpg'))).shape[1::-1] == tuple(doc['size'])
