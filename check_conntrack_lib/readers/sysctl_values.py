"""/proc/sys/net/netfilter/nf_conntrack_*: how full the table is (net/netfilter/nf_conntrack_standalone.c)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress

from ..host import Host
from ..model import Missing, NotLoaded, Table
from . import cpu_counters

#: the folder of the keys below /proc/sys, and how each begins
KEYS, PREFIX = 'net/netfilter/', 'nf_conntrack_'
DIRECTORY = f'sys/{KEYS}'
COUNT = DIRECTORY + 'nf_conntrack_count'
MAXIMUM = DIRECTORY + 'nf_conntrack_max'
BUCKETS = DIRECTORY + 'nf_conntrack_buckets'
#: for `read_values`: does the kernel count packets and bytes (net/netfilter/nf_conntrack_acct.c)?
ACCOUNTING = KEYS + 'nf_conntrack_acct'
#: the same value again, but shown in the initial namespace only
INITIAL_ONLY = 'sys/net/nf_conntrack_max'
#: of the module ip_conntrack
BEFORE_2_6_20 = 'sys/net/ipv4/netfilter/ip_conntrack_count'
#: also in the initial namespace only (net/core/sysctl_net_core.c), and there without the module, too
INITIAL_CORE = 'sys/net/core/netdev_budget'


def parse(text: str) -> int:
    """One decimal number; nf_conntrack_max may be negative on kernels before 5.10.257 and 6.12."""
    digits = text.strip()
    # 18 digits: what is longer may be no 64-bit number, which is all that the history can keep
    if not digits.lstrip('-').isdecimal() or not digits.isascii() or len(digits) > 18:
        raise ValueError('not a number')
    return int(digits)


def read(host: Host) -> Table | NotLoaded | Missing:
    """The table of the namespace that host shows; NotLoaded only where the kernel's other sysctls can be seen."""
    try:
        entries = parse(host.read(COUNT))
    except FileNotFoundError:
        return _without_count(host)
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


def _without_count(host: Host) -> NotLoaded | Missing:
    """Is connection tracking not loaded, or is its count hidden from this process?"""
    if not host.exists('sys'):
        if not (host.exists('self') or host.exists('1')):
            return Missing(f'{host.procfs} is no proc file system', 'mount one there, or name another with --procfs')
        return Missing(f'no {host.path("sys")} (ProcSubset=pid?)', 'a unit with ProcSubset=pid has no /proc/sys')
    try:
        shown = {name: os.listdir(host.path(f'sys/net/{name}')) for name in os.listdir(host.path('sys/net'))
                 if os.path.isdir(host.path(f'sys/net/{name}'))}
    except FileNotFoundError:
        shown = {}
    except OSError as error:
        return Missing.because(error, host.path('sys/net'))
    # a kernel with network has net/core or net/ipv4, and no directory of /proc/sys without a file
    if not any(shown.values()) or shown.get('netfilter') == []:
        return Missing(f'no {host.path("sys/net")}: something else is mounted there',
                       'a file system over /proc/sys hides it: a container, or InaccessiblePaths= in a unit')
    if any(name.startswith(PREFIX) for name in shown.get('netfilter', ())) or _is_loaded(host):
        return Missing(f'no {host.path(COUNT)}, though connection tracking is loaded',
                       'before Linux 5.10 the kernel hides it in a user namespace: run the check on the host')
    return NotLoaded(host.path(COUNT))


def _is_loaded(host: Host) -> bool:
    """Do other files than the sysctls show that the kernel tracks connections?"""
    if any(host.exists(name) for name in (INITIAL_ONLY, cpu_counters.FILE, 'net/nf_conntrack', BEFORE_2_6_20)):
        return True
    with suppress(OSError, ValueError):  # without modules, or hidden as well
        if re.search('^nf_conntrack ', host.read('modules'), re.MULTILINE):
            return True
    # the module makes its sysctls in every network namespace
    return host.procfs == '/proc' and os.path.isdir('/sys/module/nf_conntrack')


def is_initial_namespace(host: Host) -> bool:
    """Does host show the initial network namespace?"""
    return host.exists(INITIAL_ONLY) or (host.exists(INITIAL_CORE) and not host.exists(COUNT))


def read_values(host: Host, keys: Iterable[str]) -> dict[str, int]:
    """The running values of these keys, paths below /proc/sys. One that this kernel lacks, or hides, is left out."""
    values = {}
    for key in keys:
        with suppress(OSError, ValueError):  # every file depends on the kernel's version and configuration
            values[key] = parse(host.read(f'sys/{key}'))
    return values


def names(host: Host) -> frozenset[str]:
    """The path below /proc/sys of every sysctl of connection tracking that this kernel has."""
    found = {'net/nf_conntrack_max'} if host.exists(INITIAL_ONLY) else set()
    for folder in ('net/netfilter', 'net/ipv4/netfilter'):
        with suppress(OSError):
            found |= {f'{folder}/{name}' for name in os.listdir(host.path(f'sys/{folder}')) if '_conntrack_' in name}
    return frozenset(found)


def read_timeouts(host: Host) -> dict[str, int] | Missing:
    """This namespace's timeouts in seconds, by what follows nf_conntrack_ ('tcp_timeout_established')."""
    try:
        names = [name for name in os.listdir(host.path(DIRECTORY)) if 'timeout' in name and name.startswith(PREFIX)]
    except OSError as error:
        return Missing.because(error, host.path(DIRECTORY))
    values = read_values(host, (f'{KEYS}{name}' for name in names))
    return {key[len(KEYS + PREFIX):]: value for key, value in values.items()}


def read_flowtable_timeouts(host: Host) -> dict[str, int]:
    """Seconds of silence after which a flowtable gives a flow back, by 'nf_flowtable_tcp_timeout' and so on (5.15)."""
    names = ('nf_flowtable_tcp_timeout', 'nf_flowtable_udp_timeout')
    found = read_values(host, (KEYS + name for name in names))
    return {name: found[KEYS + name] for name in names if KEYS + name in found}
