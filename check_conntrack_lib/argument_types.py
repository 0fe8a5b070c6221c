"""Converters that both command lines share. Each raises ArgumentTypeError with one clear sentence."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator

#: seconds in each unit
UNITS = {'': 1, 's': 1, 'm': 60, 'h': 3600, 'd': 86400}
LONGEST = 3660 * 86400


def seconds(text: str) -> float:
    """A duration such as 300, 90s, 5m, 1h or 14d. Raises ArgumentTypeError."""
    match = re.fullmatch(r'(\d{1,9}(?:\.\d{1,3})?)([smhd]?)', text, re.ASCII)
    if not match or not 0 < float(match[1]) * UNITS[match[2]] <= LONGEST:
        raise argparse.ArgumentTypeError(f"'{text}' is not a duration above 0, e.g. 300, 90s, 5m, 1h, 14d")
    return float(match[1]) * UNITS[match[2]]


def entries(text: str) -> int:
    """A number of entries, from 1 to 10 million. Raises ArgumentTypeError."""
    if not re.fullmatch(r'\d{1,8}', text, re.ASCII) or not 1 <= int(text) <= 10_000_000:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of entries, such as 20000")
    return int(text)


def one_of(*names: str) -> Callable[[str], str]:
    """A converter that takes these words only."""
    def convert(text: str) -> str:
        if text not in names:
            raise argparse.ArgumentTypeError(f"invalid value '{text}', choose from {', '.join(names)}")
        return text
    return convert


def namespaces(text: str) -> tuple[str, ...]:
    """'current', 'all', or names of network namespaces. Raises ArgumentTypeError."""
    # a title as it is printed may have a comma in its parentheses
    words = tuple(dict.fromkeys(word.strip() for word in re.split(r',(?![^(,]*\))', text)))
    if not all(words) or not all(word.isprintable() and len(word) <= 300 for word in words):
        raise argparse.ArgumentTypeError(f"'{text}' is neither current, nor all, nor names of network namespaces")
    if 'all' in words and len(words) > 1:
        raise argparse.ArgumentTypeError("'all' cannot be combined with names")
    return words


def path_or(*names: str) -> Callable[[str], str]:
    """A converter that takes these words, or a path, which has a '/': a misspelt word is no file's name, and sudo's
    rule, which allows the words, allows no file.
    """
    neither = f'neither {", ".join(names)} nor ' if names else 'not '

    def convert(text: str) -> str:
        if text and text not in names and '/' not in text:
            raise argparse.ArgumentTypeError(f"'{text}' is {neither}a path with a '/' in it")
        return text
    return convert


def corrected(message: str, parser: argparse.ArgumentParser) -> str:
    """argparse's message, with 'did you mean' where an option or a verb is close to what was typed."""
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
    for action in parser._actions:
        if action.help != argparse.SUPPRESS:
            yield from (flag for flag in action.option_strings if flag.startswith('--'))
        if isinstance(action, argparse._SubParsersAction):
            for one in action.choices.values():
                yield from _options(one)
