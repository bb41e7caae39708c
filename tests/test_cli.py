"The command line: what goes in, what comes out, and what it says when something is wrong"
import gzip, json, subprocess, sys, zipfile
import cv2, numpy as np, pytest
from click.testing import CliRunner
from poselab.cli import main, sentence, to_json
from poselab.records import data_root

VERBS = ('demo', 'train', 'eval', 'diagnose', 'audit', 'score', 'run', 'counts', 'ablate', 'collect', 'browse', 'export', 'apps', 'labs')

def ask(*args):
    got = CliRunner().invoke(main, [str(a) for a in args])
    assert got.exception is None or isinstance(got.exception, SystemExit), got.exception
    return got

def answer(*args):
    got = ask(*args, '--json')
    assert got.exit_code == 0, got.stderr
    return json.loads(got.stdout)

def refused(*args):
    got = ask(*args)
    assert got.exit_code == 2 and 'Traceback' not in got.output
    line = got.stderr.strip().splitlines()[-1]
    assert got.stdout == '' and 'should not happen' not in line, line
    return line

def test_help_names_every_verb_and_each_verb_explains_itself():
    top = ask('--help').stdout
    for verb in VERBS:
        assert f'  {verb} ' in top
        assert ('grade' if verb == 'labs' else '--json') in ask(verb, '--help').stdout

def test_help_does_not_wait_for_torch():
    code = "import sys; from poselab.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\nprint([m for m in ('torch','numpy','cv2') if m in sys.modules])"
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout.strip().endswith('[]')

def test_json_is_strict():
    assert json.loads(to_json({'a': float('nan'), 'b': np.arange(2), 1: [np.float32(.5), np.inf]})) == {'a': None, 'b': [0, 1], '1': [.5, None]}

def test_a_perfect_prediction_has_ap_1(dancers):
    got = answer('eval', '--gt', dancers/'truth.json', '--pred', dancers/'perfect.json')
    assert got['AP'] == pytest.approx(1) and got['PCK@0.2'] == pytest.approx(1)
    assert set(got['status']['people']) == {'matched'} and got['images'] == 8

def test_gzipped_files_are_known_by_content(dancers, tmp_path):
    for name in ('truth', 'perfect'): (tmp_path/f'{name}.data').write_bytes(gzip.compress((dancers/f'{name}.json').read_bytes()))
    assert answer('eval', '--gt', tmp_path/'truth.data', '--pred', tmp_path/'perfect.data')['AP'] == pytest.approx(1)

def test_weights_predict_first_from_a_folder_and_from_a_zip_alike(dancers, small_weights, tmp_path):
    with zipfile.ZipFile(tmp_path/'pictures.zip', 'w') as z:
        for p in sorted((dancers/'images').iterdir()): z.write(p, p.name)
    folder,packed = (answer('eval', '--gt', dancers/'truth.json', '--images', where, '--weights', small_weights, '--save', tmp_path/'p.json')
                     for where in (dancers/'images', tmp_path/'pictures.zip'))
    assert folder == packed and 'AP' in folder
    again = answer('eval', '--gt', dancers/'truth.json', '--pred', tmp_path/'p.json')
    assert again['AP'] == pytest.approx(folder['AP'], abs=.01)

def test_people_read_a_table_and_machines_read_json_alone(dancers):
    args = ('eval', '--gt', dancers/'truth.json', '--pred', dancers/'perfect.json')
    assert 'AP50' in ask(*args).stdout and 'left_wrist' in ask(*args).stdout
    alone = subprocess.run([sys.executable, '-c', 'from poselab.cli import main; main()', *map(str, args), '--json'], capture_output=True, text=True)
    assert alone.stdout.count('\n') == 1 and json.loads(alone.stdout)['people'] > 8

def test_a_dance_against_itself_scores_1(dancers):
    got = answer('score', dancers/'truth.json', dancers/'truth.json', '--no-page')
    assert got['score'] == pytest.approx(1) and got['floor']['random'] < .75 and got['worst'] == []

