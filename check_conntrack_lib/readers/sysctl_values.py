"""/proc/sys/net/netfilter/nf_conntrack_*: how full the table is (net/netfilter/nf_conntrack_standalone.c)."""

from __future__ import annotations

import os
from collections.abc import Iterable

from ..host import Host
from ..model import Missing, NotLoaded, Table

KEYS, PREFIX = 'net/netfilter/', 'nf_conntrack_'
DIRECTORY = f'sys/{KEYS}'
COUNT = DIRECTORY + 'nf_conntrack_count'
MAXIMUM = DIRECTORY + 'nf_conntrack_max'
BUCKETS = DIRECTORY + 'nf_conntrack_buckets'
#: the same value again, but shown in the initial namespace only
INITIAL_ONLY = 'sys/net/nf_conntrack_max'


def parse(text: str) -> int:
    """One decimal number; nf_conntrack_max may be negative on kernels before 5.10.257 and 6.12."""
    digits = text.strip()
    # 18 digits: what is longer may be no 64-bit number, which is all that the recorder can keep
    if not digits.lstrip('-').isdecimal() or not digits.isascii() or len(digits) > 18:
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


def read_values(host: Host, keys: Iterable[str]) -> dict[str, int]:
    """The running values of these keys, paths below /proc/sys. One that this kernel lacks, or hides, is left out."""
    values = {}
    for key in keys:
        try:
            values[key] = parse(host.read(f'sys/{key}'))
        except (OSError, ValueError):
            continue  # every file depends on the kernel's version and configuration
    return values


def read_timeouts(host: Host) -> dict[str, int] | Missing:
    """This namespace's timeouts in seconds, by what follows nf_conntrack_ ('tcp_timeout_established')."""
    try:
        names = [name for name in os.listdir(host.path(DIRECTORY)) if 'timeout' in name and name.startswith(PREFIX)]
    except OSError as error:
        return Missing.because(error, host.path(DIRECTORY))
    values = read_values(host, (f'{KEYS}{name}' for name in names))
    return {key[len(KEYS + PREFIX):]: value for key, value in values.items()}
