"Labs: hints that name the mistake, a room that nobody leaves, and a course from handing out to giving back"
import csv, json, re, subprocess, sys
from pathlib import Path
import nbformat, numpy as np, pytest
from hypothesis import given, strategies as st
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from poselab import labs

HIDDEN = re.compile(r'### BEGIN HIDDEN TESTS.*?### END HIDDEN TESTS', re.S)
LABS = sorted((Path(__file__).parents[1]/'nbs'/'labs').glob('lab*.ipynb'))
def hint(f, *args, **kwargs):
    with pytest.raises(labs.Hint) as e: f(*args, **kwargs)
    return str(e.value)

# --- hints

@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=20), st.integers(0, 19))
def test_the_right_answer_passes_and_a_spoilt_one_names_its_place(want, at):
    labs.expect_close(np.array(want), want, 'x')
    at,got = at % len(want),np.array(want)
    got[at] += 1
    assert f'the first at [{at}]' in hint(labs.expect_close, got, want, 'x')

def test_a_known_mistake_is_named_before_a_place():
    assert hint(labs.expect_close, 2., 1., 'x', {'doubled': 2.}) == 'x: doubled'

@pytest.mark.parametrize('got,word', [(None, 'return'), (..., 'still a'), ('155', 'text'), ({}, 'dict'), (np.zeros((3, 2)), 'swapped'), (np.zeros(3), 'shape'), (np.full((2, 3), np.nan), 'nan')])
def test_what_is_no_answer_yet_is_said(got, word):
    assert word in hint(labs.expect_close, got, np.ones((2, 3)), 'x')

def test_a_mirror_of_the_usual_kind_is_right_and_two_mistakes_at_once_are_named():
    def right(xy, v, width, flip): # no list() around flip: an array indexes rows
        out = xy.copy(); out[:, 0] = width - 1 - out[:, 0]; out[v == 0] = 0
        return out[flip], v[flip]
    def both(xy, v, width, flip): return np.c_[width - 1 - xy[:, 0], xy[:, 1]], v[flip]
    def in_place(xy, v, width, flip):
        xy[:, 0] = width - 1 - xy[:, 0]; xy[v == 0] = 0
        return xy[flip], v[flip]
    labs.check_mirror(right); labs.check_mirror(right, 257, (1, 0, 2))
    assert 'kept their rows, and an absent' in hint(labs.check_mirror, both)
    assert 'xy.copy()' in hint(labs.check_mirror, in_place)

def test_a_notebook_shows_the_words_of_a_hint_without_the_way_to_them():
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output
    with capture_output() as shown: InteractiveShell.instance().run_cell("from poselab import labs; labs.check_mirror_x(156)")
    assert 'pixel centres' in shown.stdout and 'labs.py' not in shown.stdout and len(shown.stdout.splitlines()) < 5

def test_an_error_inside_an_answer_names_call_and_line():
    def answer(x):
        y = x
        return y/0
    assert re.search(r'answer\(3\) stopped in its line 3 with ZeroDivisionError', hint(labs.ask, answer, 3))
    assert 'function is wanted' in hint(labs.ask, 7)

def test_each_wrong_way_to_bins_has_its_own_words():
    size = np.array((192, 256))
    outside = lambda xy,b: np.where(((xy < 0) | (xy >= size)).any(-1, keepdims=True), -1, b)
    ways = {'cut off': lambda xy,s,k: outside(xy, np.floor(xy*k)), 'half a pixel': lambda xy,s,k: outside(xy, np.round((xy + .5)*k)), 'rounded to pixels': lambda xy,s,k: outside(xy, np.round(xy)*k),
        'per pixel are missing': lambda xy,s,k: outside(xy, np.round(xy)), 'clamped': lambda xy,s,k: np.round(np.clip(xy, 0, size - 1)*k), 'nothing was marked': lambda xy,s,k: np.round(xy*k),
        'as a whole': lambda xy,s,k: np.where((xy < 0) | (xy >= size), -1, np.round(xy*k))}
    for words,way in ways.items(): assert words in hint(labs.check_bins, way)
    labs.check_bins(lambda xy,s,k: outside(xy, np.round(xy*k)))