def test_films_are_scored_through_weights(tmp_path):
    from poselab.data.figures import choreography, render_clip
    from poselab.records import write_video
    film = write_video(tmp_path/'dance.mp4', render_clip(choreography(seconds=1., size=(240,320)))[0], 25.)
    got = answer('score', film, film, '--weights', 'rendered', '--out', tmp_path/'page.html')
    assert got['score'] > .99 and got['page'] == str(tmp_path/'page.html') and (tmp_path/'page.html').stat().st_size > 10_000
    told = ask('score', film, film, '--weights', 'rendered', '--no-page').stdout
    assert 'floors: mirrored' in told and 'weights rendered' in told and 'still 0.' in told and 'ceiling' in told

def test_export_writes_results_and_a_film(dancers, tmp_path):
    got = answer('export', dancers/'truth.json', '--images', dancers/'images', '--weights', 'rendered', '--out', tmp_path/'p.json', '--video', tmp_path/'p.avi')
    rows,truth = (json.loads(p.read_text()) for p in (tmp_path/'p.json', dancers/'truth.json'))
    assert got['images'] == 8 and {r['image_id'] for r in rows} == {a['image_id'] for a in truth['annotations']} and len(rows[0]['keypoints']) == 51
    assert answer('eval', '--gt', dancers/'truth.json', '--pred', tmp_path/'p.json')['PCK@0.2'] > .4
    from poselab.records import open_clip
    assert len(list(open_clip(tmp_path/'p.avi').frames())) == 8

def test_export_of_a_folder_counts_from_1_and_warns_when_the_network_hardly_knows(dancers, tmp_path):
    got = ask('export', dancers/'images', '--weights', 'rendered', '--out', tmp_path/'p.json', '--json')
    assert got.exit_code == 0 and json.loads(got.stdout)['images'] == 8
    assert {r['image_id'] for r in json.loads((tmp_path/'p.json').read_text())} <= set(range(1, 9))

def test_a_network_leaves_as_onnx_and_predicts_the_same(dancers, tmp_path):
    pytest.importorskip('onnxruntime')
    file = answer('export', '--onnx', tmp_path/'net.onnx', '--weights', 'rendered')['onnx']
    args = ('eval', '--gt', dancers/'truth.json', '--images', dancers/'images', '--weights')
    assert answer(*args, file)['PCK@0.2'] == pytest.approx(answer(*args, 'rendered')['PCK@0.2'], abs=.01)

def test_films_become_a_collection_and_it_goes_on(tmp_path):
    from poselab.data.figures import choreography, render_clip
    from poselab.records import write_video
    film = write_video(tmp_path/'dance.mp4', render_clip(choreography(seconds=2., size=(160,200)))[0], 25.)
    got = answer('collect', film, '--out', tmp_path/'set', '--weights', 'rendered', '--export', 'cvat')
    labels = (tmp_path/'set'/'labels.json').read_bytes()
    assert got['pictures'] > 0
    answer('collect', '--out', tmp_path/'set')
    assert (tmp_path/'set'/'labels.json').read_bytes() == labels
    assert 'nothing.mp4' in refused('collect', tmp_path/'nothing.mp4', '--out', tmp_path/'set')

def test_ablate_wants_two_known_variants(tmp_path):
    pytest.importorskip('lightning')
    assert 'each once' in refused('ablate', '--variants', 'lgag,lgag', '--out', tmp_path/'a')
    assert 'unknown' in refused('ablate', '--variants', 'lgag,nobody', '--out', tmp_path/'a')

def test_ablate_asks_every_study_by_name_and_runs_one(dancers, tmp_path):
    pytest.importorskip('lightning')
    from poselab.cli import ablate
    from poselab.studies import STUDIES
    assert tuple(next(p for p in ablate.params if p.name == 'study').type.choices) == tuple(STUDIES)
    args = ('ablate', '--study', 'optimiser', '--variants', 'Adam,SGD', '--data', dancers/'truth.json', '--epochs', 1, '--seeds', 1)
    found = answer(*args, '--out', tmp_path/'study')
    assert [r['variant'] for r in found['summary']] == ['Adam', 'SGD'] and (tmp_path/'study'/'ablation.png').is_file()

