"What holds for every block of poselab.modules: help says what goes through it, a wrong number is refused at once and by name"
import importlib, inspect, pkgutil
import pytest
from torch import nn
import poselab.modules
from poselab.modules.background import CSAM, BackgroundInfoBlock
from poselab.modules.cbam import CBAM, ChannelGate, SpatialGate
from poselab.modules.coordinate import CoordAtt
from poselab.modules.ghost import GhostConv

def blocks():
    for m in pkgutil.iter_modules(poselab.modules.__path__):
        module = importlib.import_module(f'poselab.modules.{m.name}')
        for name in module.__all__:
            c = getattr(module, name)
            if inspect.isclass(c) and issubclass(c, nn.Module) and not issubclass(c, nn.Sequential): yield pytest.param(c, id=f'{m.name}.{name}')

@pytest.mark.parametrize('block', list(blocks()))
def test_help_of_forward_says_which_shapes_it_takes(block):
    words = inspect.getdoc(block.forward)
    assert words and '\n' not in words and ('(N' in words or '(...' in words), words

@pytest.mark.parametrize('make,says', [(lambda: ChannelGate(0), 'ChannelGate: ch=0'), (lambda: CBAM(8, 0), 'ChannelGate: reduction=0'), (lambda: ChannelGate(8, 16, 0), 'least=0'),
    (lambda: SpatialGate(-1), '-1 cells has no middle'), (lambda: CSAM(0), 'CSAM: ch=0'), (lambda: CSAM(8, 0), 'CSAM: reduction=0'),
    (lambda: BackgroundInfoBlock(0), 'BackgroundInfoBlock: ch=0'), (lambda: CoordAtt(0), 'CoordAtt: ch=0.*at least 1'), (lambda: CoordAtt(8, 0), 'CoordAtt: reduction=0'),
    (lambda: GhostConv(8, 0), 'GhostConv: 0 channels'), (lambda: GhostConv(8, 8, 4), 'GhostConv: ks=4 has no middle')])
def test_a_number_that_cannot_be_is_refused_when_the_block_is_made(make, says):
    with pytest.raises(ValueError, match=says): make()
