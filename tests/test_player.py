"From any source to a take, and from two takes to one page"
import json, re
from dataclasses import replace
from itertools import islice
from pathlib import Path
import cv2, numpy as np, pytest
from hypothesis import given, settings, strategies as st
pytest.importorskip('jinja2')
from poselab.data.datasets import write_coco, write_results
from poselab.data.figures import Mistake, choreography, render_clip
from poselab.predict import Predictor
from poselab.records import Clip, ImageInfo, Instances, PoseData, data_root, open_clip, write_video
from poselab.schema import load_schema
import poselab.player as player
from poselab.player import (Footage, Take, album, camera_number, choose, frame_numbers, mirrored_take, noting, read_footage,
                            read_keypoints, record, same_skeleton, score_report, score_takes, shared_keypoints, shrunk, stage_box, steady)

COCO = load_schema('coco')
WRONG = Mistake('left_forearm', .8, 1.8, degrees=60)

@pytest.fixture(scope='module')
def motions():
    "A dance that is not its own mirror image, and a pupil with one mistake"
    return [choreography('disco', 2.6, size=(96,128), body_seed=b, mistakes=m) for b,m in ((3, []), (8, [WRONG]))]

@pytest.fixture(scope='module')
def films(motions, tmp_path_factory):
    home = tmp_path_factory.mktemp('films')
    return [write_video(home/f'{n}.mp4', render_clip(m, seed=i)[0], 25.) for i,(n,m) in enumerate(zip(('teacher', 'pupil'), motions))]

def footage(motion, name='clip', people=None, **kw):
    people = Instances.make(motion.keypoints, image_id=np.arange(len(motion)), track_id=1) if people is None else people
    return Footage(name, people, motion.times, motion.fps, COCO, motion.size, **kw)

def results(motion, path, keep=slice(None), first=1):
    "A results file of a dance, some frames left out"
    people = Instances.make(motion.keypoints, image_id=np.arange(len(motion)) + first, score=1., confidence=1.)[keep]
    return write_results(people, path)

def own_data(page): return [json.loads(re.search(f'id="{i}">(.*?)</script>', Path(page).read_text(), re.S)[1]) for i in ('numbers', 'data')]

# --- files of keypoints ---------------------------------------------------------------------------------------

def test_a_frame_without_a_person_stays_a_gap(motions, tmp_path):
    lost = np.r_[0:10, 30:65]
    take = choose(read_keypoints(results(motions[0], tmp_path/'r.json', lost)))
    assert len(take) == 65 and (np.flatnonzero(~take.there) == np.arange(10, 30)).all()
    assert take.gaps() == [(.4, 1.2)] and 'nobody is seen from 0.4 s to 1.2 s' in take.warnings[0]
    assert np.abs(take.keypoints[lost] - motions[0].keypoints[lost]).max() < .006

def test_the_first_frames_without_a_person_stay_too(motions, tmp_path):
    take = choose(read_keypoints(results(motions[0], tmp_path/'r.json', slice(15, None))))
    assert len(take) == 65 and take.gaps() == [(0, .6)]

@pytest.mark.parametrize('first', [0, 1])
def test_frames_may_be_counted_from_0_or_1(motions, tmp_path, first):
    assert len(choose(read_keypoints(results(motions[0], tmp_path/'r.json', first=first)))) == 65

@settings(max_examples=60, deadline=None)
@given(st.sets(st.integers(0, 400), min_size=8, max_size=60), st.sampled_from([1, 2, 5]))
def test_frame_numbers_keep_order_and_holes(ids, stride):
    ids = np.array(sorted(ids))
    if np.gcd.reduce(np.diff(ids)) != 1: return
    at,said = frame_numbers(ids*stride)
    assert said == '' and at[0] >= 0 and (np.diff(at) == np.diff(ids)).all()

def test_numbers_of_photographs_are_no_frames():
    at,said = frame_numbers([139, 40036, 52413, 581781])
    assert at.tolist() == [0, 1, 2, 3] and 'no frame numbers' in said

