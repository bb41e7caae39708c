"The walk through the house, and the page it writes"
import json, re, shutil
from pathlib import Path
import numpy as np, pytest
pytest.importorskip('jinja2'); pytest.importorskip('plotly')
from poselab.demo import Desk, MISTAKE, choose_weights, demo, demo_rendered, digest, shipped, two_dances
from poselab.data.figures import choreography, render_clip
from poselab.records import Instances, data_root, write_video
from poselab.schema import load_schema
from poselab.score.dance import score_dance
import poselab.report as report

def own(page):
    "The page without plotly's own text"
    return re.sub(r'<script>/\*\*.*?</script>', '', page, flags=re.S)

@pytest.fixture(scope='module')
def walk(small_weights, tmp_path_factory):
    "A short embedded walk with untrained weights"
    out = tmp_path_factory.mktemp('walk')
    return demo_rendered(out, small_weights, seconds=.6, images=6, progress=False, browse=False, sure=0.)

def test_the_embedded_walk_measures_and_reports(walk):
    assert {'score', 'floor', 'worst', 'metrics', 'keypoint_errors', 'report', 'weights'} <= set(walk)
    assert walk['metrics']['images'] == 6 and Path(walk['report']).is_file()
    summary = json.loads((Path(walk['report']).parent/'summary.json').read_text())
    assert summary['score'] == pytest.approx(walk['score'])

def test_the_page_loads_nothing_and_shows_the_measured_numbers(walk):
    page = own(Path(walk['report']).read_text())
    assert not re.search(r'(?:src|href)="(?!data:)|url\((?!data:)|@import|https?://(?!www\.w3\.org)', page)
    assert f'{walk["score"]:.3f}' in page and f'{walk["metrics"]["PCK@0.2"]:.3f}' in page

def test_a_second_walk_finds_its_steps_and_says_the_same(walk, small_weights):
    out = Path(walk['report']).parent
    before = {p.name: p.stat().st_mtime_ns for p in out.glob('*.poses.json')}
    again = demo_rendered(out, small_weights, seconds=.6, images=6, progress=False, browse=False, sure=0.)
    assert len(before) == 3 and before == {p.name: p.stat().st_mtime_ns for p in out.glob('*.poses.json')}
    assert {k: v for k,v in again.items() if k != 'seconds'} == {k: v for k,v in walk.items() if k != 'seconds'}

def test_an_interrupted_step_leaves_no_half_file_and_is_done_again(tmp_path):
    schema,desk = load_schema('coco'),Desk(tmp_path, dict(job=1))
    def killed(): raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt): desk.poses('x', killed, schema)
    assert sorted(p.name for p in tmp_path.iterdir()) == ['job.json']
    assert len(desk.poses('x', lambda: Instances.make(np.ones((1,17,2)), image_id=1, score=1., confidence=1.), schema)) == 1

def test_another_job_clears_the_steps_of_the_last(tmp_path):
    schema,make = load_schema('coco'),lambda: Instances.make(np.ones((1,17,2)), image_id=1, score=1., confidence=1.)
    Desk(tmp_path, dict(job=1)).poses('x', make, schema)
    Desk(tmp_path, dict(job=2))
    assert not list(tmp_path.glob('*.poses.json'))

def test_the_true_poses_name_the_mistake_that_was_made():
    teacher,pupil = two_dances()
    worst = score_dance(teacher.keypoints, pupil.keypoints, load_schema('rendered'), fps=teacher.fps).worst(1)[0]
    assert worst.limb == MISTAKE.limb and abs(worst.start - MISTAKE.start) < .3 and abs(worst.stop - MISTAKE.stop) < .3

@pytest.mark.skipif('rendered' not in shipped(), reason='the weights `rendered` are not shipped')
def test_the_shipped_weights_find_the_mistake_in_the_films(tmp_path):
    found = demo_rendered(tmp_path, seconds=2.6, images=4, progress=False, browse=False)
    assert found['worst'][0]['limb'] == MISTAKE.limb
    assert found['floor']['random'] < found['score'] < 1