def test_run_reads_a_runners_figures_off_a_keypoint_file(tmp_path):
    from poselab.data.datasets import write_results
    from poselab.data.runner import Gait, run_motion
    from poselab.records import Instances
    run = run_motion(Gait(cadence=170.), 8., 50)
    people = Instances.make(run.keypoints, image_id=range(1, len(run) + 1), track_id=1, score=1., confidence=1.)
    write_results(people, tmp_path/'run.json')
    found = answer('run', tmp_path/'run.json', '--fps', 50, '--schema', 'coco', '--out', tmp_path/'run.png')
    cadence = next(r for r in found['figures'] if r['figure'] == 'cadence' and r['side'] == 'both')
    assert found['gait'] == 'run' and abs(cadence['value'] - 170) < 4 and (tmp_path/'run.png').is_file()
    write_results(people[:20], tmp_path/'short.json')
    assert 'no steady gait' in refused('run', tmp_path/'short.json', '--fps', 50, '--schema', 'coco', '--no-picture')

def test_run_reads_a_runners_figures_off_a_film(tmp_path):
    from poselab.data.figures import render_clip
    from poselab.data.runner import Gait, run_motion
    from poselab.records import write_video
    gait = Gait(cadence=172., lean=8.)
    write_video(tmp_path/'run.mp4', render_clip(run_motion(gait, 4., 25, 3, 3, size=(320, 240)), 3)[0], 25.)
    found = answer('run', tmp_path/'run.mp4', '--no-picture')
    read = {r['figure']: r['value'] for r in found['figures'] if r['side'] == 'both'}
    assert abs(read['cadence'] - gait.cadence) < 5 and abs(read['lean'] - gait.lean) < 3
    assert 'weights runners' in found['warnings'][-1]

def test_training_on_a_file_goes_on_after_a_break_and_names_another_recipe(dancers, tmp_path):
    pytest.importorskip('lightning')
    args = ('train', dancers/'truth.json', '--batch', 4, '--workers', 0, '--accelerator', 'cpu', '--out', tmp_path/'run', '--epochs', 1)
    first = answer(*args)
    assert first['weights'].endswith('weights.safetensors') and (tmp_path/'run'/'last.ckpt').is_file()
    assert answer(*args)['weights'] == first['weights']
    assert 'lr' in refused(*args, '--lr', .5)

# --- bad input: one line, exit code 2 --------------------------------------------------------------------------

def truth_with(dancers, tmp_path, change):
    doc = json.loads((dancers/'truth.json').read_text())
    change(doc)
    path = tmp_path/'changed.json'
    path.write_text(json.dumps(doc))
    return path

def set_in(key, i, field, value):
    def change(doc): doc[key][i][field] = value
    return change

@pytest.mark.parametrize('name,change', {
    'a keypoint that is not a number': set_in('annotations', 0, 'keypoints', [float('nan')]*51),
    'too few keypoints': set_in('annotations', 0, 'keypoints', [1, 2, 2]*16),
    'an unknown visibility': set_in('annotations', 0, 'keypoints', [1, 2, 7]*17),
    'a box of no size': set_in('annotations', 0, 'bbox', [5, 5, 0, 0]),
    'a box outside its image': set_in('annotations', 0, 'bbox', [5000, 5, 10, 10]),
    'an id that occurs twice': set_in('annotations', 1, 'id', 1),
    'an image that is not listed': set_in('annotations', 0, 'image_id', 999),
    'two images of one id': set_in('images', 1, 'id', 1),
}.items())
def test_broken_truth_is_refused_with_file_and_record(dancers, tmp_path, name, change):
    path = truth_with(dancers, tmp_path, change)
    line = refused('eval', '--gt', path, '--pred', dancers/'perfect.json')
    assert 'changed.json' in line and ('annotation' in line or 'image' in line), (name, line)

