"""Immutable values with one unit a field, and Missing for what could not be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from .namedtuples import NamedTuple


class Missing(NamedTuple):
    """A reading that failed: why, in a few words, and what would make it succeed."""

    why: str
    remedy: str = ''
    #: not wanted by the caller, or never there: not reported as an error
    chosen: bool = False

    @classmethod
    def because(cls, error: Exception, what: str, remedy: str = '') -> Missing:
        """The reason in an exception's own words: 'what: Permission denied'."""
        reason = getattr(error, 'strerror', None) or str(error) or type(error).__name__
        return cls(f'{what}: {reason}', remedy)


class Reading(NamedTuple):
    """One thing that was to be read. `Assessment.readings()` lists them for --require, both outputs, the export and
    triage.
    """

    #: as --require and conntrack_scrape_error{signal=...} call it
    name: str
    #: Missing, or whatever was read
    value: object

    @property
    def title(self) -> str:
        """For texts."""
        return self.name.replace('-', ' ')


def missing(readings: Iterable[Reading]) -> Iterator[tuple[Reading, Missing]]:
    """Those that failed, though nobody switched them off."""
    for reading in readings:
        if isinstance(reading.value, Missing) and not reading.value.chosen:
            yield reading, reading.value


class Instant(NamedTuple):
    """One moment on three clocks, in seconds."""

    #: since 1970; may be set back and forth
    wall: float
    #: CLOCK_BOOTTIME: since boot, suspended time included; never set
    uptime: float
    #: CLOCK_MONOTONIC: since boot without suspended time, as the kernel log's stamps count
    monotonic: float


class Table(NamedTuple):
    """One namespace's connection tracking table (net/netfilter/nf_conntrack_standalone.c)."""

    #: nf_conntrack_count: entries allocated in this namespace
    entries: int
    #: nf_conntrack_max: the limit for each namespace; 0 or less means no limit
    maximum: int
    #: nf_conntrack_buckets: size of the one hash table of all namespaces
    buckets: int | Missing
    #: a limit of connections that the kernel does not know, such as a cloud's; 0: none
    other_limit: int = 0

    @property
    def limit(self) -> int:
        """The smaller of the two limits; 0 or less: there is none."""
        if not self.other_limit:
            return self.maximum
        return self.other_limit if self.maximum <= 0 else min(self.maximum, self.other_limit)

    @property
    def limit_name(self) -> str:
        return 'nf_conntrack_max' if self.limit == self.maximum else '--limit'

    @property
    def unlimited(self) -> bool:
        return self.limit <= 0

    @property
    def usage(self) -> float:
        """Percent of the maximum; above 100 when the maximum was lowered; 0 without a limit."""
        return 0.0 if self.unlimited else self.entries * 100.0 / self.limit


class NotLoaded(NamedTuple):
    """There is no connection tracking: the kernel shows no nf_conntrack_count."""

    path: str


class Counters(NamedTuple):
    """Packets since the namespace was made, by counter, one 32-bit value a possible CPU."""

    per_cpu: Mapping[str, tuple[int, ...]]
    source: str = ''

    def total(self, name: str) -> int:
        return sum(self.per_cpu[name])

    def has_shape_of(self, other: Counters) -> bool:
        """Has each counter that both have as many CPUs? One that only one of them has was read by another version."""
        both = [name for name in self.per_cpu if name in other.per_cpu]
        return 'drop' in both and all(len(self.per_cpu[name]) == len(other.per_cpu[name]) for name in both)


class Allowances(NamedTuple):
    """What the interfaces of an AWS instance (driver ena) count at the limits of the instance, all together."""

    #: packets of new connections dropped at the limit of tracked connections, since the driver's last reset
    exceeded: int
    #: packets to link-local services (DNS, metadata, time) dropped
    linklocal: int
    #: packets queued or dropped at the limits of bandwidth and packets per second
    queued: int
    #: connections that still fit; None: this driver or instance does not tell
    available: int | None
    #: each interface with its part of the first three; (): not known
    each: tuple[tuple[str, int, int, int], ...] = ()


class LogLine(NamedTuple):
    """One 'table full' line of the kernel log; stamp: seconds on CLOCK_MONOTONIC."""

    stamp: float
    #: inode of the namespace it names (6.17 and later); None: the line names none
    netns: int | None = None


class Suppressed(NamedTuple):
    """One 'net_ratelimit: N callbacks suppressed' line: N messages of any network code were not logged."""

    stamp: float
    messages: int


