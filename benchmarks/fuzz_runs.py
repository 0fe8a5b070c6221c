"""The options and whole runs as targets of fuzz.py."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any

import scenarios

from benchmarks.fuzz_history import place
from benchmarks.fuzz_parsers import SYSCTLS, Target
from benchmarks.mutation import BYTES, WORDS, mutated
from benchmarks.output import proper
from check_conntrack_lib.plugin import cli
from check_conntrack_lib.plugin.options import OPTIONS

HOSTS = ('quiet-gateway', 'netns-container-full', 'why-one-client', 'full', 'rising-75', 'insert-failed-on-5.4')
VALUES = ['85', '95%', '10:90', '@10:20', '~:5', 'off', '', '5m', '1h', '14d', '300', 'all', 'current', 'a,b', 'kmsg',
          'journal', 'auto', 'never', 'always', 'warning', 'ok', 'critical', 'usage', 'counters', 'kernel-log',
          '/dev/null', './none', '/', '/etc/passwd/x', '20000', '0', '-5', '--', '-', *(word for word in WORDS if word)]
FLAGS = [flag for group in OPTIONS.values() for option in group for flag in option.flags]
#: entries in the table of a captured host
MOST_LINES = 100
scenario = lru_cache(None)(scenarios.load)


@contextlib.contextmanager
def printed() -> Iterator[io.BytesIO]:
    """What is written to standard output; nothing may go to standard error."""
    out, err = io.BytesIO(), io.StringIO()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = io.TextIOWrapper(out, 'utf-8', write_through=True), err
    try:
        yield out
    finally:
        # a wrapper that is collected would close the buffer
        sys.stdout.detach()
        sys.stdout, sys.stderr = before
    assert not err.getvalue(), f'on standard error: {err.getvalue()!a}'


def run(argv: list[str], clock: Any = None) -> tuple[str, int]:
    """One run in this process, its output checked as a monitoring system would read it."""
    with printed() as out:
        try:
            status = cli.main(argv, *([clock] if clock else []))
        except SystemExit as left:
            if left.code == 3:
                return '', 3  # the manual, or the version
            raise
    text = out.getvalue().decode('utf-8')
    proper(text, status)
    return text, status


def a_command_line(random: Random) -> list[str]:
    """Words such as people and macros give; none with a NUL, which no command line has."""
    words = ['-t', '5', '--kernel-log', 'off', '--history', 'off', '--diagnose', 'never', '--procfs', 'PROC']
    for _ in range(1 + int(random.random() * 4)):
        flag = FLAGS[int(random.random() * len(FLAGS))]
        value = VALUES[int(random.random() * len(VALUES))]
        if random.random() < 0.4:
            value = mutated(random, VALUES, WORDS)
        words += [flag, value] if random.random() < 0.8 else [f'{flag}={value}'] if random.random() < 0.5 else \
            [['-v', '-vv', '-V', '--', flag, value, '--require'][int(random.random() * 7)]]
    return [word.replace('\0', '') for word in words]


def options(argv: list[str]) -> None:
    harmful = ('--history', '--kernel-log', '-t', '--timeout')
    # a path may be anything; only the files of this process are to be written
    words = [word if k < 10 or argv[k - 1] not in harmful[:1] else 'off' for k, word in enumerate(argv)]
    words = [word for word in words if not word.startswith('--history=')]
    proc = str(scenarios.HOSTS / 'quiet-gateway' / 'proc')
    run([proc if word == 'PROC' else word for word in words], scenario('quiet-gateway').clock)


@lru_cache(None)
def _host(name: str) -> tuple[Path, dict[str, bytes], dict[str, str]]:
    """A copy of a captured host, its files and its links."""
    directory = place() / name
    shutil.copytree(scenarios.HOSTS / name, directory, symlinks=True)
    folder = directory / 'proc/1/root/etc/sysctl.d'
    folder.mkdir(parents=True)
    (folder / '99-conntrack.conf').write_text(SYSCTLS[0])
    table = directory / 'proc/net/nf_conntrack'
    if table.exists():
        # reading hundreds of sound lines again at each input would take half the time
        table.write_text(''.join(table.read_text().splitlines(keepends=True)[:MOST_LINES]))
    scenarios.record(scenario(name), directory / 'history.sqlite')
    # the root's other files are links to nothing, or another test's
    files = {str(path.relative_to(directory)): path for path in directory.rglob('*')}
    return (directory,
            {name: path.read_bytes() for name, path in files.items()
             if path.is_file() and not path.is_symlink() and name != 'scenario.txt' and name != 'baseline'},
            {name: os.readlink(path) for name, path in files.items() if path.is_symlink()})


def a_host(random: Random) -> tuple[str, list[str], dict[str, bytes | None], dict[str, str]]:
    """One of the captured hosts: files changed or missing, links changed, and how it is looked at."""
    name = random.choice(HOSTS)
    _directory, files, links = _host(name)
    changed: dict[str, bytes | None] = {}
    for file in random.sample(sorted(files), 1 + int(random.random() * 3)):
        text = files[file]
        if file == 'history.sqlite':
            changed[file] = mutated(random, [text], BYTES)
        else:
            changed[file] = None if random.random() < 0.1 else \
                mutated(random, [text.decode('latin-1')], WORDS).encode('utf-8', 'surrogatepass')
    linked = {}
    if links and random.random() < 0.3:
        link = random.choice(sorted(links))
        linked[link] = mutated(random, [links[link]], WORDS).replace('\0', '')[:200] or 'x'
    argv = [*scenario(name).argv]
    for extra in (['--netns', 'all'], ['--diagnose', 'always'], ['-v'], ['--netns', 'current,a'],
                  ['--require', 'history']):
        argv += extra if random.random() < 0.3 else []
    return name, argv, changed, linked


def _put(directory: Path, files: dict[str, bytes | None], links: dict[str, str]) -> None:
    for name, content in files.items():
        path = directory / name
        if content is None:
            path.unlink(missing_ok=True)
        else:
            path.write_bytes(content)
            path.chmod(0o600 if name == 'history.sqlite' else 0o644)
    for name, target in links.items():
        (directory / name).unlink(missing_ok=True)
        os.symlink(os.fsencode(target.encode('utf-8', 'surrogateescape')
                               if not re.search('[\ud800-\udc7f]', target) else b'x'), directory / name)


def whole_run(made: tuple[str, list[str], dict[str, bytes | None], dict[str, str]]) -> None:
    name, argv, changed, linked = made
    directory, files, links = _host(name)
    history = directory / 'history.sqlite'
    try:
        _put(directory, changed, linked)
        run(['--procfs', str(directory / 'proc'), '--kernel-log', str(directory / 'kmsg.log'),
             '--history', str(history), *argv], scenario(name).clock)
    finally:
        for left in directory.glob('history.sqlite*'):
            left.unlink()
        _put(directory, {file: files[file] for file in {*changed, 'history.sqlite'}},
             {link: links[link] for link in linked})


TARGETS = {
    'options': Target(a_command_line, options, (), slow=True),
    'hosts': Target(a_host, whole_run, (), slow=True),
}
