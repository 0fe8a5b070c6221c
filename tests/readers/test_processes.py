"""Which programs of the host's own run, and small files of the kernel, one value at a time."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from check_conntrack_lib.host import Host
from check_conntrack_lib.model import Missing
from check_conntrack_lib.readers import (
    addresses,
    cpu_times,
    iptables_save,
    kernel_version,
    kube_services,
    meminfo,
    nat_rules,
    process_stat,
    processes,
    slabinfo,
)
from check_conntrack_lib.readers.cpu_times import CpuTime
from check_conntrack_lib.readers.netlink import attribute
from check_conntrack_lib.readers.processes import SysctlSetter, parse_cmdline

ROOT_STATUS = 'Name:\tx\nUid:\t0\t0\t0\t0\nNSpid:\t{pid}\n'


def process(proc: Path, pid: int, name: str, cmdline: str = '', status: str = ROOT_STATUS, cgroup: str = '0::/x\n',
            mnt: str = 'mnt:[1]') -> None:
    (proc / f'{pid}/ns').mkdir(parents=True)
    for file, text in (('comm', name + '\n'), ('cmdline', cmdline), ('status', status.format(pid=pid)),
                       ('cgroup', cgroup)):
        (proc / f'{pid}/{file}').write_text(text)
    for kind in ('pid', 'user'):
        (proc / f'{pid}/ns/{kind}').symlink_to(f'{kind}:[1]')
    (proc / f'{pid}/ns/mnt').symlink_to(mnt)


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    process(tmp_path, 1, 'systemd')
    return tmp_path


ARGUMENTS = 'kube-proxy\0--conntrack-min=5\0--conntrack-max-per-core\x007\0--v=2\0--conntrack-x=$(id)\0'


def test_arguments_of_a_known_shape() -> None:
    assert parse_cmdline(ARGUMENTS) == ('--conntrack-min=5', '--conntrack-max-per-core=7')
    assert parse_cmdline('x\0--conntrack-min') == ()


@pytest.mark.parametrize('other', [
    {'status': 'Uid:\t1000\t1000\t1000\t1000\nNSpid:\t9\n'}, {'status': 'Uid:\t0\t0\t0\t0\nNSpid:\t9\t1\n'},
    {'cgroup': '0::/kubepods/x\n'}, {'cgroup': '0::/system.slice/docker-0.scope\n'}, {'mnt': 'mnt:[2]'}])
def test_the_host_s_own(proc: Path, other: dict[str, str]) -> None:
    process(proc, 8, 'k3s-server', ARGUMENTS)
    process(proc, 9, 'keepalived', **other)
    host = Host(str(proc))
    assert processes.read_running(host, ['keepalived', 'k3s-server', 'none']) == {'k3s-server'}
    assert processes.is_hosts_own(host, 9, monitor=True) is ('cgroup' in other)
    assert processes.read_setters(host) == (SysctlSetter('k3s', 8, parse_cmdline(ARGUMENTS)),)


def test_a_pod_s_kube_proxy_counts_beside_the_host_s_kubelet(proc: Path) -> None:
    for pid in (7, 8):
        process(proc, pid, 'kube-proxy', ARGUMENTS, cgroup='0::/kubepods/x\n')
    host = Host(str(proc))
    assert processes.read_setters(host) == ()
    process(proc, 9, 'kubelet')
    assert processes.read_setters(host) == (SysctlSetter('kube-proxy', 7, ()),)
    process(proc, 10, 'kubelite')
    assert processes.read_setters(host) == (SysctlSetter('MicroK8s', 10, ()),)


@pytest.mark.parametrize(('mark', 'cgroup', 'kind'), [
    ('.dockerenv', '', 'docker'), ('run/.containerenv', '', 'podman'), ('run/systemd/container', '', 'a container'),
    ('', '12:cpu:/docker/0123\n', 'docker'), ('', '0::/init.scope\n', ''), ('', None, '')])
def test_containers(proc: Path, mark: str, cgroup: str | None, kind: str) -> None:
    if mark:
        (proc / '1/root' / mark).parent.mkdir(parents=True)
        (proc / '1/root' / mark).touch()
    if cgroup is None:
        (proc / '1/cgroup').unlink()
    else:
        (proc / '1/cgroup').write_text(cgroup)
    assert processes.read_container(Host(str(proc))) == kind


def test_processes_that_hide_or_end(proc: Path) -> None:
    process(proc, 9, 'kubelite')
    (proc / '9/cmdline').unlink()
    process(proc, 10, 'k0s')
    (proc / '10/status').unlink()
    process(proc, 11, 'rke2')
    assert [one.pid for one in processes.read_setters(Host(str(proc)))] == [11]
    assert processes.read_setters(Host(str(proc / 'none'))) == ()


STAT = 'cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 1 2 3 4 5 6 7 8 90 90\ncpu12 8 7 6 5 4 3 2 1\n\nintr 5\n'


def test_cpu_times() -> None:
    assert cpu_times.parse(STAT) == {0: CpuTime(7, 36), 12: CpuTime(2, 36)}
    for text in ('', 'cpu 1 2 3 4 5 6 7 8\n', 'cpu0 1 2 3 4 5 6 7\n', 'cpu0 1 2 3 4 5 6 7 x\n'):
        with pytest.raises(ValueError, match='CPU'):
            cpu_times.parse(text)
    assert cpu_times.shares({0: CpuTime(5, 100), 1: CpuTime(5, 100), 2: CpuTime(5, 100), 3: CpuTime(5, 9)}, {
        0: CpuTime(10, 120), 1: CpuTime(4, 110), 2: CpuTime(9, 100), 4: CpuTime(9, 9)}) == {0: 0.25, 1: 0.0}
    assert cpu_times.shares({0: CpuTime(0, 0)}, {0: CpuTime(5, 1)}) == {0: 1.0}


def address(*attributes: bytes) -> bytes:
    return struct.pack('=BBBBI', 2, 24, 0, 0, 1) + b''.join(attributes)


def test_own_addresses() -> None:
    peer, own, six = bytes(4), bytes([10, 0, 0, 1]), bytes(15) + b'\1'
    assert addresses.parse([address(attribute(1, peer), attribute(2, own)), address(attribute(1, six)),
                            address(attribute(3, b'eth0')), address(attribute(1, own))]) == {own, six}
    with pytest.raises(ValueError, match='cut ifaddrmsg'):
        addresses.parse([address()[:-1]])


def test_which_kernel(tmp_path: Path) -> None:
    host = Host(str(tmp_path))
    assert (kernel_version.read_release(host), kernel_version.read_stable(host)) == ('', '')
    (tmp_path / 'sys/kernel').mkdir(parents=True)
    (tmp_path / 'sys/kernel/osrelease').write_text('6.1.0-50-amd64\n')
    (tmp_path / 'sys/kernel/version').write_text('#1 SMP Debian 6.1.175-1\n')
    assert (kernel_version.read_release(host), kernel_version.read_stable(host)) == ('6.1.0-50-amd64', '6.1.175')
    (tmp_path / 'version_signature').write_text('Ubuntu 5.15.0-204.214-generic 5.15.199\n')
    assert kernel_version.read_stable(host) == '5.15.199'


def test_memory_and_slabs(tmp_path: Path) -> None:
    host = Host(str(tmp_path))
    assert meminfo.read_total(host) is None
    (tmp_path / 'meminfo').write_text('MemTotal:       7 kB\nMemAvailable:   5 kB\n')
    assert (meminfo.read(host), meminfo.read_total(host)) == (5120, 7168)
    (tmp_path / 'slabinfo').write_text('nf_conntrack 15 20 256 16 1 : x\nnf_conntrack_ffff0 5 20 320 12 1 : x\n'
                                       'nf_conntrack_expect 9 9 9 9 9\n')
    assert slabinfo.read_entries(host) == 20
    (tmp_path / 'slabinfo').write_text('x 1 2 3 4 5\n')
    assert isinstance(slabinfo.read_entries(host), Missing)


@pytest.mark.parametrize(('partial', 'objects', 'entries'), [
    ('3 N0=1 N1=2\n', '1500 N0=700 N1=800\n', 1500), ('10000\n', '1500\n', 1500),
    # slabinfo
    ('10001 N0=10001\n', '1500 N0=1500\n', 20), ('', '1500\n', 20), ('3\n', '-1\n', 20), (None, None, 20)])
def test_entries_of_all_namespaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, partial: str | None,
                                   objects: str | None, entries: int) -> None:
    (tmp_path / 'slabinfo').write_text('nf_conntrack 20 20 256 16 1 : x\n')
    for name, text in (('partial', partial), ('objects', objects)):
        if text is not None:
            (tmp_path / name).write_text(text)
    monkeypatch.setattr(slabinfo, 'SYSFS', str(tmp_path))
    assert slabinfo.read_entries(Host(str(tmp_path))) == 20  # another machine's
    here = Host()
    monkeypatch.setattr(Host, 'path', lambda host, name: f'{tmp_path if host == here else host.procfs}/{name}')
    assert slabinfo.read_entries(here) == entries


@pytest.mark.kernel
def test_entries_of_all_namespaces_by_the_kernel() -> None:
    """Both sources, of about the same moment."""
    by_slabinfo = slabinfo.parse_entries(Host().read('slabinfo'))
    by_sysfs = slabinfo.read_entries(Host())
    assert isinstance(by_sysfs, int)
    assert abs(by_sysfs - by_slabinfo) <= 0.1 * by_slabinfo + 5000


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where programs of the system are looked for."""
    monkeypatch.setattr(iptables_save, 'DIRECTORIES', (str(tmp_path),))
    monkeypatch.setattr(iptables_save, 'nat_programs', list)
    monkeypatch.setattr(iptables_save, 'nat_programs6', list, raising=False)
    return tmp_path


