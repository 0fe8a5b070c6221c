"""The files below /proc/sys/net, one that lacks after the other."""

from __future__ import annotations

from pathlib import Path

import pytest

from check_conntrack_lib.host import Host
from check_conntrack_lib.model import Missing, NotLoaded, Table
from check_conntrack_lib.readers import cpu_counters, sysctl_values
from check_conntrack_lib.readers.sysctl_values import is_initial_namespace, names, parse, read

NETFILTER = 'sys/net/netfilter/nf_conntrack_'


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return with_files(Host(str(tmp_path)), {f'{NETFILTER}count': '5', f'{NETFILTER}max': '100\n',
                                            f'{NETFILTER}buckets': ' 64'})


def with_files(host: Host, files: dict[str, str | None]) -> Host:
    for name, text in files.items():
        file = Path(host.path(name))
        file.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            file.unlink()
        else:
            file.write_text(text)
    return host


@pytest.mark.parametrize('text', ['9' * 19, '', '-', '1 2', '\u0665', '1_0', '0x1'])
def test_no_number(text: str) -> None:
    with pytest.raises(ValueError, match='not a number'):
        parse(text)


def test_numbers() -> None:
    assert (parse('9' * 18), parse(' -1\n'), parse('0')) == (10**18 - 1, -1, 0)


def test_a_table(host: Host) -> None:
    assert read(host) == Table(5, 100, 64)
    with_files(host, {f'{NETFILTER}buckets': None})
    assert read(host) == Table(5, 100, Missing(f'{host.path(NETFILTER)}buckets: No such file or directory'))
    with_files(host, {f'{NETFILTER}max': None})
    assert read(host) == Missing(f'{host.path(NETFILTER)}max: No such file or directory')
    with_files(host, {f'{NETFILTER}count': 'x'})
    assert read(host) == Missing(f'{host.path(NETFILTER)}count: not a number')


@pytest.mark.parametrize(('files', 'why'), [
    ({}, '{} is no proc file system'), ({'self/x': ''}, 'no {}/sys (ProcSubset=pid?)'),
    ({'1/x': ''}, 'no {}/sys (ProcSubset=pid?)'),
    ({'sys/kernel/x': ''}, 'no {}/sys/net: something else is mounted there'),
    ({'sys/net/x': ''}, 'no {}/sys/net: something else is mounted there'),
    ({'sys/net/ipv4/x': '', f'{NETFILTER}max': ''},
     'no {}/sys/net/netfilter/nf_conntrack_count, though connection tracking is loaded'),
    *(({'sys/net/ipv4/x': '', name: ''},
       'no {}/sys/net/netfilter/nf_conntrack_count, though connection tracking is loaded')
      for name in ('sys/net/nf_conntrack_max', 'net/stat/nf_conntrack', 'net/nf_conntrack')),
    ({'sys/net/ipv4/x': ''}, ''), ({'sys/net/ipv4/x': '', 'sys/net/netfilter/nf_log': ''}, ''),
])
def test_without_a_count(tmp_path: Path, files: dict[str, str | None], why: str) -> None:
    host = with_files(Host(str(tmp_path)), files)
    found = read(host)
    if why:
        assert isinstance(found, Missing)
        assert found.why == why.format(tmp_path)
        assert found.remedy
    else:
        assert found == NotLoaded(host.path(f'{NETFILTER}count'))


def test_an_empty_netfilter_directory_is_something_else(tmp_path: Path) -> None:
    host = with_files(Host(str(tmp_path)), {'sys/net/ipv4/x': ''})
    (tmp_path / 'sys/net/netfilter').mkdir()
    assert isinstance(read(host), Missing)


@pytest.mark.parametrize(('files', 'initial'), [
    ({}, False), ({'sys/net/nf_conntrack_max': ''}, True), ({'sys/net/core/netdev_budget': ''}, False),
    ({'sys/net/core/netdev_budget': '', f'{NETFILTER}count': None}, True), ({f'{NETFILTER}count': None}, False)])
def test_the_initial_namespace(host: Host, files: dict[str, str | None], initial: bool) -> None:
    assert is_initial_namespace(with_files(host, files)) is initial


def test_timeouts_and_names(host: Host) -> None:
    with_files(host, {f'{NETFILTER}udp_timeout': '30', f'{NETFILTER}tcp_timeout_close': '10',
                      f'{NETFILTER}x_timeout': '-',
                      'sys/net/netfilter/nf_flowtable_tcp_timeout': '7', 'sys/net/nf_conntrack_max': '100',
                      'sys/net/ipv4/netfilter/ip_conntrack_max': '100'})
    assert sysctl_values.read_timeouts(host) == {'udp_timeout': 30, 'tcp_timeout_close': 10}
    assert sysctl_values.read_flowtable_timeouts(host) == {'nf_flowtable_tcp_timeout': 7}
    assert names(host) == {f'net/netfilter/nf_conntrack_{name}' for name in (
        'count', 'max', 'buckets', 'udp_timeout', 'tcp_timeout_close', 'x_timeout')} | {
        'net/nf_conntrack_max', 'net/ipv4/netfilter/ip_conntrack_max'}
    with_files(host, {'sys/net/nf_conntrack_max': None})
    assert 'net/nf_conntrack_max' not in names(host)
    missing = Host(host.path('nowhere'))
    assert sysctl_values.read_timeouts(missing) == Missing(
        f'{missing.path("sys/net/netfilter/")}: No such file or directory')
    assert names(missing) == frozenset()


@pytest.mark.parametrize(('text', 'entries'), [
    ('entries drop\n0000000f 1\n0000000f 2\n', 15), ('drop entries\n1 ffffffff\n', 0xffffffff),
    ('entries drop\n1\n', None),
    ('drop\n1\n', None), ('entries\n', None), ('', None), ('entries\n1ffffffff\n', None), ('entries\n-1\n', None),
    ('entries\n\n', None)])
def test_the_count_in_the_counters_file(tmp_path: Path, text: str, entries: int | None) -> None:
    host = with_files(Host(str(tmp_path)), {'net/stat/nf_conntrack': text})
    assert cpu_counters.read_entries(host) == entries


def test_columns_that_nothing_judges(tmp_path: Path) -> None:
    host = Host(str(tmp_path))
    lacking = Missing(f'no {tmp_path}/net/stat/nf_conntrack',
                      'this kernel is built without CONFIG_NF_CONNTRACK_PROCFS')
    assert cpu_counters.read_columns(host, ['searched']) == lacking
    assert cpu_counters.read(host) == lacking
    with_files(host, {'net/stat/nf_conntrack': 'entries searched\n1 f\n1 10\n\n'})
    assert cpu_counters.read_columns(host, ['searched', 'new']) == {'searched': (15, 16)}
    with_files(host, {'net/stat/nf_conntrack': 'entries\n'})
    assert cpu_counters.read_columns(host, ['x']) == Missing(f'{tmp_path}/net/stat/nf_conntrack: no CPU rows')
