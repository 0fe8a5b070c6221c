"""/proc/sys/net/netfilter/nf_conntrack_*: how full the table is (net/netfilter/nf_conntrack_standalone.c)."""

from __future__ import annotations

from ..host import Host
from ..model import Missing, NotLoaded, Table

DIRECTORY = 'sys/net/netfilter/'
COUNT = DIRECTORY + 'nf_conntrack_count'
MAXIMUM = DIRECTORY + 'nf_conntrack_max'
BUCKETS = DIRECTORY + 'nf_conntrack_buckets'
#: the same value again, but shown in the initial namespace only
INITIAL_ONLY = 'sys/net/nf_conntrack_max'


def parse(text: str) -> int:
    """One decimal number; nf_conntrack_max may be negative on kernels before 5.10.257 and 6.12."""
    digits = text.strip()
    if not digits.lstrip('-').isdecimal() or not digits.isascii() or len(digits) > 20:
        raise ValueError('not a number')
    return int(digits)


def read(host: Host) -> Table | NotLoaded | Missing:
    """The table of the namespace that host shows; NotLoaded is decided by the count file alone."""
    try:
        entries = parse(host.read(COUNT))
    except FileNotFoundError:
        return NotLoaded(host.path(COUNT))
    except (OSError, ValueError) as error:
        return Missing.because(error, host.path(COUNT))
    try:
        maximum = parse(host.read(MAXIMUM))
    except (OSError, ValueError) as error:
        return Missing.because(error, host.path(MAXIMUM))
    buckets: int | Missing
    try:
        buckets = parse(host.read(BUCKETS))
    except (OSError, ValueError) as error:
        buckets = Missing.because(error, host.path(BUCKETS))
    return Table(entries, maximum, buckets)


def is_initial_namespace(host: Host) -> bool:
    """Does host show the initial network namespace?"""
    return host.exists(INITIAL_ONLY)
