"""Converters that both command lines share. Each raises ArgumentTypeError with one clear sentence."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable

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
    words = tuple(dict.fromkeys(word.strip() for word in text.split(',')))
    if not all(words) or any('/' in word or not word.isprintable() for word in words):
        raise argparse.ArgumentTypeError(f"'{text}' is neither current, nor all, nor names of network namespaces")
    if 'all' in words and len(words) > 1:
        raise argparse.ArgumentTypeError("'all' cannot be combined with names")
    return words


def path_or(*names: str) -> Callable[[str], str]:
    """A converter that takes these words, or a path, which has a '/': a misspelt word is no file's name, and sudo's
    rule, which allows the words, allows no file.
    """
    def convert(text: str) -> str:
        if text and text not in names and '/' not in text:
            raise argparse.ArgumentTypeError(f"'{text}' is neither {', '.join(names)} nor a path with a '/' in it")
        return text
    return convert
