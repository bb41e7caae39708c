"A page that is run again says what it said: stored text and numbers are compared with fresh ones"
import re
from pathlib import Path
import pytest
nbformat = pytest.importorskip('nbformat')
nbclient = pytest.importorskip('nbclient')

NBS = Path(__file__).parent.parent/'nbs'
PAGES = ('02_draw', '03_geometry', '07_heatmap', '08_simcc', '09_soft_labels', '10a_anchors', '24_metrics', '25_errors', '27_angles', '27a_align')
LEFT_OUT = re.compile(r'^#\|\s*(slow|gpu|data|exercise|notest|eval:\s*false)\b', re.M)


NUMBER = re.compile(r'[-+]?(?:\d+\.\d*|\.\d+|\d+)(?:e[-+]?\d+)?')


def words_and_numbers(texts):
    "Words must be the same, numbers nearly: sums in another order differ in their last digits"
    return [' '.join(NUMBER.sub('#', t).split()) for t in texts], [float(x) for t in texts for x in NUMBER.findall(t)]


def said(cell):
    "What a cell prints and gives back, without addresses of objects"
    found = [''.join(o.get('text', '')) or o.get('data', {}).get('text/plain', '') for o in cell.get('outputs', [])
             if o.get('name') != 'stderr' and not {'image/png', 'image/jpeg'} & set(o.get('data', {}))]
    return re.sub(r'0x[0-9a-f]+', '0x', '\n'.join(found))


@pytest.mark.parametrize('page', PAGES)
def test_a_page_says_the_same_again(page):
    nb = nbformat.read(NBS/f'{page}.ipynb', 4)
    stored = [said(c) for c in nb.cells]
    nb.cells = [c for c in nb.cells if not (c.cell_type == 'code' and LEFT_OUT.search(c.source))]
    kept = [s for c, s in zip(nbformat.read(NBS/f'{page}.ipynb', 4).cells, stored) if not (c.cell_type == 'code' and LEFT_OUT.search(c.source))]
    nbclient.NotebookClient(nb, timeout=300, kernel_name='python3', resources=dict(metadata=dict(path=str(NBS)))).execute()
    (words, numbers), (old_words, old_numbers) = (words_and_numbers(t) for t in ([said(c) for c in nb.cells], kept))
    assert any(kept) and words == old_words
    assert numbers == pytest.approx(old_numbers, rel=1e-3, abs=1e-4)
