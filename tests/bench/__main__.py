"""Times poselab beside its peers and writes README.md in this folder: `make bench`, or `python -m tests.bench [NAME ...]`.

POSELAB_ORACLE names the python of an environment with mmpose; without it only what needs no peer is timed.
"""
import argparse, datetime, importlib.util, os, platform, subprocess, sys
from importlib import metadata
from pathlib import Path
from poselab.records import write_whole

HERE = Path(__file__).parent

def load(path):
    "A bench file as a module"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

def cpu():
    "What the processor is called"
    info = Path('/proc/cpuinfo')
    names = [line.split(':', 1)[1].strip() for line in info.read_text().splitlines() if line.startswith('model name')] if info.exists() else []
    return f'{names[0] if names else platform.processor() or platform.machine()}, {os.cpu_count()} cores'

def peer_version(python):
    "Versions on the other side"
    if not python: return 'none'
    code = 'import torch, mmpose; print(f"mmpose {mmpose.__version__}, torch {torch.__version__}")'
    got = subprocess.run([python, '-W', 'ignore', '-c', code], capture_output=True, text=True)
    return got.stdout.strip() or 'not usable'

def cell(x, digits=3): return '–' if x is None else f'{x:.{digits}g}' if abs(x) < 1000 else f'{x:,.0f}'

def table(rows):
    "Markdown table of one bench file"
    head = '| what | poselab | peer | ratio | unit | size |\n| --- | ---: | ---: | ---: | --- | --- |'
    def line(r):
        ratio = r.get('ratio')
        return (f"| {r['what']} | {cell(r['ours_ms'])} | {cell(r.get('peer_ms'))} | {'–' if ratio is None else f'{ratio:.2f}×'} "
                f"| {r.get('unit', 'ms')} | {r.get('n', '')} |")
    return '\n'.join([head, *map(line, rows)])

def page(parts, peer):
    "The whole README"
    versions = ', '.join(f'{n} {metadata.version(n)}' for n in ('torch', 'numpy', 'opencv-python-headless'))
    note = ('Ratio: how many times faster poselab is, both timed in turns in one run. Absolute times drift by tens of per cent from run to run '
            'and from machine to machine; ratios of one run do not.')
    top = [f'# Timings\n\nWritten by `make bench` on {datetime.date.today()}: do not edit.\n\n{note}',
           f'- machine: {cpu()}; one thread unless a row says two; load {os.getloadavg()[0]:.1f} at the end\n- poselab {metadata.version("poselab")} on Python {platform.python_version()}, {versions}\n- peer: {peer}']
    return '\n\n'.join(top + [f'## {title}\n\n{table(rows)}' for title,rows in parts]) + '\n'

def main():
    parser = argparse.ArgumentParser(prog='python -m tests.bench', description=__doc__)
    parser.add_argument('name', nargs='*', help='bench files to run, without `bench_` and `.py`; all if none')
    names = parser.parse_args().name
    python,parts = os.environ.get('POSELAB_ORACLE'),[]
    for path in sorted(HERE.glob('bench_*.py')):
        if names and path.stem[6:] not in names: continue
        print(f'{path.stem} ...', file=sys.stderr, flush=True)
        module = load(path)
        try: rows = module.run(python)
        except Exception as e:
            if python: raise
            print(f'  left out, it needs POSELAB_ORACLE ({type(e).__name__})', file=sys.stderr); continue
        title = (module.__doc__ or path.stem).strip().splitlines()[0].rstrip('.')
        if rows: parts.append((title, rows)); print(table(rows))
    if not names: write_whole(HERE/'README.md', page(parts, peer_version(python)))

if __name__ == '__main__': main()