def test_files_that_are_missing_cut_short_or_no_json_are_named(dancers, tmp_path):
    short,text,empty = tmp_path/'short.json',tmp_path/'text.json',tmp_path/'empty.json'
    short.write_text((dancers/'truth.json').read_text()[:500]); text.write_text('hello'); empty.write_text('')
    for path,word in ((short, 'cut short'), (text, 'not json'), (empty, 'empty'), (tmp_path/'no.json', 'not there')):
        line = refused('eval', '--gt', path, '--pred', dancers/'perfect.json')
        assert path.name in line and word in line

def test_an_image_name_that_climbs_out_is_refused(dancers, small_weights, tmp_path):
    path = truth_with(dancers, tmp_path, lambda doc: [im.update(file_name='../../etc/passwd') for im in doc['images']])
    line = refused('eval', '--gt', path, '--images', dancers/'images', '--weights', small_weights)
    assert 'passwd' in line

@pytest.mark.parametrize('content,word', [(b'', 'empty'), (b'\x89PNG\r\n\x1a\nrest', 'image')])
def test_a_broken_picture_is_named(dancers, small_weights, tmp_path, content, word):
    from shutil import copytree
    copytree(dancers/'images', tmp_path/'images')
    (tmp_path/'images'/'001.png').write_bytes(content)
    line = refused('eval', '--gt', dancers/'truth.json', '--images', tmp_path/'images', '--weights', small_weights)
    assert '001.png' in line and word in line

def test_grey_rgba_and_16_bit_pictures_are_read(dancers, small_weights, tmp_path):
    from shutil import copytree
    copytree(dancers/'images', tmp_path/'images')
    for i,make in enumerate((lambda a: a[..., 0], lambda a: np.dstack([a, a[..., :1]]), lambda a: a.astype(np.uint16)*257), 1):
        path = str(tmp_path/'images'/f'{i:03d}.png')
        cv2.imwrite(path, make(cv2.imread(path)))
    assert answer('eval', '--gt', dancers/'truth.json', '--images', tmp_path/'images', '--weights', small_weights)['images'] == 8

def test_a_film_without_frames_is_named(small_weights, tmp_path):
    (tmp_path/'broken.mp4').write_bytes(b'\0'*2000)
    assert 'broken.mp4' in refused('score', tmp_path/'broken.mp4', tmp_path/'broken.mp4', '--weights', small_weights)

def test_weights_that_are_none_or_of_another_schema_are_named(dancers, small_weights, tmp_path):
    (tmp_path/'w.safetensors').write_bytes(b'nothing')
    assert 'w.safetensors' in refused('eval', '--gt', dancers/'truth.json', '--weights', tmp_path/'w.safetensors')
    assert 'nobody' in refused('eval', '--gt', dancers/'truth.json', '--weights', 'nobody')
    def rename(doc): doc['categories'][0]['keypoints'][0] = 'snout'
    line = refused('eval', '--gt', truth_with(dancers, tmp_path, rename), '--images', dancers/'images', '--weights', small_weights)
    assert 'keypoints' in line

def test_results_for_other_keypoints_are_refused(dancers, tmp_path):
    rows = json.loads((dancers/'perfect.json').read_text())
    for r in rows: r['keypoints'] = r['keypoints'][:42]
    (tmp_path/'fourteen.json').write_text(json.dumps(rows))
    assert 'fourteen.json' in refused('eval', '--gt', dancers/'truth.json', '--pred', tmp_path/'fourteen.json')

def test_a_folder_that_cannot_be_written_is_one_line(dancers, small_weights, tmp_path):
    line = refused('export', dancers/'images', '--weights', small_weights, '--out', tmp_path/'none'/'p.json')
    assert 'none' in line

