"""A kernel log that a logger or dmesg wrote into a file: the forms in which such lines come.

    [  700.962423] text                                     dmesg, dmesg -d, and /proc/kmsg with '<4>' before it
    [Wed Nov 25 23:30:27 2026] text                         dmesg -T
    2026-11-25T23:30:27,962423+00:00 text                   dmesg --time-format iso
    Nov 25 23:30:27 gw1 kernel: [63500383.962423] text      syslog's traditional form, with or without the stamp
    Nov 25 23:30:27 gw1 kern.warn kernel: text              busybox; OpenWrt's logread with week day and year
    2026-11-25T23:30:27.962423+00:00 gw1 kernel: text       syslog, RFC 3339; journalctl -o short-iso, short-full
    <4>1 2026-11-25T23:30:27.9+00:00 gw1 kernel - - - text  syslog, RFC 5424
    1795671247.962423 gw1 kernel: text                      journalctl -o short-unix
    [  700.962423] gw1 kernel: text                         journalctl -o short-monotonic, short-delta

Before the text may stand who logged it ('[  T123]', CONFIG_PRINTK_CALLER), and rsyslog may have put it in brackets.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache

from ..defaults import DAY
from ..model import BOOT, Instant, KernelLog, Missing
from .kernel_lines import FIRST_MESSAGE, TABLE_FULL, KernelLine, may_matter, summarize

MONTHS = {name: number for number, name in enumerate(
    ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'], 1)}
#: seconds: a date that a summer's end makes two moments is the later one, unless that is later than now by more
AHEAD = 60.0
#: host and facility, of which either may be missing, and the kernel's name
_SYSLOG = r'(?:[^\s:]\S* )?(?:kern\.[a-z]{3,8} )?kernel(?:: ?| \S+ \S+ (?:-|\[.*?\]) ?)'
#: /proc/kmsg's priority, that of syslog with its version, dmesg -x's facility and level
_PRIORITY = r'(?:<\d{1,3}>(?:1 )?|[a-z0-9]{1,8}\s*:[a-z]{1,8}\s*: )?'
_STAMP = r'\[ *(?P<seconds>\d{1,12}\.\d{1,9})(?: <[ 0-9.]{1,24}>)?\] ?'
_ISO = (r'(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)[T ](?P<clock>\d\d:\d\d:\d\d)'
        r'(?P<fraction>[.,]\d{1,9})?(?P<zone>Z|[+-]\d\d:?\d\d)?')
_DAY_AND_CLOCK = r'(?P<name>[A-Z][a-z][a-z]) +(?P<day>\d\d?) (?P<clock>\d\d:\d\d:\d\d)'
_WEEKDAY = r'[A-Z][a-z][a-z] '
#: the moment, then the text; the first that fits a line
FORMS = (
    rf'{_PRIORITY}{_STAMP}(?:\S+ kernel: )?(?P<text>.*)',
    rf'{_PRIORITY}\[{_WEEKDAY}{_DAY_AND_CLOCK} (?P<year>\d{{4}})\] (?P<text>.*)',
    # only dmesg, whose lines are the kernel's alone, has a comma there
    rf'{_PRIORITY}(?:{_WEEKDAY})?{_ISO}(?: (?P<zone_name>[A-Z]{{3,5}}|[+-]\d\d(?:\d\d)?))? '
    rf'(?:{_SYSLOG}|(?<=,\d{{6}}[Z+-].{{5}} ))(?P<text>.*)',
    rf'{_PRIORITY}{_DAY_AND_CLOCK}(?P<fraction>\.\d{{1,9}})? {_SYSLOG}(?P<text>.*)',
    rf'{_WEEKDAY}{_DAY_AND_CLOCK} (?P<year>\d{{4}}) {_SYSLOG}(?P<text>.*)',
    rf'(?P<unix>\d{{9,12}}\.\d{{1,9}}) {_SYSLOG}(?P<text>.*)',
)
#: what stands before the kernel's own text, with and without its clock
_BEFORE_TEXT = r'\s*(?:\[ *\d+\.\d+\] ?)?(?:\[ *[TC]\d{1,10}\])?\s*'
_REPEATED = r'message repeated \d+ times: \[ ?(?P<text>.*)\]'
#: the line above has come again, and where the line is that says so
_LAST_REPEATED = b' last message repeated '
#: a program's name before its message, with its pid
_PROGRAM = r'(?:^| )(?P<name>[\w.()/-]+)(?:\[\d+\])?: '


def parse_line(text: str, now: Instant) -> KernelLine | None:
    """A line in one of the forms, its stamp on CLOCK_MONOTONIC; None for others, and for a date that does not exist."""
    for form in FORMS:
        match = re.fullmatch(form, text, re.ASCII)
        if match:
            try:
                return KernelLine(_monotonic({name: part for name, part in match.groupdict().items() if part}, now),
                                  _own_text(match['text']))
            except (ValueError, OverflowError):
                return None
    return None


def _own_text(text: str) -> str:
    """The kernel's text without what loggers put around it."""
    text = text.strip()
    repeated = re.fullmatch(_REPEATED, text)
    text = repeated['text'] if repeated else text
    before = re.match(_BEFORE_TEXT, text, re.ASCII)
    return text[before.end():].rstrip() if before else text


