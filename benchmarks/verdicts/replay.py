"""The plugin's own evaluation, on Icinga's schedule, over a course of usage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple

from check_conntrack_lib.history import database
from check_conntrack_lib.model import Sample

from .judges import HOLD, Judge, lowest_line
from .scheduler import Alert, Service, after, alerts, pause
from .series import STEP, Course

CHECK_INTERVAL = 60.0
#: skipped samples are recorded in groups of so many
GROUP = 2000


class Judged(NamedTuple):
    """An alert, and which signals were not OK when it became hard (at first when it never did)."""

    alert: Alert
    signals: str


def judged(course: Course, judge: Judge, skip: Callable[[int], bool] = lambda k: False,
           record: Callable[[Sequence[int]], None] = lambda ks: None) -> list[Judged]:
    """The alerts of a service with this judge.

    skip: at this step the judge would say OK, so it need not run while the service is OK; record: keeps the samples of
    such steps.
    """
    service = Service()
    checks: list[tuple[float, Service]] = []
    signals: list[tuple[float, str]] = []
    skipped: list[int] = []
    k = Random(course.series.name).randrange(int(CHECK_INTERVAL / STEP))
    while k < len(course.usage):
        if not service.state and skip(k):
            skipped.append(k)
            state = 0
            if len(skipped) >= GROUP:
                record(skipped)
                skipped = []
        else:
            if skipped:
                record(skipped)
                skipped = []
            state, why = judge([course.snapshot(k)])
            if state:
                signals.append((k * STEP, why))
        before, service = service, after(service, state)
        if before.state or service.state:
            checks.append((k * STEP, service))
        k += int(pause(service, CHECK_INTERVAL) / STEP)
    said = dict(signals)
    return [Judged(alert, said[alert.soft if alert.hard is None else alert.hard]) for alert in alerts(checks)]


def recording(course: Course, file: str, days: float = 14.0) -> Callable[[Sequence[int]], None]:
    """Writes the samples of these steps to the history, as runs of the check would have done."""
    def record(ks: Sequence[int]) -> None:
        samples = [one for one in (course.snapshot(k).sample() for k in ks) if isinstance(one, Sample)]
        # the newest first: the retention takes its time
        database.record(file, samples[::-1], days, 1.5)
    return record


def skipping(course: Course, arguments: Sequence[str]) -> Callable[[int], bool]:
    """Is there nothing at this step that the plugin could alert about, with these options?

    Below every threshold (and where it clears), and nothing dropped for as long as a drop may count.
    """
    floor = lowest_line(arguments)
    return lambda k: course.usage[k] < floor and not course.loss_within(k, HOLD)