def test_options_that_do_not_go_together_are_explained(dancers):
    got = ask('eval', '--gt', dancers/'truth.json')
    assert got.exit_code == 2 and '--pred' in got.stderr and '--weights' in got.stderr

def test_debug_brings_the_traceback_back(dancers, tmp_path):
    got = CliRunner().invoke(main, ['--debug', 'eval', '--gt', str(tmp_path/'no.json'), '--pred', 'x'])
    assert isinstance(got.exception, FileNotFoundError)

def test_a_bug_is_not_sold_as_a_mistake_of_the_user():
    assert 'should not happen' in sentence(KeyError('x')) and 'should not' not in sentence(ValueError('x is y.'))

# --- the real files --------------------------------------------------------------------------------------------

def real(*parts):
    root = data_root()
    if root is None: pytest.skip('no shared data: set POSELAB_DATA')
    return root.joinpath(*parts)

def test_the_studio_portraits_give_the_published_ap():
    got = answer('eval', '--gt', real('annotations', 'studio1000_gt_coco17.json.gz'), '--pred', real('annotations', 'studio1000_litehrnet18_results.json.gz'))
    assert [round(got[k], 3) for k in ('AP', 'AP50', 'AP75', 'AR')] == [.827, .967, .912, .863]

def test_the_mpii_predictions_give_the_published_pckh():
    path = real('annotations', 'mpii_valid_2958_gt_and_pred.json.gz')
    assert round(100*answer('eval', '--gt', path, '--pred', path)['PCKh@0.5'], 2) == 81.46

def test_results_of_14_keypoints_say_whose_they_are_and_can_be_scored(tmp_path):
    from poselab.data.datasets import read_any, write_results
    from poselab.records import Instances
    xy = np.random.default_rng(0).uniform(20, 200, (6, 14, 2))
    pred = Instances.make(xy, image_id=np.arange(1, 7), confidence=np.ones((6, 14)), score=np.ones(6))
    named,nameless = write_results(pred, tmp_path/'named.json', 'lspet'),write_results(pred, tmp_path/'nameless.json')
    assert read_any(named).schema.name == 'lspet'
    assert answer('score', named, named, '--no-page')['score'] == pytest.approx(1)
    assert '--schema' in refused('score', nameless, nameless, '--no-page')
    assert answer('score', nameless, nameless, '--schema', 'lspet', '--no-page')['score'] == pytest.approx(1)

def test_faulty_records_can_be_left_out_and_are_named(dancers, tmp_path):
    path = truth_with(dancers, tmp_path, set_in('annotations', 0, 'keypoints', [1, 2, 7]*17))
    got = ask('eval', '--gt', path, '--pred', dancers/'perfect.json', '--skip-faulty', '--json')
    whole = answer('eval', '--gt', dancers/'truth.json', '--pred', dancers/'perfect.json')
    assert got.exit_code == 0 and json.loads(got.stdout)['people'] == whole['people'] - 1
    assert 'visibility 7' in got.stderr and '1 faulty record' in got.stderr

def test_an_empty_json_object_is_called_empty(dancers, tmp_path):
    (tmp_path/'braces.json').write_text('{}')
    assert 'no entries' in refused('eval', '--gt', tmp_path/'braces.json', '--pred', dancers/'perfect.json')

def test_counts_agree_with_print_and_a_difference_fails(monkeypatch):
    got = answer('counts')
    assert got['misses'] == 0 and any(r['ours'] == 13_587_611 for r in got['rows'])
    assert 'RTMPose-m' in ask('counts').stdout
    from poselab import published
    monkeypatch.setattr(published, 'ROWS', [published.Row('S0', 'a wrong figure', 7, lambda: 8)])
    assert ask('counts').exit_code == 1

def test_numbers_that_make_no_sense_are_refused_before_the_work(dancers, tmp_path):
    truth = dancers/'truth.json'
    for option in (('--fps', '-3'), ('--fps', '0'), ('--most-lag', '-1'), ('--sure', '2')):
        assert option[0] in refused('score', truth, truth, '--no-page', *option)
    assert 'make the folder' in refused('export', dancers/'images', '--out', tmp_path/'no'/'x.json')
    assert '.json' in refused('export', dancers/'images', '--out', tmp_path/'x.html')

