"""Immutable values with one unit a field, and Missing for what could not be had."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from .namedtuples import NamedTuple


class Missing(NamedTuple):
    """A reading that could not be had: why, in a few words, and what would give it."""

    why: str
    remedy: str = ''
    #: switched off by the caller, who need not be told of it
    chosen: bool = False

    @classmethod
    def because(cls, error: Exception, what: str, remedy: str = '') -> Missing:
        """The reason in an exception's own words: 'what: Permission denied'."""
        reason = getattr(error, 'strerror', None) or str(error) or type(error).__name__
        return cls(f'{what}: {reason}', remedy)


class Reading(NamedTuple):
    """One thing that was to be read. The registry of them serves --require, both outputs, the export and triage."""

    #: as --require and conntrack_scrape_error{signal=...} call it
    name: str
    #: Missing, or whatever was read
    value: object

    @property
    def title(self) -> str:
        """For texts."""
        return self.name.replace('-', ' ')


def missing(readings: Iterable[Reading]) -> Iterator[tuple[Reading, Missing]]:
    """Those that could not be had, though nobody switched them off."""
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

    @property
    def unlimited(self) -> bool:
        return self.maximum <= 0

    @property
    def usage(self) -> float:
        """Percent of the maximum; above 100 when the maximum was lowered; 0 without a limit."""
        return 0.0 if self.unlimited else self.entries * 100.0 / self.maximum


class NotLoaded(NamedTuple):
    """There is no connection tracking: the kernel shows no nf_conntrack_count."""

    path: str


class Counters(NamedTuple):
    """Packets since the namespace was made, by counter, one 32-bit value a possible CPU."""

    per_cpu: Mapping[str, tuple[int, ...]]
    source: str = ''

    def total(self, name: str) -> int:
        return sum(self.per_cpu[name])


class LogLine(NamedTuple):
    """One 'table full' line of the kernel log."""

    #: seconds on CLOCK_MONOTONIC
    stamp: float
    #: inode of the namespace it names (6.18 and later); None: the line names none
    netns: int | None = None


class Suppressed(NamedTuple):
    """One 'net_ratelimit: N callbacks suppressed' line: N messages of any network code were not logged."""

    stamp: float
    messages: int


class KernelLog(NamedTuple):
    """What the kernel log says of full tables."""

    source: str
    table_full: tuple[LogLine, ...] = ()
    suppressed: tuple[Suppressed, ...] = ()
    #: lines are missing: the ring buffer turned over while it was read, or there were more than are read
    overrun: bool = False
    #: a kernel (6.18 and later) that says in the line whose table was full, unless it was the initial namespace's
    names_namespaces: bool = False


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


class Point(NamedTuple):
    """One earlier count: seconds since boot, entries."""

    uptime: float
    entries: int


class History(NamedTuple):
    """What the history has of the time before this run."""

    #: the sample that losses are counted from
    base: Sample | None = None
    #: the first and the last sample of the look-back before the counters began anew, by a reset or a reboot
    cut: tuple[Sample, Sample] | None = None
    #: earlier counts, oldest first
    points: tuple[Point, ...] = ()
    #: has any other run of this boot and namespace been recorded?
    first_run: bool = True
    #: when the newest profile of the flows was recorded, in seconds since boot
    profiled: float | None = None
    #: why this run could not be recorded; empty when it was
    unwritten: str = ''
    #: what was done to the file, said once
    note: str = ''
    #: of the last hours, where a usage threshold was crossed: every count before this run, oldest first
    counts: tuple[Point, ...] = ()
    #: of the last hours, where packets were dropped: a sample a window, oldest first
    slots: tuple[Sample, ...] = ()
