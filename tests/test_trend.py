"""The slope and the forecast."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from check_conntrack_lib.model import Point, Table
from check_conntrack_lib.reasoning.trend import Forecast, forecast, slope

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
    assert forecast(points, TABLE, 300, 95) is None


def test_a_short_window_needs_less_time() -> None:
    assert forecast(line(1, 2, 3, step=15), TABLE, 30, 95) is not None


def test_time_to_the_lines() -> None:
    assert forecast(line(69_000, 72_000, 75_000), TABLE, 300, 95) == Forecast(50, 400, 500)


def test_beyond_the_critical_line() -> None:
    full = Table(120_000, 100_000, 100_000)
    assert forecast(line(114_000, 117_000, 120_000), full, 300, 95) == Forecast(50, 0, 0)


@pytest.mark.parametrize('points', [line(75_000, 75_000, 75_000), line(80_000, 77_000, 75_000)])
def test_steady_and_falling_tables_are_never_full(points: list[Point]) -> None:
    found = forecast(points, TABLE, 300, 95)
    assert found
    assert (found.to_critical, found.to_full) == (None, None)


def test_a_table_that_was_emptied_is_not_about_to_fill() -> None:
    found = forecast(line(60_000, 70_000, 80_000, 90_000, 100), Table(100, 100_000, 512), 300, 95)
    assert found
    assert found.growth > 0
    assert (found.to_critical, found.to_full) == (None, None)


def test_a_dip_in_a_ramp_ends_no_forecast() -> None:
    found = forecast(line(60_000, 70_000, 80_000, 90_000, 85_000), Table(85_000, 100_000, 512), 300, 95)
    assert found
    assert found.to_full is not None


def test_no_limit_no_end() -> None:
    assert forecast(line(1, 200, 300), Table(300, 0, 512), 300, 95) == Forecast(pytest.approx(100 / 60), None, None)
