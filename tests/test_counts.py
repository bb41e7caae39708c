import pytest, torch
from torch import nn
from poselab.modules.counts import RULES, count_macs, count_params, tally

def test_a_convolution_costs_its_weights_at_every_position():
    assert tally(nn.Conv2d(3, 8, 5, 2, 2, groups=1), torch.zeros(2, 3, 9, 12))['']['conv'] == 8*3*25 * 2*5*6

def test_a_grouped_convolution_costs_its_fewer_weights():
    assert tally(nn.Conv2d(8, 8, 3, padding=1, groups=8), torch.zeros(1, 8, 4, 4))[''] == {'conv': 8*9*16}

def test_a_transposed_convolution_is_counted_at_its_input_size():
    assert tally(nn.ConvTranspose2d(8, 4, 4, 2, 1), torch.zeros(1, 8, 5, 6))[''] == {'conv': 8*4*16 * 5*6}

@pytest.mark.parametrize('bias', [True, False])
def test_a_linear_costs_its_weights_per_token(bias):
    assert tally(nn.Linear(6, 4, bias=bias), torch.zeros(2, 5, 6))[''] == {'linear': 24*10}

def test_a_batch_norm_costs_two_per_number_and_only_under_mm():
    m,x = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)),torch.zeros(1, 1, 3, 3)
    assert {r: count_macs(m, x, rule=r)*RULES[r][1] for r in RULES} == dict(macs=18, mm=18 + 36, gib=18, tok=0)

@pytest.mark.parametrize('weights', [True, False])
def test_self_attention_costs_four_projections_and_two_products(weights):
    class Attend(nn.Module):
        def __init__(self):
            super().__init__()
            self.mha = nn.MultiheadAttention(32, 4, batch_first=True)
        def forward(self, x): return self.mha(x, x, x, need_weights=weights)[0]
    assert tally(Attend(), torch.zeros(1, 10, 32))[''] == dict(linear=4*32*32*10, matmul=2*10*10*32)

def test_parts_add_up_to_the_whole():
    m = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 5, 1)))
    t = tally(m, torch.zeros(1, 3, 8, 8))
    assert {k: t['0'].get(k, 0) + t['1'].get(k, 0) for k in t['']} == t['']

def test_counting_leaves_mode_statistics_and_settings_as_they_were():
    m = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2).eval(), nn.BatchNorm2d(2)); m[0].eval()
    before,fast = [x.training for x in m.modules()],torch.backends.mha.get_fastpath_enabled()
    count_macs(m, torch.randn(3, 1, 4, 4))
    assert [x.training for x in m.modules()] == before and torch.backends.mha.get_fastpath_enabled() == fast
    assert m[2].num_batches_tracked == 0 and not any(x._forward_hooks for x in m.modules())

def test_a_failing_forward_leaves_no_hook_behind():
    m = nn.Sequential(nn.BatchNorm2d(2))
    with pytest.raises(Exception): count_macs(m, torch.zeros(1, 3, 4, 4))
    assert m.training and not m[0]._forward_hooks

def test_frozen_weights_and_statistics_are_not_parameters():
    m = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)); m[0].weight.requires_grad_(False)
    assert count_params(m) == 2 + 4

def test_an_unknown_rule_is_refused_by_name():
    with pytest.raises(ValueError, match="'flops'.*macs, mm, gib, tok"): count_macs(nn.Linear(2, 2), torch.zeros(1, 2), rule='flops')

def test_a_model_without_operations_costs_nothing(): assert count_macs(nn.Identity(), torch.zeros(1)) == 0