def test_an_audit_writes_a_mended_copy_and_says_what_it_changed(tmp_path):
    from poselab.audit import plant
    from poselab.data.datasets import write_coco
    from poselab.data.figures import rendered_dataset
    labels = write_coco(plant(rendered_dataset(60, seed=3), 'swap_arms', .05, seed=1)[0], tmp_path/'labels.json')
    before = labels.read_bytes()
    got = answer('audit', labels, '--export', tmp_path/'mended.json')['mended']
    old,new = (json.loads(p.read_text()) for p in (labels, tmp_path/'mended.json'))
    assert got['changed'] == sum(a != b for a,b in zip(old['annotations'], new['annotations'])) > 0 and labels.read_bytes() == before
    assert {r['by'] for r in json.loads((tmp_path/'mended.changes.json').read_text())} == {'audit'}
    assert 'annotations changed' in ask('audit', labels, '--export', tmp_path/'mended.json').stdout
    assert 'original' in refused('audit', labels, '--export', labels)

def test_eval_and_export_look_for_people_with_a_named_detector(dancers, tmp_path):
    files = ('--gt', dancers/'truth.json', '--images', dancers/'images', '--weights', 'rendered')
    told,alone = answer('eval', *files),answer('eval', *files, '--detector', 'people')
    assert told['predictions'] == told['people'] and 'box AP' not in told
    assert 0 < alone['predictions'] and alone['AP'] <= told['AP'] + .1 and 0 < alone['box AP'] <= 1
    out = answer('export', dancers/'truth.json', '--images', dancers/'images', '--weights', 'rendered', '--detector', 'people', '--out', tmp_path/'p.json')
    assert out['people'] == alone['predictions']
    wrong = ask('eval', '--gt', dancers/'truth.json', '--pred', tmp_path/'p.json', '--detector', 'people')
    assert wrong.exit_code == 2 and 'already' in wrong.stderr

def test_eval_says_when_truth_and_predictions_look_swapped(dancers, tmp_path):
    truth,found = dancers/'truth.json',tmp_path/'p.json'
    answer('export', truth, '--images', dancers/'images', '--weights', 'rendered', '--out', found)
    swapped = ask('eval', '--gt', found, '--pred', truth)
    assert swapped.exit_code == 2 and 'swapped' in swapped.stderr
    itself = ask('eval', '--gt', found, '--pred', found)
    assert itself.exit_code == 0 and 'not with a truth' in itself.stderr
    assert 'truth' not in ask('eval', '--gt', truth, '--pred', found).stderr

def test_apps_end_with_the_terminal_that_began_them(tmp_path):
    import os, signal, time
    from poselab.apps import free_port
    port = free_port()
    run = subprocess.Popen([sys.executable, '-c', 'from poselab.cli import main; main()', 'apps', '--no-open', '--port', str(port)], stderr=subprocess.PIPE, text=True,
        env={**os.environ, 'TMPDIR': str(tmp_path)})
    assert 'The apps are at' in run.stderr.readline()
    run.send_signal(signal.SIGTERM); run.wait(60)
    assert not list(tmp_path.glob('poselab-apps-*')) and run.returncode == 0

def test_a_report_is_never_written_over_labels_or_results(dancers, tmp_path):
    labels = tmp_path/'l.json'
    labels.write_bytes((dancers/'truth.json').read_bytes())
    for words in (('audit', labels), ('diagnose', '--gt', labels, '--pred', labels)):
        got = ask(*words, '--report', labels)
        assert got.exit_code == 2 and '.html' in got.stderr
    assert labels.read_bytes() == (dancers/'truth.json').read_bytes()