def test_annotations_with_frames_and_pictures_are_a_take(motions, tmp_path):
    frames,_ = render_clip(motions[0], seed=0)
    infos = [ImageInfo(100 - i, f'{i:03d}.png', 96, 128, video='v', frame=i) for i in range(8)] # listed and numbered backwards
    for i in range(8): cv2.imwrite(str(tmp_path/f'{i:03d}.png'), frames[i][..., ::-1])
    people = Instances.make(motions[0].keypoints[[0, 1, 2, 6, 7]], image_id=[100, 99, 98, 94, 93])
    write_coco(PoseData('x', COCO, infos[::-1], people), tmp_path/'x.json')
    take = choose(read_keypoints(tmp_path/'x.json', images=tmp_path))
    assert take.there.tolist() == [True]*3 + [False]*3 + [True]*2 and take.size == (96, 128)
    shown = list(take.pictures())
    assert len(shown) == 8 and shown[3][0] == pytest.approx(.12) and (shown[7][1] == frames[7]).all()

def test_faulty_records_are_left_out_and_said(motions, tmp_path):
    infos = [ImageInfo(i + 1, f'{i:03d}.png', 96, 128, video='v', frame=i) for i in range(65)]
    write_coco(PoseData('x', COCO, infos, Instances.make(motions[0].keypoints, image_id=np.arange(65) + 1)), tmp_path/'x.json')
    doc = json.loads((tmp_path/'x.json').read_text())
    doc['annotations'][20]['keypoints'][3] = None
    (tmp_path/'x.json').write_text(json.dumps(doc))
    take = choose(read_keypoints(tmp_path/'x.json'))
    assert len(take) == 65 and not take.there[20] and '1 faulty records were left out' in take.warnings[0] and 'x.json' in take.warnings[0]

def test_a_result_that_is_not_a_number_is_never_used(motions, tmp_path):
    path = results(motions[0], tmp_path/'r.json')
    rows = json.loads(path.read_text())
    rows[20]['keypoints'][3] = None
    path.write_text(json.dumps(rows))
    try: assert not choose(read_keypoints(path)).there[20]
    except ValueError as e: assert 'r.json' in str(e) and 'image 21' in str(e)

def test_a_cut_json_is_an_error_that_names_it(motions, tmp_path):
    path = results(motions[0], tmp_path/'r.json')
    path.write_text(path.read_text()[:3000])
    with pytest.raises(ValueError, match='r.json (stops|is not json)'): read_footage(path)

# --- several people -------------------------------------------------------------------------------------------

def two(motions):
    "A small dancer and a large one who comes later, without numbers; rows of a frame in changing order"
    a,b = motions[1].keypoints*.5,motions[0].keypoints*1.3 + [200, 0]
    rows = [(t, x[t]) for t in range(65) for x in ((a, b) if t % 2 else (b, a)) if t >= 10 or x is a]
    return footage(motions[0], 'stage', Instances.make([x for _,x in rows], image_id=[t for t,_ in rows])),a,b

def test_the_main_person_is_large_for_long_and_others_are_named(motions):
    stage,a,b = two(motions)
    take = choose(stage)
    assert np.allclose(take.keypoints[10:], b[10:]) and not take.there[:10].any() and sorted(take.tracks.values()) == [55, 65]
    assert any('several people' in w for w in take.warnings)

def test_a_person_can_be_chosen_by_number(motions):
    stage,a,b = two(motions)
    small = next(n for n,k in choose(stage).tracks.items() if k == 65)
    assert np.allclose(choose(stage, small).keypoints, a)
    with pytest.raises(ValueError, match=r'no person 9: there are \[1, 2\]'): choose(stage, 9)

def test_somebody_who_comes_back_with_a_new_number_is_one_dancer(motions):
    m = motions[0]
    ids = np.where(np.arange(65) < 30, 4, 7)
    take = choose(footage(m, people=Instances.make(m.keypoints, image_id=np.arange(65), track_id=ids)))
    assert take.there.all() and any('never seen together' in w for w in take.warnings)

def test_every_pupil_gets_a_page_of_his_own(motions, tmp_path):
    stage,a,b = two(motions)
    found = score_report(footage(motions[0], 'teacher'), stage, tmp_path/'s.html', person='each', progress=False)
    assert len(found['pupils']) == 2 and {p['test']['person'] for p in found['pupils']} == {1, 2}
    assert sorted(p.name for p in tmp_path.iterdir()) == ['s-1.html', 's-1.json', 's-2.html', 's-2.json']
    by = {p['test']['persons'][str(p['test']['person'])]: p['score'] for p in found['pupils']}
    assert by[55] > by[65] # the large one dances without the mistake

