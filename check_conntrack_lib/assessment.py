"""The readings of one run, the history, and what follows from both. Both commands print from this."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial

from .analysis import hysteresis, trend
from .analysis.hash_chains import HashLoad
from .analysis.losses import (
    LONGEST_LOG_SPAN,
    LogEvidence,
    Losses,
    comparable,
    dropped_between,
    log_evidence,
    losses,
    losses_across,
    moved,
    seconds_without_drops,
)
from .analysis.trend import Forecast
from .deadline import TimeBudget
from .defaults import PATIENCE
from .history import cloud_limit, database, location
from .history.identity import Identify
from .history.queries import LONGEST_BASE, MUCH_OLDER, HistoryQuery
from .history.recent import NEAR, RecentQuery
from .host import Host
from .model import History, LogMemory, Missing, Point, Reading, Sample, Table
from .namedtuples import TYPE_CHECKING, NamedTuple
from .readers import kernel_log, log_clock, sysctl_files, sysctl_values
from .snapshot import Snapshot, hash_of, take_snapshot, with_log

if TYPE_CHECKING:
    from .analysis.cloud import CloudLimit
    from .analysis.nat_ports import PortUse
    from .analysis.sysctl_drift import Drift, UnusableSetting


class Question(NamedTuple):
    """The options that an assessment depends on; times in seconds."""

    window: float
    #: how far ahead the trend is projected
    horizon: float
    #: the critical usage threshold in percent: the trend is projected to it
    critical: float
    #: a choice for `kernel_log.read`
    kernel_log: str
    #: a file, 'off', or '' for this user's own place
    history: str
    history_days: float
    #: compare sysctl.d with the running values
    settings: bool = False
    #: entries, where another limit than nf_conntrack_max counts, too; 0: none
    limit: int = 0
    #: usage thresholds in percent, the lowest first
    thresholds: tuple[float, ...] = ()
    #: a crossed threshold clears this many points of percent lower; 0: at once
    clear: float = 0.0
    #: the lowest threshold counts once usage was above the point where it clears for so long, in seconds
    warning_after: float = 0.0
    #: growth below this usage, in percent, is not reported
    filling: float = 0.0


class Assessment(NamedTuple):
    """One namespace at one moment."""

    snapshot: Snapshot
    history: History | Missing
    #: the history file; '' without one
    history_file: str
    #: None: there is nothing to count from, or the counters are Missing
    losses: Losses | None
    #: None: too few samples yet
    forecast: Forecast | None
    log: LogEvidence | Missing
    #: configured values that are expired or not running
    settings: tuple[Drift | UnusableSetting, ...] | Missing = ()
    #: age of the base in seconds, where it is too old to count losses from it; None: it is not
    stale_base: float | None = None
    #: None: this kernel has no limit for hash chains, or the buckets are not known
    hash: HashLoad | None = None
    #: the pool of ports of source NAT that is used most; None: there is none, or no flow was looked at
    ports: PortUse | None = None
    #: limits of an AWS instance; None: it is none
    cloud: CloudLimit | Missing | None = None
    #: the highest usage threshold that was crossed and has not cleared
    crossed: hysteresis.Crossed | None = None
    #: the lowest usage threshold, where it is exceeded for too short a time as yet
    awaited: hysteresis.Awaited | None = None
    #: packets were dropped at several times, and are not now
    drops: hysteresis.Drops | None = None

    def readings(self) -> Iterator[Reading]:
        """Every reading that this is made of, by the name that --require takes."""
        for reading in self.snapshot.readings():
            yield reading._replace(value=self.log) if reading.name == 'kernel-log' else reading
        yield Reading('history', self.history)
        yield Reading('settings', self.settings)
        yield Reading('cloud', self.cloud)


def assess(host: Host, question: Question, budget: TimeBudget, patience: float = PATIENCE,
           identify: Callable[[bool], Identify] = lambda _initial: Identify()) -> Assessment:
    """Takes all readings, asks the history, records this run, and evaluates.

    budget: bounds the time of one reading; patience: how long to wait for another run's recording, in seconds;
    identify: gives how the namespace is distinguished from others; called with whether it is the initial one.
    """
    snapshot = take_snapshot(host, budget)
    sample = snapshot.sample()
    read: list[Snapshot] = []

    def read_log(before: History | Missing, memory: LogMemory | None) -> LogMemory | None:
        # the history knows how far back: the log may be full of older lines
        span = log_span(before, sample, question)
        read.append(with_log(snapshot, host, question.kernel_log, span, budget,
                             partial(kernel_log.read, memory=memory)))
        return log_clock.memory_of(read[-1].kernel_log, snapshot.at.monotonic, max(span, LONGEST_LOG_SPAN), memory)

    with budget():
        file = history_file(question.history)
        history = file if isinstance(file, Missing) else \
            _history(file, sample, question, patience, identify(snapshot.initial), read_log)
    if not read:
        read_log(history, None)
    snapshot = read[-1]
    a = evaluate(snapshot, history, '' if isinstance(history, Missing) else str(file), question)
    with budget():
        a = a._replace(cloud=cloud_limit.read(host, a.history_file, sample, question.window, question.history_days,
                                              patience))
    with budget():
        return a._replace(settings=settings_of(host, snapshot, question))


def evaluate(snapshot: Snapshot, history: History | Missing, file: str, question: Question) -> Assessment:
    """What follows from the readings and from the history; file: the history's, '' without one."""
    sample = snapshot.sample()
    if question.limit and isinstance(snapshot.table, Table):
        snapshot = snapshot._replace(table=snapshot.table._replace(other_limit=question.limit))
    lost = forecast = crossed = awaited = drops = None
    if isinstance(history, History) and not isinstance(sample, Missing):
        base = None if stale_base(history, sample, question) else history.base
        if base:
            lost = losses(base, sample)
        # another boot has given the inodes to other namespaces: only the initial one is the same
        own = [pair for pair in history.before_resets if snapshot.initial or pair[0].boot_id == sample.boot_id]
        lost = losses_across(own, lost, sample)
        if isinstance(snapshot.table, Table):
            now = Point(sample.at.uptime, sample.entries)
            forecast = trend.forecast((*history.points, now), snapshot.table, question.window, question.horizon,
                                      question.critical)
            crossed, awaited = hysteresis.usage((*history.recent_points, now), sample.at, snapshot.table.limit,
                                                question.thresholds, question.clear, question.warning_after)
        if not (lost and lost.lost):
            drops = _repeated_drops(history, sample, question)
    return Assessment(snapshot, history, file, lost, forecast,
                      log_of(snapshot, lost, log_span(history, sample, question)), hash=hash_of(snapshot),
                      stale_base=stale_base(history, sample, question), crossed=crossed, awaited=awaited, drops=drops)


