"""Every kernel's captured texts, each through the reader that has to understand it, and together through the plugin.

A folder of tests/samples is a kernel: `sysctls.txt` mode, path and value of each conntrack sysctl; `counters.txt` the
stat file and, behind it, what `conntrack -S` printed at the same moment; `slabinfo.txt`; `table.txt` and `*-proc.txt`
lines of /proc/net/nf_conntrack; `*kmsg.txt` records of /dev/kmsg. Ubuntu's have neither counters nor a table in /proc.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from proctree import BOOT_ID

from check_conntrack_lib.host import Host
from check_conntrack_lib.model import Instant, Missing, Table
from check_conntrack_lib.plugin import cli
from check_conntrack_lib.readers import (
    cpu_counters,
    ctnetlink,
    kernel_log,
    proc_conntrack,
    slabinfo,
)
from check_conntrack_lib.readers import (
    sysctl_values as sysctl_values_module,
)

SAMPLES = Path(__file__).parents[1] / 'samples'
KERNELS = sorted(path.name for path in SAMPLES.iterdir() if path.is_dir())
#: those of `conntrack -S` that have another name here
NAMES = {'error': 'icmp_error', 'chaintoolong': 'chaintoolong'}


def sysctl_values(text: str) -> dict[str, str]:
    return dict(re.findall(r'^\d{3} /proc/(sys/net/\S+) = (.*)$', text, re.MULTILINE))


def moments(kernel: str) -> list[tuple[str, str, str]]:
    """Name, stat file and output of `conntrack -S` of each moment."""
    path = SAMPLES / kernel / 'counters.txt'
    return split(path.read_text()) if path.exists() else []


def split(text: str) -> list[tuple[str, str, str]]:
    found = re.findall(r'^\[(.*)\]\n(entries [^\[=]*\n)(cpu=[^\[]*)', text, re.MULTILINE)
    assert len(found) == text.count('[')
    return found


READERS: dict[str, Callable[[str], object]] = {
    r'.*stat.*\.txt': cpu_counters.parse,
    r'counters\.txt': lambda text: [cpu_counters.parse(stat) for _, stat, _ in split(text)],
    r'.*kmsg\.txt': lambda text: [line for line in map(kernel_log.parse_record, text.encode().splitlines()) if line],
    r'(.*-proc|table)\.txt': lambda text: [proc_conntrack.parse_line(line) for line in text.splitlines()],
    r'ctnetlink\.txt': lambda text: list(ctnetlink.parse_flows(
        [bytes.fromhex(line.split()[1]) for line in text.splitlines()])),
    r'slabinfo\.txt': lambda text: slabinfo.parse(text, 4096),
    r'sysctls\.txt': lambda text: [sysctl_values_module.parse(value) for value in sysctl_values(text).values()],
}


@pytest.mark.parametrize('path', sorted(SAMPLES.glob('*/*')), ids=lambda path: f'{path.parent.name}/{path.name}')
def test_every_sample_is_read(path: Path) -> None:
    """A text that no reader takes would prove nothing."""
    reader, = (read for pattern, read in READERS.items() if re.fullmatch(pattern, path.name))
    assert reader(path.read_text())


def test_every_folder_is_a_kernel() -> None:
    assert len(KERNELS) >= 6
    for kernel in KERNELS:
        names = {path.name for path in (SAMPLES / kernel).iterdir()}
        assert {'sysctls.txt', 'slabinfo.txt'} <= names
        assert any(name.endswith('kmsg.txt') for name in names)
        assert ('counters.txt' in names) == ('table.txt' in names) == ('ubuntu' not in kernel)


@pytest.mark.parametrize(('kernel', 'moment', 'stat', 'conntrack'), [
    pytest.param(kernel, *one, id=f'{kernel}-{one[0]}') for kernel in KERNELS for one in moments(kernel)])
def test_counters_are_those_of_conntrack(kernel: str, moment: str, stat: str, conntrack: str) -> None:
    counters = cpu_counters.parse(stat)
    seen = [dict(re.findall(r'(\w+)=(\d+)', line)) for line in conntrack.splitlines()]
    compared = {NAMES.get(name, name) for name in seen[0]} & set(counters.per_cpu)
    assert {'drop', 'early_drop', 'insert_failed', 'invalid', 'search_restart', 'clash_resolve'} <= compared
    for name in seen[0]:
        if NAMES.get(name, name) in compared:
            assert counters.per_cpu[NAMES.get(name, name)] == tuple(int(cpu[name]) for cpu in seen)
    assert ('chaintoolong' in counters.per_cpu) == ('chaintoolong' in seen[0]), moment


@pytest.fixture(params=KERNELS)
def kernel(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def tree(kernel: str, tmp_path: Path) -> Path:
    """The kernel's /proc with a table of 100 entries that is full."""
    counters = moments(kernel)
    values = sysctl_values((SAMPLES / kernel / 'sysctls.txt').read_text())
    for name in ('nf_conntrack_count', 'nf_conntrack_max'):
        values[f'sys/net/netfilter/{name}'] = '100'
    files = {**values, 'sys/kernel/random/boot_id': BOOT_ID,
             'slabinfo': (SAMPLES / kernel / 'slabinfo.txt').read_text()}
    if counters:
        files['net/stat/nf_conntrack'] = counters[0][1]
        files['net/nf_conntrack'] = (SAMPLES / kernel / 'table.txt').read_text()
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + '\n' * (not text.endswith('\n')))
    (tmp_path / 'self/ns').mkdir(parents=True)
    # the one that lines of 6.18 name; older ones name none
    (tmp_path / 'self/ns/net').symlink_to('net:[4026532246]')
    return tmp_path


def test_the_table_and_its_timeouts(tree: Path) -> None:
    host = Host(str(tree))
    table, known = sysctl_values_module.read(host), sysctl_values_module.read_timeouts(host)
    assert isinstance(table, Table)
    assert (table.entries, table.maximum) == (100, 100)
    assert table.buckets in (4096, 8192, 262144)
    assert not isinstance(known, Missing)
    assert (known['tcp_timeout_established'], known['tcp_timeout_time_wait'], known['udp_timeout']) == (432000, 120, 30)
    assert slabinfo.read(host) in (256, 4096 / 12)


def test_the_plugin_on_a_full_table(kernel: str, tree: Path, capfd: pytest.CaptureFixture[str]) -> None:
    log = next(path for path in sorted((SAMPLES / kernel).glob('*kmsg.txt')) if 'expect' not in path.name)
    last = max(line.stamp for line in map(kernel_log.parse_record, log.read_bytes().splitlines()) if line)
    status = cli.main(['--procfs', str(tree), '--kernel-log', str(log), '--history', 'off', '-v'],
                      lambda: Instant(1.795e9, last + 1, last + 1))
    out, err = capfd.readouterr()
    assert (status, err) == (2, '')
    assert out.startswith('CONNTRACK CRITICAL - table full')
    assert ' 100% used (100 of 100)' in out
    assert re.search(r'^kernel log: \d+ "table full" messages', out, re.MULTILINE)
    assert ('counters not checked: ' in out) == ('ubuntu' in kernel)


def test_the_docs_name_every_kernel() -> None:
    told = (SAMPLES.parent.parent / 'docs/internals.md').read_text().split('\n## Tested versions\n')[1]
    assert [kernel for kernel in KERNELS if not re.search(rf'\b{version(kernel)}\b', told)] == []


def version(kernel: str) -> str:
    found = re.search(r'\d+\.\d+', kernel)
    assert found
    return found[0]
