"""Lines of the kernel log about full tables, and records of /dev/kmsg (Documentation/ABI/testing/dev-kmsg)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..model import BOOT, KernelLog, LogLine, Suppressed
from ..namedtuples import NamedTuple

# numbers of at most 18 digits: the history's integers have 63 bits
# every form since 2.4; 'expectation table full' is another table and loses no packet
TABLE_FULL = (
    r'(?:ip|nf)_conntrack: (?:nf_conntrack: )?table full(?: in netns (\d{1,18}))?, dropping packet\.?'
)
SUPPRESSED = (
    r'(?:net_ratelimit|__ratelimit): (\d{1,18}) callbacks suppressed|printk: (\d{1,18}) messages suppressed\.?'
)

#: what every kernel logs first (init/main.c, linux_banner)
FIRST_MESSAGE = 'Linux version '

#: every line that is parsed further has one of these
MARKERS = TABLE, MISSED = b'table full', b'suppressed'

#: a record of the kernel: priority, microseconds, text
# facility 0 is the kernel's own: what users write to /dev/kmsg has another, in priorities from 8 on
RECORD = rb'([0-7]),\d{1,18},(\d{1,18}),[^;]*;([^\n]*)'
#: of any facility: its sequence number and its stamp in microseconds
HEAD = rb'\d{1,10},(\d{1,18}),(\d{1,18})[,;]'


class KernelLine(NamedTuple):
    """One kernel message: seconds on CLOCK_MONOTONIC, text."""

    stamp: float
    text: str


def parse_record(record: bytes) -> KernelLine | None:
    """A record 'priority,sequence,microseconds,flags[,...];text'; None when it is not the kernel's own."""
    match = re.match(RECORD, record)
    return KernelLine(int(match[2]) / 1e6, match[3].decode('ascii', 'replace')) if match else None


def summarize(lines: Iterable[KernelLine], source: str, overrun: bool = False) -> KernelLog:
    """The lines about full tables and about suppressed messages."""
    full, suppressed = [], []
    meanings: dict[str, LogLine | Suppressed | None] = {}
    for stamp, text in lines:
        # a storm is one text over and over
        if text not in meanings:
            meanings[text] = _meaning(text)
        meaning = meanings[text]
        if isinstance(meaning, LogLine):
            full.append(LogLine(stamp, meaning.netns))
        elif meaning:
            suppressed.append(Suppressed(stamp, meaning.messages))
    names = any(line.netns is not None for line in full)
    return KernelLog(source, tuple(full), tuple(suppressed), overrun, names)


def _meaning(text: str) -> LogLine | Suppressed | None:
    """What a text reports, at any time."""
    match = re.fullmatch(TABLE_FULL, text)
    if match:
        return LogLine(BOOT, int(match[1]) if match[1] else None)
    match = re.fullmatch(SUPPRESSED, text)
    return Suppressed(BOOT, int(match[1] or match[2])) if match else None


def head_of(record: bytes) -> tuple[int, float]:
    """Sequence number and stamp in seconds of a record of any facility; (-1, 0) for what is none."""
    match = re.match(HEAD, record)
    return (int(match[1]), int(match[2]) / 1e6) if match else (-1, 0.0)


def may_matter(text: bytes) -> bool:
    """May a line be about full tables? The cheapest test there is, for tens of thousands of lines that are not."""
    return TABLE in text or MISSED in text