def test_each_wrong_oks_has_its_own_words():
    def way(k=2., power=1., half=2., use=lambda v: v > 0, nan=0.):
        def oks(xy, v, area, pred, sig):
            e = np.exp(-((pred - xy)**2).sum(-1)/(k*sig)**2/area**power/half)
            return np.where(np.isnan(e), nan, e)[use(v)].mean()
        return oks
    for words,f in {'twice the sigma': way(k=1.), 'area squared': way(power=2.), 'root': way(power=.5), 'the 2 under': way(half=1.), 'unlabelled': way(use=lambda v: v >= 0),
        'occluded': way(use=lambda v: v > 1), 'spread': way(nan=np.nan), 'left out': way(nan=1.)}.items(): assert words in hint(labs.check_oks, f)
    labs.check_oks(way())

def test_each_wrong_statistic_has_its_own_words():
    from scipy.stats import t
    def way(ddof=1, q=lambda n: t.ppf(.975, n - 1), root=True): return lambda a,b: ((b - a).mean(), q(len(a))*(b - a).std(ddof=ddof)/(len(a)**.5 if root else 1))
    for words,f in {'1.96': way(q=lambda n: 1.96), 'n - 1 in its': way(ddof=0), 'steadier': way(root=False), 'two sides': way(q=lambda n: t.ppf(.95, n - 1))}.items(): assert words in hint(labs.check_paired, f)
    assert 'above 0' in hint(labs.check_paired, lambda a,b: (-way()(a, b)[0], 0))
    labs.check_paired(way())

def test_each_spoilt_scale_has_its_own_words():
    def way(middle=np.nanmedian, factor=1.4826, axis=0, after=lambda z: z, before=lambda x: x):
        def deviations(x):
            x = before(x)
            m = middle(x, axis=axis, keepdims=True)
            return after((x - m)/(factor*np.nanmedian(np.abs(x - m), axis=axis, keepdims=True)))
        return deviations
    for words,f in {'moves the mean': way(np.nanmean), '1.4826': way(factor=1.), 'own median': way(axis=None), 'same limb of others': way(axis=1), 'sign': way(after=np.abs),
        'standard deviation grows': lambda x: (x - np.nanmedian(x, 0))/np.nanstd(x, 0), 'whole column nan': way(np.median), 'length 0': way(before=np.nan_to_num),
        'it has none': way(after=np.nan_to_num)}.items(): assert words in hint(labs.check_deviations, f), words
    labs.check_deviations(way())
    for words,x in {'6 of the 14': .95, 'three pairs': 1 - .05*3/14, 'not by the truth': 1., 'what is lost': .05*6/14}.items(): assert words in hint(labs.check_ceiling, x)

def test_the_hunt_counts_what_is_missing_names_what_is_false_and_gives_nothing_away(capsys):
    data,there = labs.plant_labels(10)
    right = [(i, min(people), kind) for i,(kind,people) in there.items()]
    assert len(there) == 20 and {k for k,_ in there.values()} == set(labs.PLANTED)
    labs.check_found(right); labs.check_found([x[:2] for x in right]); labs.check_found([(i, max(people)) for i,(_,people) in there.items()])
    assert 'all 20' in capsys.readouterr().out
    boxes = [x for x in right if x[2] != 'box']
    told = hint(labs.check_found, boxes + [(9, 15)])
    assert '4 of the 20 are missing. 4 of them are alike' in told and 'does each hold its person' in told and '1 of yours are no planted errors: (9, 15)' in told
    assert not [i for i,_,k in right if k == 'box' and re.search(rf'\b{i}\b', told.split('missing')[1])], 'the hint names a place'
    wrong = [(right[0][0], right[0][1], next(k for k in labs.PLANTED if k != right[0][2])), *right[1:]]
    assert f'another kind than you say: {right[0][:2]}' in hint(labs.check_found, wrong)
    for answer,words in (([], 'a list of'), (None, 'a list of'), ([7], 'is not (image, person)'), ([(1, 999)], 'has no person 999'), ([(*right[0][:2], 'blur')], "'blur' was not planted")):
        assert words in hint(labs.check_found, answer)

