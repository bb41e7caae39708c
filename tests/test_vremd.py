"VREMD: shapes of every step, counts, switches, freezing, streaming"
import json
from dataclasses import asdict, replace
import numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st
from poselab.models.vit import VIT_LAB, ViTPose
from poselab.models.vremd import VREMD, VREMD_L, VREMD_LAB, FrameFeatures, Stream, VREMDConfig, clip_frames, stream, take_backbone
from poselab.modules.blocks import fuse
from poselab.modules.counts import count_macs, count_params
from poselab.predict import load_weights, network, save_weights
from poselab.train import Recipe, optimizer_for

NANO = replace(VREMD_LAB, dim=16, depth=1, heads=2, deconv=(8,), num_keypoints=5, input_size=(32, 48), points=3)
TABLES = { # the rows of Tables 4 to 6
    'baseline': dict(hkme=False, bmd=False), 'hkme': dict(bmd=False), 'bmd': dict(hkme=False), 'whole': {},
    'no masks': dict(human_mask=False, keypoint_mask=False), 'human': dict(keypoint_mask=False), 'keypoint': dict(human_mask=False),
    'dc': dict(motion='dc', bidirectional=False), 'da': dict(motion='da', bidirectional=False), 'dca': dict(bidirectional=False),
    'as printed': dict(mask_act='identity', rescale=False), 'no cross attention': dict(cross=False)}

def clip(cfg, n=2, seed=0): return torch.randn(n, 3, 3, *cfg.input_size[::-1], generator=torch.Generator().manual_seed(seed))

def loud(cfg, seed=0):
    "A network whose outputs mean something: heads and offsets turned up"
    torch.manual_seed(seed)
    net = VREMD(cfg).eval()
    with torch.no_grad():
        net.head[-1].weight.mul_(1000)
        for n,p in net.named_parameters():
            if n.endswith('theta.weight'): p.normal_(std=.1)
    return net

# --- counts and shapes ----------------------------------------------------------------------------------------

def test_paper_scale_weighs_what_it_should():
    with torch.device('meta'): net = VREMD(VREMD_L)
    assert sum(p.numel() for p in net.parameters()) == 465_182_895 and count_params(net) == 161_886_383
    assert count_params(net.hkme) == 75_781_504 and count_params(net.hkme.aggregate.reduce) == 147_840
    assert {count_params(b) for b in net.bmd.blocks} == {36_754_960}
    assert {count_params(d.sampler) for b in net.bmd.blocks for d in b.directions} == {5_781_256}
    assert sum(p.numel() for p in net.backbone.parameters()) == 303_296_512 and count_params(net.backbone) == 0

def test_lab_scale_weighs_what_the_prototype_weighed():
    assert count_params(VREMD(replace(VREMD_LAB, num_keypoints=15))) == 823_167

def test_every_shape_at_paper_scale():
    with torch.device('meta'):
        net,x = VREMD(VREMD_L).eval(),torch.zeros(2, 3, 3, 256, 192)
        frames = [net.frame_features(f) for f in clip_frames(x, net.cfg)]
        assert all(f.seen.shape == f.coarse.shape == (2, 192, 1024) and f.mask.shape == (2, 192, 1) for f in frames)
        feats,tokens = net.hkme.joint([f.coarse for f in frames])
        assert feats.shape == (2, 576, 1024) and tokens.shape == (2, 45, 1024)
        z,key,mask = net.hkme([f.coarse for f in frames])
        assert mask.shape == (2, 576, 1) and z.shape == (2, 192, 1024) and key.shape == (2, 15, 1024)
        seen = [f.seen for f in frames]
        m,dca = net.bmd.differences(seen),net.bmd.blocks[0].directions[0].sampler
        assert m.shape == (2, 192, 2048) and net.bmd(seen, z).shape == (2, 192, 1024)
        at,weights,out = dca.attend(m[..., :1024], z, net.cfg.grid)
        assert at.unflatten(1, (16, 12)).shape == (2, 16, 12, 4, 2) and weights.shape == (2, 192, 4, 16) and out.shape == (2, 192, 1024)
        assert [h.shape for h in net.streams(frames)] == [(2, 15, 64, 48)]*2 and net(x)[0].shape == (2, 15, 64, 48)
        found = net.looks(x)
        assert found['map'].shape == (2, 45, 3, 16, 12) and found['human_mask'].shape == found['keypoint_mask'].shape == (2, 3, 16, 12)
        assert [[tuple(o.shape) for o in b] for b in found['offsets']] == [[(2, 16, 12, 4, 2)]*2]*2