def read_lines(lines: Sequence[bytes], path: str, since: float, now: Instant | None) -> KernelLog | Missing:
    """What such a file says from `since` on (CLOCK_MONOTONIC), and how far back it goes."""
    if now is None:
        return _no_kernel_log(path)
    # the kernel's first line of a file tells how far back it goes: other programs' lines stand beside it
    first = next((line for line in (_parsed(raw, now) for raw in lines) if line), None)
    if first is None:
        return _no_kernel_log(path)
    log = summarize((line for line in _repeated(lines, now) if line.stamp >= since), path)
    if not log.table_full and _has_unknown(lines, since, now):
        return Missing(f'{path}: "table full" lines in a form that is not known', 'give it the records of /dev/kmsg, '
                       'or lines of dmesg, syslog or journalctl')
    return log._replace(complete_since=BOOT if first.text.startswith(FIRST_MESSAGE) else first.stamp)


def _repeated(lines: Sequence[bytes], now: Instant) -> Iterator[KernelLine]:
    """Lines that may be about full tables; one that syslog says was repeated, each time that it says so."""
    matters = False
    last: KernelLine | None = None
    for raw in lines:
        if _LAST_REPEATED in raw:
            # syslog names itself or the program whose line it was
            head = raw[:raw.index(_LAST_REPEATED)].removesuffix(b' kernel:')
            again = _parsed(head + b' kernel: again', now) if matters and last else None
            if again and last:
                yield again._replace(text=last.text)
            continue
        matters = may_matter(raw)
        if matters:
            last = _parsed(raw, now)
            if last:
                yield last


def _has_unknown(lines: Sequence[bytes], since: float, now: Instant) -> bool:
    """Are there lines about a full table that nothing here reads, and that may be as young as `since`?"""
    for place in range(len(lines) - 1, -1, -1):
        if may_matter(lines[place]) and _is_unknown(lines[place], now):
            # what stands above an old line is older
            later = next((line for line in (_parsed(raw, now) for raw in lines[place + 1:]) if line), None)
            return later is None or later.stamp >= since
    return False


def _is_unknown(raw: bytes, now: Instant) -> bool:
    text = raw.decode('ascii', 'replace')
    found = re.search(rf'(?:{TABLE_FULL})(?=\W*$)', text)
    if not found:
        return False
    line = _parsed(raw, now)
    if line:
        return not re.fullmatch(TABLE_FULL, line.text)
    program = re.search(_PROGRAM, text[:found.start()])
    return program is None or program['name'].startswith('kernel')


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
    # of the names of zones UTC only is the same everywhere: others are this host's
    zone = found.get('zone') or found.get('zone_name')
    zone = 'Z' if zone in ('UTC', 'GMT') else zone
    if (zone and not zone.isalpha()) or zone == 'Z':
        import calendar  # only for dates with a zone

        east = 0 if zone == 'Z' else int(zone[1:3]) * 3600 + (int(zone[-2:]) * 60 if len(zone) > 3 else 0)
        wall = calendar.timegm((year, month, day, hour, minute, second)) - (-east if zone[0] == '-' else east)
    else:
        newest = year or time.localtime(now.wall + DAY).tm_year
        wall = _local((newest, month, day, hour, minute, second), now.wall, time.tzname)
        if not year and wall > now.wall + DAY:
            wall = _local((newest - 1, month, day, hour, minute, second), now.wall, time.tzname)
    fraction = found.get('fraction')
    return wall + (float('0.' + fraction[1:]) if fraction else 0.0)


# a storm logs many lines in a second, and the C library looks at the zone's file for each
@lru_cache(64)
def _local(date: tuple[int, int, int, int, int, int], now: float, _zone: tuple[str, str]) -> float:
    """Seconds since 1970 of a date in this host's time; of an hour that comes twice the last that can be."""
    moments = {time.mktime((*date, 0, 0, summer)) for summer in (0, 1)}
    real = [moment for moment in moments if time.localtime(moment)[3:5] == date[3:5]]
    if not real:
        return time.mktime((*date, 0, 0, -1))  # an hour that a summer's beginning leaves out
    return max([moment for moment in real if moment <= now + AHEAD] or [min(real)])