def _repeated_drops(history: History, sample: Sample, question: Question) -> hysteresis.Drops | None:
    """Packets dropped at several times of the last hours; None without, and where alerts clear at once."""
    samples = history.recent_samples
    return hysteresis.drops(samples, sample, question.window) if samples and question.clear else None


def stale_base(history: History | Missing, sample: Sample | Missing, question: Question) -> float | None:
    """How old the base is in seconds, where it is too old to count losses from it; None where it is not.

    Where nothing can be recorded, the base only grows older: a loss would never end.
    """
    if isinstance(history, Missing) or isinstance(sample, Missing) or history.base is None:
        return None
    age = sample.at.uptime - history.base.at.uptime
    longest = MUCH_OLDER * question.window if history.unwritten else max(LONGEST_BASE, MUCH_OLDER * question.window)
    return age if age > longest else None


def log_of(snapshot: Snapshot, found: Losses | None, span: float) -> LogEvidence | Missing:
    """The log lines of the last `span` seconds, attributed to namespaces the same way by every command.

    found: the losses up to now, as far back as they are known.
    """
    if isinstance(snapshot.kernel_log, Missing):
        return snapshot.kernel_log
    netns = None if isinstance(snapshot.netns, Missing) else snapshot.netns
    counters = None if isinstance(snapshot.counters, Missing) else snapshot.counters
    return log_evidence(snapshot.kernel_log, snapshot.at.monotonic, span, netns, snapshot.initial,
                        seconds_without_drops(counters, found))


