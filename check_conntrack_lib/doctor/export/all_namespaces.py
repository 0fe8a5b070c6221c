"""Every network namespace as metrics with labels that say whose it is, a bounded number of them.

A series goes on when its container is restarted: what has a lasting name carries no inode. conntrack_netns_info joins.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from ...assessment import log_of
from ...deadline import Deadline
from ...host import Host
from ...model import Missing, Reading, Table
from ...namedtuples import NamedTuple
from ...netns.names import Name
from ...netns.owner import is_of_another_user
from ...netns.snapshots import ALL, INVISIBLE, NamespaceSnapshot, name_of, read_snapshots
from ...snapshot import Snapshot, take_snapshot, with_log
from ..readings import LONGEST_ROUND, LiveReadings, cloud_of
from .metrics import Metric, collect, gauge


class NamespaceReadings(NamedTuple):
    """One round of readings of every namespace."""

    #: the host's first, then those with the most entries, of root where there are many; each with its labels
    members: tuple[tuple[Mapping[str, str], LiveReadings], ...]
    #: entries of those that are not among the members, and how many they are
    others: tuple[int, ...]
    unseen: Missing | None
    #: log lines of the span that are of none of the members, or name none; None: the log was not read
    other_lines: int | None = None

    def errors(self) -> dict[str, Missing]:
        """What could not be read though it was asked for, by signal."""
        found = self.members[0][1].errors() if self.members else {}
        return {**found, 'namespaces': self.unseen} if self.unseen else found

    def readings(self) -> Iterator[Reading]:
        """What was asked for."""
        if self.members:
            yield from self.members[0][1].readings()
        yield Reading('namespaces', self.unseen)


def take(host: Host, kernel_log: str, log_span: float, most: int) -> NamespaceReadings:
    """One round; most: so many namespaces besides the own one are exported each. Raises OutOfTime."""
    deadline = Deadline(LONGEST_ROUND)
    deadline.start()
    try:
        own = with_log(take_snapshot(host, deadline.budget), host, kernel_log, log_span, deadline.budget)
        cloud = cloud_of(host)
        found = read_snapshots(host, own, (ALL,), deadline.budget)
        first, *rest = found.seen
        # a user's own may not keep those of others from being exported
        few = len(rest) <= most
        rest.sort(key=lambda one: (not few and is_of_another_user(host, one.namespace), -_entries(one),
                                   one.namespace.inode))
        members: list[tuple[Mapping[str, str], LiveReadings]] = []
        taken = set()
        for one in [first, *rest[:most]]:
            name = name_of(host, one, own)
            labels = _labels(name, one)
            if tuple(labels.values()) in taken:  # two with one name: the inode tells them apart
                labels = {**labels, 'netns': str(one.namespace.inode)}
            taken.add(tuple(labels.values()))
            members.append((labels, LiveReadings(one.snapshot, {}, log_span, log=log_of(one.snapshot, None, log_span),
                                                 cloud=None if members else cloud)))
    finally:
        deadline.stop()
    parts = [f'{number} not entered: {why.why}' for why, number in found.unseen.items()]
    parts += [f'no access to {found.closed}'] if found.closed else []
    parts += [INVISIBLE] if found.invisible else []
    parts += [f'processes not told apart: {found.hidden}'] if found.hidden else []
    return NamespaceReadings(tuple(members), tuple(map(_entries, rest[most:])),
                             Missing('; '.join(parts)) if parts else None,
                             _other_lines(own, log_span, [reading for _labels, reading in members]))


def _other_lines(own: Snapshot, log_span: float, members: Iterable[LiveReadings]) -> int | None:
    """See `NamespaceReadings.other_lines`; own: with the whole log."""
    if isinstance(own.kernel_log, Missing):
        return None
    every = sum(own.at.monotonic - line.stamp <= log_span for line in own.kernel_log.table_full)
    return every - sum(0 if isinstance(one.log, Missing) else len(one.log.ages) for one in members)


def collect_all(readings: NamespaceReadings) -> Iterator[Metric]:
    """The metrics of all, each family once."""
    families: dict[str, Metric] = {}
    for place, (labels, reading) in enumerate(readings.members):
        for metric in collect(reading, 'conntrack'):
            if metric.name in ONE_FOR_ALL and (place or metric.name == 'conntrack_scrape_error'):
                continue
            own = () if metric.name in ONE_FOR_ALL else tuple(labels.items())
            samples = tuple(({**dict(own), **some}, value) for some, value in metric.samples)
            known = families.get(metric.name)
            families[metric.name] = known._replace(samples=known.samples + samples) if known else \
                metric._replace(samples=samples)
    yield from families.values()
    yield gauge('conntrack_namespaces', 'Network namespaces that were looked into.',
                len(readings.members) + len(readings.others))
    yield gauge('conntrack_namespaces_other', 'Those of them that are not exported one by one.', len(readings.others))
    yield gauge('conntrack_entries_other', 'Entries in the tables of those.', sum(readings.others))
    if readings.other_lines is not None:
        yield gauge('conntrack_log_table_full_lines_other',
                    "'table full' lines of the same time that name none of the namespaces that are exported one by one "
                    '(kernels before 6.17 name none).', readings.other_lines)
    yield Metric('conntrack_scrape_error', 'gauge', '1 where a reading failed and its metrics are absent, else 0.',
                 tuple(({'signal': one.name}, 1 if one.name in readings.errors() else 0)
                       for one in readings.readings()))


#: families without a namespace: one value for all of them
ONE_FOR_ALL = ('conntrack_loaded', 'conntrack_buckets', 'conntrack_log_covered_seconds',
               'conntrack_log_suppressed_messages', 'conntrack_scrape_error')


def _labels(name: Name, one: NamespaceSnapshot) -> dict[str, str]:
    within, _, pod = name.pod.rpartition('/')
    container = '' if pod else name.container
    # what alerts are sent by must be no pod's or container's that only has the same name
    whose = f' (uid {name.uid})' if name.uid else ' (in a container)' if name.nested else ''
    within, pod, container = (part and part + whose for part in (within, pod, container))
    return {'netns': '' if name.lasting else str(one.namespace.inode),
            'name': name.lasting or name.title.partition(' (')[0],
            'namespace': within, 'pod': pod, 'container': container}


def _entries(one: NamespaceSnapshot) -> int:
    return one.snapshot.table.entries if isinstance(one.snapshot.table, Table) else 0
