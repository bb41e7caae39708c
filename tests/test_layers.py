"The shape of the house: imports point down, also the lazy ones inside functions"
import ast
from graphlib import TopologicalSorter
from pathlib import Path
import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT/'poselab'

# One line per floor, ground first. Modules on one line are strangers to each other.
FLOORS = """
schema
records draw
data.geometry
data.figures data.datasets data.augment data.video
data.exchange data.runner data.bottomup data.enlarge data.clips
data.mosaic data.formats
codecs.heatmap codecs.simcc codecs.softlabels
codecs.grouping codecs.anchors
modules.counts modules.blocks modules.lgag modules.cbam modules.background modules.polarized modules.motion
modules.ghost
modules.coordinate modules.pyramid
models.cspnext models.hrnet models.vit
models.rtmpose models.rtmdet models.dancehrnet models.rhpnet models.vremd models.yolopose
models.checkpoints
evaluate.posetrack
evaluate.metrics
detect track onnx_export
predict
train
traindetect studies
evaluate.errors
audit
corrections
evaluate.impact evaluate.films compare
browse ablate
collect posespace plugin
score.angles
score.align score.running
score.dance
score.explain
published
widgets
tagspace attend candidates curves
explorers
labs apps
sandbox
grading
report
inspection shards
player
demo site readings
cli
""".strip().splitlines()
FLOOR = {module: floor for floor,line in enumerate(FLOORS) for module in line.split()}
HOUSE_KEEPING = {'_modidx'}

def modules():
    "Name of each module of the package -> its file, package markers left out"
    files = {'.'.join(p.relative_to(PACKAGE).with_suffix('').parts): p for p in PACKAGE.rglob('*.py')}
    return {name: p for name,p in files.items() if p.name != '__init__.py' and name not in HOUSE_KEEPING}

def imported(path, package='poselab'):
    "Every `poselab.` module that a file names in an import statement, wherever the statement stands"
    here = path.relative_to(ROOT).with_suffix('').parts
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import): names = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = '.'.join(here[:-node.level]) if node.level else ''
            stem = '.'.join(filter(None, [base, node.module]))
            names = [stem] + [f'{stem}.{a.name}' for a in node.names]
        else: continue
        found |= {n[len(package)+1:] for n in names if n.startswith(package + '.')}
    return found & set(FLOOR)

EDGES = {name: imported(path) for name,path in modules().items()}

def test_every_module_has_a_floor():
    assert set(EDGES) <= set(FLOOR), f'give these a floor: {sorted(set(EDGES) - set(FLOOR))}'

@pytest.mark.parametrize('name', sorted(EDGES))
def test_imports_point_down(name):
    wrong = sorted(o for o in EDGES[name] if o != name and FLOOR[o] >= FLOOR.get(name, -1))
    assert not wrong, f'{name} (floor {FLOOR.get(name)}) imports {wrong}, on its own floor or above it'

def test_there_is_no_import_cycle():
    list(TopologicalSorter({n: e - {n} for n,e in EDGES.items()}).static_order())

def test_the_gate_and_the_blocks_are_strangers():
    assert 'modules.blocks' not in EDGES.get('modules.lgag', ()) and 'modules.lgag' not in EDGES.get('modules.blocks', ())

def test_the_reader_of_imports_sees_lazy_and_relative_ones(tmp_path):
    path = PACKAGE/'codecs'/'nobody.py'
    text = 'from ..records import read_json\ndef f():\n    import poselab.widgets as w\n    from poselab.data import figures'
    class Page(type(path)):
        def read_text(self): return text
    assert imported(Page(path)) == {'records', 'widgets', 'data.figures'}