def test_a_film_costs_less_than_half_of_separate_clips():
    class One(torch.nn.Module): # what a new frame needs by itself
        def __init__(self, net): super().__init__(); self.net = net
        def forward(self, x): return self.net.frame_features(x)
    with torch.device('meta'):
        net,x = VREMD(VREMD_L).eval(),torch.zeros(1, 3, 3, 256, 192)
        whole,one = count_macs(net, x),count_macs(One(net), x[:, 0])
    assert (whole, one) == (pytest.approx(243.86, abs=.01), pytest.approx(64.95, abs=.01))
    assert (whole - 2*one)/whole == pytest.approx(.467, abs=.001)

@given(w=st.integers(1, 4), h=st.integers(1, 4), k=st.integers(1, 6), n=st.integers(1, 3), which=st.sampled_from(sorted(TABLES)))
@settings(max_examples=20, deadline=None)
def test_heatmaps_come_at_any_size_and_with_every_switch(w, h, k, n, which):
    cfg = replace(NANO, input_size=(8*w, 8*h), num_keypoints=k, **TABLES[which])
    with torch.no_grad(): y, = VREMD(cfg).eval()(clip(cfg, n))
    assert y.shape == (n, k, 2*h, 2*w) and y.isfinite().all()
    assert cfg.codec.heatmap_size == (2*w, 2*h)

# --- what each part does --------------------------------------------------------------------------------------

def test_the_keypoint_masks_mean_is_one_and_the_human_mask_lies_between():
    net = loud(NANO)
    with torch.no_grad(): found = net.looks(clip(NANO))
    torch.testing.assert_close(found['keypoint_mask'].mean((1, 2, 3)), torch.ones(2), atol=1e-5, rtol=0)
    assert 0 < found['human_mask'].min() and found['human_mask'].max() < 1
    torch.testing.assert_close(found['map'].sum((2, 3, 4)), torch.ones(2, 15))

def test_heatmaps_are_half_and_half():
    net = loud(NANO)
    with torch.no_grad(): found,(y,) = net.looks(clip(NANO)),net(clip(NANO))
    torch.testing.assert_close(y, .5*found['from_tokens'] + .5*found['from_map'])

def test_a_still_clip_has_no_motion_and_a_moving_one_has():
    net,x = loud(NANO),clip(NANO)
    still = x[:, 1:2].expand(-1, 3, -1, -1, -1)
    with torch.no_grad(): assert net.looks(still)['motion'][0].abs().max() < 1e-5 < net.looks(x)['motion'][0].abs().max()

def test_motion_is_counted_from_the_key_frame():
    net = loud(NANO)
    before,key,after = (torch.full((1, 24, 16), v) for v in (1., 5., 7.))
    m = net.bmd.differences([before, key, after])
    assert m[..., :16].unique().tolist() == [2] and m[..., 16:].unique().tolist() == [-4]

@pytest.mark.parametrize('which', TABLES)
def test_a_switch_changes_the_answer_and_its_own_stream_only(which):
    net,x = loud(replace(NANO, **TABLES[which])),clip(NANO)
    with torch.no_grad():
        found = net.looks(x)
        assert ('human_mask' in found) == (found['from_tokens'] is not None) == net.cfg.hkme and ('offsets' in found) == net.cfg.bmd
        hears = [not torch.allclose(net(x)[0], net(torch.cat([x[:, :i], x[:, i:i+1] + 1, x[:, i+1:]], 1))[0]) for i in range(3)]
    assert hears == ([False, True, False] if which == 'baseline' else [True]*3) # the baseline looks at the middle frame alone

def test_the_baseline_is_vitpose():
    torch.manual_seed(0)
    cfg = replace(NANO, hkme=False, bmd=False)
    net,single = loud(cfg),ViTPose(cfg).eval()
    single.load_state_dict(net.state_dict())
    x = clip(cfg)
    with torch.no_grad(): assert torch.equal(net(x)[0], single(x[:, 1])[0])

def test_masks_that_are_switched_off_do_not_multiply():
    torch.manual_seed(0)
    on,off = VREMD(NANO).eval(),VREMD(replace(NANO, human_mask=False)).eval()
    off.load_state_dict(on.state_dict())
    with torch.no_grad():
        a,b = (net.frame_features(clip(NANO)[:, 0]) for net in (on, off))
        torch.testing.assert_close(a.coarse, b.coarse*a.mask)
        assert torch.equal(a.mask, b.mask) # still there to be looked at

