"""What turns an argument's text into a value, or says in one sentence what is wrong with it."""

from __future__ import annotations

from nagiosplugin import Range

from ..argument_types import LONGEST, UNITS, seconds, wrong_value
from ..formatting import is_number


def range_text(text: str) -> str:
    """A Nagios range, its numbers with or without '%'; 'off' is no limit. Raises ArgumentTypeError."""
    if text == 'off':
        return ''
    bare = text.replace('%', '')
    try:
        if not _is_range(bare):
            raise ValueError
        Range(bare)
    except ValueError:
        raise wrong_value()(f"'{text}' is not a Nagios range, such as 85, 10:90, @10:20 or off") from None
    return bare


def _is_range(text: str) -> bool:
    """[@][low:][high], low may be '~'; not all of them missing."""
    low, colon, high = text.removeprefix('@').partition(':')
    low, high = (low, high) if colon else ('', low)
    return bool(low or high) and (low in ('', '~') or _is_signed(low)) and (not high or _is_signed(high))


def _is_signed(text: str) -> bool:
    return is_number(text.removeprefix('-'), 12, 6)


def seconds_or_off(text: str) -> float:
    """A duration; 0 for 0, infinity for 'off'. Raises ArgumentTypeError."""
    return float('inf') if text == 'off' else _seconds_or_0(text)


def an_hour_at_most(text: str) -> float:
    """A duration from 0 to an hour, in seconds. Raises ArgumentTypeError."""
    try:
        found = _seconds_or_0(text)
    except wrong_value():
        found = float('inf')
    if found > UNITS['h']:
        raise wrong_value()(f"'{text}' is not a duration from 0 to an hour, e.g. 90s, 3m")
    return found


def _seconds_or_0(text: str) -> float:
    return 0.0 if text in ('0', '0s') else seconds(text)


def percent_or_off(text: str) -> float:
    """A percentage; infinity for 'off'. Raises ArgumentTypeError."""
    if text == 'off':
        return float('inf')
    if not is_number(text.removesuffix('%'), 3, 6):
        raise wrong_value()(f"'{text}' is not a percentage from 0 to 100, e.g. 70, or off")
    number = float(text.rstrip('%'))
    if number > 100:
        raise wrong_value()(f'{text} is above 100 percent')
    return number


def points(text: str) -> float:
    """Percentage points; 0 for 'off'. Raises ArgumentTypeError."""
    if text == 'off':
        return 0.0
    if not is_number(text.removesuffix('%'), 2, 6):
        raise wrong_value()(f"'{text}' is not a number of points of percent, such as 5, or 0")
    return float(text.rstrip('%'))


def days(text: str) -> float:
    """A number of days, the 'd' optional. Raises ArgumentTypeError."""
    bare = text.removesuffix('d')
    if is_number(bare, 4, 6) and 0 < float(bare) * UNITS['d'] <= LONGEST:
        return float(bare)
    raise wrong_value()(f"'{text}' is not a number of days, e.g. 14")


def limit(text: str) -> int:
    """A number of connections; 0: no limit. Raises ArgumentTypeError."""
    if not is_number(text, 12):
        raise wrong_value()(f"'{text}' is not a number of connections")
    return int(text)
