"""Arguments as values: the last that is taken, the first that is not, and every way to say no limit."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import pytest

from check_conntrack_lib.plugin import converters

FOREVER = float('inf')


@pytest.mark.parametrize(('convert', 'text', 'value'), [
    (converters.seconds_or_off, 'off', FOREVER), (converters.seconds_or_off, '0', 0),
    (converters.seconds_or_off, '0s', 0), (converters.seconds_or_off, '5m', 300),
    (converters.percent_or_off, 'off', FOREVER),
    (converters.percent_or_off, '0', 0), (converters.percent_or_off, '100', 100),
    (converters.percent_or_off, '7.5%', 7.5),
    (converters.points, 'off', 0), (converters.points, '5', 5), (converters.points, '99.5%', 99.5),
    (converters.days, '14d', 14), (converters.days, '0.5', 0.5), (converters.days, '3650', 3650),
    (converters.limit, '0', 0), (converters.limit, '999999999999', 999999999999),
])
def test_taken(convert: Callable[[str], float], text: str, value: float) -> None:
    assert convert(text) == value


@pytest.mark.parametrize(('convert', 'text', 'says'), [
    (converters.seconds_or_off, '00', 'duration'), (converters.percent_or_off, '100.1', 'above 100 percent'),
    (converters.percent_or_off, '-1', 'percentage'), (converters.percent_or_off, '1000', 'percentage'),
    (converters.percent_or_off, '\u0665', 'percentage'), (converters.points, '100', 'points of percent'),
    (converters.points, '-5', 'points of percent'), (converters.points, '\u0665', 'points of percent'),
    (converters.days, '0', 'days'), (converters.days, '0.0', 'days'), (converters.days, '9999', 'days'),
    (converters.days, '14dd', 'days'), (converters.days, '\u0665', 'days'), (converters.limit, '-1', 'connections'),
    (converters.limit, '', 'connections'), (converters.limit, '1000000000000', 'connections'),
    (converters.limit, '\u0665', 'connections'), (converters.limit, '1.5', 'connections'),
])
def test_refused(convert: Callable[[str], float], text: str, says: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=says):
        convert(text)