def test_a_folder_of_pictures_is_walked(dancers, small_weights, tmp_path):
    found = demo(dancers/'images', weights=small_weights, out=tmp_path, progress=False, browse=False)
    assert found['job'] == 'pictures' and found['images'] == 8
    assert own(Path(found['report']).read_text()).count('data:image/jpeg') == 8

def test_an_annotation_file_is_judged(dancers, small_weights, tmp_path):
    found = demo(dancers/'truth.json', weights=small_weights, out=tmp_path, progress=False, browse=False)
    assert found['job'] == 'truth' and found['metrics']['people'] > 8 and 'AP' in found['metrics']

def test_a_film_is_followed_and_scored_against_another(small_weights, tmp_path):
    from poselab.data.figures import choreography, render_clip
    films = [write_video(tmp_path/f'{n}.mp4', render_clip(choreography('disco', s, size=(96,128), body_seed=b))[0], 25.)
             for n,s,b in (('teacher', .6, 3), ('pupil', .8, 8))]
    alone = demo(films[1], weights=small_weights, out=tmp_path/'a', progress=False, browse=False)
    assert alone['frames'] == 20
    both = demo(films[1], against=films[0], weights=small_weights, out=tmp_path/'b', progress=False, browse=False, sure=0.)
    assert both['frames'] == 15 and both['floor']['random'] < 1

def test_names_with_markup_in_them_stay_text(dancers, small_weights, tmp_path):
    odd = tmp_path/'<b>&'
    shutil.copytree(dancers/'images', odd)
    page = own(Path(demo(odd, weights=small_weights, out=tmp_path/'out', progress=False, browse=False)['report']).read_text())
    assert '<h1>&lt;b&gt;&amp;</h1>' in page and '<b>&' not in page

def test_weights_are_chosen_by_the_keypoints_that_are_wanted():
    with pytest.raises(ValueError, match='--weights'): choose_weights(load_schema('mpii'))
    if 'rendered' in shipped(): assert choose_weights(load_schema('coco')) == 'rendered'
    if 'lspet' in shipped(): assert choose_weights() == 'lspet'

def test_a_changed_file_is_another_job(tmp_path):
    (tmp_path/'a').write_text('1'); one = digest(tmp_path/'a')
    (tmp_path/'a').write_text('2')
    assert digest(tmp_path/'a') != one and len(one) == 12

@pytest.mark.parametrize('n,columns', [(1, 10), (10, 10), (11, 10), (7, 3)])
def test_every_frame_of_a_sheet_is_where_the_player_looks(n, columns):
    frames = [np.full((4,6,3), i, np.uint8) for i in range(n)]
    big = report.sheet(frames, columns)
    for i in range(n): assert (big[i//columns*4:i//columns*4+4, i%columns*6:i%columns*6+6] == i).all()

def test_real_pictures_and_films_are_walked(small_weights, tmp_path):
    root = data_root()
    if root is None: pytest.skip('no shared data: set POSELAB_DATA')
    found = demo(next((root/'coco_mini').glob('**/person_keypoints_*val*.json')), weights=small_weights, out=tmp_path/'a', progress=False, browse=False)
    assert found['metrics']['images'] == 57 and 'AP' in found['metrics']

@pytest.mark.parametrize('path', [None, 'truth.json'])
def test_weights_of_another_skeleton_are_refused_before_any_work(dancers, tmp_path, path):
    with pytest.raises(ValueError, match='17 keypoints.*lspet predict the 14'):
        demo(path and dancers/path, weights='lspet', out=tmp_path/'out', progress=False, browse=False)
    assert not (tmp_path/'out').exists()

def test_a_long_film_is_shown_by_some_of_its_frames(tmp_path, monkeypatch):
    from poselab import demo as module
    monkeypatch.setattr(module, 'MOST', 10)
    kept = []
    monkeypatch.setattr(module, 'painted', lambda *a, paint=module.painted, **k: kept.append(1) or paint(*a, **k))
    film = write_video(tmp_path/'film.mp4', render_clip(choreography('disco', 1.4, 25., size=(96, 128)), 3)[0], 25.)
    demo(film, weights='rendered', out=tmp_path/'out', progress=False, browse=False)
    assert len(kept) == 9 # every fourth of 35
