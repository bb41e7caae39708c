"""poselab's codecs against mmpose's, number by number. Needs POSELAB_ORACLE, the python of an environment with mmpose."""
import os, subprocess
from pathlib import Path
import numpy as np, pytest, torch
from poselab.codecs import heatmap as H, simcc as S, softlabels as L

SIZE, MAP = (192,256), (48,64)
near = torch.testing.assert_close


def inputs(seed=0, n=6, k=17):
    "Keypoints well inside the input, and noisy predictions for them"
    r = np.random.default_rng(seed)
    xy = r.uniform(24, np.array(SIZE) - 25, (n,k,2))
    v = (r.random((n,k)) > .2).astype(np.float32)
    bump = lambda mu, size, s: np.exp(-(np.arange(size) - mu[...,None])**2 / (2*s*s))
    noise = lambda a: (a + r.normal(0, .02, a.shape)).astype(np.float32)
    sx, sy = (noise(bump(xy[...,i]*2, SIZE[i]*2, np.sqrt(SIZE[i]/8))) for i in (0,1))
    c = xy * (np.array(MAP) - 1) / (np.array(SIZE) - 1)
    maps = noise(bump(c[...,1], MAP[1], 2.)[...,:,None] * bump(c[...,0], MAP[0], 2.)[...,None,:])
    logits = [r.normal(0, 1, (n,k,2*s)).astype(np.float32) for s in SIZE]
    return dict(xy=xy, v=v, sx=sx, sy=sy, maps_in=maps, lx=logits[0], ly=logits[1], w=v)


@pytest.fixture(scope='module')
def both(tmp_path_factory):
    "(our inputs as tensors, mmpose's answers as tensors)"
    python = os.environ.get('POSELAB_ORACLE')
    if not python: pytest.skip('no reference: POSELAB_ORACLE (the python of an environment with mmpose) is not set')
    folder, given = tmp_path_factory.mktemp('parity'), inputs()
    np.savez(folder/'in.npz', **given)
    script = Path(__file__).parent/'parity'/'mmpose_codecs.py'
    subprocess.run([python, '-W', 'ignore', script, folder/'in.npz', folder/'out.npz'], check=True,
                   env={**os.environ, 'OMP_NUM_THREADS': '1'}, stdout=subprocess.DEVNULL, cwd=folder)
    t = lambda d: {k: torch.from_numpy(np.asarray(a)) for k,a in d.items()}
    return t(given), t(dict(np.load(folder/'out.npz')))


def phi(mu, n): return L.gaussian(mu, n, normalise=False)


@pytest.mark.parametrize('split,name', [(2., ''), (3., '3')])
def test_simcc_labels_are_mmposes(both, split, name):
    a,m = both
    mu = S.to_bins(a['xy'], SIZE, split)
    on = a['v'] > 0
    for i,k in enumerate('xy'):
        near(phi(mu[...,i], round(SIZE[i]*split))[on], m[f'label_{k}{name}'][on], atol=1e-6, rtol=1e-5)
    (x,_),w = S.SimCC(SIZE, split, L.sord).encode(a['xy'], a['v'])
    near(w, m[f'weight{name}'])
    near(x[on], (10*m[f'label_x{name}'][on]).softmax(-1), atol=1e-6, rtol=1e-4)


def test_simcc_decodes_to_mmposes_keypoints_and_confidence(both):
    a,m = both
    xy, sure = S.SimCC(SIZE).decode(a['sx'], a['sy'])
    near(xy, m['simcc_plain'], atol=0, rtol=0)
    near(sure, m['simcc_plain_sure'], atol=0, rtol=0)


def test_dark_on_simcc_is_mmposes(both):
    a,m = both
    got = torch.stack([S.refine_dark(s, s.argmax(-1), S.blur_kernel((n/8)**.5)) / 2
                       for s,n in zip((a['sx'], a['sy']), SIZE)], -1)
    near(got, m['simcc_dark'], atol=2e-3, rtol=0)
    assert (got - a['xy']).abs().mean() < (m['simcc_plain'] - a['xy']).abs().mean()


def test_udp_heatmaps_are_mmposes(both):
    a,m = both
    (maps,),w = H.Heatmap(SIZE, MAP, reach=3.).encode(a['xy'], a['v'])
    near(maps, m['maps'], atol=2e-5, rtol=0)


def test_udp_dark_is_mmposes_but_for_its_last_step(both):
    "mmpose's decode puts the last cell at px `size` and leaves the rest to a later step; ours puts it on the last pixel"
    a,m = both
    xy, sure = H.Heatmap(SIZE, MAP, refine='dark').decode(a['maps_in'])
    size = torch.tensor(SIZE)
    near(xy, (m['udp'] * (size - 1) / size).float(), atol=2e-3, rtol=0)
    near(sure, m['udp_sure'], atol=0, rtol=0)
    assert (xy - a['xy']).abs().mean() < .5 * (m['udp'] - a['xy']).abs().mean()


def test_quarter_step_is_mmposes_in_cells(both):
    a,m = both
    cells = H.refine_quarter(a['maps_in'], H.highest(a['maps_in']))
    near(cells, (m['quarter'] / 4).float(), atol=1e-5, rtol=0)  # MSRA's cells are size/heatmap_size = 4 px wide


def test_kl_loss_and_its_gradient_are_mmposes(both):
    a,m = both
    codec = S.SimCC(SIZE, label=L.sord)
    labels, w = codec.encode(a['xy'], a['v'])
    logits = [a[k].clone().requires_grad_() for k in ('lx','ly')]
    loss = codec.loss(logits, labels, w)
    loss.backward()
    near(loss.detach(), m['kl'], atol=1e-5, rtol=1e-5)
    near(logits[0].grad, m['kl_grad_x'], atol=1e-7, rtol=1e-3)


def test_heatmap_loss_is_mmposes(both):
    a,m = both
    near(H.Heatmap(SIZE, MAP).loss((a['maps_in'],), (m['maps'],), a['w']), m['mse'].float(), atol=1e-8, rtol=1e-5)


def test_the_mirror_of_udp_heatmaps_is_mmposes(both):
    a,m = both
    near(H.Heatmap(SIZE, MAP).flip((a['maps_in'],), m['order'].tolist())[0], m['flip_maps'], atol=0, rtol=0)


def test_the_mirror_of_simcc_is_mmposes_but_for_one_bin(both):
    "mmpose turns all 384 bins round, so that its bin i is our bin i-1: half a pixel beside the unmirrored answer, which ours is not"
    a,m = both
    x, y = S.SimCC(SIZE).flip((a['lx'], a['ly']), m['order'].tolist())
    near(y, m['flip_y'], atol=0, rtol=0)
    near(x[...,:-1], m['flip_x'][...,1:], atol=0, rtol=0)
