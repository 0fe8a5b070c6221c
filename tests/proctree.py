"""A small /proc tree of our own making, and the doctor run on it as a process."""

from __future__ import annotations

import contextlib
import io
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import goldens
import pytest

from check_conntrack_lib.doctor import cli

HEADER = ('entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop '
          'icmp_error  expect_new expect_create expect_delete search_restart')
ROOT = Path(__file__).resolve().parent.parent
BOOT_ID = '5e2bb74a-d639-4499-b829-86caa6873a33'
#: not this machine's: else its real counters serve where the tree has none
NETNS = 4026599999


def check_golden(request: pytest.FixtureRequest, name: str, seen: str) -> None:
    """Compares with golden/doctor/NAME, or writes it with --update-golden."""
    goldens.compare(request, f'doctor/{name}', seen)


def make(root: Path, entries: int = 32512, maximum: int = 262144, stat: str | None = None) -> Path:
    """Files as the kernel has them; stat None: counters 0x1 to 0x10 on the first CPU, 0 on the second."""
    rows = [' '.join(f'{n:08x}' for n in (entries, *values)) for values in (range(1, 17), (0,) * 16)]
    files = {
        'sys/net/netfilter/nf_conntrack_count': f'{entries}\n',
        'sys/net/netfilter/nf_conntrack_max': f'{maximum}\n',
        'sys/net/netfilter/nf_conntrack_buckets': '65536\n',
        'sys/net/nf_conntrack_max': f'{maximum}\n',
        'sys/kernel/random/boot_id': f'{BOOT_ID}\n',
        'net/stat/nf_conntrack': '\n'.join([HEADER, *rows, '']) if stat is None else stat,
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        # in one step, as a kernel's file is never seen half-written: a program may be reading the tree
        (root / 'next').write_text(text)
        (root / 'next').replace(root / name)
    if not os.path.lexists(root / 'self/ns/net'):
        (root / 'self/ns').mkdir(parents=True, exist_ok=True)
        (root / 'self/ns/net').symlink_to(f'net:[{NETNS}]')
    return root


def unload(root: Path) -> None:
    """As a kernel that tracks nothing: none of its files, the other sysctls in view."""
    for name in ('sys/net/netfilter', 'net/stat'):
        shutil.rmtree(root / name, ignore_errors=True)
    (root / 'sys/net/nf_conntrack_max').unlink(missing_ok=True)
    (root / 'sys/net/core').mkdir(parents=True, exist_ok=True)
    (root / 'sys/net/core/somaxconn').write_text('4096\n')


def command(*arguments: object) -> list[str]:
    return [sys.executable, '-m', 'check_conntrack_lib', *map(str, arguments)]


def doctor(*arguments: object, timeout: float = 30) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=timeout)


def doctor_here(directory: Path, *arguments: object, encoding: str = 'utf-8') -> subprocess.CompletedProcess[str]:
    """The same in this process and in that directory: to start one with all it imports takes longer than most verbs."""
    before = os.getcwd()
    os.chdir(directory)
    try:
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, \
                io.TextIOWrapper(out, encoding, 'replace', write_through=True) as stdout, \
                io.TextIOWrapper(err, 'utf-8', write_through=True) as stderr:
            with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
                status = cli.main([str(word) for word in arguments])
            written = [os.pread(file.fileno(), 1 << 24, 0).decode() for file in (out, err)]
    finally:
        os.chdir(before)
    return subprocess.CompletedProcess(['conntrack-doctor', *arguments], status, *written)


def next_line(process: subprocess.Popen[str], seconds: float = 10) -> str:
    """The next line on its standard error, which is waited for only so long."""
    assert process.stderr is not None
    end = time.monotonic() + seconds
    line = b''
    # byte by byte: a buffer would take in the lines behind it, and neither select nor communicate would know
    while not line.endswith(b'\n'):
        assert select.select([process.stderr], [], [], max(0.0, end - time.monotonic()))[0], f'it said only {line!r}'
        byte = os.read(process.stderr.fileno(), 1)
        if not byte:
            break
        line += byte
    return line.decode()


def stop(process: subprocess.Popen[Any]) -> None:
    """SIGSTOP; it has stopped when this returns. SIGCONT lets it run on."""
    process.send_signal(signal.SIGSTOP)
    os.waitpid(process.pid, os.WUNTRACED)