def test_nobody_is_a_clear_error(motions, tmp_path):
    with pytest.raises(ValueError, match='clip shows nobody in 65 frames'): choose(footage(motions[0], people=Instances.empty(17)))
    unsure = Instances.make(motions[0].keypoints, image_id=np.arange(65), track_id=1, confidence=.01)
    with pytest.raises(ValueError, match='sure enough'): choose(footage(motions[0], people=unsure))
    (tmp_path/'none.json').write_text('[]')
    with pytest.raises(ValueError, match='none.json holds no pictures and no people'): read_footage(tmp_path/'none.json')

# --- films and cameras ----------------------------------------------------------------------------------------

@pytest.fixture(scope='module')
def predictor(small_weights): return Predictor(small_weights, detector=whole_picture)

def whole_picture(img): return np.array([[0., 0., img.shape[1], img.shape[0]]]), np.ones(1)

def test_films_folders_and_single_pictures_are_footage(films, predictor, tmp_path):
    film = read_footage(films[0], lambda: predictor, progress=False)
    for i,img in enumerate(list(open_clip(films[0]).frames())[:4]): cv2.imwrite(str(tmp_path/f'{i}.png'), img[..., ::-1])
    folder = read_footage(tmp_path, lambda: predictor, fps=10., progress=False)
    one = read_footage(tmp_path/'0.png', lambda: predictor, progress=False)
    assert len(film) == 65 and film.size == (96, 128) and film.fps == 25 and film.schema.names == COCO.names
    assert (len(folder), folder.fps, len(one)) == (4, 10., 1)
    assert np.allclose(folder.times, np.arange(4)/10) and len(list(folder.pictures())) == 4

def test_a_cut_film_is_used_as_far_as_it_goes_and_said(films, predictor, tmp_path):
    clip = open_clip(films[0])
    short = replace(clip, clock=lambda: (x for i,x in enumerate(clip.timed()) if i < 30), read=None)
    assert 'ends after 30 of 65 frames' in read_footage(short, lambda: predictor, progress=False).warnings[0]

def test_a_corrupt_film_is_an_error_that_names_it(films, predictor, tmp_path):
    bad = tmp_path/'bad.mp4'; bad.write_bytes(films[0].read_bytes()[:4000])
    with pytest.raises(ValueError, match='bad.mp4 has no frame'): read_footage(bad, lambda: predictor)

def test_a_camera_that_is_not_there_is_a_clear_error(tmp_path):
    assert camera_number('0') == 0 and camera_number(3) == 3 and camera_number('a.mp4') is None
    with pytest.raises(ValueError, match='Camera 61 gives no picture'): score_report('61', '61', tmp_path/'x.html', progress=False)
    assert not list(tmp_path.iterdir())

def test_a_recording_has_the_rate_that_came_and_ends_in_time(tmp_path):
    blank = np.zeros((32, 48, 3), np.uint8)
    camera = Clip('camera', 30., (48, 32), None, None, clock=lambda: ((i/10, blank) for i in range(10**6)))
    assert record(camera, 2., tmp_path/'c.mp4') == pytest.approx(10) and open_clip(tmp_path/'c.mp4').count == 21

def test_times_are_noted_as_frames_pass():
    blank,times = np.zeros((4, 4, 3), np.uint8),[]
    clip = Clip('c', 25., (4, 4), 3, None, clock=lambda: ((t, blank) for t in (0, .04, .2)))
    assert len(list(noting(clip, times).frames())) == 3 and times == [0, .04, .2]

def test_a_film_of_odd_size_with_a_man_at_the_edge_has_a_stage_inside_it():
    take = Take('t', np.array([[[-4., -3.], [50, 90.], [103, 40]]]), np.full((1, 3), 2), np.ones((1, 3)), np.zeros(1), 25., None, (101, 77))
    x,y,w,h = stage_box(take)
    assert x >= 0 and y >= 0 and x + w <= 101 and y + h <= 77

def test_a_stage_beyond_the_picture_is_black_there():
    img = np.full((10, 10, 3), 200, np.uint8)
    out = shrunk(img, (-5, -5, 10, 10), 100)
    assert out.shape == (10, 10, 3) and (out[:5] == 0).all() and (out[5:, 5:] == 200).all()

# --- clocks, skeletons, mirrors -------------------------------------------------------------------------------

