"""When an alert clears."""

from __future__ import annotations

import pytest

from check_conntrack_lib.analysis.hysteresis import LONGEST, QUIET, Awaited, awaited, crossed, drops, highest
from check_conntrack_lib.model import Counters, Instant, Point, Sample

WAIT = 240.0
AT = Instant(1_800_000_000.0, 50_000.0, 50_000.0)


def counts(*usage: float, step: float = 60.0) -> list[Point]:
    """Percent of 1000 entries, the last now."""
    return [Point(AT.uptime - step * (len(usage) - 1 - k), round(10 * one)) for k, one in enumerate(usage)]


def wall(minutes: float) -> float:
    return AT.wall - 60 * minutes


def test_above_since() -> None:
    found = crossed(counts(70, 84, 86, 84, 88, 90), AT, 1000, 85, 5)
    assert found is not None
    assert (found.since, found.last, found.usage, found.held, found.clears) == (wall(3), wall(0), 90, False, 80)


@pytest.mark.parametrize(('usage', 'held'), [
    ((70, 86, 87, 84), True),
    ((70, 86, 87, 80), True),
    # below 80 for ten minutes
    ((70, 86, 87, *[79.9] * 10), True),
    ((70, 86, 87, *[79.9] * 11), False),
    ((70, 86, 87, *[79] * 10, 80, *[79] * 10), True),
    ((70, 86, 87, *[79] * 11, 84), False),
    ((70, 84, 80), False),
    # on it is not above it
    ((70, 85, 85, 84), False),
    # a single sample above it would not have become hard
    ((70, 86, 84), False),
])
def test_it_clears_lower(usage: tuple[float, ...], held: bool) -> None:
    found = crossed(counts(*usage), AT, 1000, 85, 5)
    assert (found is not None) is held
    if found:
        assert found.held
        assert found.usage == 87


def test_when_it_clears() -> None:
    found = crossed(counts(70, 86, 87, 84, 79, 78, 77), AT, 1000, 85, 5)
    assert found is not None
    assert (found.last, found.below, found.until) == (wall(4), wall(2), wall(2) + QUIET)
    found = crossed(counts(86, 87, *[83] * 52, *[79] * 5), AT, 1000, 85, 5)
    assert found is not None
    assert (found.below, found.until) == (wall(4), wall(57) + LONGEST)


@pytest.mark.parametrize(('usage', 'threshold'), [
    ((86, 97, 98, 94), 95),
    ((86, 97, 98, *[89] * 10), 95),
    ((86, 97, 98, *[89] * 11), 85),
    # a table that empties is not first less critical
    ((86, 97, 98, 89, *[60] * 10), 95),
    ((86, 97, 98, 60, 60), 95),
    ((86, 97, 98, 89, *[60] * 11), None),
    ((86, 97, 98, *[89] * 11, 60), 85),
    # above 95 for a single sample
    ((86, 87, 98, 60), 85),
    # filled again
    ((86, 97, 98, 60, 60, 87), 95),
])
def test_the_highest(usage: tuple[float, ...], threshold: float | None) -> None:
    found = highest(counts(*usage), AT, 1000, (85, 95), 5)
    assert (found and found.threshold) == threshold
    if found:
        assert found.held is (usage[-1] <= threshold)


def test_what_empties_clears_at_once_at_every_threshold() -> None:
    found = highest(counts(86, 97, 98, 89, 60, 60), AT, 1000, (85, 95), 5)
    assert found is not None
    assert (found.last, found.below, found.until) == (wall(3), wall(1), wall(1) + QUIET)


@pytest.mark.parametrize(('usage', 'threshold'), [
    ((70, 86, 86, 86), None),
    ((70, 86, 86, 86, 86), 85),
    # it was below 80 % in between
    ((70, 86, 86, 79.9, 86, 86, 86), None),
    ((70, 86, 86, 80, 86, 86, 86), 85),
    # it falls: a burst that ends
    ((70, 82, 88, 91, 88), None),
    ((70, 82, 88, 91, 88, 88.5, 89), None),
    # level since, at last, or up again
    ((70, 82, 88, 91, 88, 88.5, 88, 88), 85),
    ((70, 82, 88, 91, 88, 90.5), 85),
    # within its noise
    ((70, 82, 88, 88, 87.2), 85),
    # 15 % in 12 minutes
    ((77.7, 78.9, 80.1, 81.4, 82.6, 83.9, 85.1), 85),
    # nothing is known of what was before
    ((86,), 85),
    # no alert came of it, so none is held
    ((70, 86, 86, 86, 84), None),
    ((70, *[86] * 5, 84), 85),
    # what stands does not wait again
    ((*[86] * 6, 70, 86), 85),
    # the higher one waits for nothing, and stands while the lower one waits
    ((70, 96), 95),
    ((70, 96, 96, 91), 95),
])
def test_the_lower_one_waits_for_a_burst_to_end(usage: tuple[float, ...], threshold: float | None) -> None:
    found = highest(counts(*usage), AT, 1000, (85, 95), 5, WAIT)
    assert (found and found.threshold) == threshold


