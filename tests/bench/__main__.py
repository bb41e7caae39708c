"""Times poselab beside its peers and writes README.md in this folder: `make bench`, or `python -m tests.bench [NAME ...]`.

POSELAB_ORACLE names the python of an environment with mmpose; without it only what needs no peer is timed.
"""
import argparse, datetime, importlib.util, os, platform, re, subprocess, sys
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

def section(title, rows):
    "One bench file's rows, with the day and how busy the machine was"
    return f'## {title}\n\n{table(rows)}\n\nTimed on {datetime.date.today()}, load {os.getloadavg()[0]:.1f} at the end.'

def sections(text):
    "Title -> section of a README that is there"
    parts = re.split(r'^(?=## )', text, flags=re.M)[1:]
    return {p.splitlines()[0][3:]: p.strip() for p in parts}

def page(parts, peer):
    "The whole README; parts: title -> section"
    versions = ', '.join(f'{n} {metadata.version(n)}' for n in ('torch', 'numpy', 'opencv-python-headless'))
    note = ('Ratio: how many times faster poselab is, both timed in turns in one run. Absolute times drift by tens of per cent from run to run '
            'and from machine to machine; ratios of one run do not.')
    top = [f'# Timings\n\nWritten by `make bench`, or one part at a time by `python -m tests.bench NAME`: do not edit.\n\n{note}',
           f'- machine: {cpu()}; one thread unless a row says two\n- poselab {metadata.version("poselab")} on Python {platform.python_version()}, {versions}\n- peer: {peer}']
    return '\n\n'.join([*top, *parts.values()]) + '\n'

def main():
    parser = argparse.ArgumentParser(prog='python -m tests.bench', description=__doc__)
    parser.add_argument('name', nargs='*', help='bench files to run, without `bench_` and `.py`; all if none')
    names = parser.parse_args().name
    python,readme = os.environ.get('POSELAB_ORACLE'),HERE/'README.md'
    kept,parts = sections(readme.read_text()) if readme.exists() else {},{}
    for path in sorted(HERE.glob('bench_*.py')):
        module = load(path)
        title = (module.__doc__ or path.stem).strip().splitlines()[0].rstrip('.')
        if names and path.stem[6:] not in names:
            if title in kept: parts[title] = kept[title]
            continue
        print(f'{path.stem} ...', file=sys.stderr, flush=True)
        try: rows = module.run(python)
        except Exception as e:
            if python: raise
            print(f'  left out, it needs POSELAB_ORACLE ({type(e).__name__})', file=sys.stderr); continue
        if rows: parts[title] = section(title, rows); print(table(rows))
    write_whole(readme, page(parts, peer_version(python)))

if __name__ == '__main__': main()
