"""Converters that both command lines share. Each raises ArgumentTypeError with one clear sentence."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from .formatting import is_number
from .namedtuples import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

#: seconds in each unit
UNITS = {'': 1, 's': 1, 'm': 60, 'h': 3600, 'd': 86400}
#: seconds: the longest duration
LONGEST = 3660 * 86400


def wrong_value() -> type[Exception]:
    """The class that a converter raises: argparse prints its text. Imported late: most runs have no wrong value."""
    from argparse import ArgumentTypeError

    return ArgumentTypeError


def seconds(text: str) -> float:
    """A duration such as 300, 90s, 5m, 1h or 14d. Raises ArgumentTypeError."""
    unit = text[-1:] if text[-1:] in UNITS else ''
    number = text.removesuffix(unit)
    if not is_number(number, 9, 3) or not 0 < float(number) * UNITS[unit] <= LONGEST:
        raise wrong_value()(f"'{text}' is not a duration above 0, e.g. 300, 90s, 5m, 1h, 14d")
    return float(number) * UNITS[unit]


def entries(text: str) -> int:
    """A number of entries, from 1 to 10 million. Raises ArgumentTypeError."""
    if not is_number(text, 8) or not 1 <= int(text) <= 10_000_000:
        raise wrong_value()(f"'{text}' is not a number of entries, such as 20000")
    return int(text)


def one_of(*names: str) -> Callable[[str], str]:
    """A converter that takes these words only."""
    def convert(text: str) -> str:
        if text not in names:
            raise wrong_value()(f"invalid value '{text}', choose from {', '.join(names)}")
        return text
    return convert


def namespaces(text: str) -> tuple[str, ...]:
    """'current', 'all', or names of network namespaces. Raises ArgumentTypeError."""
    # a title as it is printed may have a comma in its parentheses
    parts = re.split(r',(?![^(,]*\))', text) if ',' in text else [text]
    words = tuple(dict.fromkeys(part.strip() for part in parts))
    if not all(words) or not all(word.isprintable() and len(word) <= 300 for word in words):
        raise wrong_value()(f"'{text}' is neither current, nor all, nor names of network namespaces")
    if 'all' in words and len(words) > 1:
        raise wrong_value()("'all' cannot be combined with names")
    return words


def path_or(*names: str) -> Callable[[str], str]:
    """A converter that takes these words, or a path, which has a '/': a misspelt word is no file's name, and sudo's
    rule, which allows the words, allows no file.
    """
    neither = f'neither {", ".join(names)} nor ' if names else 'not '

    def convert(text: str) -> str:
        if text and text not in names and '/' not in text:
            raise wrong_value()(f"'{text}' is {neither}a path with a '/' in it")
        return text
    return convert


def corrected(message: str, parser: argparse.ArgumentParser) -> str:
    """argparse's message, with 'did you mean' where an option or a verb is close to what was typed."""
    import argparse  # whose message it is

    if message.startswith('unrecognized arguments: '):
        typed = next((word for word in message.split()[2:] if word.startswith('-')), '').partition('=')[0]
        known = list(_options(parser))
    elif 'invalid choice: ' in message:
        typed = message.partition("invalid choice: '")[2].partition("'")[0]
        known = [name for action in parser._actions if isinstance(action, argparse._SubParsersAction)
                 for name in action.choices]
        message = f"unknown verb '{typed}'" if known else message
    else:
        return message
    import difflib  # only for a wrong command line

    # '--warn' for '--warning': the beginning counts for more than the length
    close = [word for word in known if len(typed) > 3 and word.startswith(typed)] \
        or difflib.get_close_matches(typed, known, 1, 0.6)
    return f'{message}; did you mean {close[0]}?' if typed and close else message


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    import argparse

    for action in parser._actions:
        if action.help != argparse.SUPPRESS:
            yield from (flag for flag in action.option_strings if flag.startswith('--'))
        if isinstance(action, argparse._SubParsersAction):
            for one in action.choices.values():
                yield from _options(one)
