"""RTMPose by onnxruntime behind our OnnxNet against mmpose's PyTorch, batch 1, in turns: one thread (CPU time), two threads (wall time).

    python tests/bench/bench_onnx.py PEER_PYTHON
"""
import json, os, subprocess, sys, time, warnings
from pathlib import Path

def least_ms(f, n, threads):
    "Least time of one call of f, ms: of this thread where it is alone, else by the wall"
    clock,times = time.thread_time if threads == 1 else time.perf_counter,[]
    for _ in range(n):
        t = clock()
        f()
        times.append(clock() - t)
    return min(times) * 1e3

def ready(file, size):
    "In our own python: the graph of one size"
    import torch
    from poselab.models.rtmpose import MEDIUM, SMALL, RTMPose
    from poselab.onnx_export import export_onnx
    torch.manual_seed(0)
    export_onnx(RTMPose(dict(s=SMALL, m=MEDIUM)[size]).eval(), file, example=torch.randn(1, 3, 256, 192))

class Peer:
    "mmpose in its own process, asked over a pipe: its python need not have onnxruntime"
    def __init__(self, python, size, threads):
        here = Path(__file__).resolve()
        env = {**os.environ, 'OMP_NUM_THREADS': str(threads), 'PYTHONPATH': os.pathsep.join([str(here.parents[2]), str(here.parents[1]/'parity')])}
        self.p = subprocess.Popen([str(python), '-W', 'ignore', str(here), '--peer', size, str(threads)], env=env, text=True,
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.ask(1)
    def ask(self, n): # least ms of n calls
        print(n, file=self.p.stdin, flush=True)
        return json.loads(self.p.stdout.readline())
    def close(self): self.p.stdin.close(); self.p.wait()

def serve(size, threads):
    "The other end of the pipe"
    import torch
    from mmpose_rtmpose import build
    torch.set_num_threads(threads)
    net,x,out = build(size).eval(),torch.randn(1, 3, 256, 192),os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1) # whatever mmpose prints stays out of the answers
    with torch.inference_mode():
        for line in sys.stdin: print(json.dumps(least_ms(lambda: net(x, None, mode='tensor'), int(line), threads)), file=out, flush=True)

def row(python, size, threads, rounds=6, n=5):
    "onnxruntime and mmpose take turns"
    import tempfile, torch
    from poselab.onnx_export import OnnxNet
    x = torch.randn(1, 3, 256, 192)
    with tempfile.TemporaryDirectory() as tmp:
        ready(f'{tmp}/a.onnx', size)
        net,peer = OnnxNet(f'{tmp}/a.onnx', threads),Peer(python, size, threads)
        net(x), net(x), peer.ask(2)
        times = [(least_ms(lambda: net(x), n, threads), peer.ask(n)) for _ in range(rounds)]
        peer.close()
    ours,theirs = map(min, zip(*times))
    return dict(what=f'RTMPose-{size} forward, onnxruntime against mmpose eager', ours_ms=round(ours, 2), peer_ms=round(theirs, 2),
                ratio=round(theirs/ours, 2), n='1 input of 256×192', unit='CPU ms, one thread' if threads == 1 else 'ms, two threads')

def run(peer_python) -> list: # rows of dict(what, ours_ms, peer_ms, ratio, n, unit); ratio above 1: ours is faster
    "Time ours and mmpose's in one run"
    if not peer_python: return []
    warnings.filterwarnings('ignore')
    return [row(peer_python, size, threads) for threads in (1, 2) for size in ('s', 'm')]

if __name__ == '__main__':
    if sys.argv[1] == '--peer': serve(sys.argv[2], int(sys.argv[3]))
    else:
        sys.path.insert(0, str(Path(__file__).parents[2]))
        for r in run(sys.argv[1]): print(f"{r['what']:58} {r['ours_ms']:8.2f} {r['peer_ms']:8.2f} {r['ratio']:6.2f}x {r['unit']}", flush=True)