def walk(times, keypoints=None, fps=25., schema=COCO):
    xy = np.repeat(np.asarray(times, float), 2*schema.num_keypoints).reshape(-1, schema.num_keypoints, 2) if keypoints is None else keypoints
    n = len(times)
    return Take('t', xy, np.full((n, schema.num_keypoints), 2), np.ones((n, schema.num_keypoints)), np.asarray(times, float), fps, schema)

def test_an_uneven_clock_becomes_even_without_changing_the_dance():
    t = np.sort(np.r_[np.arange(0, 2, .04), np.arange(2, 4, .08), np.arange(4, 5, .04)])
    even = steady(walk(t))
    assert np.allclose(np.diff(even.times), .04) and np.allclose(even.keypoints[:, 0, 0], even.times, atol=1e-9)
    assert 'no steady frame rate' in even.warnings[-1]

def test_a_hole_in_time_is_a_gap_and_a_steady_clock_is_left_alone():
    assert steady(walk(np.r_[np.arange(25), np.arange(50, 75)]/25)).gaps() == [(pytest.approx(1.), pytest.approx(2.))]
    take = steady(walk(np.arange(40)/30, fps=29.97))
    assert take.fps == pytest.approx(30) and not take.warnings and len(take) == 40

@pytest.mark.parametrize('a,b', [('coco', 'lspet'), ('lspet', 'coco'), ('posetrack', 'coco'), ('mpii', 'lspet')])
def test_two_skeletons_meet_in_the_names_they_share(a, b):
    a,b = load_schema(a),load_schema(b)
    s = shared_keypoints(a, b)
    assert set(s.names) == set(a.names) & set(b.names) and len(s.flip) == len(s.names)
    assert all(s.flip[s.flip[i]] == i for i in range(len(s.names)))
    assert {(s.names[i], s.names[j]) for i,j in s.limbs} <= {(a.names[i], a.names[j]) for i,j in a.limbs}

def test_a_foreign_skeleton_is_compared_where_it_can_be_and_said(motions):
    take = choose(footage(motions[0]))
    lspet = load_schema('lspet')
    xy = np.stack([take.keypoints[:, COCO.index(n)] if n in COCO.names else np.full((65, 2), 7.) for n in lspet.names], 1)
    other = walk(take.times, xy, schema=lspet)
    a,b = same_skeleton(take, other)
    assert a.schema == b.schema and np.allclose(a.keypoints, b.keypoints) and 'neck, head_top of lspet' in b.warnings[-1]
    assert score_takes(a, b, align='none')[0].total == pytest.approx(1)

def test_a_mirrored_pupil_is_scored_and_shown_as_in_a_mirror(motions):
    teacher = choose(footage(motions[0]))
    img = np.zeros((128, 96, 3), np.uint8); img[:, :10] = 255
    pupil = replace(mirrored_take(teacher), name='p', pictures=lambda: iter([(0., img)]))
    score,shown = score_takes(teacher, pupil, align='none')
    assert score.total == pytest.approx(1) and 'danced mirrored' in shown.warnings[-1]
    assert (next(shown.pictures())[1] == img[:, ::-1]).all() and np.allclose(shown.keypoints, teacher.keypoints)
    assert score_takes(teacher, pupil, mirror=False, align='none')[0].total < .98

def test_a_few_frames_are_no_proof_of_a_mirror_and_say_little(motions):
    m = motions[0]
    few = choose(footage(m, people=Instances.make(m.keypoints[20:24], image_id=np.arange(20, 24), track_id=1)))
    teacher = choose(footage(m))
    score,shown = score_takes(teacher, mirrored_take(few), align='none')
    assert not any('mirrored' in w for w in shown.warnings)
    assert 'Only 4 of the teacher\'s 65 frames (6%)' in player.score_numbers(teacher, shown, score, {})['warnings'][0]
    assert dict(player.said_settings(player.score_numbers(teacher, shown, score, {})))['mirror'] == 'cannot be told: too little was seen'