def test_what_waits() -> None:
    assert awaited(counts(70, 79, 86, 87), AT, 1000, (85, 95), 5, WAIT) == Awaited(85, wall(2) + WAIT)
    assert awaited(counts(70, 82, 88, 91, 88), AT, 1000, (85, 95), 5, WAIT) == Awaited(85, wall(1) + WAIT)
    assert awaited(counts(70, 86, 85), AT, 1000, (85, 95), 5, WAIT) is None
    assert awaited([], AT, 1000, (85, 95), 5, WAIT) is None
    assert awaited(counts(90), AT, 0, (85, 95), 5, WAIT) is None
    assert awaited(counts(90), AT, 1000, (), 5, WAIT) is None


def test_a_single_threshold_waits_for_nothing_and_none_does_by_default() -> None:
    assert highest(counts(70, 86), AT, 1000, (85,), 5, WAIT) is not None
    assert highest(counts(70, 86), AT, 1000, (85, 95), 5) is not None


def test_since_it_was_above_and_not_since_it_counts() -> None:
    found = highest(counts(70, *[86] * 6), AT, 1000, (85, 95), 5, WAIT)
    assert found is not None
    assert (found.since, found.longer) == (wall(5), False)


def test_no_threshold() -> None:
    assert highest(counts(86, 97, 98), AT, 1000, (), 5) is None


def test_off() -> None:
    assert crossed(counts(86, 87, 84), AT, 1000, 85, 0) is None
    assert crossed(counts(86, 87, 88), AT, 1000, 85, 0) is not None


def test_an_hour_at_most() -> None:
    minutes = int(LONGEST / 60)
    assert crossed(counts(86, 87, *[83] * minutes), AT, 1000, 85, 5) is not None
    assert crossed(counts(86, 87, *[83] * (minutes + 1)), AT, 1000, 85, 5) is None


def test_twice_within_hours_clears_after_an_hour() -> None:
    found = crossed(counts(86, 87, *[60] * 30, 88, 89, *[50] * 59), AT, 1000, 85, 5)
    assert found is not None
    assert (found.times, found.since, found.last, found.until) == (2, wall(92), wall(59), wall(59) + LONGEST)
    assert crossed(counts(86, 87, *[60] * 30, 88, 89, *[50] * 61), AT, 1000, 85, 5) is None
    # the second was over at once
    assert crossed(counts(86, 87, *[60] * 30, 88, *[50] * 19), AT, 1000, 85, 5) is None


def test_the_maximum_was_raised() -> None:
    assert crossed([Point(AT.uptime - 30 * k, 870) for k in (2, 1, 0)], AT, 2000, 85, 5) is None


def test_a_table_of_one_entry() -> None:
    points = [Point(AT.uptime - 60 * k, 1) for k in (2, 1, 0)]
    assert crossed(points, AT, 1, 85, 5) is not None
    assert awaited(points, AT, 1, (85, 95), 5, WAIT) is not None
    assert crossed(points, AT, -1, 85, 5) is None
    assert awaited(points, AT, -1, (85, 95), 5, WAIT) is None


@pytest.mark.parametrize(('clear', 'held'), [(0.5, True), (0, False), (-1, False)])
def test_however_little_lower_it_clears(clear: float, held: bool) -> None:
    assert (crossed(counts(86, 87, 84.8), AT, 1000, 85, clear) is not None) is held


def test_no_limit_no_threshold() -> None:
    assert crossed(counts(90, 90, 90), AT, 0, 85, 5) is None
    assert crossed([], AT, 1000, 85, 5) is None


def sample(minutes: float, dropped: int) -> Sample:
    """So many minutes ago."""
    uptime = AT.uptime - 60 * minutes
    return Sample(Instant(AT.wall - 60 * minutes, uptime, uptime), 'boot', 1, 900, 1000, 1000,
                  Counters({'drop': (dropped, 0)}))


def test_drops_at_two_times() -> None:
    slots = [sample(60, 0), sample(55, 100), sample(50, 100), sample(45, 100), sample(40, 100), sample(35, 700),
             *(sample(30 - 5 * k, 700) for k in range(6))]
    found = drops(slots, sample(0, 700), 300)
    assert found is not None
    assert (found.times, found.packets, found.first, found.began, found.last) \
        == (2, 700, wall(60), wall(40), wall(35))
    assert found.rate == 2
    assert found.until == wall(35) + LONGEST