# --- learning -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('which', TABLES)
def test_the_gradient_reaches_every_parameter_after_one_step(which):
    torch.manual_seed(0)
    cfg = replace(NANO, **TABLES[which])
    net,x = VREMD(cfg).train(),clip(cfg, 4)
    opt = torch.optim.AdamW(net.parameters(), 1e-3)
    for _ in range(2):
        y, = net(x)
        opt.zero_grad(); (y*torch.randn(y.shape, generator=torch.Generator().manual_seed(1))).sum().backward(); opt.step()
    silent = [n for n,p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert [n for n in silent if not n.endswith('.k.bias')] == [] # a softmax does not notice what all keys share

@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16, torch.float64])
def test_other_precisions(dtype):
    net = loud(NANO)
    with torch.no_grad():
        want = net(clip(NANO))[0]
        y, = net.to(dtype)(clip(NANO).to(dtype))
    assert y.dtype == dtype and (y.float() - want).abs().max() < .05*want.abs().max()

def test_mixed_precision_learns():
    torch.manual_seed(0)
    net = VREMD(NANO).train()
    with torch.autocast('cpu', torch.bfloat16): y, = net(clip(NANO, 4))
    y.float().square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())

def test_a_few_dozen_steps_lower_the_loss():
    torch.manual_seed(0)
    net,codec = VREMD(NANO).train(),NANO.codec
    opt = torch.optim.AdamW(net.parameters(), 3e-3)
    x,xy,losses = clip(NANO, 4),torch.rand(4, 5, 2)*31,[]
    for _ in range(40):
        loss = codec.loss(net(x), *codec.encode(xy)); opt.zero_grad(); loss.backward(); opt.step(); losses.append(loss.item())
    assert losses[-1] < .8*losses[0]

# --- frozen ---------------------------------------------------------------------------------------------------

def test_a_frozen_backbone_stays_as_it_is_while_the_rest_learns():
    torch.manual_seed(0)
    cfg = replace(NANO, frozen=True)
    net = network(cfg).train()
    assert not net.backbone.training and net.hkme.training and not any(p.requires_grad for p in net.backbone.parameters())
    before = {k: p.detach().clone() for k,p in net.named_parameters()}
    opt = optimizer_for(net, Recipe(model=cfg, warmup=0, lr=1e-2), 10)['optimizer']
    for _ in range(2):
        opt.zero_grad(); (net(clip(cfg, 4))[0] - 1).square().sum().backward(); opt.step()
    moved = {k for k,p in net.named_parameters() if not torch.equal(p, before[k])}
    assert not [k for k in moved if k.startswith('backbone.')]
    assert {k for k in before if not k.startswith('backbone.')} - moved == set()

def test_freezing_later_and_going_to_train_and_back():
    net = VREMD(NANO).train()
    assert net.backbone.training
    assert net.freeze_backbone() is net and not net.train().backbone.training and not net.eval().hkme.training
    assert count_params(net) == count_params(VREMD(replace(NANO, frozen=True)))

def test_a_trained_network_for_pictures_gives_its_backbone_and_its_head():
    torch.manual_seed(0)
    cfg = replace(VREMD_LAB, dim=16, heads=2, depth=2, deconv=(8,))
    donor,net = ViTPose(replace(VIT_LAB, dim=16, heads=2, depth=2, deconv=(8,))),VREMD(cfg)
    assert take_backbone(net, donor) == ['backbone', 'head']
    assert all(torch.equal(a, b) for part in ('backbone', 'head') for a,b in zip(getattr(net, part).state_dict().values(), getattr(donor, part).state_dict().values()))
    assert take_backbone(VREMD(replace(cfg, num_keypoints=15)), donor) == ['backbone']
    with pytest.raises(ValueError, match='weights do not fit, backbone.*same size'): take_backbone(VREMD(replace(cfg, dim=32)), donor)

# --- streaming ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('which', ['whole', 'baseline', 'bmd', 'hkme'])
@pytest.mark.parametrize('T', [1, 2, 3, 6])
def test_a_film_through_the_stream_is_bit_for_bit_the_clips(which, T):
    net = loud(replace(NANO, **TABLES[which]))
    film = [torch.randn(2, 3, 48, 32, generator=torch.Generator().manual_seed(t)) for t in range(T)]
    with torch.no_grad():
        found = list(stream(net, film))
        clips = [torch.stack([film[max(t - 1, 0)], film[t], film[min(t + 1, T - 1)]], 1) for t in range(T)]
        assert len(found) == T and all(torch.equal(a[0], net(b)[0]) for a,b in zip(found, clips))