def test_below_half_of_the_frames_the_caveat_comes_first_and_nothing_is_recommended(motions, tmp_path):
    def seen(n): # the pupil with the mistake, seen in the frames of the mistake only
        return replace(footage(motions[1]), people=footage(motions[1]).people[20:20+n])
    found = score_report(footage(motions[0]), seen(26), tmp_path/'s.html', align='none', progress=False)
    assert found['frames_compared'] == 26 and found['worst'] == []
    assert player.headline(found).startswith("Only 26 of the teacher's 65 frames (40%)") and 'First of all' not in player.headline(found)
    page = Path(found['page']).read_text().split('<script')[0]
    assert page.count('26 of 65 frames') >= 4 and page.count('Only 26 of') == 2 and 'practise' not in page.replace('Nothing to practise yet', '')
    assert 'Well danced' not in page and 'over 65 frames' not in page
    enough = score_report(footage(motions[0]), seen(40), None, align='none', progress=False)
    assert enough['worst'][0]['limb'] == 'left_forearm' and 'on 40 of 65 frames' in player.headline(enough)

def test_a_film_against_itself_lies_above_its_ceiling_and_says_why(motions):
    trembling = motions[0].keypoints + np.random.default_rng(0).normal(0, 1., motions[0].keypoints.shape)
    film = footage(motions[0], people=Instances.make(trembling, image_id=np.arange(65), track_id=1))
    found = score_report(film, film, None, align='none', progress=False)
    assert found['score'] == 1 > found['ceiling'] and 'above its ceiling' in found['warnings'][0]
    other = score_report(film, footage(motions[1]), None, align='none', progress=False)
    assert other['score'] < other['ceiling'] and not any('ceiling' in w for w in other['warnings'])

def test_a_limb_behind_a_heavier_one_is_named_with_it(motions, tmp_path):
    both = choreography('disco', 2.6, size=(96,128), body_seed=8, mistakes=[WRONG, Mistake('right_shin', .9, 1.7, degrees=35)])
    found = score_report(footage(motions[0]), footage(both), tmp_path/'s.html', align='none', progress=False)
    assert 'right_shin' in found['worst'][0]['also'] and 'also off then: right shin' in Path(found['page']).read_text()

# --- the album ------------------------------------------------------------------------------------------------

@settings(max_examples=25, deadline=None)
@given(st.integers(1, 400), st.integers(2, 40), st.sampled_from([10., 25., 60.]))
def test_an_album_never_overflows_and_stays_even(n, room, fps):
    img = np.zeros((8, 8, 3), np.uint8)
    size = len(player.jpeg(img))
    book = album(((i/fps, img) for i in range(n)), (0, 0, 8, 8), 8, most=room*size)
    assert 1 <= len(book.times) == len(book.pictures) <= room and book.times[0] == 0
    gaps = np.diff(book.times)
    assert len(gaps) < 2 or gaps.max() <= 2*gaps.min() + 1e-6 # a frame rate that is no multiple of 12.5 leaves a little unevenness

def test_wanted_moments_are_kept_exactly():
    frames = ((i/25, np.full((8, 8, 3), i, np.uint8)) for i in range(100))
    book = album(frames, (0, 0, 8, 8), 8, rate=1., wanted=[.5, 2.04, 9., np.nan])
    found = [None if x is None else int(x[0, 0, 0]) for _,x in book.exact]
    assert found[0] in (12, 13) and found[1:] == [51, None, None]

# --- the page -------------------------------------------------------------------------------------------------

@pytest.fixture(scope='module')
def report(motions, films, tmp_path_factory):
    "True keypoints with the pictures of the films"
    out = tmp_path_factory.mktemp('page')/'score.html'
    both = [footage(m, f.name, pictures=open_clip(f).timed) for m,f in zip(motions, films)]
    return score_report(*both, out, progress=False)

def test_the_page_loads_nothing(report):
    page = Path(report['page']).read_text()
    assert not re.search(r'(?:src|href)="(?!data:)|url\(|@import|https?://|fetch\(|XMLHttpRequest|import\(', page)
    assert len(page) < 3_000_000

def test_the_page_names_the_mistake_and_shows_the_numbers_of_the_json(report):
    numbers,data = own_data(report['page'])
    assert numbers == {k: v for k,v in report.items() if k != 'page'} == json.loads(json.dumps(numbers, allow_nan=False))
    text = Path(report['page']).read_text()
    assert f'{report["score"]:.3f}' in text and f'{report["floor"]["random"]:.3f}' in text and f'{report["ceiling"]:.3f}' in text
    w = report['worst'][0]
    assert w['limb'] == 'left_forearm' and abs(w['start'] - WRONG.start) < .35 and abs(w['stop'] - WRONG.stop) < .35
    assert all(m['sentence'][1:].replace("'", '&#39;') in text for m in report['worst'])

