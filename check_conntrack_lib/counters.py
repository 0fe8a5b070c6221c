"""The per-CPU counters (struct ip_conntrack_stat, include/linux/netfilter/nf_conntrack_common.h).

To add a counter, add a line here: the readers, the history, the export and the performance data follow. To compare it
with thresholds, add a row to the table of signals (plugin/signals.py).
"""

from __future__ import annotations

from collections.abc import Mapping

from .namedtuples import NamedTuple


class Counter(NamedTuple):
    """One counter, in packets since the network namespace was made; 32 bits on each possible CPU."""

    #: its column of /proc/net/stat/nf_conntrack (ct_cpu_seq_show, nf_conntrack_standalone.c)
    column: str
    #: CTA_STATS_* (enum ctattr_stats_cpu, include/uapi/linux/netfilter/nfnetlink_conntrack.h)
    attribute: int
    #: stands for it in the history's rows in which it is 0 on every CPU; never given to another counter
    letter: str
    #: for the export
    help: str
    #: shown as a rate in the performance data
    rate: bool = False


#: by the names of `conntrack -S`
COUNTERS: Mapping[str, Counter] = {
    'drop': Counter('drop', 10, 'd', 'Packets dropped: no room or no memory for an entry, a clash not resolved, or a '
                                     'protocol error.', rate=True),
    'early_drop': Counter('early_drop', 11, 'e', 'Entries evicted to make room for new ones.', rate=True),
    'insert_failed': Counter('insert_failed', 9, 'f', 'Entries not inserted, each with a packet dropped; includes '
                                                      'chaintoolong. Before Linux 5.10 resolved ones count, too.',
                             rate=True),
    'chaintoolong': Counter('chainlength', 15, 'c', 'Packets dropped because a hash chain was too long (Linux 5.15 and '
                                                    'later).', rate=True),
    'clash_resolve': Counter('clashres', 14, 'r', 'Clashes of two packets for one entry, resolved without loss.'),
    'invalid': Counter('invalid', 4, 'i', 'Packets that could not be tracked; conntrack itself lets them pass.',
                       rate=True),
    'icmp_error': Counter('icmp_error', 12, 'm', 'ICMP packets that failed their checks; conntrack itself lets them '
                                                 'pass.'),
    'search_restart': Counter('search_restart', 13, 's', 'Lookups restarted because an entry moved to another hash '
                                                         'chain.'),
    'found': Counter('found', 2, 'o', 'Lookups that found an entry; on current kernels only those of NAT for a free '
                                      'port.'),
}
