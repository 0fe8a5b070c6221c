"""The plugin's own evaluation, on Icinga's schedule, over a course of usage."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple

from check_conntrack_lib.analysis import hysteresis, trend
from check_conntrack_lib.model import Point, Sample
from check_conntrack_lib.plugin.options import parse

from .judges import HOLD, Judge, lowest_line
from .scheduler import Alert, Service, after, alerts, pause
from .series import STEP, Course
from .sparing import ASKED_FOR, record, slots
from .world import MAXIMUM, UPTIME

CHECK_INTERVAL = 60.0


class Judged(NamedTuple):
    """An alert, and which signals were not OK when it became hard (at first when it never did)."""

    alert: Alert
    signals: str


#: (a step, the steps before it at which there was a check) -> would the judge say OK?
Skip = Callable[[int, Sequence[int]], bool]


def judged(course: Course, judge: Judge, skip: Skip = lambda k, ran: False,
           record: Callable[[Sequence[int]], None] = lambda ks: None) -> list[Judged]:
    """The alerts of a service with this judge.

    skip: at this step the judge would say OK, so it need not run while the service is OK; record: keeps the samples of
    such steps.
    """
    service = Service()
    checks: list[tuple[float, Service]] = []
    signals: list[tuple[float, str]] = []
    skipped: list[int] = []
    ran = array('q')
    k = Random(course.series.name).randrange(int(CHECK_INTERVAL / STEP))
    while k < len(course.usage):
        if not service.state and skip(k, ran):
            skipped.append(k)
            state = 0
        else:
            if skipped:
                record(skipped[bisect_left(skipped, k - ASKED_FOR / STEP):])
                skipped = []
            state, why = judge([course.snapshot(k)])
            if state:
                signals.append((k * STEP, why))
        ran.append(k)
        before, service = service, after(service, state)
        if before.state or service.state:
            checks.append((k * STEP, service))
        k += int(pause(service, CHECK_INTERVAL) / STEP)
    said = dict(signals)
    return [Judged(alert, said[alert.soft if alert.hard is None else alert.hard]) for alert in alerts(checks)]


def recording(course: Course, file: str) -> Callable[[Sequence[int]], None]:
    """Writes the samples of these steps to the history, as runs of the check would have done."""
    def keep(ks: Sequence[int]) -> None:
        record(file, [one for one in (course.snapshot(k).sample() for k in ks) if isinstance(one, Sample)])
    return keep


def skipping(course: Course, arguments: Sequence[str]) -> Skip:
    """Is there nothing at this step that the plugin could alert about, with these options?

    Nothing dropped for as long as a drop may count, no usage threshold crossed for as long as that may, and below the
    usage from which growth counts, or not filling as a growth that counts does.
    """
    options = parse(list(arguments))
    floor, threshold = lowest_line(arguments), lowest_line([*arguments, '--trend=off'])
    past = trend.points_span(options.window, options.horizon)
    spans = [int(span / STEP) for span in (hysteresis.LONGEST + CHECK_INTERVAL, past)]
    level = min(floor, threshold, options.trend - options.clear)

    def skip(k: int, ran: Sequence[int]) -> bool:
        if course.loss_within(k, HOLD):
            return False
        if course.usage[k] < floor:
            return True
        held, growing = (max(course.usage[max(0, k - span):k + 1]) for span in spans)
        if held > threshold:
            return False
        return growing < level or not trend.fuller_in_each(trend.parts_of(
            trend.since_a_fall(trend.spread(_points(course, k, ran, options.window, past), past / trend.MOST_POINTS)),
            past))
    return skip


def _points(course: Course, k: int, ran: Sequence[int], window: float, past: float) -> list[Point]:
    """What the history gives the trend."""
    return slots([Point(UPTIME + one * STEP, min(MAXIMUM, round(course.usage[one] * MAXIMUM / 100)))
                  for one in [*ran[bisect_left(ran, k - past / STEP):], k]], window, past)