def test_the_page_carries_every_frame_of_keypoints(report, motions):
    import base64
    _,data = own_data(report['page'])
    for side,m in zip(data['sides'], motions):
        xy = np.frombuffer(base64.b64decode(side['xy']), np.int16).reshape(-1, 17, 2)
        assert len(xy) == 65 and len(side['pictures']) == len(side['times']) > 25
        img = cv2.imdecode(np.frombuffer(base64.b64decode(side['pictures'][0]), np.uint8), 1)
        assert img.shape[1]/img.shape[0] == pytest.approx(side['aspect'], rel=.02)
    x,y,w,h = stage_box(choose(footage(motions[0])))
    first = np.frombuffer(base64.b64decode(data['sides'][0]['xy']), np.int16).reshape(-1, 17, 2)/data['grid']*w + [x, y] - .5
    assert np.abs(first - motions[0].keypoints).max() < .05

def test_keypoints_alone_make_a_page_without_pictures(motions, tmp_path):
    files = [results(m, tmp_path/f'{n}.json', np.r_[0:20, 40:65]) for n,m in zip('ab', motions)]
    found = score_report(*files, tmp_path/'s.html', weights='no such weights', progress=False) # and need no weights
    assert not any(s['pictures'] for s in own_data(found['page'])[1]['sides']) and sum('nobody is seen' in w for w in found['warnings']) == 2
    assert any('less than it seems' in w for w in found['warnings'])

def test_names_with_markup_stay_text(motions, tmp_path):
    both = [footage(m, n) for m,n in zip(motions, ('<u>t</u>', '</script><script>alert(1)'))]
    page = Path(score_report(*both, tmp_path/'s.html', progress=False)['page']).read_text()
    assert '<u>t' not in page and '<script>alert' not in page and '&lt;u&gt;t' in page

def test_a_long_dance_stays_within_its_bytes(motions, tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (128, 96, 3), np.uint8)
    n = 600
    people = Instances.make(np.tile(motions[0].keypoints, (10, 1, 1))[:n], image_id=np.arange(n), track_id=1)
    clip = Footage('long', people, np.arange(n)/25, 25., COCO, (96, 128), (), lambda: ((i/25, noise) for i in range(n)))
    teacher = steady(choose(clip))
    score,pupil = score_takes(teacher, teacher, align='none')
    numbers = player.score_numbers(teacher, pupil, score, {})
    page = player.write_player(tmp_path/'s.html', teacher, pupil, score, numbers, most=300_000, progress=False)
    assert page.stat().st_size < 700_000