def test_another_seed_plants_other_errors_of_every_kind():
    from collections import Counter
    for seed in (8, 11):
        data,there = labs.plant_labels(seed)
        assert Counter(k for k,_ in there.values()) == dict.fromkeys(labs.PLANTED, 4) and set(there) <= {im.id for im in data.images}
        for i,(kind,people) in there.items(): assert people <= set(data.instances.id[data.instances.image_id == i].tolist()) and len(people) == 1 + (kind == 'duplicate')

# --- the machine

def test_the_doctor_says_how_to_mend_what_is_missing(monkeypatch):
    monkeypatch.setattr(labs.sys, 'version_info', (3, 8, 0))
    monkeypatch.setattr(labs, 'free_memory', lambda: .2)
    ill = {r['name']: r for r in labs.doctor()}
    assert ill['Python']['ok'] is False and 'make setup' in ill['Python']['remedy'] and 'Shut Down' in ill['memory']['remedy']
    assert '2 things have to be mended' in labs.doctor_text(list(ill.values()))

# --- the labs themselves

@pytest.mark.parametrize('path', LABS, ids=lambda p: p.stem)
def test_a_lab_is_whole(path):
    nb = nbformat.read(path, 4)
    marks = {c.metadata.nbgrader.grade_id: c for c in nb.cells if 'nbgrader' in c.metadata}
    hunt = ['hunt', 'check-hunt']*('lab08' in path.stem) # 20 errors to find
    assert list(marks) == ['predict', 'check-predict', 'build', 'check-build', *hunt, 'open']
    code = '\n'.join(c.source for c in nb.cells if c.cell_type == 'code')
    text = '\n'.join(c.source for c in nb.cells if c.cell_type == 'markdown')
    assert code.count('### BEGIN SOLUTION') == code.count('### END SOLUTION') == 2 + len(hunt)//2 and 'HIDDEN' in marks['check-build'].source
    assert sum(c.metadata.nbgrader.points for c in marks.values() if c.metadata.nbgrader.grade) == 12
    for word in ('**You will**', '**Read first**', '**Time**', '*Points*'): assert word in text, word
    assert any('image/png' in o.get('data', {}) for c in nb.cells for o in c.get('outputs', [])), 'no figure'

@pytest.mark.parametrize('path', LABS, ids=lambda p: p.stem)
def test_no_two_mistakes_of_a_check_give_the_same_answer(path, monkeypatch):
    seen,real = [],labs.expect_close
    def watching(got, want, what, mistakes=None, tol=1e-4):
        seen.append(what)
        ways = [('right', np.asarray(want, float)), *((k, np.asarray(v, float)) for k,v in (mistakes or {}).items())]
        for i,(a,x) in enumerate(ways):
            for b,y in ways[:i]: assert x.shape != y.shape or not np.allclose(x, y, rtol=0, atol=tol, equal_nan=True), f'{what}: {a!r} and {b!r} look alike'
        real(got, want, what, mistakes, tol)
    monkeypatch.setattr(labs, 'expect_close', watching)
    space = dict(labs=labs, np=np)
    if 'lab08' in path.stem: exec('from poselab.audit import audit; hunt = labs.hunting_set()', space)
    for c in nbformat.read(path, 4).cells:
        if c.cell_type == 'code' and 'nbgrader' in c.metadata: exec(HIDDEN.sub('', c.source), space)
    assert seen or 'lab08' in path.stem

def test_there_are_eleven_labs(): assert len(LABS) >= 11

# --- the room and the course need Linux or macOS, and nbgrader

course_only = pytest.mark.skipif(sys.platform == 'win32' or labs.version_of('nbgrader') is None, reason="grading needs nbgrader: pip install 'poselab[course]'")

def mark(cell, id, points=0, grade=False, solution=False):
    cell.metadata['nbgrader'] = dict(schema_version=3, grade_id=id, grade=grade, solution=solution, locked=not solution, task=False) | (dict(points=points) if grade else {})
    return cell