def log_span(history: History | Missing, sample: Sample | Missing, question: Question) -> float:
    """How far back log lines count, in seconds: as far as losses are counted, up to LONGEST_LOG_SPAN and a window."""
    if isinstance(history, Missing) or isinstance(sample, Missing) or history.base is None:
        return question.window
    counted = 0.0 if stale_base(history, sample, question) else sample.at.uptime - history.base.at.uptime
    longest, repeated = LONGEST_LOG_SPAN, _repeated_drops(history, sample, question)
    if repeated:  # for as long as that is held: it is not first less critical and then over
        counted, longest = max(counted, sample.at.wall - repeated.began), longest + question.window
    return max(question.window, min(counted, longest))


def history_file(choice: str) -> str | Missing:
    """The history file for a choice of `Question.history`."""
    if choice == 'off':
        return Missing('switched off', chosen=True)
    return location.check_file(choice) if choice else location.history_file(os.environ)


def _history(file: str, sample: Sample | Missing, question: Question, patience: float, identify: Identify,
             read_log: Callable[[History | Missing, LogMemory | None], LogMemory | None]) -> History | Missing:
    if isinstance(sample, Missing):
        return sample
    source = kernel_log.remembered_source(question.kernel_log)
    return database.query_and_record(file, sample, history_query(question)._replace(identify=identify),
                                     question.history_days, patience,
                                     database.LogReader(source, read_log) if source else None)


def history_query(question: Question) -> HistoryQuery:
    """The query of the history that answers a question."""
    return HistoryQuery(question.window, trend.points_span(question.window, question.horizon), comparable,
                        trend.WINDOWS * question.window, moved=moved,
                        trouble=RecentQuery(min(question.thresholds, default=100.0), hysteresis.LONGEST,
                                            hysteresis.REPEATED_WITHIN, question.window, dropped_between,
                                            question.limit)
                        if question.clear or question.warning_after else None,
                        # what is counted in percent of another limit is not known to the history
                        no_points_below=0.0 if question.limit else
                        min(question.filling, NEAR * min(question.thresholds, default=100.0)))


def settings_of(host: Host, snapshot: Snapshot, question: Question) -> tuple[Drift | UnusableSetting, ...] | Missing:
    """What is configured for connection tracking and expired, or not running."""
    # only the initial namespace is set up by sysctl.d
    if not question.settings or not isinstance(snapshot.table, Table) or not snapshot.initial:
        return ()
    configured = sysctl_files.read(host)
    if isinstance(configured, Missing) or not configured:
        return configured if isinstance(configured, Missing) else ()
    from .analysis import sysctl_drift  # only where something is configured
    from .readers import unusable_settings

    names = sysctl_values.names(host)
    effective, faulty = sysctl_files.effective(configured, names), unusable_settings.unusable(configured, names)
    running = sysctl_values.read_values(host, {*effective, *(one.key for one in faulty)})
    found = sysctl_drift.drifts(effective, running, snapshot.table, snapshot.at.wall)
    if any(drift.expired is None for drift in found):
        from .readers import boot_time, meminfo, module_files, processes

        setters = tuple(f'{one.name} (pid {one.pid})' for one in processes.read_setters(host))
        young = boot_time.younger_files(host, {one.setting.file for one in found})
        evidence = sysctl_drift.Evidence(setters, module_files.read(host), meminfo.read_total(host), young)
        found = sysctl_drift.drifts(effective, running, snapshot.table, snapshot.at.wall, evidence)
    return (*found, *sysctl_drift.unusable(faulty, running))