def test_audit_and_eval_read_labels_of_any_format(dancers, tmp_path):
    from poselab.data.datasets import read_any
    from poselab.data.formats import write_labels
    data = read_any(dancers/'truth.json', dancers/'images')
    write_labels(data, tmp_path/'yolo', 'yolo')
    yaml = next((tmp_path/'yolo').rglob('*.yaml'))
    got = answer('audit', yaml)
    assert got['people'] == len(data.instances)
    told = ask('audit', yaml).stdout
    assert 'in a shell --pictures' in told

def test_help_names_every_recipe_and_every_system():
    from poselab.published import ROWS
    from poselab.studies import PAPERS
    from poselab.train import RECIPES
    told = ask('train', '--help').stdout.replace(',', ' ').split()
    assert {*RECIPES, *PAPERS} <= set(told)
    assert {s for r in ROWS for s in r.system.split()} <= set(ask('counts', '--help').stdout.split())

def test_options_that_would_do_nothing_are_refused(dancers, tmp_path):
    assert '--like is for a FILE' in refused('train', 'rendered', '--like', 'vremd')
    for words in (('--report', tmp_path/'x.html'), ('--legacy',), ('--ray', 'local'), ('--split', 'val')):
        assert f'{words[0]}: needs --gt' in refused('diagnose', '--pred', dancers/'perfect.json', *words)
    assert not (tmp_path/'x.html').exists()

def test_an_audit_replaces_no_foreign_file_unless_told(dancers, tmp_path):
    mine = tmp_path/'mine.json'; mine.write_text('precious')
    words = ('audit', dancers/'truth.json', '--export', mine)
    assert 'no export of ours' in refused(*words) and mine.read_text() == 'precious'
    assert ask(*words, '--overwrite').exit_code == 0 and mine.read_text() != 'precious'
    assert ask(*words).exit_code == 0, 'ours by now'

def test_one_missing_picture_stops_neither_report_nor_export(dancers, tmp_path):
    import shutil
    shutil.copytree(dancers/'images', tmp_path/'images')
    truth = json.loads((dancers/'truth.json').read_text())
    gone = truth['annotations'][0]['image_id']
    file = next(im['file_name'] for im in truth['images'] if im['id'] == gone)
    (tmp_path/'images'/file).unlink()
    truth['annotations'][0]['area'] = 1e7 # somebody to look at in it
    (tmp_path/'truth.json').write_text(json.dumps(truth))
    words = ('audit', tmp_path/'truth.json', '--images', tmp_path/'images', '--pictures', '--report', tmp_path/'p.html', '--export', tmp_path/'m.json')
    got = subprocess.run([sys.executable, '-c', 'from poselab.cli import main; main()', *map(str, words)], capture_output=True, text=True)
    assert got.returncode == 0 and 'unreadable' in got.stdout and (tmp_path/'m.json').exists() and 'data:image' in (tmp_path/'p.html').read_text()
    assert file in got.stderr and '1 of the pictures cannot be read: their tiles are grey' in got.stderr and '.py' not in got.stderr
    wrong = json.loads((dancers/'perfect.json').read_text())
    for r in wrong: r['keypoints'][27] += 40
    (tmp_path/'wrong.json').write_text(json.dumps(wrong))
    with pytest.warns(UserWarning, match='their tiles are grey'):
        got = ask('diagnose', '--gt', tmp_path/'truth.json', '--pred', tmp_path/'wrong.json', '--images', tmp_path/'images', '--report', tmp_path/'d.html')
    assert got.exit_code == 0 and 'as predicted, and mended' in (tmp_path/'d.html').read_text()

def test_box_ap_is_the_same_from_the_saved_file(dancers, tmp_path):
    files = ('--gt', dancers/'truth.json', '--images', dancers/'images')
    first = answer('eval', *files, '--weights', 'rendered-yolopose', '--save', tmp_path/'f.json')
    again = answer('eval', *files, '--pred', tmp_path/'f.json')
    assert 0 < first['box AP'] == pytest.approx(again['box AP'], abs=1e-3) and first['AP'] == pytest.approx(again['AP'], abs=.01)
