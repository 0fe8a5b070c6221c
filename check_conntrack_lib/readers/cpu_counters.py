"""/proc/net/stat/nf_conntrack: per-CPU counters (ct_cpu_seq_show, net/netfilter/nf_conntrack_standalone.c).

The header names the columns and has changed twice (5.10, 5.15): a column is found by its name, an unknown one is
skipped, an absent one is absent. Each row is one possible CPU; `entries` repeats the table's count in every row.
"""

from __future__ import annotations

from collections.abc import Collection

from ..counters import COUNTERS
from ..host import STAT, Host
from ..model import Counters, Missing

FILE = STAT


def columns(text: str, names: Collection[str]) -> dict[str, tuple[int, ...]]:
    """The columns of these names as far as there are any, one value a CPU row.

    Raises ValueError for a text that is not this file.
    """
    lines = text.splitlines()
    header = lines[0].split() if lines else []
    if 'entries' not in header:
        raise ValueError('no header line')
    rows = [line.split() for line in lines[1:] if line.strip()]
    if not rows:
        raise ValueError('no CPU rows')
    if any(len(row) != len(header) for row in rows):
        raise ValueError('rows do not fit the header')
    return {name: tuple(_hexadecimal(row[k]) for row in rows) for k, name in enumerate(header) if name in names}


def parse(text: str) -> Counters:
    """Counters by their netlink names. Raises ValueError for a text that is not this file."""
    found = columns(text, [counter.column for counter in COUNTERS.values()])
    if 'drop' not in found:
        raise ValueError('no drop column')
    return Counters({name: found[counter.column] for name, counter in COUNTERS.items() if counter.column in found},
                    FILE)


def parse_entries(text: str) -> int:
    """The table's count, which every row repeats. Raises ValueError."""
    header, row = (line.split() for line in text.splitlines()[:2])
    if len(row) != len(header):
        raise ValueError('rows do not fit the header')
    return _hexadecimal(row[header.index('entries')])


def read(host: Host) -> Counters | Missing:
    """The counters of the namespace that host shows, readable by anyone where the kernel has the file."""
    try:
        return parse(host.read(FILE))
    except (OSError, ValueError) as error:
        return _missing(error, host)


def read_entries(host: Host) -> int | None:
    """The table's count, where nf_conntrack_count is hidden; None: unknown."""
    try:
        return parse_entries(host.read(FILE))
    except (OSError, ValueError):
        return None  # what is wrong with the file is reported with the counters


def read_columns(host: Host, names: Collection[str]) -> dict[str, tuple[int, ...]] | Missing:
    """`columns` of the same file, for those that nothing judges and nobody records."""
    try:
        return columns(host.read(FILE), names)
    except (OSError, ValueError) as error:
        return _missing(error, host)


def _missing(error: Exception, host: Host) -> Missing:
    if isinstance(error, FileNotFoundError):
        return Missing(f'no {host.path(FILE)}', 'this kernel is built without CONFIG_NF_CONNTRACK_PROCFS')
    return Missing.because(error, host.path(FILE))


def _hexadecimal(digits: str) -> int:
    if not 1 <= len(digits) <= 8 or not digits.isalnum():
        raise ValueError('not a 32-bit counter')
    return int(digits, 16)