@pytest.fixture(scope='module')
def sources(tmp_path_factory):
    "A lab with two exercises and a question"
    folder = tmp_path_factory.mktemp('labs')
    cells = [new_markdown_cell('# Numbers')]
    for name,body,call,want in (('twice', 'return x + x', 'twice(4)', 8), ('thrice', 'return 3*x', 'thrice(4)', 12)):
        cells += [mark(new_code_cell(f'def {name}(x):\n    ### BEGIN SOLUTION\n    {body}\n    ### END SOLUTION'), name, solution=True),
            mark(new_code_cell(f"labs.expect_close(labs.ask({name}, 4), {want}, '{call}', {{'that is the square': 16}})\n### BEGIN HIDDEN TESTS\n"
                f"labs.expect_close(labs.ask({name}, -3), {-3*want/4}, 'hidden {name}')\n### END HIDDEN TESTS\nlabs.passed('{name}')"), f'check-{name}', 4, grade=True)]
    cells.append(mark(new_markdown_cell('When is it useful?'), 'open', 2, grade=True, solution=True))
    nbformat.write(new_notebook(cells=cells), folder/'numbers.ipynb')
    return folder

def handed_in(course, inbox, student, answers=(), change=None):
    nb = nbformat.read(course/'release'/'numbers'/'numbers.ipynb', 4)
    for c in nb.cells:
        if (name := c.metadata.get('nbgrader', {}).get('grade_id')) in dict(answers): c.source = dict(answers)[name]
    if change: change(nb)
    (inbox/student).mkdir()
    nbformat.write(nb, inbox/student/'numbers.ipynb')

GOOD = dict(twice='def twice(x): return 2*x', thrice='def thrice(x): return 3*x')

def mischief(nb): # tries to read the solutions, to change its tests and what they lean on, and to write elsewhere
    source,home = Path(__file__).parents[1]/'nbs'/'labs',Path(__file__).parents[1]
    nb.cells[1].source = (f'import builtins, os, pathlib\nfound = []\n'
        f'for place in ({str(source)!r}, {str(home)!r}, "/work", "/tmp", "/home", "/root", str(pathlib.Path.home().parent)):\n'
        f'    for p in (place, place + "/lab02_simcc.ipynb", place + "/README.md"):\n'
        f'        try: found.append(os.listdir(p) if os.path.isdir(p) else open(p).read())\n'
        f'        except OSError: pass\n'
        f'try: open("/var/tmp/POSELAB-mischief", "w").write("x"); found.append("wrote")\nexcept OSError: pass\n'
        f'try:\n    import socket; socket.create_connection(("127.0.0.1", 22), 2); found.append("net")\nexcept OSError: pass\n'
        f'print("FOUND", found)\n'
        f'import numpy, poselab.labs\nnumpy.allclose = lambda *a, **k: True\nposelab.labs.expect_close = lambda *a, **k: None\n'
        f'poselab.labs.ask.__code__ = (lambda f, *args, **kwargs: 8).__code__\n'
        f'class labs:\n    expect_close = staticmethod(lambda *a, **k: None); ask = expect_close; passed = expect_close\n'
        f'def twice(x): return 0')
    nb.cells[2].source = 'pass # all is well'
    del nb.cells[4]

@pytest.fixture(scope='module')
def course(sources, tmp_path_factory):
    "A course in which eight people have handed in and were graded"
    from poselab.grading import collect, feedback, grade, release
    from poselab.sandbox import Limits
    home = tmp_path_factory.mktemp('course')
    release(home/'c', source=sources)
    inbox = home/'inbox'; inbox.mkdir()
    handed_in(home/'c', inbox, 'right', GOOD | dict(open='When nobody asks for four.'))
    handed_in(home/'c', inbox, 'wrong', GOOD | dict(twice='def twice(x): return x**2'))
    handed_in(home/'c', inbox, 'crashing', GOOD | dict(twice='import os; os._exit(1)'))
    handed_in(home/'c', inbox, 'endless', GOOD | dict(twice='def twice(x):\n    while True: pass'))
    handed_in(home/'c', inbox, 'mischief', (), mischief)
    (inbox/'empty_numbers.ipynb').touch()
    (inbox/'cut_numbers.ipynb').write_text('{"cells": [')
    (inbox/'essay.ipynb').write_text('{}')
    (inbox/'link_numbers.ipynb').symlink_to(sources/'numbers.ipynb')
    got = collect(inbox, home/'c')
    graded = grade(home/'c', limits=Limits(cell_s=4), workers=2)
    return dict(path=home/'c', inbox=inbox, collected=got, graded=graded, pages=feedback(home/'c'))

