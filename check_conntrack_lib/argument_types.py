"""Converters that both command lines share. Each raises ArgumentTypeError with one clear sentence."""

from __future__ import annotations

import argparse
import re

#: seconds in each unit
UNITS = {'': 1, 's': 1, 'm': 60, 'h': 3600, 'd': 86400}
LONGEST = 3660 * 86400


def seconds(text: str) -> float:
    """A duration such as 300, 90s, 5m, 1h or 14d. Raises ArgumentTypeError."""
    match = re.fullmatch(r'(\d{1,9}(?:\.\d{1,3})?)([smhd]?)', text, re.ASCII)
    if not match or not 0 < float(match[1]) * UNITS[match[2]] <= LONGEST:
        raise argparse.ArgumentTypeError(f"'{text}' is not a duration above 0, e.g. 300, 90s, 5m, 1h, 14d")
    return float(match[1]) * UNITS[match[2]]
