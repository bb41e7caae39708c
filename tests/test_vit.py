"ViT and ViTPose: sizes, tokens, places, gradients"
import json
from dataclasses import asdict, replace
import pytest, torch
from hypothesis import given, settings, strategies as st
from torch import nn
from poselab.models.vit import VIT_B, VIT_L, VIT_LAB, VIT_S, Block, SelfAttention, ViT, ViTConfig, ViTPose, as_map, heatmap_head, stretched
from poselab.modules.blocks import fuse
from poselab.modules.counts import count_macs, count_params
from poselab.predict import load_weights, network, save_weights

NANO = replace(VIT_LAB, dim=16, depth=2, heads=2, deconv=(8,), num_keypoints=5, input_size=(32, 48))

def picture(cfg, n=2, seed=0): return torch.randn(n, 3, *cfg.input_size[::-1], generator=torch.Generator().manual_seed(seed))

# --- sizes ----------------------------------------------------------------------------------------------------

def test_published_backbones_have_the_published_weights():
    with torch.device('meta'):
        assert [count_params(ViT(c)) for c in (VIT_B, VIT_L)] == [85_794_816, 303_296_512]
        assert count_params(ViTPose(VIT_L)) == 308_544_785 and count_params(Block(1024, 16)) == 12_596_224

def test_published_costs():
    with torch.device('meta'):
        large,base,x = ViTPose(VIT_L),ViTPose(VIT_B),torch.zeros(1, 3, 256, 192)
        assert count_macs(large, x, rule='tok') == pytest.approx(59.79, abs=.006) and count_macs(large, x) == pytest.approx(61.57, abs=.006)
        assert count_macs(base, x, rule='tok') == pytest.approx(16.99, abs=.006) and count_macs(base, x) == pytest.approx(18.52, abs=.006)
        assert count_macs(base.backbone, x) == pytest.approx(17.10, abs=.006)
        assert large.backbone(x).shape == (1, 192, 1024) and large(x)[0].shape == (1, 17, 64, 48)

@given(w=st.integers(1, 4), h=st.integers(1, 4), k=st.integers(1, 21), n=st.integers(1, 3), deconv=st.sampled_from([(), (4,), (4, 6), (4, 4, 4)]))
@settings(max_examples=15, deadline=None)
def test_heatmaps_follow_the_grid_at_any_size(w, h, k, n, deconv):
    cfg = replace(NANO, input_size=(8*w, 8*h), num_keypoints=k, deconv=deconv)
    up = 2**len(deconv) if deconv else 4
    assert cfg.grid == (w, h) and cfg.heatmap_size == (up*w, up*h)
    with torch.no_grad(): assert ViTPose(cfg).eval()(picture(cfg, n))[0].shape == (n, k, up*h, up*w)

# --- tokens ---------------------------------------------------------------------------------------------------

def test_a_token_is_a_product_with_its_patch_and_its_place():
    cfg = replace(NANO, patch_padding=0)
    net,x = ViT(cfg),picture(cfg)
    w,_ = cfg.grid
    for row,col in ((0, 0), (1, 2), (5, 3)):
        patch = x[:, :, 8*row:8*row + 8, 8*col:8*col + 8]
        i = row*w + col
        want = torch.einsum('nchw,dchw->nd', patch, net.patches.weight) + net.patches.bias + net.position[0, i + 1] + net.position[0, 0]
        torch.testing.assert_close(net.tokens(x)[:, i], want, atol=1e-5, rtol=1e-4)

def test_padding_shifts_the_patches_towards_the_upper_left():
    net,x = ViT(NANO),picture(NANO)
    padded = nn.functional.pad(x, (2, 2, 2, 2))[..., 8:16, 8:16] # the patch in row 1, column 1 begins at 8 - 2
    want = torch.einsum('nchw,dchw->nd', padded, net.patches.weight) + net.patches.bias
    torch.testing.assert_close(net.patches(x)[..., 1, 1], want, atol=1e-5, rtol=1e-4)

def test_the_first_row_of_places_moves_every_token_and_the_others_one():
    net,x = ViT(NANO),picture(NANO, 1)
    before = net.tokens(x)
    with torch.no_grad(): net.position[0, 0] += 1; net.position[0, 4] += 1
    moved = (net.tokens(x) - before).mean(-1)[0]
    want = torch.ones(24); want[3] = 2
    torch.testing.assert_close(moved, want, atol=1e-4, rtol=0)

def test_a_map_has_its_tokens_row_by_row():
    t = torch.arange(12.)[None, :, None]
    assert as_map(t, (4, 3))[0, 0].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]

