"Films that somebody brings, and errors on purpose: the explorers of page 29e without a browser"
import datetime, time
import cv2, numpy as np, pytest
from poselab.explorers import Film, demo_person, oks_explorer, demo_film, error_explorer, film_explorer, film_poses, read_film_upload, spoilt_dancers
from poselab.evaluate.impact import KEYPOINT_MENDS
from poselab.records import write_video

@pytest.fixture(scope='module')
def film(tmp_path_factory):
    "60 frames at 50 per second, 640x360"
    path = tmp_path_factory.mktemp('film')/'a.mp4'
    big = [cv2.resize(f, (640, 360)) for f in demo_film(frames=6)]
    return write_video(path, big*10, 50.).read_bytes()

def test_a_quick_long_large_film_becomes_a_short_small_one_and_says_so(film):
    f = read_film_upload(film, 'my dance.MP4', frames=20)
    assert len(f) == 20 and f.fps == 25 and f[0].shape == (270, 480, 3) and f[0].dtype == np.uint8
    assert f.words == 'the first 0.8 s of 1.2 s' and read_film_upload(film).words == ''

@pytest.mark.parametrize('name, data, words', [('a.mp4', b'', 'cannot be read'), ('a.mp4', b'no film at all'*99, 'cannot be read'), ('a.exe', b'x', 'no film by its name'),
    ('a', b'x', 'no film by its name'), ('a.mp4', bytes(9*2**20), 'has 9 MB')])
def test_what_is_no_film_is_refused_in_words(name, data, words):
    with pytest.raises(ValueError, match=words): read_film_upload(data, name)

def test_a_film_that_is_cut_short_is_taken_as_far_as_it_goes_or_refused(film):
    try: assert 0 < len(read_film_upload(film[:len(film)*2//3], 'a.mp4')) <= 60
    except ValueError as e: assert 'cannot be read' in str(e)

def test_a_name_that_was_sent_writes_nowhere(film, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(read_film_upload(film, '../../etc/evil.mp4')) and not list(tmp_path.iterdir())

def test_every_frame_is_looked_at_and_told_of():
    done = []
    seen = film_poses(demo_film(frames=5), progress=done.append)
    assert done == [1, 2, 3, 4, 5] and all(jpg[:2] == b'\xff\xd8' for jpg,_ in seen) and sum(n for _,n in seen) >= 4

def test_a_film_without_people_is_no_error():
    blank = Film([np.full((90, 120, 3), 255, np.uint8)]*4)
    assert [n for _,n in film_poses(blank)] == [0]*4

def parts(box): return {x.description: x for x in [c for row in box.children if hasattr(row, 'children') for c in row.children] if getattr(x, 'description', '')}

def test_the_film_explorer_walks_and_refuses(film):
    box = film_explorer(); c = parts(box); view,words = box.children[3],box.children[1]
    first = view.value
    start = time.process_time(); c['frame'].value = 10; took = time.process_time() - start
    assert view.value != first and took < .15, f'{took:.3f} s for a frame'
    c['Upload'].value = (dict(name='a.txt', type='text/plain', size=1, content=memoryview(b'x'), last_modified=datetime.datetime(2026, 1, 1)),)
    assert 'no film by its name' in words.value and view.value != b'' and c['frame'].max == 31 # what was there stays
    c['Upload'].value = (dict(name='b.mp4', type='video/mp4', size=len(film), content=memoryview(film), last_modified=datetime.datetime(2026, 1, 1)),)
    assert 'b.mp4: 30 frames' in words.value and c['frame'].max == 29 and c['network'].value == 30

def test_errors_on_purpose_have_every_kind_and_answer_at_once():
    d = spoilt_dancers()
    assert set(KEYPOINT_MENDS) <= set(d.error.ravel()) and {'background', 'duplicate'} <= set(d.status)
    box = error_explorer(); c = parts(box); view = box.children[2]
    before = view.value
    c['case'].value = 1
    took = []
    for kind in c['mend'].options:
        start = time.process_time(); c['mend'].value = kind; took.append(time.process_time() - start)
    assert view.value != before and np.median(took) < .15, took

def test_a_dragged_keypoint_is_where_the_hand_is_and_costs_what_the_sliders_say():
    box = oks_explorer(); row,screen = box.children
    keypoint,dx,dy = row.children
    _,xy,_,_,schema = demo_person()
    for name in ('left_wrist', 'nose'):
        keypoint.value = name; here = xy[schema.index(name)]
        start = time.process_time(); screen.grabbed = [float(v) for v in here + (11.2, -6.9)]; took = time.process_time() - start
        assert (dx.value, dy.value) == (11., -7.) and took < .15, f'{took:.3f} s'
        np.testing.assert_allclose(screen.shown.layout.meta['grab'], here + (11, -7))
        assert '13.0 px away' in screen.shown.layout.title.text and screen.shown.layout.dragmode is False
    screen.grabbed = [float(v) for v in here + (500, 0)]
    assert dx.value == 40
