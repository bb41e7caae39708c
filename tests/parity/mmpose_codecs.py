"""What mmpose makes of the arrays in one .npz, written to another. Runs in an environment that has mmpose, not in poselab's.

    python mmpose_codecs.py IN.npz OUT.npz
"""
import sys, warnings
warnings.filterwarnings('ignore')
import numpy as np, torch
from mmpose.codecs import MSRAHeatmap, SimCCLabel, UDPHeatmap
from mmpose.models.utils.tta import flip_heatmaps, flip_vectors
from mmpose.models.losses import KLDiscretLoss, KeypointMSELoss

SIZE, MAP = (192,256), (48,64)


def simcc(a, out):
    for name,split in (('', 2.), ('3', 3.)):
        sigma = tuple(np.sqrt(np.array(SIZE) * split / 16))
        codec = SimCCLabel(SIZE, sigma=sigma, simcc_split_ratio=split, normalize=False)
        got = codec.encode(a['xy'].copy(), a['v'].copy())
        for k in 'xy': out[f'label_{k}{name}'] = got[f'keypoint_{k}_labels']
        out[f'weight{name}'] = got['keypoint_weights']
    sigma = tuple(np.sqrt(np.array(SIZE) * 2. / 16))
    for name,dark in (('plain', False), ('dark', True)):
        codec = SimCCLabel(SIZE, sigma=sigma, simcc_split_ratio=2., normalize=False, use_dark=dark)
        xy, sure = codec.decode(a['sx'].copy(), a['sy'].copy())
        out[f'simcc_{name}'], out[f'simcc_{name}_sure'] = xy, sure


def heatmaps(a, out):
    udp = UDPHeatmap(SIZE, MAP, sigma=2.)
    each = [udp.encode(xy[None].copy(), v[None].copy()) for xy,v in zip(a['xy'], a['v'])]
    out['maps'] = np.stack([e['heatmaps'] for e in each])
    xy, sure = zip(*(udp.decode(m.copy()) for m in a['maps_in']))
    out['udp'], out['udp_sure'] = np.concatenate(xy), np.concatenate(sure)
    quarter = MSRAHeatmap(SIZE, MAP, sigma=2., unbiased=False)
    out['quarter'] = np.concatenate([quarter.decode(m.copy())[0] for m in a['maps_in']])


def losses(a, out):
    t = lambda k: torch.from_numpy(a[k]).float()
    logits = [t(k).requires_grad_() for k in ('lx', 'ly')]
    labels = [torch.from_numpy(out[k]).float() for k in ('label_x', 'label_y')]
    loss = KLDiscretLoss(beta=10., label_softmax=True)(logits, labels, t('w'))
    loss.backward()
    out['kl'], out['kl_grad_x'] = loss.detach().numpy(), logits[0].grad.numpy()
    out['mse'] = KeypointMSELoss(use_target_weight=True)(t('maps_in'), torch.from_numpy(out['maps']).float(), t('w')).numpy()


def mirrors(a, out):
    t = lambda k: torch.from_numpy(a[k])
    order = [0] + [i + 1 if i % 2 else i - 1 for i in range(1, 17)] # left and right of COCO
    out['order'] = np.array(order)
    out['flip_maps'] = flip_heatmaps(t('maps_in'), flip_indices=order, shift_heatmap=False).numpy()
    out['flip_x'], out['flip_y'] = (v.numpy() for v in flip_vectors(t('lx'), t('ly'), flip_indices=order))


if __name__ == '__main__':
    torch.set_num_threads(1)
    given, out = dict(np.load(sys.argv[1])), {}
    for part in (simcc, heatmaps, losses, mirrors): part(given, out)
    np.savez(sys.argv[2], **out)