def points(course): return {(r['student'], r['exercise']): r['points'] for r in json.loads((course['path']/'marks.json').read_text())['rows']}
def page(course, student): return (course['path']/'feedback'/f'{student}.html').read_text()

@course_only
def test_what_students_get_holds_no_solution_and_no_hidden_check(course):
    text = (course['path']/'release'/'numbers'/'numbers.ipynb').read_text()
    assert 'x + x' not in text and '3*x' not in text and 'hidden' not in text.lower() and text.count('YOUR CODE HERE') == 2

@course_only
def test_names_are_checked_and_links_refused(course):
    got = course['collected']
    assert len(got['collected']) == 7 and {r.split(':')[0] for r in got['refused']} == {'essay.ipynb', 'link_numbers.ipynb'}

@course_only
def test_right_wrong_crashing_endless_and_empty_have_their_marks(course):
    p = points(course)
    assert course['graded']['failed'] == {}
    assert (p['right','twice'], p['right','thrice'], p['right','open']) == (4, 4, '') # the open answer waits for a person
    assert (p['wrong','twice'], p['wrong','thrice']) == (0, 4)
    assert (p['crashing','twice'], p['crashing','thrice']) == (0, 4) # the other exercise is not lost
    assert (p['endless','twice'], p['endless','thrice']) == (0, 4)
    assert not any(p[s, e] for s in ('empty', 'cut') for e in ('twice', 'thrice', 'open'))

@course_only
def test_feedback_says_why_and_loads_nothing(course):
    assert 'that is the square' in page(course, 'wrong') and 'never stops' in page(course, 'endless') and 'process ended' in page(course, 'crashing')
    assert 'is empty' in page(course, 'empty') and 'cut short' in page(course, 'cut')
    for p in map(Path, course['pages']['pages']):
        text = p.read_text()
        assert '<script' not in text and 'hidden twice' not in text.replace('hidden twice:', '') and not re.search(r'(src|href)="(?!#|data:)', text)

@course_only
def test_mischief_reads_nothing_changes_nothing_and_is_told_of(course):
    p,text = points(course),page(course, 'mischief')
    assert p['mischief','twice'] == 0 and p['mischief','thrice'] == 0
    assert 'poselab.labs.expect_close' in text and 'had been changed; the original was used' in text and 'were missing' in text
    assert not Path('/var/tmp/POSELAB-mischief').exists()
    if 'Landlock' in course['graded']['enforced']['files']: assert 'FOUND []' in text, re.search('FOUND.{200}', text, re.S)

@course_only
def test_what_is_graded_stays_graded_until_it_changes(course):
    from poselab.grading import collect, grade
    assert grade(course['path'])['graded'] == []
    nb = nbformat.read(course['inbox']/'wrong'/'numbers.ipynb', 4)
    nb.cells[1].source = GOOD['twice']
    nbformat.write(nb, course['inbox']/'wrong'/'numbers.ipynb')
    assert collect(course['inbox'], course['path'])['collected'] == ['wrong/numbers']
    assert grade(course['path'])['graded'] == ['wrong/numbers'] and points(course)['wrong','twice'] == 4