def program(place: Path, name: str, text: str, status: int = 0) -> str:
    (place / name).write_text(f"#!/bin/sh\n/bin/cat <<'END'\n{text}\nEND\nexit {status}\n")
    (place / name).chmod(0o755)
    return str(place / name)


def test_services_by_what_the_programs_print(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = {'10.96.0.10', '10.96.0.11'}
    monkeypatch.setenv('PATH', '/usr/bin:/bin')
    assert kube_services.read(wanted) == {}
    program(programs, 'nft', '10.96.0.10 . udp . 53 : goto service-ULMVA6XW-kube-system/kube-dns/udp/dns\n'
                             '10.96.0.12 . udp . 53 : goto service-ULMVA6XW-a/b/udp/dns')
    found = {'10.96.0.10': 'kube-system/kube-dns'}
    assert kube_services.read(wanted) == kube_services.read({'10.96.0.10'}) == found
    program(programs, 'nft', '', 1)
    assert kube_services.read(wanted) == {}


def test_rules_by_what_the_programs_print(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = program(programs, 'iptables-save', '-A POSTROUTING -o eth0 -j MASQUERADE')
    program(programs, 'nft', 'table ip nat {\n\tchain post {\n\t\tmasquerade # handle 4')
    found = nat_rules.read()
    assert isinstance(found, tuple)
    assert [(rule.tool, rule.place) for rule in found] == [('nft', 'ip nat post')]
    monkeypatch.setattr(iptables_save, 'nat_programs', lambda: [save])
    program(programs, 'nft', '', 1)
    found = nat_rules.read()
    assert isinstance(found, tuple)
    assert [(rule.tool, rule.place) for rule in found] == [('iptables', 'POSTROUTING')]
    program(programs, 'iptables-save', '', 1)
    assert nat_rules.read() == Missing('iptables-save: no rules could be read')


@pytest.mark.parametrize(('text', 'field', 'number'), [
    ('7 (a ) b 9) S 1 2 3 4 5 2097152 6\n', process_stat.FLAGS, 2097152), ('7 (x) S 1\n', 4, 1),
    ('7 (x) S 1\n', 5, None), ('7 (x) S y\n', 4, None), ('', 9, None)])
def test_a_field_of_a_stat_file(tmp_path: Path, text: str, field: int, number: int | None) -> None:
    (tmp_path / '7').mkdir()
    (tmp_path / '7/stat').write_text(text)
    assert process_stat.read(Host(str(tmp_path)), 7, field) == number
    assert process_stat.read(Host(str(tmp_path)), 8, field) is None
