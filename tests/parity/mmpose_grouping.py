"""What mmpose's associative embedding makes of the arrays in one .npz, written to another. Runs in an environment that has mmpose.

    python mmpose_grouping.py IN.npz OUT.npz
"""
import sys, warnings
warnings.filterwarnings('ignore')
import numpy as np, torch
from mmpose.codecs import AssociativeEmbedding
from mmpose.codecs.associative_embedding import _group_keypoints_by_tags
from mmpose.models.heads.heatmap_heads.ae_head import AssociativeEmbeddingHead
from mmpose.models.losses import AssociativeEmbeddingLoss
from mmpose.models.utils.tta import flip_heatmaps


def codec(a, udp, **kw):
    return AssociativeEmbedding(tuple(a['size'].tolist()), tuple(a['cells'].tolist()), sigma=2., use_udp=udp, decode_keypoint_order=a['order'].tolist(),
                                decode_max_instances=30, **kw)


def encode(a, out):
    got = codec(a, True).encode(a['xy'].copy(), a['v'].copy())
    out['maps'], out['index'] = got['heatmaps'], got['keypoint_indices']


def loss(a, out):
    tags = torch.from_numpy(a['loss_tags']).requires_grad_()
    index = torch.from_numpy(a['index'])
    index = torch.stack([index.clamp_min(0), (index >= 0).long()], -1)
    pull, push = AssociativeEmbeddingLoss()(tags, index)
    (pull + push).backward()
    out['pull'], out['push'], out['grad'] = pull.detach().numpy(), push.detach().numpy(), tags.grad.numpy()


def decode(a, out):
    for name,udp in (('quarter', False), ('dark', True)):
        heat, tags = (torch.from_numpy(a[k].copy()) for k in ('heat', 'tags'))
        xy, sure, score = codec(a, udp).batch_decode(heat, tags)
        out[name], out[f'{name}_sure'], out[f'{name}_score'] = xy[0], sure[0], score[0]


def grouping(a, out):
    n = len(a['heights'])
    for i in range(n):
        val, tag = a['heights'][i].astype(np.float32), a['candidate_tags'][i].astype(np.float32)
        K, M = val.shape
        loc = np.stack([np.tile(np.arange(M), (K, 1)), np.zeros((K, M), int)], -1)
        got = _group_keypoints_by_tags(val, tag, loc, list(range(K)), .1)
        out[f'group{i}'] = np.where(got[..., 2] > 0, got[..., 0], -1)


def mirror(a, out):
    heat, tags = (torch.from_numpy(a[k]) for k in ('heat', 'tags'))
    order = a['flip'].tolist()
    head = AssociativeEmbeddingHead.__new__(AssociativeEmbeddingHead)
    torch.nn.Module.__init__(head)
    head.tag_per_keypoint, head.tag_dim, head.num_keypoints = True, 1, heat.shape[1]
    out['flip_heat'] = flip_heatmaps(heat, flip_mode='heatmap', flip_indices=order, shift_heatmap=False).numpy()
    out['flip_tags'] = head._flip_tags(tags, flip_indices=order, shift_heatmap=False).numpy()


if __name__ == '__main__':
    torch.set_num_threads(1)
    given, out = dict(np.load(sys.argv[1])), {}
    for part in (encode, loss, decode, grouping, mirror): part(given, out)
    np.savez(sys.argv[2], **out)