@course_only
def test_marks_by_hand_come_from_the_table_and_stay(course):
    from poselab.grading import feedback
    path = course['path']/'marks.csv'
    rows = list(csv.DictReader(path.open()))
    mine = next(r for r in rows if r['student'] == 'right' and r['exercise'] == 'open')
    mine.update(points='1,5', comment='A good <b>start</b>')
    def write(rows):
        with path.open('w', newline='') as f: w = csv.DictWriter(f, rows[0]); w.writeheader(); w.writerows(rows)
    write(rows)
    feedback(course['path'])
    assert points(course)['right','open'] == 1.5 and 'A good &lt;b&gt;start' in page(course, 'right')
    mine.update(points='7'); write(rows)
    with pytest.raises(ValueError, match=r'row \d+: 7 points, but there are 0 to 2'): feedback(course['path'])
    mine.update(points='1.5'); write(rows); feedback(course['path'])

@course_only
def test_the_weaker_guard_still_refuses_files_and_network(tmp_path):
    from poselab.sandbox import Limits, Room
    with Room(Limits(kernel=False)) as room:
        assert room.enforced['files'] == 'within Python only'
        for code in (f'open({str(Path(__file__))!r}).read()', f'open({str(tmp_path/"x")!r}, "w")', f'import os; os.listdir({str(tmp_path)!r})', 'import socket; socket.create_connection(("127.0.0.1", 80))', 'import os; os.system("true")'):
            assert room.ask(code)[-1]['ename'] == 'PermissionError', code
        assert room.ask('open("mine", "w").write("x"); print(open("mine").read())')[0]['text'] == 'x\n'

@course_only
def test_who_goes_for_the_grader_or_changes_things_during_a_check_gets_nothing():
    from poselab.sandbox import Limits, Room
    check = 'import torch, numpy as np\nf()\nassert torch.ones(1).allclose(torch.zeros(1)) or np.allclose(0, 1)'
    tricks = ['import poselab.sandbox as s\ns.run_check = lambda shell, source: []\ns.put_back = lambda photo: []',
        'import poselab.sandbox as s\ns.run_check.__code__ = (lambda shell, source: []).__code__\ns.put_back.__code__ = (lambda photo: []).__code__',
        'import json\nreal = json.dumps\njson.dumps = lambda x, **k: real(dict(x, outputs=[]))', 'import json\njson.loads.__code__ = (lambda s: dict(check=True, source="1", token="")).__code__',
        'import torch\ntorch.Tensor.allclose = lambda *a: True', 'import numpy._core.numeric as n\nn.isclose = lambda *a, **k: n.bool_(1)',
        'import builtins\nbuiltins.__import__ = builtins.vars = lambda *a, **k: {}', 'import sys, types\nsys.modules["numpy"] = types.SimpleNamespace(allclose=lambda *a: True)',
        '__builtins__ = dict(vars(__import__("builtins")), __import__=lambda *a: 1/0)']
    with Room(Limits()) as room:
        for trick in tricks:
            room.ask('def f(): pass'), room.ask(trick)
            assert [o['ename'] for o in room.ask(check, check=True) if o['output_type'] == 'error'] == ['AssertionError'], trick
        room.ask('def f():\n    import poselab.labs as l\n    l.expect_close.__code__ = (lambda *a, **k: None).__code__')
        got = room.ask('f(); labs.expect_close(1, 2, "x")', check=True)
        assert got[-1]['ename'] == 'Stopped' and 'poselab.labs.expect_close' in got[-1]['evalue']
        assert room.ask('labs.expect_close(1, 2, "x")', check=True)[-1]['ename'] == 'Hint' # the next one is whole again
        room.ask('def f(): return 1'), room.ask('def max(x): return x')
        assert room.ask('labs.expect_close(labs.ask(f), 1, "f"); labs.passed("f")', check=True) == [dict(output_type='stream', name='stdout', text='✓ f\n')]