#: earlier than any stamp on CLOCK_MONOTONIC: a log that goes back so far has all of this boot
BOOT = float('-inf')


class LogRing(NamedTuple):
    """What changes with every record that is written into the kernel's log."""

    #: number of its oldest record
    oldest: int
    #: bytes of text that nobody has read by syslog(2) or from /proc/kmsg; 0: all is read, or refused; None: not asked
    unread: int | None


class LogMemory(NamedTuple):
    """What the history keeps of the kernel log of this boot, so that no record is missed or taken for new twice."""

    #: the newest record's
    sequence: int
    #: when that was the newest one, in seconds on CLOCK_MONOTONIC
    read: float
    #: what is added to the log's stamps to make them CLOCK_MONOTONIC
    offset: float
    #: every line since then was seen (CLOCK_MONOTONIC)
    complete_since: float
    names_namespaces: bool = False
    table_full: tuple[LogLine, ...] = ()
    suppressed: tuple[Suppressed, ...] = ()
    #: as it was when no line about full tables was newer than those above; None: not known
    ring: LogRing | None = None


#: before the first reading that is remembered
NOTHING_READ = LogMemory(-1, BOOT, 0.0, float('inf'))


class KernelLog(NamedTuple):
    """What the kernel log says of full tables."""

    source: str
    table_full: tuple[LogLine, ...] = ()
    suppressed: tuple[Suppressed, ...] = ()
    #: lines are missing: the ring buffer turned over while it was read, or there were more than are read
    overrun: bool = False
    #: a kernel (6.17 and later) that says in the line whose table was full, unless it was the initial namespace's
    names_namespaces: bool = False
    #: no line since then is missing (CLOCK_MONOTONIC); BOOT: none of this boot
    complete_since: float = BOOT
    #: of the newest record; None: the source has no such numbers
    sequence: int | None = None
    #: what was added to the log's stamps to make them CLOCK_MONOTONIC
    offset: float = 0.0
    #: as it was before it was read; None: not known
    ring: LogRing | None = None


class Sample(NamedTuple):
    """What the history keeps of one run in one namespace."""

    at: Instant
    boot_id: str
    #: inode of the network namespace
    netns: int
    entries: int
    maximum: int
    buckets: int | None = None
    counters: Counters | None = None
    #: SO_NETNS_COOKIE, where the namespace was entered
    cookie: int | None = None
    #: as recorded: seconds since boot from which on this inode is this namespace's, and its lasting name
    since: float = 0.0
    name: str = ''

    def zero_since(self, before: Sample) -> Sample | None:
        """What to count from when the counters were reset to 0 after `before`; None: they have another shape."""
        if self.counters is None or before.counters is None or not self.counters.has_shape_of(before.counters):
            return None
        zeros = {name: (0,) * len(values) for name, values in self.counters.per_cpu.items()}
        return self._replace(at=before.at, counters=Counters(zeros))


class Point(NamedTuple):
    """One earlier count: seconds since boot, entries."""

    uptime: float
    entries: int


class History(NamedTuple):
    """What the history has of the time before this run."""

    #: the sample that losses are counted from
    base: Sample | None = None
    #: where counters began again at 0 (module loaded again, reboot): the first and the last sample of each time before
    #: that, as far as they are in the window; oldest first
    before_resets: tuple[tuple[Sample, Sample], ...] = ()
    #: earlier counts for the trend, oldest first: a few, however often the check runs
    points: tuple[Point, ...] = ()
    #: has any other run of this boot and namespace been recorded?
    first_run: bool = True
    #: when the newest profile of the flows was recorded, in seconds since boot
    profiled: float | None = None
    #: the use of the fullest pool of source NAT ports in that profile, 0 to 1
    ports_used: float = 0.0
    #: the most of them in the profiles recorded since `base`, where inserts failed since then
    ports_peak: float = 0.0
    #: why this run could not be recorded; empty when it was
    unwritten: str = ''
    #: what was done to the file, reported once
    note: str = ''
    #: of the last hours, where a usage threshold was crossed: every count before this run, oldest first
    recent_points: tuple[Point, ...] = ()
    #: of the last hours, where packets were dropped: a sample a window, oldest first
    recent_samples: tuple[Sample, ...] = ()
    #: where one of these two is not empty: the newest sample since `base` with a smaller nf_conntrack_max, else the
    #: newest with a larger one; None: there is neither
    other_maximum: Sample | None = None
    #: where packets were dropped since `base`: the last sample that shows none of them, if that is a later one
    undropped: Sample | None = None
