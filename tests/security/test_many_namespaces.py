"""--netns all where anybody can make namespaces: what is the host's is named first, and a bad name costs itself."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import laboratory
import pytest
from hostile import NOBODY

from check_conntrack_lib.deadline import OutOfTime
from check_conntrack_lib.host import Host
from check_conntrack_lib.netns import discover, owner
from check_conntrack_lib.netns.discover import Namespace

PYTHON, SCRIPT = sys.executable, Path(__file__).parents[2] / 'check_conntrack.py'
#: a network namespace in a user namespace of its own, with a table that is to hold so many entries
HOLD = """
import ctypes, os, socket, sys, time
uid, entries, name = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3].encode()
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(1, 9)
if uid:
    os.setgroups([]); os.setgid(uid); os.setuid(uid); libc.prctl(4, 1)
    if libc.unshare(0x10000000 | 0x40000000):
        print('no', flush=True); sys.exit()
    open('/proc/self/setgroups', 'w').write('deny')
    open('/proc/self/uid_map', 'w').write(f'0 {uid} 1')
    open('/proc/self/gid_map', 'w').write(f'0 {uid} 1')
else:
    libc.unshare(0x40000000)
os.system('ip link set lo up; nft "add table ip t; add chain ip t c { type filter hook output priority 0; }; '
          'add rule ip t c ct state new accept"')
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for k in range(entries):
    try:
        s.sendto(b'x', (f'127.{k >> 16 & 255}.{k >> 8 & 255}.{k & 255 or 1}', 9))
    except OSError:
        pass
libc.prctl(15, name, 0, 0, 0)
print('ready', flush=True)
time.sleep(100)
"""


def test_one_bad_name_costs_only_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.stat
    faults = {'io': errno.EIO, 'stale': errno.ESTALE, 'long': errno.ENAMETOOLONG, 'memory': errno.ENOMEM}

    def stat(path: object, *args: object, **names: object) -> os.stat_result:
        number = faults.get(os.path.basename(str(path)))
        if number:
            raise OSError(number, os.strerror(number))
        return real(path, *args, **names)  # type: ignore[call-overload, no-any-return]

    place = tmp_path / '1/root/run/netns'
    place.mkdir(parents=True)
    (tmp_path / 'self/ns').mkdir(parents=True)
    (tmp_path / 'self/ns/net').symlink_to('net:[7]')
    (place / 'loop').symlink_to('loop')
    for name in faults:
        (place / name).touch()
    (tmp_path / '20/ns').mkdir(parents=True)
    (tmp_path / '20/ns/net').symlink_to('net:[8]')
    monkeypatch.setattr(os, 'stat', stat)
    found = discover.find(Host(str(tmp_path)))
    assert {one.inode for one in found.namespaces} == {7, 8}

    def hung(path: object, *args: object, **names: object) -> os.stat_result:
        raise OutOfTime('no answer')

    monkeypatch.setattr(os, 'stat', hung)
    with pytest.raises(OutOfTime):
        discover.find(Host(str(tmp_path)))


@pytest.fixture
def lab() -> Iterator[laboratory.Namespace]:
    why = laboratory.why_not()
    if why:
        pytest.skip(why)
    with laboratory.namespace() as made:
        yield made


def holder(stack: ExitStack, uid: int, entries: int, name: str) -> subprocess.Popen[str]:
    process = subprocess.Popen([PYTHON, '-c', HOLD, str(uid), str(entries), name], stdout=subprocess.PIPE, text=True)
    stack.callback(process.wait)
    stack.callback(process.kill)
    assert process.stdout
    if process.stdout.readline() != 'ready\n':
        pytest.skip('this kernel gives no user namespaces to users')
    return process


def check(*argv: str) -> str:
    return subprocess.run([PYTHON, str(SCRIPT), '--kernel-log', 'off', '--diagnose', 'never', '--settings-check', 'off',
                           '--history', 'off', '--netns', 'all', *argv], capture_output=True, text=True,
                          timeout=60, check=False).stdout


@pytest.mark.kernel
def test_throwaway_namespaces_hide_no_named_one(lab: laboratory.Namespace) -> None:
    """Six of nobody's, fuller than the victim."""
    with ExitStack() as stack, laboratory.maximum(3000):
        for k in range(6):
            holder(stack, NOBODY, 2950, f'job{k}')
        with lab.in_netns():
            subprocess.run([PYTHON, '-c', 'import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); '
                            '[s.sendto(b"x", (f"127.1.{k >> 8}.{k & 255 or 1}", 9)) for k in range(2700)]'], check=True)
        text = check('-w', '85', '-c', '99')
        first, *rest = text.splitlines()
        assert first.startswith(f'CONNTRACK WARNING - {lab.name}: '), text
        assert text.index(lab.name) < text.index('job')
        assert '2 more in trouble' in text
        assert any(line.startswith(f'worst namespaces: {lab.name} ') for line in rest), text
        # a worse one of another user keeps the state
        text = check('-w', '85', '-c', '95')
        assert text.startswith(f'CONNTRACK CRITICAL - {lab.name}: CRITICAL in job'), text
        assert 'of another user' in text.splitlines()[0]


@pytest.mark.kernel
def test_whose_a_namespace_is(lab: laboratory.Namespace) -> None:
    with ExitStack() as stack:
        theirs, roots = holder(stack, NOBODY, 0, 'a'), holder(stack, 0, 0, 'b')
        assert owner.is_of_another_user(Host(), Namespace(1, pids=(theirs.pid,)))
        assert not owner.is_of_another_user(Host(), Namespace(1, pids=(roots.pid,)))
        assert not owner.is_of_another_user(Host(), Namespace(1, path=lab.path))
        assert not owner.is_of_another_user(Host(), Namespace(1))
