"The site: tidied pages, labs without solutions, links that lead somewhere"
import json, re, shutil
from pathlib import Path
import pytest
pytest.importorskip('sphinx'); pytest.importorskip('myst_nb'); pytest.importorskip('nbdev')
import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from poselab import site

ROOT = Path(__file__).parents[1]
PAGES = {p.stem: p for p in sorted((ROOT/'nbs').glob('*.ipynb'))}

def stored(mime, value): return new_output('display_data', data={'text/plain': 'something', mime: value})

@pytest.fixture(scope='module')
def plot():
    go = pytest.importorskip('plotly.graph_objects')
    steps = [dict(method='animate', label=str(k), args=[[str(k)]]) for k in (1, 2)]
    fig = go.Figure(go.Scatter(y=[1, 2]), frames=[go.Frame(name=str(k), data=[go.Scatter(y=[k, 2*k])]) for k in (1, 2)], layout=dict(sliders=[dict(steps=steps)]))
    return json.loads(fig.to_json())

@pytest.fixture(scope='module')
def small(tmp_path_factory, plot):
    "A house of two pages, built"
    root = tmp_path_factory.mktemp('house')
    folder = root/'nbs'/'site'
    folder.mkdir(parents=True)
    for p in (ROOT/'nbs'/'site').iterdir(): shutil.copy(p, folder)
    (folder/'index.md').write_text('# Small\n\n```{toctree}\n:glob:\n\nthemes/*\nreference/index\n```\n')
    (folder/'course.md').unlink()
    (folder/'themes.md').write_text('# One\n\nThe first.\n\n- 01_half\n')
    half = new_notebook(cells=[
        new_markdown_cell('# Half of it\n\n> A half is $1/2$.'), new_code_cell('#| default_exp modules.lgag'), new_code_cell('#| hide\nsecret_import = 1'),
        new_code_cell('#| export\ndef half(x): return x/2', outputs=[stored('text/markdown', '| a | b |\n| --- | --- |\n| 1 | 2 |')]),
        new_markdown_cell('See [two](02_two.ipynb#the-end).\n\n$$\\big(\\frac{x}{2}\\big) = \\sqrt{y}$$\n\n<details><summary>Solution</summary>\n\nIt *is* a half.\n\n</details>')])
    two = new_notebook(cells=[new_markdown_cell('# Two\n\n> Twice.'), new_code_cell('slides()', outputs=[stored(site.PLOTLY, plot)]),
        new_code_cell('again()', outputs=[stored(site.PLOTLY, plot)]), new_code_cell('oks_explorer()', outputs=[stored(site.WIDGET, {'model_id': 'x'})]),
        new_markdown_cell('## The end\n\n[back](01_half.ipynb)')])
    for name,nb in (('01_half', half), ('02_two', two)): nbformat.write(nb, root/'nbs'/f'{name}.ipynb')
    got = site.build(root, root/'_docs')
    return root,got,{n: (root/'_docs'/'nbs'/f'{n}.html').read_text() for n in ('01_half', '02_two')}

def test_a_page_without_a_theme_is_listed_all_the_same(small):
    root,got,_ = small
    assert got['unlisted'] == ['02_two'] and got['pages'] == ['01_half', '02_two']
    assert 'Twice.' in (root/'_docs'/'themes'/'01_new.html').read_text()

def test_directives_and_hidden_cells_are_gone_and_the_rest_is_there(small):
    html = small[2]['01_half']
    text = re.sub(r'<[^>]+>', '', html)
    assert 'secret_import' not in text and '#|' not in text and 'default_exp' not in text
    assert 'def half(x)' in text and '<summary>Solution</summary>' in html and '<em>is</em>' in html
    assert re.search(r'<table.*?<th.*?a.*?<td.*?2', html, re.S)

def test_formulas_are_drawn_by_the_browser_alone(small):
    html = small[2]['01_half']
    assert html.count('<math') == 2 and '<mfrac>' in html and '<msqrt>' in html and not re.search('<script[^>]*mathjax', html, re.I)

