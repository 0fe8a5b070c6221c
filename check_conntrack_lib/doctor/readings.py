"""The readings that the live verbs share, taken anew each time, each bounded in time."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping

from ..deadline import Deadline
from ..host import Host
from ..model import Missing, Reading, Table, missing
from ..namedtuples import TYPE_CHECKING, NamedTuple
from ..readers import cpu_counters
from ..snapshot import Snapshot, take_snapshot, with_log
from . import DoctorError

if TYPE_CHECKING:
    from ..analysis.profile import Profile
    from .export.per_host import PerHost

#: for one round of readings, in seconds
LONGEST_ROUND = 10.0
#: columns of the stat file that nothing judges and nobody records
EXTRA_COLUMNS = ('found', 'insert', 'ignore', 'expect_new', 'expect_create', 'expect_delete')


class LiveReadings(NamedTuple):
    """One round of readings."""

    snapshot: Snapshot
    #: totals of the counters that only the stat file has, by its own column names
    extra: Mapping[str, int]
    #: how far back the log is looked at, in seconds
    log_span: float
    #: None: not asked for
    peers: PerHost | Missing | None = None
    profile: Profile | Missing | None = None

    def errors(self) -> dict[str, Missing]:
        """What could not be read though it was asked for, by signal."""
        return {reading.name: why for reading, why in missing(self.readings())}

    def readings(self) -> Iterator[Reading]:
        """What was asked for."""
        for reading in self.snapshot.readings():
            if not (isinstance(reading.value, Missing) and reading.value.chosen):
                yield reading
        if self.peers is not None:
            yield Reading('per-host', self.peers)
        if self.profile is not None:
            yield Reading('states', self.profile)

    def totals(self) -> dict[str, int]:
        """Every counter that could be read, summed over the CPUs."""
        counters = self.snapshot.counters
        own = {} if isinstance(counters, Missing) else {name: counters.total(name) for name in counters.per_cpu}
        return {**self.extra, **own}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--procfs', metavar='DIR', default='/proc',
                        help="another proc file system, such as the host's in a container (default: /proc)")
    parser.add_argument('--kernel-log', metavar='SOURCE', default='auto',
                        help='auto (kmsg, else journal), kmsg, journal, off, or a FILE of records as /dev/kmsg gives '
                             'them (default: auto)')


def host(arguments: argparse.Namespace) -> Host:
    """The machine that the options name. Raises Trouble."""
    if not os.path.isdir(arguments.procfs):
        raise DoctorError(f"--procfs: '{arguments.procfs}' is not a directory")
    return Host(arguments.procfs)


def take(source: Host, kernel_log: str, log_span: float, top: int = 0, flows: int = 0) -> LiveReadings:
    """One round. Only in the main thread: the time is kept by an alarm. Raises OutOfTime if even that was in vain.

    top: so many hosts are counted one by one; flows: so many are looked at for a profile; 0: none.
    """
    deadline = Deadline(LONGEST_ROUND)
    deadline.start()
    try:
        snapshot = with_log(take_snapshot(source, deadline.budget), source, kernel_log, log_span, deadline.budget)
        extra = _extra(source, snapshot)
        peers: PerHost | Missing | None = None
        if top and isinstance(snapshot.table, Table):
            from .export.per_host import read

            peers = read(source, snapshot.table, top, deadline.budget)
        profile: Profile | Missing | None = None
        if flows and isinstance(snapshot.table, Table) and snapshot.table.entries:
            from ..diagnosis import take_profile

            profile = take_profile(source, snapshot.table, flows, deadline.budget)
    finally:
        deadline.stop()
    return LiveReadings(snapshot, extra, log_span, peers, profile)


def _extra(source: Host, snapshot: Snapshot) -> dict[str, int]:
    if isinstance(snapshot.counters, Missing) or snapshot.counters.source != cpu_counters.FILE:
        return {}
    columns = cpu_counters.read_columns(source, EXTRA_COLUMNS)
    return {} if isinstance(columns, Missing) else {name: sum(values) for name, values in columns.items()}
