"""One round of readings as Prometheus metrics, under our own names or under node_exporter's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, UnknownMetricFamily
from prometheus_client.registry import Collector

from ...analysis.losses import log_evidence
from ...counters import COUNTERS
from ...model import KernelLog, Missing, NotLoaded, Table
from ..readings import LiveReadings
from .per_host import GROUPS, PerHost

#: what `generate_latest` writes; its own constant names another version in each of its releases
CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8'

#: Columns of the stat file that are exported only. The kernel counts in 32 bits on each CPU, and starts again at 0
#: after a wrap: what Prometheus takes for a counter's reset.
EXPORTED_ONLY: Mapping[str, str] = {
    'found': 'Lookups that found an entry; on current kernels only those of NAT for a free port.',
    'insert': 'Entries inserted; on current kernels only those that user space inserted.',
    'expect_new': 'Expected connections that came.',
    'expect_create': 'Expectations created by helpers.',
    'expect_delete': 'Expectations removed.',
}
COUNTED = {**{name: counter.help for name, counter in COUNTERS.items()}, **EXPORTED_ONLY}

#: node_exporter's collector/conntrack_linux.go has these, as gauges without a suffix
NODE_COUNTED: Mapping[str, str] = {
    'found': 'Number of lookups that found an entry.',
    'invalid': 'Number of packets that could not be tracked.',
    'ignore': 'Number of packets that needed no lookup; 0 since Linux 5.10.',
    'insert': 'Number of entries inserted.',
    'insert_failed': 'Number of entries not inserted.',
    'drop': 'Number of packets dropped by connection tracking.',
    'early_drop': 'Number of entries evicted early to make room for new ones.',
    'search_restart': 'Number of lookups begun anew because an entry moved to another hash chain.',
}


class _Readings(Collector):
    """Hands one round of readings to prometheus_client."""

    def __init__(self, reading: LiveReadings, names: str) -> None:
        self.reading = reading
        self.names = names

    def collect(self) -> Iterator[Metric]:
        yield from _node(self.reading) if self.names == 'node-exporter' else _own(self.reading)
        if isinstance(self.reading.peers, PerHost):
            yield from _per_host(self.reading.peers)
        yield _scrape_error(self.reading)


def page(reading: LiveReadings, names: str) -> bytes:
    """The whole text of one scrape, in CONTENT_TYPE."""
    registry = CollectorRegistry()
    registry.register(_Readings(reading, names))
    text: bytes = generate_latest(registry)
    return text


def _own(reading: LiveReadings) -> Iterator[Metric]:
    s = reading.snapshot
    if not isinstance(s.table, Missing):
        yield GaugeMetricFamily('conntrack_loaded', '1 where the kernel tracks connections, else 0.',
                                0 if isinstance(s.table, NotLoaded) else 1)
    if not isinstance(s.netns, Missing):
        info = GaugeMetricFamily('conntrack_netns_info', 'The network namespace that is measured, by its inode.',
                                 labels=['netns', 'initial'])
        info.add_metric([str(s.netns), str(s.initial).lower()], 1)
        yield info
    if isinstance(s.table, Table):
        yield from _table(s.table)
    totals = reading.totals()
    for name, text in COUNTED.items():
        if name in totals:
            yield CounterMetricFamily(f'conntrack_stat_{name}', text, totals[name])
    if isinstance(s.kernel_log, KernelLog):
        yield from _log(reading, s.kernel_log)


def _table(table: Table) -> Iterator[Metric]:
    yield GaugeMetricFamily('conntrack_entries', 'Entries in the table of this network namespace.', table.entries)
    yield GaugeMetricFamily('conntrack_entries_limit', 'nf_conntrack_max, in entries; +Inf: no limit.', _limit(table))
    yield GaugeMetricFamily('conntrack_usage_ratio', 'Entries by limit: 1 is full.', table.usage / 100)
    if not isinstance(table.buckets, Missing):
        yield GaugeMetricFamily('conntrack_buckets', 'Buckets of the hash table of all namespaces.', table.buckets)


def _log(reading: LiveReadings, log: KernelLog) -> Iterator[Metric]:
    s = reading.snapshot
    netns = None if isinstance(s.netns, Missing) else s.netns
    evidence = log_evidence(log, s.at.monotonic, reading.log_span, netns, s.initial)
    span = f'in the last {reading.log_span:.0f} seconds'
    yield GaugeMetricFamily('conntrack_log_table_full_lines',
                            f"'table full' lines of the kernel log {span}; rate-limited: lines are not packets.",
                            len(evidence.ages))
    yield GaugeMetricFamily('conntrack_log_suppressed_messages',
                            f'Messages of any network code that the kernel did not log {span}.', evidence.suppressed)


def _node(reading: LiveReadings) -> Iterator[Metric]:
    table = reading.snapshot.table
    if isinstance(table, Table):
        yield GaugeMetricFamily('node_nf_conntrack_entries',
                                'Number of currently allocated flow entries for connection tracking.', table.entries)
        yield GaugeMetricFamily('node_nf_conntrack_entries_limit', 'Maximum size of connection tracking table.',
                                _limit(table))
    totals = reading.totals()
    for name, text in NODE_COUNTED.items():
        if name in totals:
            yield GaugeMetricFamily(f'node_nf_conntrack_stat_{name}', text, totals[name])


def _per_host(peers: PerHost) -> Iterator[Metric]:
    yield GaugeMetricFamily('conntrack_sampled_ratio', 'Part of the table that connections by host are counted in; '
                                                       'below 1 the counts are estimates.', peers.share)
    for group in dict.fromkeys(GROUPS.values()):
        # a number that falls is no counter; a gauge must not be called total: the names are another exporter's
        family = UnknownMetricFamily(f'conntrack_{group}_connections_total',
                                     f'TCP connections to a host that are {group}.', labels=['host'])
        for host, groups in peers.hosts:
            family.add_metric([host], groups[group])
        yield family


def _scrape_error(reading: LiveReadings) -> Metric:
    errors = reading.errors()
    family = GaugeMetricFamily('conntrack_scrape_error', '1 where a reading failed and its metrics are absent, else 0.',
                               labels=['signal'])
    for one in reading.readings():
        family.add_metric([one.name], 1 if one.name in errors else 0)
    return family


def _limit(table: Table) -> int | float:
    # with 0 for 'no limit' every alert on entries / limit would fire
    return float('inf') if table.unlimited else table.maximum