def test_each_frame_is_looked_at_once():
    net,seen = loud(NANO),[]
    net.backbone.register_forward_hook(lambda m, x, y: seen.append(len(x[0])))
    with torch.no_grad():
        s = Stream(net)
        assert s.add(torch.zeros(1, 3, 48, 32)) is None and s.add(torch.zeros(1, 3, 48, 32)) is not None
        s.add(torch.zeros(1, 3, 48, 32)); s.end()
    assert seen == [1, 1, 1] and s.held == [] and list(stream(net, [])) == []

def test_an_empty_stream_has_no_last_frame():
    with pytest.raises(ValueError, match='no frame'): Stream(loud(NANO)).end()

def test_features_of_a_frame_have_names():
    assert FrameFeatures._fields == ('seen', 'coarse', 'mask')

# --- the house ------------------------------------------------------------------------------------------------

def test_weights_are_kept_and_come_back(tmp_path):
    cfg = replace(NANO, frozen=True, motion='da', mask_act='identity')
    net = network(cfg).eval()
    again = load_weights(save_weights(tmp_path/'v.safetensors', net, 'rendered', half=False))
    assert again.model.cfg == cfg and not any(p.requires_grad for p in again.model.backbone.parameters())
    with torch.no_grad(): assert torch.equal(again.model(clip(cfg))[0], net(clip(cfg))[0])

def test_a_config_survives_json_and_lists():
    assert VREMDConfig(**json.loads(json.dumps(asdict(VREMD_L)))) == VREMD_L and hash(VREMD_L)

def test_folding_batch_norms_changes_nothing():
    net = loud(NANO)
    with torch.no_grad(): torch.testing.assert_close(fuse(net)(clip(NANO))[0], net(clip(NANO))[0], atol=1e-6, rtol=1e-5)

@pytest.mark.parametrize('shape,words', [((1, 1, 3, 48, 32), 'clips of 3 frames.*not a clip of 1; repeat'), ((1, 3, 48, 32), r'tensor of shape \(1, 3, 48, 32\)'),
    ((1, 5, 3, 48, 32), 'a clip of 5'), ((1, 3, 3, 64, 64), '64×64 px.*32×48')], ids=str)
def test_what_is_no_clip_is_refused(shape, words):
    with pytest.raises(ValueError, match=words): VREMD(NANO)(torch.zeros(shape))

@pytest.mark.parametrize('change,words', [(dict(frames=5), 'frames=5'), (dict(motion='dcn'), "'dcn'"), (dict(mask_act='relu'), "'relu'"),
    (dict(depth_motion=0), 'depth_motion=0'), (dict(heads=3), '3 heads'), (dict(input_size=(30, 48)), '8 px')], ids=str)
def test_a_wrong_config_is_refused_by_field(change, words):
    with pytest.raises(ValueError, match=words): replace(NANO, **change)

@pytest.mark.parametrize('which', ['whole', 'dc', 'as printed'])
def test_a_graph_in_onnx_computes_the_same(which, tmp_path):
    from poselab.onnx_export import OnnxNet, export_onnx
    pytest.importorskip('onnxruntime')
    net,x = loud(replace(NANO, **TABLES[which])),clip(NANO, 3)
    file = export_onnx(net, tmp_path/'clip.onnx', example=clip(NANO)) # it compares both before it writes
    with torch.no_grad(): torch.testing.assert_close(torch.as_tensor(OnnxNet(file, threads=1)(x)), net(x)[0], atol=1e-3, rtol=1e-3)


def test_a_file_of_the_network_predicts_films_as_the_network_does(tmp_path):
    from poselab.data.clips import rendered_clips
    from poselab.onnx_export import export_onnx
    from poselab.predict import Predictor, load_weights, predict_dataset, save_weights
    pytest.importorskip('onnxruntime')
    torch.manual_seed(0)
    cfg = replace(VREMD_LAB, input_size=(48, 64), num_keypoints=17)
    loaded = load_weights(save_weights(tmp_path/'clip.safetensors', VREMD(cfg).eval(), 'rendered', half=False))
    file,data = export_onnx(loaded, tmp_path/'clip.onnx'),rendered_clips(2, 0, card='rendered')
    ours,theirs = (predict_dataset(Predictor(w, flip_test=False), data, progress=False) for w in (loaded, file))
    assert Predictor(file).frames == 3 and len(ours)
    np.testing.assert_allclose(theirs.keypoints, ours.keypoints, atol=.05)
