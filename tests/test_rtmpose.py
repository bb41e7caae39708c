from dataclasses import asdict, replace
import pytest, torch
from torch import nn
from poselab.models.cspnext import CSPNeXt
from poselab.models.rtmpose import LAB, LARGE, MEDIUM, SMALL, TINY, VARIANTS, RTMPose, RTMPoseConfig, map_marginals
from poselab.modules.blocks import fuse
from poselab.modules.counts import count_macs, count_params

FUSION = VARIANTS['fusion'](MEDIUM)
NANO = RTMPoseConfig(.167, .1875, input_size=(96, 128), hidden=128, gau_s=64)
PUBLISHED = dict(tiny=(TINY, 3_337_007, .3585), small=(SMALL, 5_473_251, .6818), medium=(MEDIUM, 13_587_611, 1.9281),
                 large=(LARGE, 27_660_339, 4.1593))
TABLE_I = dict(baseline=(VARIANTS['baseline'](MEDIUM), 13_587_611, 1.918), lgag=(VARIANTS['lgag'](MEDIUM), 13_181_789, 1.957),
               backbone=(VARIANTS['backbone'](MEDIUM), 13_299_897, 1.904), fusion=(FUSION, 13_038_225, 1.930),
               self_gated=(replace(FUSION, gate='self'), 12_889_659, 1.897), gau_kept=(replace(FUSION, token_mixer='gau'), 13_464_978, 1.937))
SWITCHES = [replace(NANO, keypoint_conv=c, gate=g, token_mixer=t) for c in ('7x7', '3x3x3') for g in (None, 'skip', 'self') for t in (None, 'gau')] + [replace(NANO, gate='skips'), LAB]
name = lambda c: f'{c.keypoint_conv}-{c.gate}-{c.token_mixer}'

def picture(cfg, n=1, seed=0): return torch.randn(n, 3, *cfg.input_size[::-1], generator=torch.Generator().manual_seed(seed))

def warm(m, cfg):
    "Real batch-norm statistics and a louder head, so that a comparison of outputs means something"
    m.train()
    for b in m.modules():
        if isinstance(b, nn.BatchNorm2d): b.momentum = None
    with torch.no_grad():
        for i in range(2): m(picture(cfg, 4, i))
        for c in (m.head.cls_x, m.head.cls_y): c.weight *= 100
    return m.eval()

@pytest.mark.parametrize('size', PUBLISHED)
def test_published_sizes_have_the_published_weights_and_cost(size):
    cfg,params,cost = PUBLISHED[size]
    m = RTMPose(cfg)
    assert count_params(m) == params
    assert count_macs(m, picture(cfg), rule='mm') == pytest.approx(cost, abs=1e-4)

@pytest.mark.parametrize('variant', TABLE_I)
def test_variants_of_table_i_have_their_weights_and_cost(variant):
    cfg,params,cost = TABLE_I[variant]
    m = RTMPose(cfg)
    assert count_params(m) == params
    assert count_macs(m, picture(cfg)) == pytest.approx(cost, abs=6e-4)

def test_nano_presets_have_their_weights_and_cost():
    small,gated = RTMPose(NANO),RTMPose(replace(VARIANTS['fusion'](NANO), mid=33))
    assert [count_params(m) for m in (small, gated)] == [917_333, 719_243]
    assert [round(count_macs(m, picture(NANO))*1e3, 1) for m in (small, gated)] == [25.8, 24.5]

def test_the_medium_backbone_by_stage():
    m = CSPNeXt(.67, .75)
    assert [count_params(s) for s in (m.stem, *m.stages)] == [16_392, 118_848, 658_368, 2_606_976, 8_878_848]
    assert count_params(m) == 12_279_432

def test_the_lab_size_stays_under_a_million_and_a_half():
    for k in (14, 17, 21): assert count_params(RTMPose(replace(LAB, num_keypoints=k))) < 1_500_000

