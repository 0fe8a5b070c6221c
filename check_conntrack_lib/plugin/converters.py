"""What turns an argument's text into a value, or says in one sentence what is wrong with it."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable


def entries(text: str) -> int:
    """A number of entries, from 1 to 10 million. Raises ArgumentTypeError."""
    if not re.fullmatch(r'\d{1,8}', text, re.ASCII) or not 1 <= int(text) <= 10_000_000:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of entries, such as 20000")
    return int(text)


def one_of(*names: str) -> Callable[[str], str]:
    """A converter that takes these words only."""
    def convert(text: str) -> str:
        if text not in names:
            raise argparse.ArgumentTypeError(f"'{text}' is none of {', '.join(names)}")
        return text
    return convert


def namespaces(text: str) -> tuple[str, ...]:
    """'current', 'all', or names of network namespaces. Raises ArgumentTypeError."""
    words = tuple(dict.fromkeys(word.strip() for word in text.split(',')))
    if not all(words) or any('/' in word or not word.isprintable() for word in words) \
            or ('all' in words and len(words) > 1):
        raise argparse.ArgumentTypeError(f"'{text}' is neither current, nor all, nor names of network namespaces")
    return words