def test_attention_is_torchs_and_its_weights_are_those_it_uses():
    torch.manual_seed(0)
    m,x = SelfAttention(12, 3),torch.randn(2, 7, 12)
    peer = nn.MultiheadAttention(12, 3, batch_first=True)
    with torch.no_grad():
        for a,b in ((peer.in_proj_weight, m.qkv.weight), (peer.in_proj_bias, m.qkv.bias), (peer.out_proj.weight, m.proj.weight), (peer.out_proj.bias, m.proj.bias)):
            a.copy_(b)
    out,weights = peer(x, x, x, average_attn_weights=False)
    torch.testing.assert_close(m(x), out, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(m.weights(x), weights, atol=1e-5, rtol=1e-4)

def test_states_end_where_forward_ends():
    net,x = ViT(NANO).eval(),picture(NANO)
    with torch.no_grad():
        states = net.states(x)
        assert len(states) == 3 and torch.equal(net.norm(states[-1]), net(x))
        torch.testing.assert_close(net.attention(x, 0).sum(-1), torch.ones(2, 2, 24))
        assert torch.equal(net.attention(x), net.attention(x, 1)) and not torch.allclose(net.attention(x, 0), net.attention(x, 1))

def test_without_places_order_is_lost():
    net = ViT(NANO).eval()
    x = picture(NANO, 1); tokens = net.tokens(x); order = torch.randperm(24, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(): torch.testing.assert_close(net.blocks[0](tokens[:, order]), net.blocks[0](tokens)[:, order], atol=1e-5, rtol=1e-4)

# --- other sizes ----------------------------------------------------------------------------------------------

def test_places_on_a_grid_of_the_same_size_stay_and_a_ramp_stays_a_ramp():
    t = torch.randn(1, 13, 3)
    assert stretched(t, (4, 3), (4, 3)) is t
    ramp = torch.cat([torch.tensor([9.]), torch.arange(8.).repeat(8)]).view(1, -1, 1)
    wide = stretched(ramp, (8, 8), (16, 8))
    assert wide.shape == (1, 129, 1) and wide[0, 0] == 9
    torch.testing.assert_close(wide[0, 1:, 0].view(8, 16)[:, 4:12], (torch.arange(4., 12)/2 - .25).expand(8, 8), atol=.05, rtol=0) # bicubic bends a ramp a little

def test_what_was_learned_goes_on_at_another_size():
    net,cfg = ViTPose(NANO).eval(),replace(NANO, input_size=(48, 64))
    big = ViTPose(cfg).eval()
    big.load_state_dict(net.state_for(cfg))
    assert big(picture(cfg))[0].shape == (2, 5, 16, 12)
    same = ViTPose(NANO).eval(); same.load_state_dict(net.state_for(NANO))
    assert torch.equal(same(picture(NANO))[0], net(picture(NANO))[0])

# --- learning -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('deconv', [(8,), ()])
def test_the_gradient_reaches_every_parameter(deconv):
    torch.manual_seed(0)
    net = ViTPose(replace(NANO, deconv=deconv)).train()
    y, = net(picture(NANO, 4))
    (y*torch.randn_like(y)).sum().backward()
    assert [n for n,p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []

def test_a_few_dozen_steps_lower_the_loss():
    torch.manual_seed(0)
    net,codec = ViTPose(NANO).train(),NANO.codec
    opt = torch.optim.AdamW(net.parameters(), 3e-3)
    x,xy,losses = picture(NANO, 4),torch.rand(4, 5, 2)*31,[]
    for _ in range(40):
        loss = codec.loss(net(x), *codec.encode(xy)); opt.zero_grad(); loss.backward(); opt.step(); losses.append(loss.item())
    assert losses[-1] < .8*losses[0]

# --- the house ------------------------------------------------------------------------------------------------

def test_weights_are_kept_and_come_back(tmp_path):
    net = network(NANO).eval()
    file = save_weights(tmp_path/'v.safetensors', net, 'rendered', half=False)
    again = load_weights(file)
    assert again.model.cfg == NANO and again.codec == NANO.codec
    with torch.no_grad(): assert torch.equal(again.model(picture(NANO))[0], net(picture(NANO))[0])

def test_a_config_survives_json_and_lists():
    assert ViTConfig(**json.loads(json.dumps(asdict(VIT_LAB)))) == VIT_LAB and hash(VIT_LAB)
    assert (VIT_S.dim, VIT_S.heads) == (384, 12)

@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16, torch.float64])
def test_other_precisions(dtype):
    torch.manual_seed(0)
    net = ViTPose(NANO).eval()
    with torch.no_grad():
        net.head[-1].weight *= 1000
        want = net(picture(NANO))[0]
        y, = net.to(dtype)(picture(NANO).to(dtype))
    assert y.dtype == dtype and (y.float() - want).abs().max() < .05*want.abs().max() + 1e-3

def test_folding_and_channels_last_change_nothing():
    torch.manual_seed(0)
    net,x = ViTPose(NANO).eval(),picture(NANO)
    with torch.no_grad():
        want = net(x)[0]
        torch.testing.assert_close(fuse(net).to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))[0], want, atol=1e-6, rtol=1e-4)

@pytest.mark.parametrize('change,words', [(dict(heads=5), '5 heads do not divide dim=64'), (dict(input_size=(100, 128)), r'\(100, 128\).*8 px'),
    (dict(patch_padding=4), 'patch_padding=4'), (dict(depth=0), 'depth=0'), (dict(num_keypoints=0), 'num_keypoints=0')], ids=str)
def test_a_wrong_config_is_refused_by_field(change, words):
    with pytest.raises(ValueError, match=words): replace(VIT_LAB, **change)

def test_another_input_is_refused_with_both_sizes():
    with pytest.raises(ValueError, match='64×64 px.*32×48'): ViTPose(NANO)(torch.zeros(1, 3, 64, 64))

def test_the_head_without_transposed_convolutions_is_one_bilinear_step():
    assert [type(m) for m in heatmap_head(8, 3, ())] == [nn.ReLU, nn.Upsample, nn.Conv2d]
    assert heatmap_head(8, 3, ())(torch.randn(1, 8, 4, 3)).shape == (1, 3, 16, 12)
