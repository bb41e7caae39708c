"""A training step of RTMPose against mmpose's, both in one process of the peer's python, in turns, two threads.

One step is what an epoch is made of: forward, loss, backward, AdamW, batch of 32 inputs of 256×192. Targets are encoded beforehand
on both sides, by mmpose's codec for mmpose and by ours for ours.

    python tests/bench/bench_train.py PEER_PYTHON
"""
import json, os, subprocess, sys, time, warnings
from pathlib import Path

BATCH,SIZE,THREADS = 32,(192, 256),2

def peer_targets(xy):
    "What mmpose's head takes as truth: data samples with SimCC labels of its own codec"
    import torch
    from mmengine.structures import InstanceData
    from mmpose.codecs import SimCCLabel
    from mmpose.structures import PoseDataSample
    codec = SimCCLabel(input_size=SIZE, sigma=(4.9, 5.66), simcc_split_ratio=2., normalize=False, use_dark=False)
    def sample(points):
        made = codec.encode(points[None].numpy())
        labels = {k: torch.from_numpy(made[k]) for k in ('keypoint_x_labels', 'keypoint_y_labels', 'keypoint_weights')}
        return PoseDataSample(gt_instance_labels=InstanceData(**labels))
    return [sample(p) for p in xy]

def peer_step(size, x, xy):
    "One step of mmpose's network; gives the loss"
    import torch
    from mmpose_rtmpose import build
    from mmengine.model import revert_sync_batchnorm
    net,samples = revert_sync_batchnorm(build(size)).train(),peer_targets(xy) # as mmengine does on one process
    opt = torch.optim.AdamW(net.parameters(), 4e-3, weight_decay=.05)
    def step():
        opt.zero_grad()
        loss = net(x, samples, mode='loss')['loss_kpt']
        loss.backward(); opt.step()
        return loss.item()
    return step

def our_step(cfg, x, xy, channels_last=True):
    "One step of our network; gives the loss"
    import torch
    from poselab.codecs.simcc import SimCC
    from poselab.models.rtmpose import RTMPose
    form = torch.channels_last if channels_last else torch.contiguous_format
    net,codec,x = RTMPose(cfg).train().to(memory_format=form),SimCC(cfg.input_size, cfg.split),x.to(memory_format=form)
    targets,weight = codec.encode(xy)
    opt = torch.optim.AdamW(net.parameters(), 4e-3, weight_decay=.05)
    def step():
        opt.zero_grad()
        loss = codec.loss(net(x), targets, weight)/len(x)
        loss.backward(); opt.step()
        return loss.item()
    return step

def turns(calls, rounds):
    "Least seconds of each call; every round gives each its turn"
    for f in calls: f()
    least = [float('inf')]*len(calls)
    for _ in range(rounds):
        for i,f in enumerate(calls):
            begun = time.perf_counter(); f()
            least[i] = min(least[i], time.perf_counter() - begun)
    return least

def rows(size, cfg, rounds):
    "ms per step for eager, and for the memory layout that each side trains in"
    import torch
    torch.manual_seed(0)
    x,xy = torch.randn(BATCH, 3, *SIZE[::-1]),torch.rand(BATCH, 17, 2)*torch.tensor(SIZE)*.9 + 4
    peer,last,plain = turns([peer_step(size, x, xy), our_step(cfg, x, xy), our_step(cfg, x, xy, False)], rounds)
    row = lambda what, s: dict(what=f'RTMPose-{size} training step, {what}', ours_ms=round(1e3*s, 1), peer_ms=round(1e3*peer, 1), ratio=round(peer/s, 2),
        n=f'{BATCH} inputs of 256×192; {BATCH/s:.0f} against {BATCH/peer:.0f} inputs/s', unit=f'ms, {THREADS} threads')
    return [row('ours as in `train` (channels last)', last), row('same layout', plain)]

def measure(rounds=6):
    "All rows, in a python that has both"
    warnings.filterwarnings('ignore')
    import torch
    from poselab.models.rtmpose import SMALL, TINY
    torch.set_num_threads(THREADS)
    return [r for size,cfg in dict(t=TINY, s=SMALL).items() for r in rows(size, cfg, rounds)]

def run(peer_python) -> list: # rows of dict(what, ours_ms, peer_ms, ratio, n, unit); ratio above 1: ours is faster
    "Time ours and mmpose's in one run"
    here = Path(__file__).resolve()
    env = {**os.environ, 'OMP_NUM_THREADS': str(THREADS), 'PYTHONPATH': os.pathsep.join([str(here.parents[2]), str(here.parents[1]/'parity')])}
    out = subprocess.run([str(peer_python), '-W', 'ignore', str(here), '--measure'], env=env, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(out.stdout.splitlines()[-1])

if __name__ == '__main__':
    if sys.argv[1:] == ['--measure']: print(json.dumps(measure()))
    else:
        for r in run(sys.argv[1]): print(f"{r['what']:58} {r['ours_ms']:8.1f} {r['peer_ms']:8.1f} {r['ratio']:6.2f}x  {r['n']}")