def test_a_plotly_figure_keeps_its_frames_and_the_program_comes_once(small):
    root,_,html = small
    assert html['02_two'].count('_static/plotly.min.js"') == 1 and html['02_two'].count('Plotly.addFrames') == 2
    assert (root/'_docs'/'_static'/'plotly.min.js').stat().st_size > 10**6

def test_a_widget_leaves_its_still_and_says_how_to_run_it(small):
    root,_,html = small
    assert 'apps/oks.jpg' in html['02_two'] and 'poselab apps' in html['02_two'] and 'nbs/02_two.ipynb' in html['02_two']
    assert (root/'_docs'/'_static'/'apps'/'oks.jpg').is_file()

def test_the_reference_has_shapes_and_units_and_leads_back(small):
    html = (small[0]/'_docs'/'reference'/'modules.lgag.html').read_text()
    text = re.sub(r'<[^>]+>', '', html)
    assert '(N, 1, H, W), in (0, 1)' in text and 'id="lgag-attention"' in html and '../nbs/01_half.html' in html

def test_the_html_of_a_page_that_is_gone_goes_too(tmp_path):
    for name in ('source/nbs/a.ipynb', 'source/reference/modules.lgag.md', 'html/nbs/a.html', 'html/nbs/gone.html', 'html/reference/modules.lgag.html', 'html/search.html', 'html/_static/x.html'):
        (tmp_path/name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path/name).write_text('')
    assert site.forget(tmp_path/'source', tmp_path/'html') and not site.forget(tmp_path/'source', tmp_path/'html')
    assert sorted(p.name for p in (tmp_path/'html').rglob('*.html')) == ['a.html', 'modules.lgag.html', 'search.html', 'x.html']

def test_a_second_build_forgets_what_is_gone(small, tmp_path):
    root = tmp_path/'house'
    shutil.copytree(small[0], root, ignore=shutil.ignore_patterns('_docs', '_proc'))
    site.stage(root, tmp_path/'source')
    before = {p: p.stat().st_mtime_ns for p in (tmp_path/'source').rglob('*') if p.is_file()}
    (root/'nbs'/'02_two.ipynb').unlink()
    site.stage(root, tmp_path/'source')
    after = {p: p.stat().st_mtime_ns for p in (tmp_path/'source').rglob('*') if p.is_file()}
    assert {p.name for p in set(before) - set(after)} == {'02_two.ipynb', '01_new.md'}
    assert after[tmp_path/'source'/'conf.py'] == before[tmp_path/'source'/'conf.py']

# --- what the papers leave open ---------------------------------------------------------------------------------

def test_the_page_of_gaps_says_what_the_pages_say():
    from poselab.readings import as_markdown, every_case
    found = every_case(ROOT/'nbs')
    stored = [o['data']['text/markdown'] for c in json.loads(PAGES['35_ambiguities'].read_text())['cells'] for o in c.get('outputs', []) if 'text/markdown' in o.get('data', {})]
    assert [''.join(s) for s in stored] == [as_markdown(cases) for cases in found.values()], 'run nbs/35_ambiguities.ipynb again'

def test_a_case_begins_and_ends_where_it_should(tmp_path):
    from poselab.readings import as_markdown, cases, paper_of
    cells = [new_markdown_cell('# Page\n\n> Claim.'), new_markdown_cell('## Gaps\n\n#### The paper says\nEq. 1 ([here](01_x.ipynb), paper 002).\n\n#### Taken literally\nNothing.'),
             new_code_cell('1', outputs=[stored('image/png', 'x'), stored('text/plain', '17')]), new_markdown_cell('Prose between.'), new_code_cell('2', outputs=[stored('text/plain', '18')]),
             new_markdown_cell('#### We do\nTwo.\n\nMore.'), new_code_cell('3', outputs=[stored('text/plain', '19')]), new_markdown_cell('And on.'), new_code_cell('4', outputs=[stored('text/plain', '20')]),
             new_markdown_cell('#### The paper says\nEq. 2 (003).\n\n#### We do\nIt.\n\n## Recap\n\n- All.')]
    nbformat.write(new_notebook(cells=cells), tmp_path/'99_page.ipynb')
    a,b = cases(tmp_path/'99_page.ipynb')
    assert [t for _,t in a['parts']] == ['Eq. 1 ([here](01_x.ipynb), paper 002).', 'Nothing.', '17', '18', 'Two.', '19'] and a['section'] == 'Gaps'
    assert [n for n,_ in b['parts']] == ['The paper says', 'We do'] and (paper_of(a), paper_of(b)) == ('002', '003')
    text = as_markdown([a, b])
    assert '[Page](99_page.ipynb)**, Gaps' in text and '01_x.ipynb' not in text and text.index('17') < text.index('Two.')

