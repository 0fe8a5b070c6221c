"""Arguments as values: the last that is taken, the first that is not, and every way to say no limit."""

from __future__ import annotations

import argparse
import re
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
    (converters.percent_or_off, '99.123456%', 99.123456), (converters.points, '99.123456', 99.123456),
    (converters.days, '99.123456', 99.123456), (converters.days, '3660', 3660),
    (converters.limit, '0', 0), (converters.limit, '999999999999', 999999999999),
    (converters.an_hour_at_most, '1h', 3600), (converters.an_hour_at_most, '0', 0),
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
    (converters.percent_or_off, '9.1234567', 'percentage'), (converters.points, '9.1234567', 'points of percent'),
    (converters.days, '9.1234567', 'days'), (converters.days, '3661', 'days'), (converters.days, '00001', 'days'),
    (converters.percent_or_off, '0001', 'percentage'), (converters.points, '001', 'points of percent'),
    (converters.percent_or_off, '50%%', 'percentage'), (converters.points, '5%%', 'points of percent'),
    (converters.an_hour_at_most, '3601', "^'3601' is not a duration from 0 to an hour"),
])
def test_refused(convert: Callable[[str], float], text: str, says: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=says):
        convert(text)


@pytest.mark.parametrize(('text', 'bare'), [
    ('off', ''), ('85', '85'), ('85%', '85'), ('10:90', '10:90'), ('@10%:20%', '@10:20'), ('~:90', '~:90'),
    ('10:', '10:'), (':90', ':90'), ('-5:5', '-5:5'), ('@~:', '@~:'),
    ('999999999999.123456', '999999999999.123456'), ('-999999999999.123456:', '-999999999999.123456:'),
])
def test_ranges(text: str, bare: str) -> None:
    assert converters.range_text(text) == bare


@pytest.mark.parametrize('text', ['', ':', '@', '@:', 'x', '10:x', 'x:10', '90:10', '10:~', '1:2:3', '@@1', '--5', '-5',
                                  '1e3', '9999999999999', '1.1234567', '1:9999999999999', '\u0665', ' 5', '5 '])
def test_what_is_no_range(text: str) -> None:
    says = f"'{text}' is not a Nagios range, such as 85, 10:90, @10:20 or off"
    with pytest.raises(argparse.ArgumentTypeError, match=f'^{re.escape(says)}$'):
        converters.range_text(text)