def test_nothing_is_half_written(motions, tmp_path, monkeypatch):
    both = [footage(m) for m in motions]
    (tmp_path/'s.html').write_text('old')
    def broken(*a, **kw): raise KeyboardInterrupt
    with monkeypatch.context() as m:
        m.setattr(player, 'player_data', broken)
        with pytest.raises(KeyboardInterrupt): score_report(*both, tmp_path/'s.html', progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ['s.html'] and (tmp_path/'s.html').read_text() == 'old'

@pytest.mark.parametrize('out,said', [('s.pdf', 'is a .html file'), ('no/s.html', 'make the folder first')])
def test_a_wrong_target_fails_before_the_work(motions, tmp_path, out, said):
    with pytest.raises((ValueError, FileNotFoundError), match=said): score_report('nowhere', 'nowhere', tmp_path/out)

def test_a_missing_source_is_a_clear_error(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere.mp4 is not there'): score_report('nowhere.mp4', 'nowhere.mp4', tmp_path/'s.html')

def test_a_single_pose_against_a_single_pose_is_a_page(motions, tmp_path):
    one = [replace(footage(m), people=footage(m).people[:1], times=np.zeros(1)) for m in motions]
    assert 0 < score_report(*one, tmp_path/'s.html', progress=False)['score'] <= 1

def test_dances_of_unequal_length_and_rate_are_scored(motions, tmp_path):
    m = motions[0]
    fast = Footage('fast', Instances.make(m.keypoints[:50:2], image_id=np.arange(25), track_id=1), np.arange(25)/12.5, 12.5, COCO, m.size)
    found = score_report(footage(m), fast, tmp_path/'s.html', align='lag', progress=False)
    assert found['score'] > .98 and .7 < found['alignment']['coverage'] < .8

def test_films_go_from_pixels_to_page(films, predictor, tmp_path):
    found = score_report(*films, tmp_path/'s.html', weights=predictor, sure=0., progress=False)
    assert found['frames'] == 65 and found['settings']['weights'] == 'small' and found['settings']['detector'] == 'whole_picture'

def test_one_man_seen_by_two_real_cameras_goes_from_pixels_to_page(tmp_path):
    root = data_root()
    if root is None: pytest.skip('no shared data: set POSELAB_DATA')
    clips = [open_clip(root/'videos'/f'pose2sim_single_cam0{n}.mp4') for n in (2, 3)]
    def few(c): # every eighth frame
        def clock(): return (x for i,x in enumerate(islice(c.timed(), 57)) if i % 8 == 0)
        return replace(c, count=8, fps=c.fps/8, clock=clock, read=lambda: (x for _,x in clock()))
    found = score_report(*map(few, clips), tmp_path/'s.html', align='none', sure=.05, progress=False) # the cameras run in step
    assert found['floor']['random'] < found['score'] < 1 and found['frames'] == 8 and Path(found['page']).stat().st_size < 15_000_000

# --- what any dance would get ---------------------------------------------------------------------------------

def test_other_dances_are_scored_along_and_the_same_dance_is_none_of_them(motions):
    teacher, pupil = (choose(footage(m, n)) for m,n in zip(motions, ('teacher', 'pupil')))
    score, _ = score_takes(teacher, pupil)
    assert set(score.others) == set(player.OTHERS) and score.others['disco'][1] > player.SAME # the teacher dances disco himself
    best = max(score.others[k][0] for k in ('waltz', 'robot'))
    assert player.another(score) == best < score.total
    numbers = player.score_numbers(teacher, pupil, score, {})
    assert numbers['another'] == pytest.approx(best, abs=1e-3) and f'another dance up to {best:.2f}' in player.headline(numbers)
    assert 'another dance' in [m['name'] for m in player.score_scale(score)['marks']]

def test_a_skeleton_without_a_face_has_other_dances_too(motions):
    lspet = load_schema('lspet')
    at = [COCO.names.index(n) if n in COCO.names else 0 for n in lspet.names]
    take = replace(choose(footage(motions[0])), schema=lspet, keypoints=motions[0].keypoints[:, at], visible=np.full((len(motions[0]), len(at)), 2),
                   confidence=np.ones((len(motions[0]), len(at))))
    others = player.other_dances(take)
    assert {x.shape for x in others.values()} == {take.keypoints.shape}
    assert np.isnan(others['waltz'][:, lspet.names.index('neck')]).all() and np.isfinite(others['waltz'][:, lspet.names.index('left_knee')]).all()

@pytest.mark.parametrize('who', ['still', 'noise', 'waltz', 'robot', 'kicks', 'swim'])
def test_who_does_not_dance_this_dance_did_not_dance_it_mirrored(who):
    teacher = choreography('disco', 4.)
    n, rng = len(teacher), np.random.default_rng(0)
    other = np.repeat(teacher.keypoints[:1], n, 0) if who in ('still', 'noise') else choreography(who, 4.).keypoints
    if who == 'noise': other = other + rng.normal(0, 2, other.shape)
    people = Instances.make(other, image_id=np.arange(n), track_id=1)
    score, pupil = score_takes(choose(footage(teacher)), choose(footage(teacher, 'pupil', people)))
    assert score.mirror['says'] != 'yes' and not pupil.warnings

@pytest.mark.parametrize('dance', ['disco', 'kicks'])
def test_a_trunk_that_leans_is_not_blamed_on_one_leg_alone(dance):
    teacher, pupil = choreography(dance, 4.), choreography(dance, 4., mistakes=[Mistake('torso', 1., 2.5, degrees=35)], body_seed=5)
    score, _ = score_takes(choose(footage(teacher)), choose(footage(pupil)))
    first = player.moment_numbers(score)[0]
    assert 'thigh' in first['limb'] and 'trunk that leans' in player.also_off(first)
    right = choreography(dance, 4., mistakes=[Mistake('right_thigh', 1., 2.5, degrees=35)], body_seed=5)
    score, _ = score_takes(choose(footage(teacher)), choose(footage(right)))
    assert not any('trunk' in player.also_off(m) for m in player.moment_numbers(score))
