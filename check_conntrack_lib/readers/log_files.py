"""A kernel log that a logger or dmesg wrote into a file: the forms in which such lines come.

    [  700.962423] text                                     dmesg, and /proc/kmsg with '<4>' before it
    [Wed Nov 25 23:30:27 2026] text                         dmesg -T
    2026-11-25T23:30:27,962423+00:00 text                   dmesg --time-format iso
    Nov 25 23:30:27 gw1 kernel: [63500383.962423] text      syslog's traditional form, with or without the stamp
    2026-11-25T23:30:27.962423+00:00 gw1 kernel: text       syslog, RFC 3339; journalctl -o short-iso
    1795671247.962423 gw1 kernel: text                      journalctl -o short-unix
    [  700.962423] gw1 kernel: text                         journalctl -o short-monotonic
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

from ..defaults import DAY
from ..model import BOOT, Instant, KernelLog, Missing
from .kernel_lines import FIRST_MESSAGE, KernelLine, may_matter, summarize

MONTHS = {name: number for number, name in enumerate(
    ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'], 1)}
_SYSLOG = r'(?:\S+ )?kernel: '
#: /proc/kmsg's priority, dmesg -x's facility and level
_PRIORITY = r'(?:<\d{1,3}>|[a-z0-9]{1,8}\s*:[a-z]{1,8}\s*: )?'
_STAMP = r'\[ *(?P<seconds>\d{1,12}\.\d{1,9})\] ?'
_ISO = (r'(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)[T ](?P<clock>\d\d:\d\d:\d\d)'
        r'(?P<fraction>[.,]\d{1,9})?(?P<zone>Z|[+-]\d\d:?\d\d)?')
#: the moment, then the text; the first that fits a line
FORMS = (
    rf'{_PRIORITY}{_STAMP}(?:\S+ kernel: )?(?P<text>.*)',
    rf'{_PRIORITY}\[[A-Z][a-z][a-z] (?P<name>[A-Z][a-z][a-z]) +(?P<day>\d\d?) (?P<clock>\d\d:\d\d:\d\d) '
    r'(?P<year>\d{4})\] (?P<text>.*)',
    # only dmesg, whose lines are the kernel's alone, has a comma there
    rf'{_ISO} (?:{_SYSLOG}|(?<=,\d{{6}}[Z+-].{{5}} ))(?:\[ *\d+\.\d+\] )?(?P<text>.*)',
    rf'(?P<name>[A-Z][a-z][a-z]) +(?P<day>\d\d?) (?P<clock>\d\d:\d\d:\d\d) {_SYSLOG}(?:\[ *\d+\.\d+\] )?(?P<text>.*)',
    rf'(?P<unix>\d{{9,12}}\.\d{{1,9}}) {_SYSLOG}(?:\[ *\d+\.\d+\] )?(?P<text>.*)',
)


def parse_line(text: str, now: Instant) -> KernelLine | None:
    """A line in one of the forms, its stamp on CLOCK_MONOTONIC; None for others, and for a date that does not exist."""
    for form in FORMS:
        match = re.fullmatch(form, text, re.ASCII)
        if match:
            try:
                return KernelLine(_monotonic({name: part for name, part in match.groupdict().items() if part}, now),
                                  match['text'])
            except (ValueError, OverflowError):
                return None
    return None


def read_lines(lines: Sequence[bytes], path: str, since: float, now: Instant | None) -> KernelLog | Missing:
    """What such a file says from `since` on (CLOCK_MONOTONIC), and how far back it goes."""
    if now is None:
        return _no_kernel_log(path)
    # the kernel's first line of a file tells how far back it goes: other programs' lines stand beside it
    first = next((line for line in (_parsed(raw, now) for raw in lines) if line), None)
    if first is None:
        return _no_kernel_log(path)
    parsed = (_parsed(raw, now) for raw in lines if may_matter(raw))
    log = summarize((line for line in parsed if line and line.stamp >= since), path)
    return log._replace(complete_since=BOOT if first.text.startswith(FIRST_MESSAGE) else first.stamp)


def _no_kernel_log(path: str) -> Missing:
    return Missing(f'{path}: no records as /dev/kmsg gives them', 'nor lines of dmesg, syslog or journalctl')


def _parsed(raw: bytes, now: Instant) -> KernelLine | None:
    return parse_line(raw.decode('ascii', 'replace').rstrip('\r'), now)


def _monotonic(found: dict[str, str], now: Instant) -> float:
    if 'seconds' in found:
        return float(found['seconds'])
    wall = float(found['unix']) if 'unix' in found else _wall(found, now)
    return wall - now.wall + now.monotonic


def _wall(found: dict[str, str], now: Instant) -> float:
    """Seconds since 1970 of a date; one without a year is the last of its kind. Raises ValueError, OverflowError."""
    month = MONTHS.get(found['name'], 0) if 'name' in found else int(found['month'])
    if not 1 <= month <= 12:
        raise ValueError('not a month')
    wall: float
    hour, minute, second = map(int, found['clock'].split(':'))
    day, year = int(found['day']), int(found.get('year', '0'))
    if not (1 <= day <= 31 and hour < 24 and minute < 60 and second <= 60):
        raise ValueError('not a time')  # mktime would make another one of it
    zone = found.get('zone')
    if zone:
        import calendar  # only for dates with a zone

        east = 0 if zone == 'Z' else int(zone[1:3]) * 3600 + int(zone[-2:]) * 60
        wall = calendar.timegm((year, month, day, hour, minute, second)) - (-east if zone[0] == '-' else east)
    else:
        wall = time.mktime((year or time.localtime(now.wall).tm_year, month, day, hour, minute, second, 0, 0, -1))
        if not year and wall > now.wall + DAY:
            wall = time.mktime((time.localtime(now.wall).tm_year - 1, month, day, hour, minute, second, 0, 0, -1))
    fraction = found.get('fraction')
    return wall + (float('0.' + fraction[1:]) if fraction else 0.0)
