"""Completion in the real shells; for zsh and tcsh of what the distribution's shtab makes, and the newest."""

from __future__ import annotations

import functools
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import laboratory
import pytest
import stage

PACKAGING = stage.CHECKOUT / 'packaging'
#: what a shell begins with: the completion, and a program that prints its arguments
RC = {
    'bash': '. {made}/{program}\n{program}() {{ printf "<%s>" "$@"; echo; }}\n'
            'bind "set enable-bracketed-paste off"\nPS1=READY\n',
    'zsh': 'fpath=({made} $fpath)\nautoload -U compinit\ncompinit -u -D\nunsetopt auto_remove_slash\n'
           'unset zle_bracketed_paste\n'
           'zstyle ":completion:*" completer _complete\n{program}() {{ printf "<%s>" "$@"; echo; }}\nPS1=READY\n',
    'tcsh': 'source {made}/{program}.tcsh\nalias {program} \'printf "<%s>" \\!*:q; echo\'\nset prompt=READY\n'
            'unset autolist\nset nobeep\n',
}
START = {'bash': ['bash', '--noprofile', '--rcfile', 'rc', '-i'], 'zsh': ['zsh', '-d', '-i'], 'tcsh': ['tcsh', '-i']}
RC_FILE = {'bash': 'rc', 'zsh': '.zshrc', 'tcsh': '.tcshrc'}
LINES = [
    ('check_conntrack', '--kernel-l', '<--kernel-log>'),
    ('check_conntrack', '--kernel-log jo', '<--kernel-log><journal>'),
    ('check_conntrack', '-v --diagnose al', '<-v><--diagnose><always>'),
    ('check_conntrack', '--require cou', '<--require><counters>'),
    ('check_conntrack', '--procfs pr', '<--procfs><proc/>'),
    ('check_conntrack', '--netns curr', '<--netns><current>'),
    ('check_conntrack', '--netns ctlab-compl', '<--netns><ctlab-completion>'),
    ('conntrack-doctor', 'exp', '<export>'),
    ('conntrack-doctor', 'export --names nod', '<export><--names><node-exporter>'),
    ('conntrack-doctor', 'watch --kernel-log jo', '<watch><--kernel-log><journal>'),
    ('conntrack-doctor', 'history --sv', '<history><--svg>'),
    ('conntrack-doctor', 'triage --netns ctlab-compl', '<triage><--netns><ctlab-completion>'),
]
#: words and files for one option
BOTH = [('check_conntrack', '--kernel-log ./rec', '<--kernel-log><./records of kmsg>'),
        ('conntrack-doctor', 'triage --history ./rec', '<triage><--history><./records of kmsg>')]
#: bash splits at the '='
BASH = [('check_conntrack', '--kernel-log=km', '<--kernel-log=kmsg>'),
        ('check_conntrack', '--kernel-log=./rec', '<--kernel-log=./records of kmsg>'),
        ('check_conntrack', '--window ', '<--window>')]
CASES = {'bash': [*LINES, *BOTH, *BASH], 'zsh': [*LINES, *BOTH], 'tcsh': LINES}
PYTHONS = {'distribution': '/usr/bin/python3', 'newest': sys.executable}


@pytest.fixture(scope='module')
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp('completion')


@functools.cache
def make(python: str, target: Path) -> Path:
    """The completions, made by this interpreter."""
    if subprocess.run([python, '-c', 'import shtab'], capture_output=True).returncode:
        pytest.skip(f'no shtab for {python}: apt-get install python3-shtab, pip install shtab')
    done = subprocess.run([python, '-W', 'ignore', '-B', PACKAGING / 'completion.py', target], capture_output=True,
                          text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, '', '')
    return target


def completed(shell: str, made: Path, program: str, lines: Sequence[str], directory: Path) -> list[str]:
    """What the lines become after the tabulator key, in a real interactive shell on a terminal."""
    (directory / RC_FILE[shell]).write_text(RC[shell].format(made=made, program=program))
    child, terminal = pty.fork()
    if not child:
        os.chdir(directory)
        os.execvpe(START[shell][0], START[shell], {
            **stage.ENVIRONMENT, 'TERM': 'vt100', 'HISTFILE': '', 'INPUTRC': '/dev/null', 'HOME': str(directory),
            'ZDOTDIR': str(directory), 'COLUMNS': '500'})
    found = []
    try:
        await_text(terminal, 'READY')
        for line in lines:
            os.write(terminal, f'{program} {line}\t\n'.encode())
            shown = await_text(terminal, r'^<.*>\r?$(?s:.*)READY')
            found += re.findall(r'^(<.*>)\r?$', shown, re.M)
    finally:
        os.close(terminal)
        os.waitpid(child, 0)
    return found


def await_text(terminal: int, pattern: str) -> str:
    """What the terminal shows until the pattern is in it."""
    shown, end = '', time.monotonic() + 30
    while not re.search(pattern, shown, re.M):
        if not select.select([terminal], [], [], max(0, end - time.monotonic()))[0]:
            pytest.fail(f'no {pattern} in {shown!r}')
        shown += os.read(terminal, 65536).decode('utf-8', 'replace')
    return shown


@pytest.mark.kernel
@pytest.mark.parametrize('program', ['check_conntrack', 'conntrack-doctor'])
@pytest.mark.parametrize(('shell', 'python'), [('bash', 'newest'), ('zsh', 'distribution'), ('zsh', 'newest'),
                                               ('tcsh', 'distribution'), ('tcsh', 'newest')])
def test_completion(tmp_path: Path, places: Path, shell: str, python: str, program: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f'no {shell}: apt-get install {shell}')
    if why_not := laboratory.why_not():
        pytest.skip(why_not)
    made = make(PYTHONS[python], places / python)
    (tmp_path / 'proc').mkdir()
    (tmp_path / 'records of kmsg').touch()
    cases = [(typed, line) for of, typed, line in CASES[shell] if of == program]
    with laboratory.namespace('ctlab-completion'):
        assert completed(shell, made, program, [typed for typed, _ in cases], tmp_path) == [line for _, line in cases]


@pytest.mark.slow
def test_the_same_every_time(tmp_path: Path, places: Path) -> None:
    """shtab writes tcsh's options out of a set."""
    first, second = make(PYTHONS['newest'], places / 'newest'), make(PYTHONS['newest'], tmp_path)
    names = {path.name for path in first.iterdir()}
    assert names == {'check_conntrack', '_check_conntrack', 'check_conntrack.tcsh',
                     'conntrack-doctor', '_conntrack-doctor', 'conntrack-doctor.tcsh'}
    assert {(first / name).read_text() == (second / name).read_text() for name in names} == {True}