# --- links ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('link,fault', [
    ('b.html', None), ('b.html#here', None), ('#me', None), ('sub/c.html', None), ('sub/', 'broken'), ('b.html#gone', 'broken'), ('#gone', 'broken'),
    ('d.html', 'broken'), ('../a.html', 'broken'), ('data:text/plain,x', None), ('https://x.org', 'outside'), ('//x.org/a', 'outside'), ('b%20c.html', None)])
def test_every_link_is_followed(tmp_path, link, fault):
    (tmp_path/'sub').mkdir()
    (tmp_path/'a.html').write_text(f'<p id="me"><a href="{link}">x</a>')
    for name,text in (('b.html', '<p id="here">'), ('b c.html', ''), ('sub/c.html', '<a href="../b.html#here">')): (tmp_path/name).write_text(text)
    links = site.check_links(tmp_path)
    assert {k: len(getattr(links, k)) for k in links._fields} == {k: int(k == fault) for k in links._fields}

@pytest.mark.parametrize('tag', ['<img src="https://x.org/p.png">', '<script src="//x.org/s.js"></script>', '<link rel="stylesheet" href="https://x.org/s.css">'])
def test_what_a_page_would_fetch_from_outside_is_found(tmp_path, tag):
    (tmp_path/'a.html').write_text(tag)
    assert len(site.check_links(tmp_path).loaded) == 1

# --- this repository --------------------------------------------------------------------------------------------

def test_every_page_has_a_theme():
    words = ''.join((ROOT/'nbs'/'site'/f'{n}.md').read_text() for n in ('index', 'course'))
    _,rest = site.themes((ROOT/'nbs'/'site'/'themes.md').read_text(), PAGES, [n for n in PAGES if f'nbs/{n}\n' in words])
    assert rest == [], 'add a line to nbs/site/themes.md'

def test_a_page_that_is_gone_is_named():
    with pytest.raises(ValueError, match="'99_gone'"): site.themes('# A\n\n- 99_gone\n', PAGES)

def test_the_site_gives_no_solution_away(tmp_path):
    pytest.importorskip('nbgrader')
    from poselab.grading import leaks
    (tmp_path/'labs').mkdir()
    for n in ('lab02_simcc', 'lab09_dance_score'): shutil.copy(ROOT/'nbs'/'labs'/f'{n}.ipynb', tmp_path/'labs')
    given = site.student_labs(tmp_path/'labs')
    assert len(given) == 2
    for name,nb in given.items():
        source = nbformat.read(tmp_path/'labs'/f'{name}.ipynb', 4)
        assert leaks(source, nb) == [] and not [o for c in nb.cells for o in c.get('outputs', [])]
        assert any('BEGIN SOLUTION' in c.source for c in source.cells) and not any('SOLUTION' in c.source for c in nb.cells)

def test_tidying_leaves_the_notebook_alone():
    nb = nbformat.read(PAGES['12_lgag'], 4)
    before = nbformat.writes(nb)
    site.tidy(nb, 'nbs/12_lgag.ipynb')
    assert nbformat.writes(nb) == before

def test_what_is_missing_is_named(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match='conf.py'): site.stage(tmp_path, tmp_path/'x')
    (tmp_path/'mine').mkdir()
    with pytest.raises(FileExistsError, match='is no site'): site.build(ROOT, tmp_path/'mine')
    import importlib.util
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, 'find_spec', lambda n, *a: None if n == 'myst_nb' else real(n, *a))
    with pytest.raises(ModuleNotFoundError, match='poselab\\[site'): site.build(ROOT, tmp_path/'out', tmp_path/'work')