@course_only
def test_a_hidden_check_that_was_found_is_not_in_the_feedback(sources, tmp_path):
    from poselab.grading import collect, feedback, grade, masked, release
    spy = """def twice(x):
    import sys
    f = sys._getframe()
    while f:
        print([str(x)[:3000] for x in list(f.f_locals.values())]); f = f.f_back
    return 2*x"""
    release(tmp_path/'c', source=sources)
    (tmp_path/'in').mkdir()
    told = nbformat.read(sources/'numbers.ipynb', 4).cells[2].source # as if it had been found all the same
    handed_in(tmp_path/'c', tmp_path/'in', 'spy', dict(twice=spy, thrice=f'print({told!r})\nprint([{told!r}])\ndisplay({told!r})\ndef thrice(x): print({told!r}); raise ValueError({told!r})'))
    collect(tmp_path/'in', tmp_path/'c'); grade(tmp_path/'c'); feedback(tmp_path/'c')
    assert points(dict(path=tmp_path/'c'))['spy','twice'] == 4
    ran = nbformat.read(tmp_path/'c'/'executed'/'spy'/'numbers'/'numbers.ipynb', 4)
    assert 'hidden twice' not in str([o for c in ran.cells[:3] for o in c.get('outputs', [])]), 'the text of a check stands in a frame'
    assert 'hidden twice' in str(ran.cells[3].outputs)
    text = page(dict(path=tmp_path/'c'), 'spy')
    assert 'a hidden check stood here' in text and 'hidden twice' not in re.sub(r'print\(.*', '', re.sub(r'<[^>]+>', '', text.split('<details>')[0]))
    shown = re.findall(r'<div class="[^"]*(?:OutputArea|output)[^"]*".*?</pre>', text, re.S)
    assert shown and 'hidden twice' not in ''.join(shown)
    assert masked('an honest line', ['labs.ask(twice']) == 'an honest line'

def test_a_clone_below_a_system_folder_is_left_out(tmp_path):
    from poselab.sandbox import readable, without
    for folder in ('usr/lib', 'usr/src/poselab/nbs', 'usr/src/other'): (tmp_path/folder).mkdir(parents=True)
    (tmp_path/'usr'/'link').symlink_to(tmp_path/'usr'/'src'/'poselab')
    clone = tmp_path/'usr'/'src'/'poselab'
    assert without(tmp_path/'usr', clone) == [str(tmp_path/'usr'/p) for p in ('lib', 'src/other')]
    assert without(clone, clone) == without(clone/'nbs', clone) == [] and without(tmp_path/'usr'/'lib', clone) == [str(tmp_path/'usr'/'lib')]
    root = Path(__file__).parents[1]
    assert not [p for p in readable() if Path(p).resolve() in (root, root/'nbs', *root.parents)]

@course_only
def test_a_room_of_a_clone_in_usr_does_not_show_its_labs(tmp_path):
    from poselab.sandbox import landlock_version
    if not landlock_version(): pytest.skip('no Landlock here')
    (tmp_path/'usr'/'poselab'/'nbs').mkdir(parents=True); (tmp_path/'usr'/'poselab'/'nbs'/'x').write_text('solution'); (tmp_path/'usr'/'free').write_text('free')
    code = f"""from poselab.sandbox import landlock, without
landlock(without({str(tmp_path/'usr')!r}, {str(tmp_path/'usr'/'poselab')!r}), [])
print(open({str(tmp_path/'usr'/'free')!r}).read())
try: print(open({str(tmp_path/'usr'/'poselab'/'nbs'/'x')!r}).read())
except PermissionError: print('closed')"""
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout.split() == ['free', 'closed']

@course_only
def test_nothing_of_the_teacher_is_in_the_environment_of_a_room(monkeypatch):
    from poselab.sandbox import clean_env
    monkeypatch.setenv('MY_TOKEN', 'secret')
    assert 'secret' not in str(clean_env('/x')) and clean_env('/x')['HOME'] == '/x'

@course_only
def test_output_and_memory_have_limits():
    from poselab.sandbox import Limits, run_notebook
    nb = new_notebook(cells=[new_code_cell(c) for c in ('print("x"*3_000_000)', 'a = bytearray(9 << 30)', 'print("on we go")')])
    run_notebook(nb, Limits(output_kb=200))
    assert 'kB of output' in nb.cells[0].outputs[0].evalue and nb.cells[1].outputs[0].ename in ('MemoryError', 'Stopped') and nb.cells[2].outputs[0].text == 'on we go\n'

