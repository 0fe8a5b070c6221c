"""The slope and the forecast."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from check_conntrack_lib.analysis.trend import (
    Forecast,
    Rise,
    forecast,
    fuller_in_each,
    leads_to,
    parts_of,
    points_span,
    recent_of,
    since_a_fall,
    slope,
    spread,
)
from check_conntrack_lib.model import Point, Table

TABLE = Table(75_000, 100_000, 100_000)


def line(*entries: int, step: float = 60) -> list[Point]:
    return [Point(k * step, n) for k, n in enumerate(entries)]


@given(st.integers(-1000, 1000), st.integers(0, 7), st.integers(-10**6, 10**6))
def test_one_odd_sample_cannot_bend_it(growth: int, place: int, error: int) -> None:
    entries = [500_000 + growth * 60 * k for k in range(8)]
    entries[place] += error
    assert slope(line(*entries)) == growth


@given(st.integers(0, 3), st.integers(-10**6, 10**6))
def test_one_odd_sample_of_four(place: int, error: int) -> None:
    entries = [75_000] * 4
    entries[place] += error
    assert slope(line(*entries)) == 0


@given(st.integers(0, 2), st.integers(-10**6, 10**6))
def test_one_odd_sample_of_three_raises_no_alarm(place: int, error: int) -> None:
    entries = [75_000] * 3
    entries[place] += error
    assert slope(line(*entries)) <= 0


def test_a_ramp_of_three() -> None:
    assert slope(line(100, 160, 220)) == 1


def test_one_moment_twice() -> None:
    assert slope([Point(1, 5), Point(1, 9), Point(2, 9)]) in (0, 4)
    assert slope([Point(1, 5), Point(1, 9)]) == 0


@pytest.mark.parametrize('points', [line(1, 2), line(1, 2, 3, step=59), []], ids=['two', '118 s', 'none'])
def test_too_few_over_too_short_a_time(points: list[Point]) -> None:
    assert forecast(points, TABLE, 300, 3600, 95) is None


def test_a_short_window_needs_less_time() -> None:
    assert forecast(line(1, 2, 3, step=15), TABLE, 30, 3600, 95) is not None


def test_time_to_the_lines() -> None:
    assert forecast(line(69_000, 72_000, 75_000), TABLE, 300, 3600, 95) == Forecast(50, 400, 500, False)


def test_beyond_the_critical_line() -> None:
    full = Table(120_000, 100_000, 100_000)
    assert forecast(line(114_000, 117_000, 120_000), full, 300, 3600, 95) == Forecast(50, 0, 0, False)


@pytest.mark.parametrize('points', [line(75_000, 75_000, 75_000), line(80_000, 77_000, 75_000)])
def test_steady_and_falling_tables_are_never_full(points: list[Point]) -> None:
    found = forecast(points, TABLE, 300, 3600, 95)
    assert found
    assert (found.to_critical, found.to_full) == (None, None)


def test_a_table_that_was_emptied_is_not_about_to_fill() -> None:
    assert forecast(line(60_000, 70_000, 80_000, 90_000, 100), Table(100, 100_000, 512), 300, 3600, 95) is None
    found = forecast(line(60_000, 70_000, 80_000, 90_000, 55_000), Table(55_000, 100_000, 512), 300, 3600, 95)
    assert found
    assert found.growth > 0
    assert (found.to_critical, found.to_full) == (None, None)


def test_a_dip_in_a_ramp_ends_no_forecast() -> None:
    found = forecast(line(60_000, 70_000, 80_000, 90_000, 85_000), Table(85_000, 100_000, 512), 300, 3600, 95)
    assert found
    assert found.to_full is not None


def test_no_limit_no_end() -> None:
    unlimited = Table(300, 0, 512)
    assert forecast(line(1, 200, 300), unlimited, 300, 3600, 95) == Forecast(pytest.approx(100 / 60), None, None)


def rise(minutes: int, growth: int, before: int = 0, now: int = 75_000) -> list[Point]:
    """One sample a minute: level for so many minutes, then rising by `growth` a minute up to `now`."""
    first = now - growth * minutes
    return line(*([first] * before), *(first + growth * k for k in range(minutes + 1)))


@pytest.mark.parametrize(('points', 'lasting'), [
    (rise(44, 500), True),
    (rise(36, 500), True),
    (rise(34, 500), False),
    # half of three quarters of an hour, and more
    (rise(20, 500, before=25), False),
    (rise(28, 500, before=17), True),
    # the last quarter of an hour alone is noise
    (rise(14, 500, before=31), False),
    # 20 000 are left: more than an hour at that pace
    (rise(44, 320), None),
], ids=['45 min', '37 min', '35 min', 'less than half', 'more than half', 'noise', 'slowly'])
def test_a_trend_must_have_lasted(points: list[Point], lasting: bool | None) -> None:
    found = forecast(points, TABLE, 300, 3600, 95)
    assert found
    assert found.lasting is lasting


def test_what_was_fast_and_is_no_longer() -> None:
    points = [*rise(30, 1500, now=74_000), *(Point(1860 + 60 * k, 74_000 + 5 * k) for k in range(16))]
    found = forecast(points, TABLE, 300, 3600, 95)
    assert found
    assert found.growth < 1
    assert found.lasting is None


def test_what_fills_anew_is_no_trend() -> None:
    before = [Point(60 * k, 74_000) for k in range(30)]
    after = [Point(1800 + 60 * k, 4_700 * (k + 1)) for k in range(16)]
    found = forecast([*before, *after], TABLE, 300, 3600, 95)
    assert found
    assert found.growth > 50
    assert found.lasting is False


def test_many_checks_in_one_minute_count_no_more_than_one() -> None:
    often = [Point(2700 + k, 75_000 + 40 * k) for k in range(300)]
    assert len(spread([*line(*[74_000] * 45), *often], 135)) <= 24
    found = forecast([*line(*[74_000] * 45), *often], TABLE, 300, 3600, 95)
    assert found
    assert not found.lasting


@pytest.mark.parametrize('late', [0, 15, 59])
def test_five_minutes_between_checks_are_enough(late: int) -> None:
    points = [Point(300 * k, 60_000 + 2_000 * k) for k in range(9)]
    found = forecast([*points[1:], Point(2700 + late, 78_000)], TABLE, 300, 3600, 95)
    assert found
    assert found.lasting


def test_the_look_back() -> None:
    assert (points_span(300, 3600), points_span(300, 600), points_span(1800, 3600)) == (2700, 2700, 5400)
    assert points_span(300, 7200) == 5400


def test_checked_every_ten_minutes() -> None:
    found = forecast([Point(600 * k, 60_000 + 3_600 * k) for k in range(5)], TABLE, 300, 3600, 95)
    assert found
    assert found.growth == 6
    assert found.lasting


@pytest.mark.parametrize('flat', [2, 3, 4, 6, 9])
def test_two_steps_are_no_rise_once_they_are_over(flat: int) -> None:
    points = line(*[8_000] * 4, *[17_400] * 4, *[19_400] * (flat + 1))
    found = forecast(points, Table(19_400, 20_000, 65_536), 300, 3600, 95)
    assert found
    assert (found.to_critical, found.to_full, found.lasting) == (None, None, None)
    if found.growth > 0:
        assert found.rise == Rise(11_400, (8 + flat) * 60 if flat < 8 else 900, flat * 60, 0)


def test_a_rise_that_turned_into_a_fall_is_over() -> None:
    points = line(*range(60_000, 80_000, 2_000), 76_000, 75_000, 74_000, 73_000)
    found = forecast(points, Table(73_000, 100_000, 100_000), 300, 3600, 95)
    assert found
    assert found.growth > 0
    assert (found.to_full, found.rise) == (None, Rise(18_000, 780, 240, 5_000))


def test_a_slow_rise_below_the_noise_goes_on() -> None:
    points = [Point(60 * k, 75_000 + 100 * k + (300 if k % 3 == 1 else 0)) for k in range(46)]
    found = forecast(points, Table(points[-1].entries, 100_000, 100_000), 300, 3600, 82)
    assert found
    assert found.to_full is not None
    assert found.lasting


@pytest.mark.parametrize('horizon', [600, 1800, 3600])
@pytest.mark.parametrize('minutes', [5, 15, 24, 30])
def test_a_burst_is_no_growth_of_three_quarters_of_an_hour(minutes: int, horizon: float) -> None:
    # level at half, a jump, and rising since then
    points = [Point(60 * k, 50_000 + k % 3) for k in range(60 - minutes)]
    points += [Point(60 * (60 - minutes + k), 70_000 + 8_000 * k // minutes) for k in range(minutes + 1)]
    found = forecast(points, Table(78_000, 100_000, 100_000), 300, horizon, 95)
    assert found
    assert not found.lasting


def test_a_rise_that_levels_off_is_no_growth() -> None:
    # towards 85 %, half of what is left every ten minutes
    points = [Point(60 * k, round(85_000 - 40_000 * 0.5 ** (k / 10))) for k in range(61)]
    for now in range(20, 61):
        found = forecast(points[:now + 1], Table(points[now].entries, 100_000, 100_000), 300, 3600, 95)
        assert found
        assert not (found.lasting and points[now].entries >= 84_000)


def test_one_odd_sample_in_each_part_ends_no_growth() -> None:
    points = rise(45, 500)
    for k in (5, 20, 35):
        points[k] = Point(points[k].uptime, 90_000)
    found = forecast(points, TABLE, 300, 3600, 95)
    assert found
    assert found.lasting


def parts(*entries: list[int]) -> list[list[Point]]:
    """Parts of 900 s each, the newest first, their samples spread evenly."""
    return [[Point(1800 - 900 * k + 900 * n / len(part), value) for n, value in enumerate(part)]
            for k, part in enumerate(entries)]


@pytest.mark.parametrize(('newest', 'middle', 'oldest', 'end'), [
    # each part grows by half as much as the one before: by 1.1 * 10 / 20 of the last, again and again
    ([70], [60], [40], 70 + 10 * 0.55 / 0.45),
    # of two samples the mean, of three the median
    ([60, 80], [50, 70], [30, 50], 70 + 10 * 0.55 / 0.45),
    ([20, 70, 71], [20, 60, 61], [20, 40, 41], 70 + 10 * 0.55 / 0.45),
    ([60], [50], [40], float('inf')),
    ([60], [51], [40], 60 + 9 * 0.9 / 0.1),
    # more than four times as fast: it has just begun
    ([91], [50], [40], 91),
    ([90], [50], [40], float('inf')),
    ([70], [40], [40], 70),
    ([40], [40], [40], float('inf')),
    ([10], [39], [40], float('inf')),
])
def test_where_a_growth_that_slows_down_ends(newest: list[int], middle: list[int], oldest: list[int],
                                             end: float) -> None:
    assert leads_to(parts(newest, middle, oldest)) == pytest.approx(end)


def test_a_growth_that_slows_down_is_measured_by_time() -> None:
    # 20 in 600 s, then 10 in 1200 s: a quarter of the speed
    uneven = [[Point(1800, 70)], [Point(600, 60)], [Point(0, 40)]]
    assert leads_to(uneven) == pytest.approx(70 + 10 * 0.275 / 0.725)


def test_the_thirds_of_the_past() -> None:
    points = line(9, 1, 2, 3, 4, 6, 5, 7, 8, 0, step=10)
    found = [[point.entries for point in part] for part in parts_of(points, 90)]
    assert found == [[0, 7, 8], [4, 5, 6], [1, 2, 3, 9]]


def test_fuller_all_the_time_but_for_one_sample_of_eight() -> None:
    assert fuller_in_each(parts([21, 22], [11, 20], [1, 10]))
    assert not fuller_in_each(parts([21, 22], [11, 20], [1, 11]))
    assert not fuller_in_each(parts([20, 22], [11, 20], [1, 10]))
    assert not fuller_in_each(parts([21, 22], [11, 20], []))
    assert not fuller_in_each(parts([5, *range(22, 28)], [1] * 7, [0, 0, 1]))
    one_odd = [5, *range(22, 29)]
    assert fuller_in_each(parts(one_odd, [*range(10, 17), 90], [*range(1, 8), 80]))
    assert not fuller_in_each(parts([5, *one_odd[:-1]], [10] * 8, [1] * 8))
    # of two that are fuller one is not odd
    assert not fuller_in_each(parts(one_odd, [*[10] * 6, 30, 90], [1] * 8))


def test_those_of_the_last_seconds_or_the_newest_few() -> None:
    points = line(*range(10))
    assert [point.entries for point in recent_of(points, 300)] == [4, 5, 6, 7, 8, 9]
    assert [point.entries for point in recent_of(points, 30)] == [7, 8, 9]
    assert [point.entries for point in recent_of(points, 30, 5)] == [5, 6, 7, 8, 9]
    assert len(recent_of(points, 1e9)) == len(recent_of(points, 0, 99)) == 10


def test_the_newest_of_each_slot() -> None:
    assert [point.entries for point in spread(line(*range(7)), 120)] == [0, 2, 4, 6]


def test_since_the_last_fall_by_half() -> None:
    assert [point.entries for point in since_a_fall(line(9, 4, 8, 3, 5, 4))] == [3, 5, 4]
    assert [point.entries for point in since_a_fall(line(9, 4, 2))] == [4, 2]
    assert [point.entries for point in since_a_fall(line(9, 4))] == [4]
    assert len(since_a_fall(line(8, 4, 8))) == 3


def test_at_the_horizon_to_the_second() -> None:
    points = rise(44, 300)
    at = forecast(points, TABLE, 300, 3600, 93)
    assert at == Forecast(5, 3600, 5000, True)
    beyond = forecast(points, TABLE, 300, 3599, 93)
    assert beyond
    assert beyond.lasting is None


@pytest.mark.parametrize(('oldest', 'lasting'), [(2160, True), (2159, False)])
def test_four_fifths_of_the_look_back_are_enough(oldest: int, lasting: bool) -> None:
    points = [Point(oldest * k / 36, 55_000 + 20_000 * k // 36) for k in range(37)]
    found = forecast(points, TABLE, 300, 3600, 95)
    assert found
    assert found.lasting is lasting


def test_growth_below_one_entry_a_second_goes_on() -> None:
    found = forecast(line(*range(73_650, 75_001, 30)), TABLE, 300, 3600, 95)
    assert found == Forecast(0.5, 40_000, 50_000)


def test_within_a_hundredth_it_is_steady() -> None:
    # for as long as that, at the rise's pace, it would have left the hundredth twice over
    stood = [*range(50_000, 76_000, 5_000), 75_750, 75_000, 74_250, 75_000, 75_750, 75_000]
    found = forecast(line(*stood), TABLE, 300, 3600, 95)
    assert found
    assert found.rise == Rise(25_750, 660, 360, 750)
