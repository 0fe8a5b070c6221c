"""The newest part of the kernel log as text: does it show that there is nothing new?

/dev/kmsg gives one record a read, always from the oldest on: in a ring of 1 MiB that is 10,000 reads to find nothing.
Here the kernel formats the newest records only. The text is not taken for records, because in it a message with a
line break looks like two: it only shows that there is nothing to find.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from . import syslog_call
from .log_clock import CLOCKS_DIFFER

#: bytes of text that are looked at: about 800 records; 3,000 where those are too young, as where packets are logged
TAILS = 1 << 16, 1 << 18
# the time is missing with printk.time=0
TIME = rb'<\d{1,3}>\[ {0,5}(\d{1,12}\.\d{6})\]'


def has_none_since(since: float, words: Sequence[bytes]) -> bool:
    """Do the newest records go back to `since`, on the log's clock, and are all lines with one of the words older?"""
    before = since - CLOCKS_DIFFER
    for size in TAILS:
        text = syslog_call.read_tail(size)
        if _is_older(text, 0, before):
            return all(_is_older(text, text.rfind(b'\n', 0, place) + 1, before)
                       for word in words for place in _places(text, word))
        if len(text) < size // 2:
            break  # that is all of the log
    return False


def _is_older(text: bytes, line: int, until: float) -> bool:
    """Was the line that begins there logged at that time or before? Not known of a line without a time: False."""
    found = re.compile(TIME).match(text, line)
    return found is not None and float(found[1]) <= until


def _places(text: bytes, word: bytes) -> Iterator[int]:
    """Where the word is, from the last place on: the newest line decides soonest."""
    place = text.rfind(word)
    while place >= 0:
        yield place
        place = text.rfind(word, 0, place)
