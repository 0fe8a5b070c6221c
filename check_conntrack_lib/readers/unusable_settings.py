"""Lines of sysctl.d that are meant for conntrack and set nothing: commands, no numbers, names that are no kernel's.

Old guides have net.ipv4.netfilter.nf_conntrack_max or net.ipv4.nf_conntrack_max, and 'contrack' is a common slip.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from .sysctl_files import KEY, NEW_NAME, READ_ONLY, SysctlSetting, is_old, is_usable, number

#: what follows nf_conntrack_ in kernels of any version: one that this kernel lacks is no slip
_OF_OTHER_KERNELS = (
    r'(?:acct|buckets|checksum|count|events|events_retry_timeout|expect_max|generic_timeout|helper|icmp_timeout'
    r'|icmpv6_timeout|log_invalid|max|timestamp|tcp_(?:be_liberal|loose|max_retrans|ignore_invalid_rst|no_window_check)'
    r'|tcp_timeout_(?:syn_sent2?|syn_recv|established|fin_wait|close_wait|last_ack|time_wait|close|max_retrans'
    r'|unacknowledged)|(?:udp|udplite|gre)_timeout(?:_stream)?|(?:dccp|sctp|frag6)_[a-z0-9_]+)')
#: the last part of a name that means one of conntrack's, in whatever spelling
_MEANT = r'(?:[a-z0-9]+_)?con{1,2}t?t?rack_([a-z0-9_]+)'


def unusable(settings: Iterable[SysctlSetting], names: Collection[str]) -> list[SysctlSetting]:
    """Conntrack's settings that set nothing, each with its fault. names: see `sysctl_files.effective`."""
    found = []
    settings = tuple(settings)
    # what a line with a name of this kernel sets anyway, no other name is missed for
    sets = {one.key for one in settings if one.value is not None and is_usable(one, names) and not one.is_pattern}
    for one in settings:
        if one.value is None:
            continue
        name = one.path.rpartition('/')[2]
        if not re.fullmatch(KEY, one.key):
            found += _misnamed(one, names, sets)
        elif one.fault:
            found.append(one)
        elif one.key in READ_ONLY:
            found.append(one._replace(fault=f'sets {name}, which cannot be set (nf_conntrack_max is meant)'))
        elif is_old(one) and one.path not in names:
            if one.key not in sets:
                found.append(one._replace(fault=f'says {name}={one.value}, a name that this kernel does not have'))
        elif number(one.value) is None:
            found.append(one._replace(fault=f'says {name}={one.value}, which the kernel refuses as no plain number'))
        elif one.key not in names and not one.forgiven and not re.fullmatch(_OF_OTHER_KERNELS, one.key[len(NEW_NAME):]):
            found.append(one._replace(fault=f'says {name}={one.value}, a name that no kernel has'))
    return found


def _misnamed(one: SysctlSetting, names: Collection[str], sets: Collection[str]) -> list[SysctlSetting]:
    """A line whose name is in another place, or misspelt: its key is then the one that is meant."""
    match = re.fullmatch(_MEANT, one.path.rpartition('/')[2].lower())
    key = NEW_NAME + match[1] if match and re.search(r'(?:^|\W)net/', one.path) else ''
    if key not in names or key in sets or one.forgiven or one.is_pattern:
        return []
    shown = one.path.replace('\ufeff', '(byte order mark)')
    shown = shown if '.' in shown else shown.replace('/', '.')
    return [one._replace(key=key, written=one.path,
                         fault=one.fault or f'says {shown}={one.value}, a name that this kernel does not have')]
