"""The page of figures, docs/figures.md: each benchmark's own output, with the command, the day and the machine.

    sudo python3 -m benchmarks.figures budgets rates    runs these, records what they print, writes the page
    sudo python3 -m benchmarks.figures all              every one of the table below
    python3 -m benchmarks.figures                       writes the page from what is recorded

What a run printed is kept in benchmarks/results/NAME.json: a long one, or one that needs another machine, is run there
and its file copied here. Exit status 1: one of them failed; what was recorded of it before stays.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / 'benchmarks/results'
PAGE = ROOT / 'docs/figures.md'
LONGEST = 6 * 3600.0


class Benchmark(NamedTuple):
    """One command whose output is shown."""

    name: str
    title: str
    #: after the interpreter
    arguments: tuple[str, ...]
    root: bool = False

    @property
    def command(self) -> str:
        return f'{"sudo " if self.root else ""}python3 {" ".join(self.arguments)}'


#: to add one, add a line; benchmarks/README.md explains each
BENCHMARKS = (
    Benchmark('budgets', 'Every budget', ('benchmarks/budgets.py',), root=True),
    Benchmark('startup', 'A whole run', ('benchmarks/startup.py',)),
    Benchmark('sample', 'A sample of a million flows', ('benchmarks/sample.py',), root=True),
    Benchmark('rates', 'New connections and NAT ports', ('benchmarks/rates.py',), root=True),
    Benchmark('kernel_log', 'Reading the kernel log', ('benchmarks/kernel_log.py',), root=True),
    Benchmark('namespaces', 'A thousand namespaces', ('benchmarks/namespaces.py',), root=True),
    Benchmark('verdicts', 'Verdicts', ('-m', 'benchmarks.verdicts')),
    Benchmark('mutants', 'What the tests notice', ('-m', 'benchmarks.mutants', '--seed', '4005', '--count', '150',
                                                  '--jobs', '2'), root=True),
)
NAMES = tuple(one.name for one in BENCHMARKS)


class Result(NamedTuple):
    """What one run printed, and where."""

    name: str
    command: str
    #: '2026-11-26 13:10 UTC', or the day alone
    when: str
    #: '' where it was not noted; of what is simulated it is no matter
    machine: str
    kernel: str
    python: str
    #: that it took; None: not recorded
    seconds: float | None
    #: load average of a minute when it began: figures beside other work are larger
    load: float | None
    exit_status: int
    output: str


def processor() -> str:
    """'AMD EPYC, 2 CPUs'."""
    with open('/proc/cpuinfo', encoding='utf-8', errors='replace') as file:
        model = next((line.partition(':')[2].strip() for line in file if line.startswith('model name')), '')
    return f'{model or platform.machine()}, {os.cpu_count()} CPUs'


def run(one: Benchmark) -> Result:
    """Raises OSError, TimeoutExpired."""
    when, load, began = time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime()), os.getloadavg()[0], time.monotonic()
    done = subprocess.run([sys.executable, *one.arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True,
                          timeout=LONGEST, check=False)
    return Result(one.name, one.command, when, processor(), platform.release(), platform.python_version(),
                  round(time.monotonic() - began, 1), round(load, 1), done.returncode, done.stdout)


def recorded() -> dict[str, Result]:
    """By name. Raises OSError, or ValueError for a file that is none of these."""
    found = {}
    for path in sorted(RESULTS.glob('*.json')):
        fields = json.loads(path.read_text())
        if set(fields) != set(Result._fields) or fields['name'] != path.stem or path.stem not in NAMES:
            raise ValueError(f'{path}: not the result of one of {", ".join(NAMES)}')
        found[path.stem] = Result(**fields)
    return found


def record(result: Result) -> None:
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f'{result.name}.json').write_text(json.dumps(result._asdict(), indent=1, ensure_ascii=False) + '\n')


def page(results: dict[str, Result]) -> str:
    """The page, in Markdown."""
    lines = ['# Figures', '',
             'Made by `python3 -m benchmarks.figures` from what each command printed; what each measures, and what the',
             'budgets are for, is in [benchmarks/README.md](../benchmarks/README.md), which also has the long runs:',
             'soak, fuzzing, kernels, versions. Beside other work (see the load) figures are larger.', '',
             '| | day | took | command |', '|---|---|---|---|']
    shown = [(one, results[one.name]) for one in BENCHMARKS if one.name in results]
    for one, result in shown:
        anchor = one.title.lower().replace(' ', '-')
        took = '' if result.seconds is None else f'{result.seconds:.0f} s'
        lines.append(f'| [{one.title}](#{anchor}) | {result.when[:10]} | {took} | `{result.command}` |')
    for one, result in shown:
        ended = f', exit status {result.exit_status}' if result.exit_status else ''
        where = f': {result.machine}, Linux {result.kernel}, Python {result.python}' \
            f'{"" if result.load is None else f", load {result.load}"}' \
            if result.machine else ''
        lines += ['', f'## {one.title}', '', f'`{result.command}`, {result.when}{where}{ended}', '', '```',
                  *result.output.strip('\n').splitlines(), '```']
    return '\n'.join(lines) + '\n'


def measure(chosen: Iterable[Benchmark]) -> list[str]:
    """Names of those that failed."""
    failed = []
    for one in chosen:
        print(f'{one.command} ...', flush=True)
        if one.root and os.geteuid():
            print('  needs root', flush=True)
            failed.append(one.name)
            continue
        result = run(one)
        print(f'  {result.seconds:.0f} s, exit status {result.exit_status}', flush=True)
        # 1: it measured, and something was beyond its budget
        if result.exit_status in (0, 1) and result.output.strip():
            record(result)
        else:
            failed.append(one.name)
    return failed


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument('names', nargs='*', metavar='NAME', choices=[*NAMES, 'all', []],
                         help=f'to be run: {", ".join(NAMES)}, or all')
    given = options.parse_args()
    failed = measure(one for one in BENCHMARKS if one.name in given.names or 'all' in given.names)
    PAGE.write_text(page(recorded()))
    if failed:
        print(f'not measured: {", ".join(failed)}', file=sys.stderr)
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