def test_file_names_of_platforms_and_browsers_are_understood():
    from poselab.grading import lab_of, name_of
    known = ['lab02_simcc', 'lab03_soft_labels']
    for stem,want in {'lab02_simcc': ('lab02_simcc', ''), 'lab02_simcc (1)': ('lab02_simcc', ''), 'lab02_simcc-Copy1': ('lab02_simcc', ''), 'ada_lab02_simcc': ('lab02_simcc', 'ada'),
        'lab03_soft_labels_bob': ('lab03_soft_labels', 'bob'), 'lab02': (None, 'lab02'), 'xlab02_simcc': (None, 'xlab02_simcc')}.items(): assert lab_of(stem, known) == want
    assert name_of('../../etc') == 'etc' and name_of('Ada Lovelace_12_assignsubmission_file_') == 'Ada-Lovelace_12'

def test_a_solution_in_plain_sight_is_not_handed_out():
    from poselab.grading import leaks
    source = new_notebook(cells=[new_code_cell('### BEGIN SOLUTION\nanswer = 6*7 + 0\n### END SOLUTION'), new_markdown_cell('answer = 6*7 + 0')])
    assert leaks(source, new_notebook(cells=source.cells[1:])) == ['answer = 6*7 + 0'] and not leaks(source, new_notebook(cells=[new_markdown_cell('Answer!')]))

@course_only
def test_no_lab_gives_its_solution_away_and_untouched_ones_run_but_score_nothing(tmp_path):
    from poselab.grading import collect, feedback, grade, release
    release(tmp_path/'c')
    for lab in ('lab02_simcc', 'lab10_video'):
        (tmp_path/'in'/'late').mkdir(parents=True, exist_ok=True)
        (tmp_path/'in'/'late'/f'{lab}.ipynb').write_bytes((tmp_path/'c'/'release'/lab/f'{lab}.ipynb').read_bytes())
    collect(tmp_path/'in', tmp_path/'c')
    grade(tmp_path/'c', workers=2)
    assert {r['points'] for r in json.loads((tmp_path/'c'/'marks.json').read_text())['rows']} == {0}
    feedback(tmp_path/'c')
    assert 'the answer is None' in page(dict(path=tmp_path/'c'), 'late')
    for lab in ('lab02_simcc', 'lab10_video'):
        cells = nbformat.read(tmp_path/'c'/'executed'/'late'/lab/f'{lab}.ipynb', 4).cells
        assert not [o for c in cells if c.cell_type == 'code' and 'nbgrader' not in c.metadata for o in c.outputs if o.output_type == 'error'], 'a picture stops where nothing was built yet'

# --- the command line

def asked(*args):
    from click.testing import CliRunner
    from poselab.cli import main
    return CliRunner().invoke(main, ['labs', *map(str, args)])

@course_only
def test_a_course_goes_round_by_five_commands(sources, tmp_path):
    course,inbox = tmp_path/'c',tmp_path/'in'
    got = json.loads(asked('release', course, '--source', sources, '--json').stdout)
    assert got['released'] == ['numbers']
    inbox.mkdir()
    handed_in(course, inbox, 'Zoë', GOOD)
    assert asked('collect', inbox, '--course', course).stdout.startswith('1 new')
    got = json.loads(asked('grade', course, '--json').stdout)
    assert got['graded'] == ['Zoë/numbers'] and got['not_graded'] == {}
    assert asked('feedback', course).exit_code == 0 and '8 of 10 points' in (course/'feedback'/'Zoë.html').read_text()

def test_commands_say_in_a_line_what_is_missing(tmp_path):
    for args,words in ((('grade', tmp_path), 'holds no submissions'), (('feedback', tmp_path), 'has no marks'), (('collect', tmp_path/'no'), 'is no folder'),
        (('release', tmp_path/'c', '--source', tmp_path), 'There are no labs')):
        got = asked(*args)
        assert got.exit_code == 2 and got.stderr.startswith(f'poselab labs {args[0]}: ') and words in got.stderr

def test_the_doctor_answers_people_and_machines():
    assert 'Python' in asked('doctor').stdout and json.loads(asked('doctor', '--json').stdout)['rows'][0]['name'] == 'Python'
