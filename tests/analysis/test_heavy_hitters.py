"""Bounded counting: its guarantees against exact counts."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from check_conntrack_lib.analysis import heavy_hitters
from check_conntrack_lib.analysis.heavy_hitters import HeavyHitters, Histogram


@pytest.fixture(autouse=True, scope='module')
def _small():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heavy_hitters, 'MOST_KEYS', 12)
        patch.setattr(heavy_hitters, 'KEPT_KEYS', 4)
        patch.setattr(heavy_hitters, 'MOST_STEPS', 8)
        yield


@pytest.mark.slow
@given(st.lists(st.lists(st.integers(0, 60) | st.integers(0, 5), max_size=20), max_size=20))
def test_frequent_is_never_too_low_and_never_too_high_by_more_than_it_says(batches):
    frequent: HeavyHitters[int] = HeavyHitters()
    exact: Counter[int] = Counter()
    for batch in batches:
        frequent.update(batch)
        exact.update(batch)
        assert len(frequent.counts) <= 12
    assert frequent.subtracted <= sum(exact.values()) / 5
    for key, count in frequent.top(12):
        assert exact[key] <= count <= exact[key] + frequent.subtracted
    # what is frequent is there
    assert all(key in frequent.counts for key, count in exact.items() if count > frequent.subtracted)


def test_frequent_is_exact_for_a_key_that_is_always_there():
    frequent: HeavyHitters[str] = HeavyHitters()
    for batch in range(50):
        frequent.update(['often'] * 5 + [f'{batch}-{number}' for number in range(10)])
    assert frequent.subtracted
    assert frequent.top(1) == [('often', 250)]


def test_equal_counts_have_one_order():
    one: HeavyHitters[str] = HeavyHitters()
    other: HeavyHitters[str] = HeavyHitters()
    one.update('abc')
    other.update('cab')
    assert one.top(2) == other.top(2) == [('a', 1), ('b', 1)]


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(0, 500000), st.integers(1, 5)), max_size=60))
def test_histogram_loses_nothing(numbers):
    histogram = Histogram()
    for number, count in numbers:
        histogram.add(number, count)
        assert len(histogram.steps) <= 8
    exact: Counter[int] = Counter()
    for number, count in numbers:
        exact[number // histogram.width] += count
    assert histogram.steps == exact


def test_histogram_is_exact_while_it_can_be():
    histogram = Histogram()
    for number in (0, 119, 119, 120):
        histogram.add(number, 1)
    assert (histogram.width, histogram.steps) == (1, {0: 1, 119: 2, 120: 1})


def test_a_count_is_never_too_low(monkeypatch):
    monkeypatch.setattr(heavy_hitters, 'MOST_KEYS', 2)
    monkeypatch.setattr(heavy_hitters, 'KEPT_KEYS', 1)
    found = HeavyHitters()
    found.update('aaaaabbbc')
    assert (found.subtracted, found.count('a'), found.count('b'), found.count('x')) == (3, 5, 3, 3)