@pytest.mark.parametrize('k,size,split', [(1, (32, 32), 2.), (14, (96, 160), 2.), (17, (192, 256), 3.), (21, (64, 32), 1.)])
def test_any_keypoint_count_and_any_size_of_32s(k, size, split):
    for gate,step in ((None, 32), ('self', 32), ('skip', 16), ('skips', 8)):
        cfg = replace(NANO, num_keypoints=k, input_size=size, split=split, gate=gate)
        m = RTMPose(cfg).eval()
        x,y = m(picture(cfg, 2))
        assert x.shape == (2, k, size[0]*split) and y.shape == (2, k, size[1]*split)
        assert m.keypoint_maps(picture(cfg, 2)).shape == (2, k, size[1]//step, size[0]//step)

def test_simcc_outputs_are_two_bins_per_pixel():
    x,y = RTMPose(TINY).eval()(picture(TINY))
    assert x.shape == (1, 17, 384) and y.shape == (1, 17, 512)

@pytest.mark.parametrize('cfg', SWITCHES, ids=name)
def test_the_gradient_reaches_every_parameter(cfg):
    torch.manual_seed(0)
    m = RTMPose(cfg).train(); x,y = m(picture(cfg, 4))
    ((x*torch.randn_like(x)).sum() + (y*torch.randn_like(y)).sum()).backward()
    dead = [n for n,p in m.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert [n for n in dead if not n.startswith('neck.gate') or not n.endswith('0.bias')] == [] # batch norm cancels those

@pytest.mark.parametrize('cfg', SWITCHES, ids=name)
def test_folding_batch_norms_changes_nothing(cfg):
    torch.manual_seed(0)
    m,x = warm(RTMPose(cfg), cfg).double(),picture(cfg, 2).double() # double: only a wrong fold differs, not rounding
    f = fuse(m)
    for a,b in zip(m(x), f(x)): torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-6)
    assert m(x)[0].std() > .01 and not any(isinstance(b, nn.BatchNorm2d) for b in f.modules())

@pytest.mark.parametrize('cfg', [replace(NANO, gate=g) for g in (None, 'skip', 'skips', 'self')], ids=name)
def test_attention_is_none_without_a_gate_and_a_map_with_one(cfg):
    a = RTMPose(cfg).eval().attention(picture(cfg, 2))
    if cfg.gate is None: assert a is None
    else:
        step = dict(skip=16, skips=8, self=32)[cfg.gate]
        assert a.shape == (2, 1, *[s//step for s in cfg.input_size[::-1]]) and 0 < a.min() and a.max() < 1

def test_the_head_reads_the_maps_that_are_shown():
    m = warm(RTMPose(NANO), NANO); x = picture(NANO)
    t = m.head.tokens(m.keypoint_maps(x))
    torch.testing.assert_close((m.head.cls_x(t), m.head.cls_y(t)), m(x))

def test_a_skip_gate_adds_the_gated_map_to_its_signal():
    cfg = replace(NANO, gate='skip'); m = warm(RTMPose(cfg), cfg); x = picture(cfg)
    g,c4 = m.neck.signals(m.backbone(x))
    torch.testing.assert_close(m.features(x), g + c4*m.attention(x))

def test_marginals_by_hand():
    maps = torch.tensor([[.5, .25], [0, .25]]).log()[None, None] # a distribution over 2 columns and 2 rows
    x,y = map_marginals(maps, (3, 2), beta=1.)
    middle = (torch.tensor([.5]).log() + torch.tensor([.5]).log())/2
    torch.testing.assert_close(x[0, 0].exp(), torch.cat([torch.tensor([.5]), middle.exp(), torch.tensor([.5])]))
    torch.testing.assert_close(y[0, 0].exp(), torch.tensor([.75, .25]))

def test_marginals_are_added_to_the_logits():
    cfg = replace(NANO, marginals=True); m,x = warm(RTMPose(cfg), cfg),picture(NANO)
    plain = RTMPose(NANO).eval(); plain.load_state_dict(m.state_dict())
    for with_,without,own in zip(m(x), plain(x), map_marginals(m.keypoint_maps(x), cfg.bins)): torch.testing.assert_close(with_, without + own)

def test_the_picture_of_one_person_does_not_change_another():
    m = warm(RTMPose(LAB), LAB); x = picture(LAB, 3)
    torch.testing.assert_close(m(x)[0][1:2], m(x[1:2])[0], atol=1e-4, rtol=1e-3)

def test_weights_survive_a_round_trip_and_another_model_refuses_them():
    a,b = warm(RTMPose(LAB), LAB),RTMPose(LAB).eval(); b.load_state_dict(a.state_dict())
    assert torch.equal(a(picture(LAB))[0], b(picture(LAB))[0])
    with pytest.raises(RuntimeError): RTMPose(replace(LAB, num_keypoints=14)).load_state_dict(a.state_dict())

def test_a_config_survives_json():
    import json
    assert RTMPoseConfig(**json.loads(json.dumps(asdict(LAB)))) == LAB

def test_one_seed_is_one_model():
    def make(): torch.manual_seed(3); return RTMPose(LAB).state_dict()
    assert all(torch.equal(a, b) for a,b in zip(make().values(), make().values()))

def test_the_start_is_the_published_one():
    torch.manual_seed(0); h = RTMPose(TINY).head
    assert h.conv.weight.std().item() == pytest.approx(.001, rel=.05) and h.cls_x.weight.std().item() == pytest.approx(.01, rel=.05)
    assert h.conv.bias.abs().max() == 0

def test_bfloat16_and_channels_last_give_the_same_keypoints():
    m,x = warm(RTMPose(LAB), LAB),picture(LAB, 2); full = m(x)[0]
    with torch.autocast('cpu', torch.bfloat16): low = m(x)[0].float()
    assert torch.corrcoef(torch.stack([low.flatten(), full.flatten()]))[0, 1] > .95
    last = m.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))[0]
    torch.testing.assert_close(last, full, atol=1e-4, rtol=1e-3)

def test_two_steps_of_training_lower_the_loss():
    torch.manual_seed(0)
    cfg = replace(NANO, input_size=(64, 64)); m = RTMPose(cfg).train(); opt = torch.optim.AdamW(m.parameters(), 2e-3)
    x,bins,losses = picture(cfg, 4),torch.randint(128, (4, 17)),[]
    for _ in range(12):
        lx,ly = m(x); loss = sum(nn.functional.cross_entropy(l.flatten(0, 1), bins.flatten()) for l in (lx, ly))
        opt.zero_grad(); loss.backward(); opt.step(); losses.append(loss.item())
    assert losses[-1] < losses[0] - .5

@pytest.mark.parametrize('change,word', [(dict(input_size=(190, 256)), 'multiple of 32'), (dict(gate='both'), 'gate'),
                                         (dict(keypoint_conv='5x5'), 'keypoint_conv'), (dict(token_mixer='lstm'), 'token_mixer')])
def test_a_wrong_config_is_refused_by_field(change, word):
    with pytest.raises(ValueError, match=word): replace(TINY, **change)

def test_an_input_of_another_size_is_refused_with_both_sizes():
    with pytest.raises(ValueError, match='64×96 px.*96×128'): RTMPose(NANO)(torch.zeros(1, 3, 96, 64))
