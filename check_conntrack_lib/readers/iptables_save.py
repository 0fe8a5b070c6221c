"""Programs that print iptables' table nat without making the kernel load it, as those of iptables-legacy may.

Being asked for a table that is not there, the kernel loads iptable_nat, and with it NAT for every connection
(net/ipv4/netfilter/ip_tables.c, xt_request_find_table_lock).
"""

from __future__ import annotations

import os

#: nobody but root can write there
DIRECTORIES = ('/usr/sbin', '/sbin', '/usr/bin', '/bin')


def find(program: str) -> str:
    """The path of a program of the system, whatever PATH says; '' where there is none."""
    paths = (f'{directory}/{program}' for directory in DIRECTORIES)
    return next((path for path in paths if os.access(path, os.X_OK)), '')


def programs(command: str, tables: str) -> tuple[str, ...]:
    """Paths of the command's `-save`, each implementation once: of legacy iptables only where its table nat exists.

    command: iptables or ip6tables; tables: the file of the names of the legacy tables, net/ip_tables_names.
    """
    found: dict[str, str] = {}
    for variant in ('', '-nft', '-legacy'):
        path = find(f'{command}{variant}-save')
        if path:
            found.setdefault(os.path.realpath(path), path)
    legacy = _has_nat(tables)
    return tuple(path for real, path in found.items() if legacy or 'nft' in os.path.basename(real))


def nat_programs() -> tuple[str, ...]:
    """Those for the rules of IPv4 in the network namespace of this thread."""
    return programs('iptables', '/proc/thread-self/net/ip_tables_names')


def nat_programs6() -> tuple[str, ...]:
    """Those for the rules of IPv6 in the network namespace of this thread."""
    return programs('ip6tables', '/proc/thread-self/net/ip6_tables_names')


def _has_nat(tables: str) -> bool:
    try:
        with open(tables, encoding='ascii') as file:
            return 'nat' in file.read(4096).split()
    except (OSError, ValueError):
        # only root may read it; without the module it is not there
        return False
