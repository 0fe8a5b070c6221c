"""What one run knows: the readings, the recorder's answer, and what follows from both. Both doors render this."""

from __future__ import annotations

import os
from collections.abc import Iterator

from .analysis import hysteresis, trend
from .analysis.losses import (
    LONGEST_LOG_SPAN,
    LogEvidence,
    Losses,
    comparable,
    dropped_between,
    log_evidence,
    losses,
    losses_across,
    seconds_without_drops,
)
from .analysis.trend import Forecast
from .deadline import TimeBudget
from .history import database, location
from .history.queries import HistoryQuery
from .history.recent import RecentQuery
from .host import Host
from .model import History, Missing, Point, Reading, Sample, Table
from .namedtuples import TYPE_CHECKING, NamedTuple
from .readers import sysctl_files, sysctl_values
from .snapshot import Snapshot, take_snapshot, with_log

if TYPE_CHECKING:
    from .analysis.sysctl_drift import Drift


class Question(NamedTuple):
    """What an assessment shall be made of; times in seconds."""

    window: float
    #: how far ahead the trend looks
    horizon: float
    #: the usage in percent that the trend is projected to
    critical_line: float
    #: a choice for `kernlog.read`
    kernel_log: str
    #: a file, 'off', or '' for this user's own place
    history: str
    history_days: float
    #: compare sysctl.d with the running values
    settings: bool = False
    #: usage thresholds in percent, the lowest first
    thresholds: tuple[float, ...] = ()
    #: a crossed one clears so many points of percent lower; 0: at once
    clear: float = 0.0


class Assessment(NamedTuple):
    """One namespace at one moment."""

    snapshot: Snapshot
    history: History | Missing
    #: the recorder's file; '' without one
    history_file: str
    #: None: there is nothing to count from, or the counters are Missing
    losses: Losses | None
    #: None: too few samples yet
    forecast: Forecast | None
    log: LogEvidence | Missing
    #: configured values that are expired or not running
    settings: tuple[Drift, ...] | Missing = ()
    #: the highest usage threshold that was crossed and has not cleared
    crossed: hysteresis.Crossed | None = None
    #: packets were dropped at several times, and are not now
    drops: hysteresis.Drops | None = None

    def readings(self) -> Iterator[Reading]:
        """What this is made of."""
        for reading in self.snapshot.readings():
            yield reading._replace(value=self.log) if reading.name == 'kernel-log' else reading
        yield Reading('history', self.history)
        yield Reading('settings', self.settings)


def assess(host: Host, question: Question, budget: TimeBudget,
           patience: float = 1.5) -> Assessment:
    """Reads, remembers and reasons.

    share: bounds the time of one reading; patience: how long to wait for another run's recording, in seconds.
    """
    snapshot = take_snapshot(host, budget)
    sample = snapshot.sample()
    with budget():
        file = history_file(question.history)
        history = file if isinstance(file, Missing) else _history(file, sample, question, patience)
    # after the recorder, which knows how far back: the log may be full of older lines
    span = log_span(history, sample, question)
    snapshot = with_log(snapshot, host, question.kernel_log, span, budget)
    a = evaluate(snapshot, history, '' if isinstance(history, Missing) else str(file), question)
    with budget():
        return a._replace(settings=settings_of(host, snapshot, question))


def evaluate(snapshot: Snapshot, history: History | Missing, file: str, question: Question) -> Assessment:
    """What follows from the readings and from what was before, which the recorder keeps in that file."""
    sample = snapshot.sample()
    lost = outlook = standing = repeated = None
    if isinstance(history, History) and not isinstance(sample, Missing):
        if history.base:
            lost = losses(history.base, sample)
        # another boot has given the inodes to other namespaces: only the initial one is the same
        if history.cut and (snapshot.initial or history.cut[0].boot_id == sample.boot_id):
            lost = losses_across(history.cut, lost, sample)
        if isinstance(snapshot.table, Table):
            points = (*history.points, Point(sample.at.uptime, sample.entries))
            outlook = trend.forecast(points, snapshot.table, question.window, question.horizon, question.critical_line)
            standing = _crossed(history, sample, question)
        if not (lost and lost.lost):
            repeated = _repeated(history, sample, question)
    return Assessment(snapshot, history, file, lost, outlook,
                      _log(snapshot, lost, log_span(history, sample, question)), crossed=standing, drops=repeated)


def _crossed(history: History, sample: Sample, question: Question) -> hysteresis.Crossed | None:
    """The highest usage threshold whose alert stands."""
    counts = (*history.counts, Point(sample.at.uptime, sample.entries))
    found = [hysteresis.crossed(counts, sample.at, sample.maximum, threshold, question.clear)
             for threshold in question.thresholds]
    return next((one for one in reversed(found) if one), None)


def _repeated(history: History, sample: Sample, question: Question) -> hysteresis.Drops | None:
    """Packets dropped again and again."""
    return hysteresis.drops(history.slots, sample, question.window) if history.slots and question.clear else None


def log_span(history: History | Missing, sample: Sample | Missing, question: Question) -> float:
    """How far back log lines are judged, in seconds: as far as losses are counted, but not for ever."""
    if isinstance(history, Missing) or isinstance(sample, Missing) or history.base is None:
        return question.window
    counted = sample.at.uptime - history.base.at.uptime
    repeated = _repeated(history, sample, question)
    if repeated:
        counted = max(counted, sample.at.wall - repeated.began)
    return max(question.window, min(counted, LONGEST_LOG_SPAN))


def history_file(choice: str) -> str | Missing:
    """The recorder's file for a choice of `Question.history`."""
    if choice == 'off':
        return Missing('switched off', chosen=True)
    return location.check_file(choice) if choice else location.history_file(os.environ)


def _history(file: str, sample: Sample | Missing, question: Question, patience: float) -> History | Missing:
    if isinstance(sample, Missing):
        return sample
    return database.query_and_record(file, sample, history_query(question), question.history_days, patience)


def history_query(question: Question) -> HistoryQuery:
    """What is asked of the recorder."""
    return HistoryQuery(question.window, trend.points_span(question.window, question.horizon), comparable,
                        trend.WINDOWS * question.window,
                        RecentQuery(min(question.thresholds, default=100.0), hysteresis.LONGEST,
                                    hysteresis.REPEATED_WITHIN, question.window, dropped_between)
                        if question.clear else None)


def settings_of(host: Host, snapshot: Snapshot, question: Question) -> tuple[Drift, ...] | Missing:
    """What is configured for connection tracking and expired, or not running."""
    # only the initial namespace is set up by sysctl.d
    if not question.settings or not isinstance(snapshot.table, Table) or not snapshot.initial:
        return ()
    configured = sysctl_files.read(host)
    if isinstance(configured, Missing):
        return configured
    effective = sysctl_files.effective(configured)
    if not effective:
        return ()
    from .analysis.sysctl_drift import drifts  # only where something is configured

    return drifts(effective, sysctl_values.read_values(host, effective), snapshot.table, snapshot.at.wall)


def _log(snapshot: Snapshot, lost: Losses | None, span: float) -> LogEvidence | Missing:
    if isinstance(snapshot.kernel_log, Missing):
        return snapshot.kernel_log
    netns = None if isinstance(snapshot.netns, Missing) else snapshot.netns
    counters = None if isinstance(snapshot.counters, Missing) else snapshot.counters
    return log_evidence(snapshot.kernel_log, snapshot.at.monotonic, span, netns, snapshot.initial,
                        seconds_without_drops(counters, lost))
