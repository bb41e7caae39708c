"The table of apps; what a browser sees of them is in test_widgets_browser"
import ast, json, socket
from pathlib import Path
import pytest
from click.testing import CliRunner
from poselab import apps as A
from poselab.cli import main

ROOT = Path(__file__).parents[1]

def test_every_line_names_a_function_that_needs_no_argument():
    for a in A.APPS:
        module,name = a.call.split(':')
        tree = ast.parse((ROOT/(module.replace('.', '/') + '.py')).read_text('utf-8'))
        (f,) = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == name]
        assert len(f.args.args) == len(f.args.defaults), f'{a.call} needs an argument'

def test_names_are_unique_and_every_app_has_a_small_thumbnail():
    assert len({a.name for a in A.APPS}) == len(A.APPS) and 'index' not in {a.name for a in A.APPS}
    for a in A.APPS: assert 1000 < (ROOT/f'poselab/thumbnails/{a.name}.jpg').stat().st_size < 60_000, a.name

def test_writing_twice_changes_nothing(tmp_path):
    first = {f: f.read_bytes() for f in A.write_apps(tmp_path)}
    assert {f: f.read_bytes() for f in A.write_apps(tmp_path)} == first
    for f in first: assert json.loads(f.read_text('utf-8'))['nbformat'] == 4

def test_titles_and_words_cannot_break_out_of_their_card(tmp_path):
    a = A.App('x', '<script>1</script>', 'a < b', 'poselab.widgets:gate_viewer')
    page = A.index_notebook((a,))['cells'][1]['source']
    assert '<script>' not in page and 'a &lt; b' in page

def test_a_taken_port_is_refused_before_anything_starts(tmp_path):
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0)); s.listen()
        with pytest.raises(ValueError, match='is taken'): A.start_apps(tmp_path, s.getsockname()[1])

def test_voila_that_cannot_start_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(A.sys, 'executable', '/bin/false')
    with pytest.raises(RuntimeError, match='did not start'): A.start_apps(tmp_path, seconds=20)

def test_the_command_line_lists_them():
    out = CliRunner().invoke(main, ['apps', '--list', '--json'])
    assert out.exit_code == 0 and [a['name'] for a in json.loads(out.output)['apps']] == [a.name for a in A.APPS]
