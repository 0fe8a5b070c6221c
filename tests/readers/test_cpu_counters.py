"""/proc/net/stat/nf_conntrack of every generation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from check_conntrack_lib.host import Host
from check_conntrack_lib.model import Counters, Missing
from check_conntrack_lib.readers import cpu_counters

SAMPLES = Path(__file__).parents[1] / 'samples'

#: sample, counters as `conntrack -S` gave them at the same moment
SEEN = [
    ('vm-5.10.257-debian11/A1-stat.txt', {'drop': (240, 0), 'early_drop': (60, 0), 'insert_failed': (0, 0)}),
    ('vm-6.12.107-debian13/E1-stat.txt',
     {'drop': (0, 0), 'insert_failed': (20542, 0), 'chaintoolong': (20542, 0), 'clash_resolve': (0, 0)}),
    ('uml-6.1/B1-stat.txt', {'drop': (135,), 'early_drop': (66,)}),
    ('host-6.18/stat-full2.txt', {'drop': (197, 198), 'early_drop': (3, 2)}),
]


@pytest.mark.parametrize(('sample', 'expected'), SEEN)
def test_captured_files(sample: str, expected: dict[str, tuple[int, ...]]) -> None:
    counters = cpu_counters.parse((SAMPLES / sample).read_text())
    assert {name: counters.per_cpu[name] for name in expected} == expected


def headers() -> list[tuple[str, str]]:
    text = (SAMPLES / 'stat-headers-by-tree.txt').read_text()
    return re.findall(r'^\[(.*)\]\n(entries .*)$', text, re.MULTILINE)


@pytest.mark.parametrize(('tree', 'header'), headers(), ids=lambda value: value.split()[0])
def test_every_header_by_name(tree: str, header: str) -> None:
    """Each column holds its own place, so a column read by position would show."""
    names = header.split()
    row = ' '.join(f'{names.index(name):08x}' for name in names)
    counters = cpu_counters.parse(f'{header}\n{row}\n{row}\n')
    for name, column in (('drop', 'drop'), ('chaintoolong', 'chainlength'), ('clash_resolve', 'clashres')):
        if column in names:
            assert counters.per_cpu[name] == (names.index(column),) * 2
        else:
            assert name not in counters.per_cpu


def test_unknown_columns_are_skipped() -> None:
    assert cpu_counters.parse('entries brandnew drop\n1 2 f\n').per_cpu == {'drop': (15,)}


@pytest.mark.parametrize('text', [
    '', '\n', 'entries drop\n', 'nonsense\n1\n', 'entries drop\n1\n', 'entries drop\n1 2 3\n', 'entries drop\n1 xyz\n',
    'entries drop\n1 123456789\n', 'entries drop\n1 -1\n', 'entries new\n1 1\n',
])
def test_what_is_not_this_file(text: str) -> None:
    with pytest.raises(ValueError, match=r'\w'):
        cpu_counters.parse(text)


@pytest.mark.parametrize('text', ['', 'drop entries\n', 'drop entries\n1\n', 'drop entries\n\n1 2\n', 'drop\n1\n'])
def test_no_count_in_what_is_not_this_file(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        cpu_counters.parse_entries(text)


def test_missing_and_damaged(tmp_path: Path) -> None:
    host = Host(str(tmp_path))
    missing = cpu_counters.read(host)
    assert isinstance(missing, Missing)
    assert missing.why == f'no {tmp_path}/net/stat/nf_conntrack'
    (tmp_path / 'net/stat').mkdir(parents=True)
    (tmp_path / 'net/stat/nf_conntrack').write_text('entries drop\n1 2 3\n')
    damaged = cpu_counters.read(host)
    assert isinstance(damaged, Missing)
    assert damaged.why.endswith('rows do not fit the header')
    (tmp_path / 'net/stat/nf_conntrack').write_bytes(b'x' * (2 << 20))
    large = cpu_counters.read(host)
    assert isinstance(large, Missing)
    assert 'larger than' in large.why


def test_this_kernel() -> None:
    counters = cpu_counters.read(Host())
    if isinstance(counters, Missing):
        pytest.skip(f'this kernel: {counters.why}')
    assert isinstance(counters, Counters)
    assert counters.total('drop') >= 0
