"""Wilson's interval against figures worked out by hand, and at its ends."""

from __future__ import annotations

import random

import pytest

from check_conntrack_lib.analysis.proportion import Proportion, share


@pytest.mark.parametrize(('count', 'seen', 'entries', 'low', 'high'), [
    # (0.5 + z2/2n) / (1 + z2/n) -+ z / (1 + z2/n) * sqrt(0.25/n + z2/4n2), z2 = 9.1204
    (50, 100, 10**12, 0.3554, 0.6446), (0, 100, 10**12, 0.0, 0.0836), (100, 100, 10**12, 0.9164, 1.0),
    (10, 100, 10**12, 0.0405, 0.2264),
    # half of the table: n = 100 * 199 / 100
    (50, 100, 200, 0.3953, 0.6047)])
def test_bounds(count: int, seen: int, entries: int, low: float, high: float) -> None:
    found = share(count, seen, entries)
    assert found.value == count / seen
    assert found.low == pytest.approx(low, abs=5e-5)
    assert found.high == pytest.approx(high, abs=5e-5)


def test_all_or_nothing_was_seen() -> None:
    assert share(3, 4, 4) == Proportion(0.75, 0.75, 0.75)
    assert share(3, 4, 3) == Proportion(0.75, 0.75, 0.75)
    assert share(0, 0, 10) == Proportion(0.0, 0.0, 1.0)
    assert share(3, 4, 5).low < 0.75 < share(3, 4, 5).high


def test_the_margin_is_the_larger_one() -> None:
    assert Proportion(0.1, 0.05, 0.3).margin == pytest.approx(0.2)
    assert Proportion(0.9, 0.5, 0.95).margin == pytest.approx(0.4)


def test_the_truth_is_inside() -> None:
    dice = random.Random(1)
    table = [True] * 600 + [False] * 1400
    found = [share(sum(dice.sample(table, 500)), 500, 2000) for _ in range(400)]
    # one in 400 is expected outside
    assert sum(not one.low <= 0.3 <= one.high for one in found) <= 3
    assert all(0.05 < one.margin < 0.06 for one in found)
