"""The test suite over old and new: every Python that is here, with the oldest and the newest nagiosplugin.

    python3 benchmarks/versions.py                      each python3.9 and later of PATH, ~/.pyenv/versions, /usr/bin
    python3 benchmarks/versions.py /opt/bin/python3.14  this one
    python3 benchmarks/versions.py --own PYTHON         with the packages that it has, such as the distribution's

Each run is README's test command on a copy of the tree in a fresh virtual environment, in which nagiosplugin is then
replaced; without the tests that need root, daemons or packaging tools, and without the slow ones. Prints a Markdown
table. Exit status 1: a test failed, or one could not be run.
"""

from __future__ import annotations

import argparse
import collections
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

ROOT = Path(__file__).parent.parent
LIBRARIES = ('1.3.2', '1.4.0')
OLDEST = (3, 9)
SELECTION = 'not kernel and not daemons and not packages and not slow'
PLACES = (*os.environ.get('PATH', '').split(os.pathsep), *map(str, Path.home().glob('.pyenv/versions/*/bin')),
          '/usr/bin')
NOT_COPIED = ('.git', '.venv', '.hypothesis', '.*_cache', '__pycache__', '*.egg-info', 'build', 'dist')
#: for one run of the suite, and for one of pip
LONGEST, LONGEST_INSTALL = 3600, 1200
WHO = 'import platform as p; print(p.python_implementation(), p.python_version())'
LIBRARY = 'from importlib.metadata import version; print(version("nagiosplugin"))'


class Result(NamedTuple):
    """One run of the suite."""

    python: str
    library: str
    passed: int = 0
    failed: Sequence[str] = ()
    #: the reason of each
    skipped: Sequence[str] = ()
    seconds: float = 0.0
    #: why there was no run
    trouble: str = ''

    @property
    def good(self) -> bool:
        return not self.failed and not self.trouble and self.passed > 0

    def row(self) -> str:
        if self.trouble:
            return f'| {self.python} | {self.library} | not run: {self.trouble} | | | |'
        return (f'| {self.python} | {self.library} | {self.passed} | {len(self.failed)} | '
                f'{len(self.skipped)} | {self.seconds:.0f} |')


def run(command: Sequence[str | Path], seconds: float = 60, place: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """With all that it says in its standard output. Raises TimeoutExpired, OSError."""
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds,
                          env=environment(), cwd=place)


def environment() -> dict[str, str]:
    """This one, without what would give the tests another Python path, or in CI turn what is skipped into a failure."""
    return {name: value for name, value in os.environ.items() if name not in ('CI', 'PYTHONPATH', 'PYTHONHOME')}


def name(python: str | Path) -> str:
    """'CPython 3.13.0' without the usual implementation's name; '' when it does not run."""
    try:
        done = run([python, '-I', '-c', WHO])
    except OSError:
        return ''
    return '' if done.returncode else done.stdout.strip().replace('CPython ', '')


def version(called: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r'\d+', called)[:3])


def here() -> list[Path]:
    """Every interpreter that is new enough, each version once, the oldest first."""
    found: dict[str, Path] = {}
    for place in PLACES:
        for path in sorted(Path(place).glob('python3.*')):
            if re.fullmatch(r'python3\.\d+', path.name) and version(path.name) >= OLDEST:
                found.setdefault(name(path), path)
    return [found[called] for called in sorted(found, key=version) if called]


def run_suite(python: Path, tree: Path, memory: Path) -> Result:
    """The suite in `tree`, its own files in `memory`."""
    report = memory / 'report.xml'
    command = [str(python), '-m', 'pytest', '-q', '-m', SELECTION, f'--junitxml={report}', f'--basetemp={memory}/tests',
               '-o', 'junit_family=xunit2', '-o', 'junit_logging=no', '-p', 'no:cacheprovider']
    began = time.monotonic()
    done = run(command, LONGEST, tree)
    seconds = time.monotonic() - began
    called, library = name(python), last_line(run([python, '-c', LIBRARY]).stdout)
    if not report.exists():
        return Result(called, library, trouble=last_line(done.stdout))
    cases = list(ElementTree.parse(report).iter('testcase'))
    failed = [f'{case.get("classname")}::{case.get("name")}' for case in cases
              if case.find('failure') is not None or case.find('error') is not None]
    skips = [skip.get('message', '') for case in cases for skip in case.iter('skipped')]
    if failed or done.returncode:
        print(done.stdout[-10000:], file=sys.stderr)
    return Result(called, library, len(cases) - len(set(failed)) - len(skips), sorted(set(failed)),
                  skips, seconds)


def last_line(text: str) -> str:
    return next(reversed([line for line in text.splitlines() if line.strip()]), 'it said nothing').replace('|', '/')


def results(python: Path, libraries: Sequence[str]) -> Iterable[Result]:
    """One run after the other; with no libraries, one with the packages that the interpreter has."""
    with tempfile.TemporaryDirectory() as directory:
        # a tree of its own: nobody finds what another has compiled or built
        tree, environment = Path(directory, 'tree'), Path(directory, 'venv')
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*NOT_COPIED), symlinks=True)
        if not libraries:
            yield run_in_memory(python, tree)
        for library in libraries:
            own = environment / 'bin/python'
            install = [str(own), '-m', 'pip', 'install', '-q', '-e', '.[test]', f'nagiosplugin=={library}']
            make = [] if own.exists() else [[str(python), '-m', 'venv', str(environment)]]
            trouble = failure([*make, install], tree)
            if trouble:
                print(trouble, file=sys.stderr)
                yield Result(name(python), library, trouble=last_line(trouble))
            else:
                yield run_in_memory(own, tree)


def failure(commands: Iterable[Sequence[str]], place: Path) -> str:
    """What the first of them said that failed; '' when none did."""
    for command in commands:
        done = run(command, LONGEST_INSTALL, place)
        if done.returncode:
            return done.stdout or f'{command[0]}: exit status {done.returncode}'
    return ''


def run_in_memory(python: Path, tree: Path) -> Result:
    """The recorder's tests would wait for the disk thousands of times."""
    quick = '/dev/shm' if os.access('/dev/shm', os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=quick) as memory:
        return run_suite(python, tree, Path(memory))


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument('pythons', metavar='PYTHON', nargs='*', type=Path)
    options.add_argument('--library', metavar='VERSION', action='append',
                         help=f'a nagiosplugin, repeatable (default: {" and ".join(LIBRARIES)})')
    options.add_argument('--own', action='store_true', help='no virtual environment: the packages that PYTHON has')
    given = options.parse_args()
    pythons = given.pythons or here()
    print(f'{time.strftime("%Y-%m-%d")}, `-m "{SELECTION}"`\n\n'
          '| Python | nagiosplugin | passed | failed | skipped | seconds |\n|---|---|---|---|---|---|', flush=True)
    seen = []
    for python in pythons:
        for result in results(python, () if given.own else given.library or LIBRARIES):
            seen.append(result)
            print(result.row(), flush=True)
    tell([f'failed: {name}' for result in seen for name in result.failed])
    tell([f'skipped: {reason}' for result in seen for reason in result.skipped])
    return 0 if seen and all(result.good for result in seen) else 1


def tell(lines: Iterable[str]) -> None:
    """Each once, with how many runs said it."""
    for line, runs in collections.Counter(lines).items():
        print(f'\n{line} (in {runs} runs)', flush=True)


if __name__ == '__main__':
    sys.exit(main())
