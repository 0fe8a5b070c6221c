"""The readings of `watch` and `export`, round by round, each bounded in time; and options that the live verbs share."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Iterator, Mapping

from ..analysis.losses import RESET, LogEvidence, Losses, counted_between, quiet_since, since_made
from ..assessment import log_of
from ..deadline import Deadline
from ..history import cloud_limit
from ..host import Host
from ..model import Missing, Reading, Sample, Table, missing
from ..namedtuples import TYPE_CHECKING, NamedTuple
from ..readers import cpu_counters, ctnetlink_events, sysctl_values
from ..readers.followed_log import FollowedLog
from ..snapshot import NOT_READ, Snapshot, take_snapshot, with_log
from . import DoctorError, common_options

if TYPE_CHECKING:
    from ..analysis.profile import Profile
    from ..readers.ctnetlink_events import Listener, NewConnections
    from .export.per_host import PerHost

#: parts of a profile, by the option that asks for them
NAT_PORTS, ZONES, BYTES = 'nat-ports', 'zones', 'bytes'
#: for one round of readings, in seconds
LONGEST_ROUND = 10.0
#: columns of the stat file that are exported only
EXTRA_COLUMNS = ('insert', 'ignore', 'expect_new', 'expect_create', 'expect_delete')


class LiveReadings(NamedTuple):
    """One round of readings."""

    snapshot: Snapshot
    #: totals of the counters that only the stat file has, by its own column names
    extra: Mapping[str, int]
    #: how far back the log is looked at, in seconds
    log_span: float
    #: None: not asked for
    per_host: PerHost | Missing | None = None
    profile: Profile | Missing | None = None
    #: the log lines of `log_span`, by whose table they speak of
    log: LogEvidence | Missing = NOT_READ
    #: new connections since the command began
    new: NewConnections | Missing | None = None
    #: AWS: the driver's statistics of each interface
    cloud: Mapping[str, Mapping[str, int]] | None = None
    #: what is wanted of the profile: NAT_PORTS, ZONES, BYTES
    wanted: frozenset[str] = frozenset()
    #: why there are no bytes though they are wanted
    unaccounted: Missing | None = None

    def errors(self) -> dict[str, Missing]:
        """What could not be read though it was asked for, by signal."""
        return {reading.name: why for reading, why in missing(self.readings())}

    def readings(self) -> Iterator[Reading]:
        """What was asked for."""
        for reading in self.snapshot.readings():
            if not (isinstance(reading.value, Missing) and reading.value.chosen):
                yield reading
        if self.per_host is not None:
            yield Reading('per-host', self.per_host)
        if self.profile is not None:
            yield Reading('states', self.profile)
        if self.new is not None:
            yield Reading('new-connections', self.new)
        if BYTES in self.wanted:
            yield Reading(BYTES, self.unaccounted)

    def totals(self) -> dict[str, int]:
        """Every counter that could be read, summed over the CPUs."""
        counters = self.snapshot.counters
        own = {} if isinstance(counters, Missing) else {name: counters.total(name) for name in counters.per_cpu}
        return {**self.extra, **own}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common_options.add_netns(parser)
    common_options.add_procfs(parser)
    common_options.add_kernel_log(parser)


def host_of(arguments: argparse.Namespace) -> Host:
    """The host whose proc file system --procfs names. Raises DoctorError."""
    if not os.path.isdir(arguments.procfs):
        raise DoctorError(f"--procfs: '{arguments.procfs}' is not a directory")
    return Host(arguments.procfs)


class Rounds:
    """Rounds of readings of a host. Between them it keeps the kernel log open, and since when nothing was dropped."""

    def __init__(self, host: Host, kernel_log: str, log_span: float,
                 listener: Listener | Missing | None = None) -> None:
        """listener: counts new connections; it is closed with this."""
        self._host, self._kernel_log, self._log_span = host, kernel_log, log_span
        self._listener = listener
        self._kept = FollowedLog()
        self._last: Sample | None = None
        self._quiet: Losses | None = None
        #: the last sample whose counters were not 0
        self._dropped: Sample | None = None

    def take(self, top: int = 0, flows: int = 0, wanted: Iterable[str] = ()) -> LiveReadings:
        """One round. Only in the main thread: an alarm bounds its time. Raises OutOfTime when that was not enough.

        top: so many hosts are counted one by one; flows: so many are looked at for a profile; 0: none. wanted: of the
        profile; NAT_PORTS counts all ports of source NAT of the fullest pools.
        """
        host = self._host
        wanted = frozenset(wanted)
        unaccounted: Missing | None = None
        deadline = Deadline(LONGEST_ROUND)
        deadline.start()
        try:
            snapshot = with_log(take_snapshot(host, deadline.budget), host, self._kernel_log, self._log_span,
                                deadline.budget, self._kept.read)
            extra = _extra(host, snapshot)
            cloud = cloud_of(host)
            per_host: PerHost | Missing | None = None
            if top and isinstance(snapshot.table, Table):
                from .export.per_host import read

                per_host = read(host, snapshot.table, top, deadline.budget)
            profile: Profile | Missing | None = None
            if flows and isinstance(snapshot.table, Table) and snapshot.table.entries:
                from ..diagnosis.sample import take_profile

                profile = take_profile(host, snapshot.table, flows, deadline.budget, ports=NAT_PORTS in wanted)
            if BYTES in wanted and not (profile and not isinstance(profile, Missing) and profile.traffic):
                unaccounted = why_no_bytes(host)
        finally:
            deadline.stop()
        log = log_of(snapshot, self._since(snapshot), self._log_span)
        new = self._listener
        counted = ctnetlink_events.count(new) if isinstance(new, ctnetlink_events.Listener) else new
        return LiveReadings(snapshot, extra, self._log_span, per_host, profile, log, counted, cloud, wanted,
                            unaccounted)

    def close(self) -> None:
        self._kept.close()
        if isinstance(self._listener, ctnetlink_events.Listener):
            self._listener.close()

    def _since(self, snapshot: Snapshot) -> Losses | None:
        """The losses of the longest time up to now in which nothing was dropped, else those since the last round."""
        last, now = self._last, snapshot.sample()
        self._last = None if isinstance(now, Missing) else now
        new = None
        if last and self._last and (last.boot_id, last.netns) == (self._last.boot_id, self._last.netns):
            new = counted_between(last, self._last)
        self._quiet = quiet_since(self._quiet, new)
        return self._before_reset() or self._quiet

    def _before_reset(self) -> Losses | None:
        """What was dropped before the counters began at 0 again, as long as log lines of then are looked at."""
        now, before = self._last, self._dropped
        if now is None or now.counters is None:
            return None
        if since_made(now.counters).dropped:
            self._dropped = now
            return None
        if before is None or before.counters is None or (before.boot_id, before.netns) != (now.boot_id, now.netns):
            return None
        span = now.at.uptime - before.at.uptime
        return since_made(before.counters)._replace(span=span, across=RESET) if span <= self._log_span else None


def take(host: Host, kernel_log: str, log_span: float, top: int = 0, flows: int = 0,
         listener: Listener | Missing | None = None) -> LiveReadings:
    """A single round (see `Rounds`)."""
    rounds = Rounds(host, kernel_log, log_span, listener)
    try:
        return rounds.take(top, flows)
    finally:
        rounds.close()


def cloud_of(host: Host) -> Mapping[str, Mapping[str, int]] | None:
    """AWS: statistics of the interfaces of this thread's namespace; elsewhere one look for a directory."""
    counted = cloud_limit.read_now(host)
    return counted[1] if counted else None


def why_no_bytes(host: Host) -> Missing | None:
    """Why the kernel counts no bytes of new entries; None: it does."""
    setting = sysctl_values.read_values(host, [sysctl_values.ACCOUNTING])
    if not setting:
        return Missing(f'no {host.path("sys/" + sysctl_values.ACCOUNTING)}')
    return None if setting[sysctl_values.ACCOUNTING] else Missing('net.netfilter.nf_conntrack_acct is 0: no bytes')


def _extra(host: Host, snapshot: Snapshot) -> dict[str, int]:
    if isinstance(snapshot.counters, Missing) or snapshot.counters.source != cpu_counters.FILE:
        return {}
    columns = cpu_counters.read_columns(host, EXTRA_COLUMNS)
    return {} if isinstance(columns, Missing) else {name: sum(values) for name, values in columns.items()}
