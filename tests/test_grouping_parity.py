"""Grouping against mmpose's associative embedding, number by number. Needs POSELAB_ORACLE, the python of an environment with mmpose.

What differs on purpose, each with its test: mmpose sums its tag losses over images, ours is a mean; its push counts each person's distance to
itself, 1/(people - 1) more; with two or more dimensions of tags it adds up pushes, ours is of one distance; its assignment lets pairs vote that it then
drops (`clip=False` does too); it keeps the first 30 people, ours the best; it fills missing keypoints by a mean of
tags read at refined, then truncated places, and does not refine them.
"""
import os, subprocess
from pathlib import Path
import numpy as np, pytest, torch
from poselab.codecs.grouping import AssociativeEmbedding, group, peaks, pull_push, read_tags, torso_first
from poselab.codecs.heatmap import to_cells
from poselab.data.figures import rendered_dataset
from poselab.schema import load_schema

near, COCO = torch.testing.assert_close, load_schema('coco')
SIZE, CELLS = (256,192), (64,48)
ORDER = torso_first(COCO.names)
ours = dict(input_size=SIZE, strides=(4,), order=ORDER, clip=False)


def crowd(seed=3):
    "A rendered crowd, its keypoints 4 px or more from the border"
    data = rendered_dataset(30, seed, SIZE, (4,4))
    for im in data.images:
        p = data.of(im.id)
        at,on = p.keypoints,p.visible > 0
        inside = ((at > 12) & (at < np.array(SIZE) - 13)).all(-1)
        if len(p) == 4 and (on & inside).all(): return at.astype(np.float32)
    raise AssertionError('no crowd is wholly inside')


def inputs():
    r = np.random.default_rng(0)
    xy = crowd()
    v = (r.random(xy.shape[:2]) > .15).astype(np.float32)
    codec = AssociativeEmbedding(**ours)
    t = torch.from_numpy(xy)[None]
    (maps,index),_ = codec.encode(t)
    heat = maps + torch.from_numpy(r.normal(0, .01, maps.shape)).float()
    place = to_cells(t, SIZE, CELLS)
    cell = torch.stack(torch.meshgrid(torch.arange(64), torch.arange(48), indexing='xy'), -1)
    owner = (place[:,:,:,None,None] - cell).square().sum(-1).argmin(1).float()
    tags = 3*owner + torch.from_numpy(r.normal(0, .1, owner.shape)).float()
    heights = (r.random((20,17,8)) > .2)*r.uniform(.2, 1, (20,17,8))
    groups = r.uniform(0, 14, (20,1,8,1)) + r.normal(0, .25, (20,17,8,1))
    return dict(xy=xy, v=v, size=np.array(SIZE), cells=np.array(CELLS), order=np.array(ORDER), heat=heat.numpy(), tags=tags.numpy(), flip=np.array(COCO.flip),
        index=torch.where(torch.from_numpy(v)[None] > 0, index, -1).numpy().repeat(2, 0), loss_tags=r.normal(0, 1, (2,17,48,64)).astype(np.float32),
        heights=heights, candidate_tags=groups)


@pytest.fixture(scope='module')
def both(tmp_path_factory):
    "(our inputs, mmpose's answers) as tensors"
    python = os.environ.get('POSELAB_ORACLE')
    if not python: pytest.skip('no reference: POSELAB_ORACLE (the python of an environment with mmpose) is not set')
    folder, given = tmp_path_factory.mktemp('parity'), inputs()
    np.savez(folder/'in.npz', **given)
    script = Path(__file__).parent/'parity'/'mmpose_grouping.py'
    subprocess.run([python, '-W', 'ignore', script, folder/'in.npz', folder/'out.npz'], check=True,
                   env={**os.environ, 'OMP_NUM_THREADS': '1'}, stdout=subprocess.DEVNULL, cwd=folder)
    t = lambda d: {k: torch.from_numpy(np.asarray(a)) for k,a in d.items()}
    return t(given), t(dict(np.load(folder/'out.npz')))


