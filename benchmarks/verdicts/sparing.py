"""A judge that is not asked where it can only say OK: such runs are recorded, no more."""

from __future__ import annotations

from collections.abc import Sequence

from check_conntrack_lib.analysis import hysteresis, trend
from check_conntrack_lib.history import database
from check_conntrack_lib.history.queries import NEWEST_POINTS, OLDER_POINTS
from check_conntrack_lib.model import Counters, KernelLog, Missing, Point, Sample, Table
from check_conntrack_lib.plugin.options import Options, parse
from check_conntrack_lib.snapshot import Snapshot

from .judges import HOLD, Judge, lowest_line

#: of what was skipped before a run, the last so many seconds are recorded: the check asks for none that are older
ASKED_FOR = hysteresis.REPEATED_WITHIN + HOLD
DAYS, PATIENCE = 14.0, 1.5


def sparing(judge: Judge, file: str, arguments: Sequence[str] = ()) -> Judge:
    """The same judge, whose history is in this file, asked only where it may say more than OK."""
    options, floor = parse(list(arguments)), lowest_line(arguments)
    threshold = lowest_line([*arguments, '--trend=off'])
    before: list[Snapshot] = []
    points: list[Point] = []
    waiting: list[Sample] = []
    state = 0

    def judged(snapshots: Sequence[Snapshot]) -> tuple[int, str]:
        nonlocal state
        now, sample = snapshots[0], snapshots[0].sample()
        why = ''
        points.append(Point(now.at.uptime, now.table.entries if isinstance(now.table, Table) else 0))
        if len(snapshots) == 1 and not state and not isinstance(sample, Missing) and _nothing_dropped(before, now) \
                and quiet(points, now.table, options, floor, threshold):
            waiting.append(sample)
        else:
            record(file, waiting)
            waiting.clear()
            state, why = judge(snapshots)
        before.append(now)
        while len(before) > 1 and now.at.uptime - before[1].at.uptime >= HOLD:
            del before[0], points[0]
        return state, why
    return judged


def record(file: str, samples: Sequence[Sample]) -> None:
    """Samples of one boot, oldest first, as runs of the check would have recorded them."""
    asked_for = [one for one in samples if samples[-1].at.uptime - one.at.uptime < ASKED_FOR]
    if asked_for:
        # the newest first: the retention takes its time
        database.record(file, asked_for[::-1], DAYS, PATIENCE)


def quiet(points: Sequence[Point], table: object, options: Options, floor: float, threshold: float) -> bool:
    """Can neither usage nor growth alert after a run that said OK?

    points: up to now, of all that is looked at; floor, threshold: the usage in percent from which growth or usage, and
    usage alone, alert.
    """
    if not isinstance(table, Table):
        return False
    if table.usage < floor:
        return True
    past = trend.points_span(options.window, options.horizon)
    held, growing = (max(point.entries for point in points if points[-1].uptime - point.uptime <= span) * 100
                     / table.maximum for span in (hysteresis.LONGEST, past))
    if held > threshold:
        return False
    spread = trend.spread(slots(points, options.window, past), past / trend.MOST_POINTS)
    return growing < options.trend - options.clear or not trend.fuller_in_each(
        trend.parts_of(trend.since_a_fall(spread), past))


def slots(points: Sequence[Point], window: float, past: float) -> list[Point]:
    """Of points up to now, those that the history gives the trend: see `history.queries`."""
    now = points[-1]
    recent = trend.WINDOWS * window
    close, wide = recent / NEWEST_POINTS, past / OLDER_POINTS
    found: dict[tuple[bool, int], Point] = {}
    for point in points[:-1]:
        if now.uptime - point.uptime <= past:
            new = now.uptime - point.uptime <= recent
            found[new, int(point.uptime / (close if new else wide))] = point
    return [*found.values(), now]


def _nothing_dropped(before: Sequence[Snapshot], now: Snapshot) -> bool:
    """Nothing was counted, logged or set for as long as a drop may count, and chains are short."""
    if not before or now.at.uptime - before[0].at.uptime < HOLD:
        return False
    first, table = before[0], now.table
    if not isinstance(table, Table) or not isinstance(first.table, Table) or not isinstance(table.buckets, int):
        return False
    if not isinstance(now.counters, Counters) or not isinstance(first.counters, Counters):
        return False
    stamps = [line.stamp for line in now.kernel_log.table_full] if isinstance(now.kernel_log, KernelLog) else []
    return (first.boot_id, first.table.maximum, first.counters.per_cpu) == \
        (now.boot_id, table.maximum, now.counters.per_cpu) and table.entries <= table.buckets \
        and now.at.monotonic - max(stamps, default=float('-inf')) > HOLD
