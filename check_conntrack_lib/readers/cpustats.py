"""/proc/net/stat/nf_conntrack: per-CPU counters (ct_cpu_seq_show, net/netfilter/nf_conntrack_standalone.c).

The header names the columns and has changed twice (5.10, 5.15): a column is found by its name, an unknown one is
skipped, an absent one is absent. Each row is one possible CPU; `entries` repeats the table's count in every row.
"""

from __future__ import annotations

from ..host import Host
from ..model import COUNTERS, Counters, Missing

FILE = 'net/stat/nf_conntrack'


def parse(text: str) -> Counters:
    """Counters by their netlink names. Raises ValueError for a text that is not this file."""
    lines = text.splitlines()
    header = lines[0].split() if lines else []
    if 'entries' not in header:
        raise ValueError('no header line')
    rows = [line.split() for line in lines[1:] if line.strip()]
    if not rows:
        raise ValueError('no CPU rows')
    if any(len(row) != len(header) for row in rows):
        raise ValueError('rows do not fit the header')
    per_cpu = {}
    for name, column in COUNTERS.items():
        if column in header:
            k = header.index(column)
            per_cpu[name] = tuple(_hexadecimal(row[k]) for row in rows)
    if 'drop' not in per_cpu:
        raise ValueError('no drop column')
    return Counters(per_cpu, FILE)


def parse_entries(text: str) -> int:
    """The table's count, which every row repeats. Raises ValueError."""
    header, row = (line.split() for line in text.splitlines()[:2])
    return _hexadecimal(row[header.index('entries')])


def read(host: Host) -> Counters | Missing:
    """The counters of the namespace that host shows, readable by anyone where the kernel has the file."""
    try:
        text = host.read(FILE)
    except FileNotFoundError:
        return Missing(f'no {host.path(FILE)}', 'this kernel is built without CONFIG_NF_CONNTRACK_PROCFS')
    except (OSError, ValueError) as error:
        return Missing.because(error, host.path(FILE))
    try:
        return parse(text)
    except ValueError as error:
        return Missing.because(error, host.path(FILE))


def _hexadecimal(digits: str) -> int:
    if not 1 <= len(digits) <= 8 or not digits.isalnum():
        raise ValueError('not a 32-bit counter')
    return int(digits, 16)
