"""One round of readings as a neutral list of metrics, under our own names or under node_exporter's.

Every output format (prometheus.py, json_metrics.py) renders this list. To export something else, add it here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ... import __version__
from ...analysis.cloud import AVAILABLE, EXCEEDED, LINKLOCAL
from ...analysis.losses import LogEvidence
from ...analysis.profile import Key, Profile
from ...counters import COUNTERS
from ...flow import PROTOCOLS, address_text
from ...model import Missing, NotLoaded, Table
from ...namedtuples import NamedTuple
from ...readers.ctnetlink_events import NewConnections
from ..readings import BYTES, NAT_PORTS, ZONES, LiveReadings
from .per_host import GROUPS, OTHER, PerHost

#: Columns of the stat file that are exported only. The kernel counts in 32 bits on each CPU, and starts again at 0
#: after a wrap: what Prometheus takes for a counter's reset.
EXPORTED_ONLY: Mapping[str, str] = {
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
    'search_restart': 'Number of lookups restarted because an entry moved to another hash chain.',
}


#: of AWS's network interfaces, by the names of their driver
CLOUD = (
    (EXCEEDED, 'counter', 'AWS: packets dropped because the instance tracks as many connections as its type may.'),
    (AVAILABLE, 'gauge', 'AWS: connections that the instance can still track; old where an interface has no traffic.'),
    (LINKLOCAL, 'counter', 'AWS: packets to DNS, metadata and time service dropped because they were too many.'),
)


class Metric(NamedTuple):
    """One metric with its samples."""

    #: a counter's without the '_total' that Prometheus adds
    name: str
    #: 'gauge', 'counter' or 'unknown', as Prometheus and OpenMetrics have them
    kind: str
    help: str
    #: (labels, value)
    samples: tuple[tuple[Mapping[str, str], float], ...]


def collect(reading: LiveReadings, names: str) -> Iterator[Metric]:
    """Everything that was read; names: 'conntrack', 'node-exporter', or 'stat': its counters only."""
    if names == 'conntrack':
        yield from _own(reading)
    else:
        yield from _node_table(reading) if names == 'node-exporter' else ()
        yield from _node_counters(reading)
    if isinstance(reading.per_host, PerHost):
        yield from _per_host(reading.per_host)
    if isinstance(reading.profile, Profile):
        for wanted, metrics in ((NAT_PORTS, _nat_ports), (ZONES, _zones), (BYTES, _bytes)):
            if wanted in reading.wanted:
                yield from metrics(reading.profile)
    if isinstance(reading.new, NewConnections):
        yield Metric('conntrack_new_connections', 'counter', 'New connections in this network namespace since the '
                     'exporter began.', (({}, reading.new.connections),))
    if reading.cloud:
        yield from _cloud(reading.cloud)
    yield _scrape_error(reading)


def about(seconds: float) -> Iterator[Metric]:
    """What the export says of itself; seconds: how long the readings took."""
    yield Metric('conntrack_build_info', 'gauge', 'The version of conntrack-doctor.', (({'version': __version__}, 1),))
    yield gauge('conntrack_scrape_duration_seconds', 'How long the readings took.', seconds)


def gauge(name: str, text: str, value: float) -> Metric:
    """One value without labels."""
    return Metric(name, 'gauge', text, (({}, value),))


def _own(reading: LiveReadings) -> Iterator[Metric]:
    s = reading.snapshot
    if not isinstance(s.table, Missing):
        yield gauge('conntrack_loaded', '1 where the kernel tracks connections, else 0.',
                    0 if isinstance(s.table, NotLoaded) else 1)
    # where the sysctls are hidden, it is not known whether this is the initial namespace
    if not isinstance(s.netns, Missing) and not isinstance(s.table, Missing):
        yield Metric('conntrack_netns_info', 'gauge', 'The network namespace that is measured, by its inode.',
                     (({'netns': str(s.netns), 'initial': str(s.initial).lower()}, 1),))
    if isinstance(s.table, Table):
        yield from _table(s.table)
    totals = reading.totals()
    for name, text in COUNTED.items():
        if name in totals:
            yield Metric(f'conntrack_stat_{name}', 'counter', text, (({}, totals[name]),))
    if not isinstance(reading.log, Missing):
        yield from _log(reading.log)


def _table(table: Table) -> Iterator[Metric]:
    yield gauge('conntrack_entries', 'Entries in the table of this network namespace.', table.entries)
    yield gauge('conntrack_entries_limit', 'nf_conntrack_max, in entries; +Inf: no limit.', _limit(table))
    yield gauge('conntrack_usage_ratio', 'Entries by limit: 1 is full.', table.usage / 100)
    if not isinstance(table.buckets, Missing):
        yield gauge('conntrack_buckets', 'Buckets of the hash table of all namespaces.', table.buckets)


def _log(evidence: LogEvidence) -> Iterator[Metric]:
    span = f'in the last {evidence.span:.0f} seconds'
    yield gauge('conntrack_log_table_full_lines',
                f"'table full' lines of the kernel log {span}; rate-limited: lines are not packets.",
                len(evidence.ages))
    yield gauge('conntrack_log_covered_seconds', 'How far back the kernel log was complete, at most so far as it was '
                'looked at.', min(evidence.covered, evidence.span))
    yield gauge('conntrack_log_suppressed_messages',
                f'Messages of any network code that the kernel did not log {span}.', evidence.suppressed)


def _node_table(reading: LiveReadings) -> Iterator[Metric]:
    table = reading.snapshot.table
    if isinstance(table, Table):
        yield gauge('node_nf_conntrack_entries',
                    'Number of currently allocated flow entries for connection tracking.', table.entries)
        yield gauge('node_nf_conntrack_entries_limit', 'Maximum size of connection tracking table.',
                    _limit(table))


def _node_counters(reading: LiveReadings) -> Iterator[Metric]:
    totals = reading.totals()
    for name, text in NODE_COUNTED.items():
        if name in totals:
            yield gauge(f'node_nf_conntrack_stat_{name}', text, totals[name])


def _per_host(per_host: PerHost) -> Iterator[Metric]:
    yield gauge('conntrack_sampled_ratio', 'Part of the table that connections by host are counted in; '
                'below 1 the counts are estimates.', per_host.share)
    for group in dict.fromkeys(GROUPS.values()):
        # a number that falls is no counter; a gauge must not be called total: the names are another exporter's
        yield Metric(f'conntrack_{group}_connections_total', 'unknown', f'TCP connections to a host that are {group}.',
                     tuple((_host_labels(per_host, host), groups[group]) for host, groups in per_host.hosts))


def _host_labels(per_host: PerHost, host: str) -> dict[str, str]:
    return {'host': host, 'name': per_host.names.get(host, '')} if per_host.names else {'host': host}


def _nat_ports(profile: Profile) -> Iterator[Metric]:
    pools = [({'server': address_text(one.pool.server), 'port': str(one.pool.port),
               'protocol': PROTOCOLS.get(one.pool.protocol, str(one.pool.protocol)),
               'address': address_text(one.pool.address)}, one) for one in profile.nat_ports]
    yield Metric('conntrack_nat_ports_used', 'gauge', 'Ports of source NAT in use to a server through an address.',
                 tuple((labels, one.used) for labels, one in pools))
    yield Metric('conntrack_nat_ports', 'gauge', 'Ports of source NAT that there are to a server through an address.',
                 tuple((labels, one.size) for labels, one in pools))


def _cloud(interfaces: Mapping[str, Mapping[str, int]]) -> Iterator[Metric]:
    for name, kind, text in CLOUD:
        samples = tuple(({'interface': interface}, counters[name]) for interface, counters in interfaces.items()
                        if name in counters)
        if samples:
            yield Metric(name if name.startswith('conntrack_') else f'conntrack_{name}', kind, text, samples)


def _zones(profile: Profile) -> Iterator[Metric]:
    found = [({'zone': str(key.zone)}, float(profile.estimate(seen))) for key, seen in profile.zones]
    rest = profile.seen - sum(seen for _key, seen in profile.zones)
    yield Metric('conntrack_zone_entries', 'gauge', 'Entries by conntrack zone; zone="0": none was set.',
                 (*found, *([({'zone': OTHER}, float(profile.estimate(rest)))] if rest else [])))


def _bytes(profile: Profile) -> Iterator[Metric]:
    traffic = profile.traffic
    if traffic is None:
        return
    yield gauge('conntrack_accounted_ratio', 'Part of the table whose bytes and packets are added up: those of a '
                'sample that have counters.', min(1.0, traffic.counted / max(profile.entries, profile.seen)))
    yield gauge('conntrack_accounted_bytes', f'Bytes {OF_ENTRIES}', traffic.bytes)
    yield gauge('conntrack_accounted_packets', f'Packets {OF_ENTRIES}', traffic.packets)
    for sort, volumes in (('source', traffic.sources), ('target', traffic.targets), ('service', traffic.services)):
        for what in ('bytes', 'packets'):
            yield Metric(f'conntrack_{sort}_{what}', 'gauge', f'{what.capitalize()} by {sort} {OF_ENTRIES}',
                         tuple((_key_labels(one.key), float(getattr(one, what))) for one in volumes))


#: an entry that ends takes its bytes along: no rate can be made of these
OF_ENTRIES = 'of entries now in the table, both directions, since each was made: falls when they end.'


def _key_labels(key: Key) -> dict[str, str]:
    if key.source:
        return {'source': key.source}
    labels = {'protocol': str(Key(key.protocol)), 'port': '' if key.port is None else str(key.port)}
    return {'destination': key.destination, **labels} if key.destination else labels


def _scrape_error(reading: LiveReadings) -> Metric:
    errors = reading.errors()
    return Metric('conntrack_scrape_error', 'gauge', '1 where a reading failed and its metrics are absent, else 0.',
                  tuple(({'signal': one.name}, 1 if one.name in errors else 0) for one in reading.readings()))


def _limit(table: Table) -> int | float:
    # with 0 for 'no limit' every alert on entries / limit would fire
    return float('inf') if table.unlimited else table.maximum