def test_targets_are_mmposes(both):
    a,m = both
    (maps,index),_ = AssociativeEmbedding(**ours).encode(a['xy'][None], a['v'][None])
    near(maps[0], m['maps'], atol=2e-5, rtol=0)
    on = a['v'] > 0
    assert torch.equal(index[0][on], m['index'][...,0][on]) and torch.equal(index[0] >= 0, m['index'][...,1] > 0)


def test_pull_and_push_and_their_gradient_are_mmposes(both):
    a,m = both
    tags = a['loss_tags'].clone().requires_grad_()
    pull,push = pull_push(read_tags(tags, a['index']), a['index'] >= 0)
    (pull.sum() + .5*push.sum()).backward()
    near(pull.sum().detach(), m['pull'].float(), atol=1e-6, rtol=1e-5)
    near((.5*(push + 1/3)).sum().detach(), m['push'].float(), atol=1e-6, rtol=1e-5) # 4 people: each one's distance to itself
    near(tags.grad, m['grad'], atol=1e-8, rtol=1e-4)


@pytest.mark.parametrize('refine,tolerance', [('quarter', 1e-3), ('dark', .1)])
def test_people_are_mmposes(both, refine, tolerance):
    "Keypoints that were found; a filled one mmpose leaves on its cell, ours is refined. Its blur of DARK over 3 cells is (1, 2, 1)/4, ours a Gaussian"
    a,m = both
    codec = AssociativeEmbedding(**ours, refine=refine, fill=False)
    xy,sure,score = codec.decode((a['heat'], a['tags']))[0]
    want = m[refine].float()
    if refine == 'quarter': want = want/4*torch.tensor([255/63, 191/47]) # without UDP its cells are size/cells px wide
    found = xy.isfinite().all(-1)
    order = (xy[:,None] - want).norm(dim=-1).nanmean(-1).argmin(1)
    assert len(xy) == len(want) == 4 and len(set(order.tolist())) == 4 and .8 < found.float().mean() < 1
    near(xy[found], want[order][found], atol=tolerance, rtol=0)
    near(sure[found], m[f'{refine}_sure'].float()[order][found], atol=1e-6, rtol=0)
    near(score, m[f'{refine}_score'].float()[order], atol=1e-5, rtol=0)


def test_missing_keypoints_are_filled_as_in_mmpose(both):
    a,m = both
    xy = AssociativeEmbedding(**ours, refine='none').decode((a['heat'], a['tags']))[0][0]
    bare = AssociativeEmbedding(**ours, refine='none', fill=False).decode((a['heat'], a['tags']))[0][0]
    want = m['quarter'].float()/4*torch.tensor([255/63, 191/47])
    order = (xy[:,None] - want).norm(dim=-1).mean(-1).argmin(1)
    filled = bare.isnan().any(-1)
    assert filled.any()
    near(xy[filled], want[order][filled], atol=1e-3, rtol=0)


def test_groups_of_noisy_candidates_are_mmposes_or_tie(both):
    "Twenty crowds of eight with noise and gaps: the same groups, but where two assignments cost the same"
    a,m = both
    same = 0
    for i in range(20):
        got = group(a['heights'][i].numpy().astype(np.float32), a['candidate_tags'][i].numpy().astype(np.float32), clip=False)
        want = {tuple(r) for r in m[f'group{i}'].long().tolist()}
        same += len({tuple(r) for r in got.tolist()} & want)/max(len(want), len(got))
    assert same/20 > .9


def test_candidates_are_the_peaks_of_mmposes_window(both):
    a,_ = both
    at,height = peaks(a['heat'])
    top = torch.nn.functional.max_pool2d(a['heat'], 5, 1, 2)
    want = [((a['heat'][0,k] == top[0,k]) & (a['heat'][0,k] > .1)).nonzero().flip(-1).tolist() for k in range(17)]
    for k in range(17): assert sorted(at[0,k][height[0,k] > 0].tolist()) == sorted(want[k])


def test_the_mirror_is_mmposes(both):
    a,m = both
    heat,tags = AssociativeEmbedding(**ours).flip((a['heat'], a['tags']), COCO.flip)
    near(heat, m['flip_heat'], atol=0, rtol=0)
    near(tags, m['flip_tags'], atol=0, rtol=0)
