"""Whose table it is: 'not loaded' needs proof that the sysctls can be seen; another /proc is no other table."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import proctree
import pytest

from check_conntrack_lib.host import Host
from check_conntrack_lib.model import Counters, Missing, NotLoaded, Sample
from check_conntrack_lib.plugin.cli import main
from check_conntrack_lib.readers import sysctl_values
from check_conntrack_lib.snapshot import take_snapshot


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A kernel that tracks nothing, its other sysctls in view."""
    proctree.make(tmp_path / 'proc')
    shutil.rmtree(tmp_path / 'proc/sys/net')
    shutil.rmtree(tmp_path / 'proc/net')
    write(tmp_path / 'proc/sys/net/core/somaxconn', '4096\n')
    return tmp_path / 'proc'


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def check(tree: Path, *argv: str) -> int:
    return main(['--procfs', str(tree), '--kernel-log', 'off', '--history', 'off', *argv])


def test_not_loaded_where_the_neighbours_are_in_view(tree: Path) -> None:
    assert isinstance(sysctl_values.read(Host(str(tree))), NotLoaded)
    assert check(tree, '--not-loaded', 'ok') == 0


@pytest.mark.parametrize('hidden', ['sys', 'sys/net', 'sys/net/core'])
def test_hidden_sysctls_are_not_an_absent_module(
        hidden: str, tree: Path, capfd: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(tree / hidden)
    assert check(tree, '--not-loaded', 'ok') == 3
    out = capfd.readouterr().out
    assert 'cannot read usage: ' in out
    assert 'not loaded' not in out


def test_a_directory_that_is_no_proc_file_system(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert check(tmp_path, '--not-loaded', 'ok') == 3
    out = capfd.readouterr().out
    assert ' is no proc file system' in out
    assert 'ProcSubset' not in out


def test_a_directory_emptied_by_a_mount_hides_it(tree: Path) -> None:
    (tree / 'sys/net/netfilter').mkdir()
    assert isinstance(sysctl_values.read(Host(str(tree))), Missing)


@pytest.mark.parametrize('other', ['sys/net/nf_conntrack_max', 'net/stat/nf_conntrack', 'net/nf_conntrack',
                                   'sys/net/netfilter/nf_conntrack_tcp_timeout_close'])
def test_another_file_of_it_shows_that_it_is_loaded(other: str, tree: Path) -> None:
    write(tree / other, '1\n')
    table = sysctl_values.read(Host(str(tree)))
    assert isinstance(table, Missing)
    assert 'though connection tracking is loaded' in table.why


@pytest.mark.parametrize(('file', 'text'), [
    ('modules', 'x 1 0 - Live 0x0\nnf_conntrack 172032 4 nft_ct, Live 0x0\n'),
    ('sys/net/ipv4/netfilter/ip_conntrack_count', '5000\n')])
def test_the_list_of_modules_and_the_module_of_long_ago_show_it(file: str, text: str, tree: Path) -> None:
    write(tree / 'modules', 'nf_conntrack_netlink_of_another 1 0 - Live 0x0\n')
    assert isinstance(sysctl_values.read(Host(str(tree))), NotLoaded)
    write(tree / file, text)
    assert isinstance(sysctl_values.read(Host(str(tree))), Missing)


def test_counters_are_judged_where_the_sysctls_are_hidden(
        tree: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    proctree.make(tmp_path / 'whole')
    write(tree / 'net/stat/nf_conntrack', (tmp_path / 'whole/net/stat/nf_conntrack').read_text())
    snapshot = take_snapshot(Host(str(tree)), nullcontext)
    assert isinstance(snapshot.table, Missing)
    assert isinstance(snapshot.counters, Counters)
    sample = snapshot.sample()
    assert isinstance(sample, Sample)
    assert sample.entries == 32512
    # a packet lost since the run before is told though the table is not
    history = str(tmp_path / 'h.sqlite')
    assert check(tree, '--history', history) == 3
    text = (tree / 'net/stat/nf_conntrack').read_text().replace(' 0000000a ', ' 000000ff ')
    write(tree / 'net/stat/nf_conntrack', text)
    with sqlite3.connect(history) as db:
        db.execute('UPDATE sample SET uptime = uptime - 60')
    db.close()
    capfd.readouterr()
    assert check(tree, '--history', history) == 1
    out = capfd.readouterr().out
    assert '245 packets dropped' in out


@pytest.mark.slow
def test_export_says_loaded_only_where_it_is_known(tree: Path) -> None:
    pytest.importorskip('prometheus_client')
    seen = proctree.doctor('export', '--procfs', tree, '--kernel-log', 'off').stdout
    assert 'conntrack_loaded 0.0' in seen
    shutil.rmtree(tree / 'sys/net')
    seen = proctree.doctor('export', '--procfs', tree, '--kernel-log', 'off').stdout
    assert 'conntrack_scrape_error{signal="usage"} 1.0' in seen
    assert 'conntrack_loaded' not in seen
    assert 'initial=' not in seen


@pytest.mark.kernel
@pytest.mark.parametrize(('prepare', 'status', 'text'), [
    ('mount -t proc -o subset=pid proc /proc', 3, 'cannot read usage: no /proc/sys (ProcSubset=pid?)'),
    ('mount -t tmpfs none /proc/sys', 3, 'cannot read usage: no /proc/sys/net'),
    ('mount -t tmpfs none /proc/sys/net', 3, 'cannot read usage: no /proc/sys/net'),
    ('mount -t tmpfs none /proc/sys/net/netfilter', 3, 'cannot read usage: no /proc/sys/net'),
    ('mount --bind /dev/null /dev/kmsg', 0, ''),
])
def test_on_the_running_kernel(prepare: str, status: int, text: str) -> None:
    done = unshared(prepare, '--not-loaded', 'ok')
    assert done.returncode == status, done.stdout
    assert text in done.stdout


@pytest.mark.kernel
def test_another_hosts_proc_in_a_network_of_its_own(tmp_path: Path) -> None:
    (tmp_path / 'host').mkdir()
    done = unshared(f'mount --rbind /proc {tmp_path}/host', '--procfs', f'{tmp_path}/host', ways='-mn')
    assert done.returncode == 3, done.stdout
    assert 'shows the network of this container only' in done.stdout
    # in the network of the host the same /proc is good
    done = unshared(f'mount --rbind /proc {tmp_path}/host', '--procfs', f'{tmp_path}/host', ways='-m')
    assert done.returncode == 0, done.stdout


def unshared(prepare: str, *argv: str, ways: str = '-m') -> subprocess.CompletedProcess[str]:
    if os.geteuid() != 0:
        pytest.skip('needs root')
    check_itself = [sys.executable, str(proctree.ROOT / 'check_conntrack.py'), '--history', 'off', '--diagnose',
                    'never', *argv]
    return subprocess.run(['unshare', ways, '--propagation', 'private', 'sh', '-c', f'{prepare}; exec "$@"', 'sh',
                           *check_itself], capture_output=True, text=True, timeout=30, check=False)