def test_one_time_is_none() -> None:
    slots = [sample(60 - 5 * k, 0 if k < 3 else 100 * min(k, 6)) for k in range(12)]
    assert drops(slots, sample(0, 600), 300) is None


def test_an_hour_without_drops_ends_it() -> None:
    slots = [sample(180, 0), sample(175, 9), *(sample(170 - 5 * k, 9) for k in range(10)), sample(115, 20),
             *(sample(110 - 5 * k, 20) for k in range(22))]
    assert drops(slots, sample(0, 20), 300) is None


def test_a_reset_of_the_counters_is_no_drop() -> None:
    slots = [sample(60, 500), sample(55, 600), sample(50, 600), sample(45, 600), sample(40, 0), sample(30, 0)]
    assert drops(slots, sample(0, 0), 300) is None


@pytest.mark.parametrize(('clear', 'clears'), [(90, 42.5), (50, 42.5), (40, 45), (5, 80)])
def test_no_lower_than_half_of_it(clear: float, clears: float) -> None:
    """A threshold that was set low to see an alert is no longer than others."""
    found = crossed(counts(70, 86, 87, 81), AT, 1000, 85, clear)
    assert found is not None
    assert (found.held, found.clears) == (True, clears)


@pytest.mark.parametrize(('usage', 'held'), [
    ((1, 6, 7, *[2.5] * 12), True), ((1, 6, 7, *[2.4] * 10), True), ((1, 6, 7, *[2.4] * 11), False)])
def test_a_threshold_of_five_clears_below_two_and_a_half(usage: tuple[float, ...], held: bool) -> None:
    assert (crossed(counts(*usage), AT, 1000, 5, 5) is not None) is held


def test_half_a_minute_above_it_makes_it_hard() -> None:
    assert crossed(counts(70, 86, 86, 86, 84, step=15), AT, 1000, 85, 5) is not None
    assert crossed(counts(70, 86, 86, 86, 84, step=14.9), AT, 1000, 85, 5) is None


def test_above_since_the_history_begins() -> None:
    longer = [crossed(counts(*usage), AT, 1000, 85, 5) for usage in ((86, 87, 88), (80, 87, 88))]
    assert [one and one.longer for one in longer] == [True, False]


def test_twice_counts_what_was_hard() -> None:
    found = crossed(counts(86, 87, *[60] * 12, 88, *[60] * 12, 86, 87, *[60] * 12), AT, 1000, 85, 5)
    assert found is not None
    assert (found.times, found.since) == (2, wall(40))
    # it is above again: the newest crossing is what counts
    again = crossed(counts(86, 87, *[60] * 12, 88), AT, 1000, 85, 5)
    assert again is not None
    assert (again.times, again.since, again.held) == (1, wall(0), False)


def test_what_is_dropped_within_two_windows_belongs_together() -> None:
    def found(minutes: float) -> int | None:
        slots = [sample(60, 0), sample(55, 100), sample(55 - minutes, 100), sample(50 - minutes, 200), sample(9, 200)]
        repeated = drops(slots, sample(0, 200), 300)
        return repeated and repeated.times

    assert found(10) is None
    assert found(10.1) == 2


def test_drops_in_less_than_a_window_are_counted_over_one() -> None:
    slots = [sample(60, 0), sample(55, 100), sample(31, 100), sample(30, 400), sample(9, 400)]
    found = drops(slots, sample(0, 400), 300)
    assert found is not None
    assert found.rate == 1
    at_the_end = drops([*slots[:2], sample(60, 100)._replace(at=slots[1].at)], sample(55, 100), 300)
    assert at_the_end is None


def test_an_hour_after_the_last_drop() -> None:
    def at(minutes: float) -> bool:
        slots = [sample(180, 0), sample(175, 9), sample(minutes + 5, 9), sample(minutes, 20)]
        return drops(slots, sample(0, 20), 300) is not None

    assert at(60)
    assert not at(60.01)


def test_just_below_the_lines() -> None:
    assert crossed(counts(70, 84.9, 84.9, 84.9), AT, 1000, 85, 5) is None
    assert crossed(counts(86, 87, *[79.9] * 12, 84), AT, 1000, 85, 5) is None
    assert crossed(counts(86, 87, *[80] * 12, 84), AT, 1000, 85, 5) is not None


def test_an_hour_to_the_second() -> None:
    def after(seconds: float) -> bool:
        points = [Point(AT.uptime - seconds - 60, 860), Point(AT.uptime - seconds, 870), Point(AT.uptime, 830)]
        return crossed(points, AT, 1000, 85, 5) is not None

    assert (after(3600), after(3600.5)) == (True, False)
