"""Numbers, durations and times as text, and foreign text judged and made harmless."""

from __future__ import annotations

import time

#: what is counted of the kernel log
TABLE_FULL_MESSAGE = '"table full" message'
#: beside the kernel log's source, where messages are missing
FLOODED = 'the kernel log overflowed, some messages were not read'


def clean(text: str, limit: int = 200) -> str:
    """Foreign text (file names, log lines, error messages) fit for one line of plugin output.

    Control characters, the perfdata separator and what cannot be encoded become '?'.
    """
    safe = ''.join(c if c.isprintable() and c != '|' and not '\ud800' <= c <= '\udfff' else '?' for c in text)
    return safe if len(safe) <= limit else safe[:limit - 3] + '...'


def is_number(text: str, digits: int, decimals: int = 0) -> bool:
    """A plain number without a sign, of at most so many ASCII digits before and behind the point?

    For what every run parses: a regular expression takes a fifth of a millisecond to compile.
    """
    whole, point, part = text.partition('.')
    return _are_digits(whole, digits) and (not point or _are_digits(part, decimals))


def _are_digits(text: str, most: int) -> bool:
    return 0 < len(text) <= most and text.isascii() and text.isdecimal()


#: characters of foreign names that are printed as they are: neither a console nor a mail program interprets them
_NAME_CHARACTERS = frozenset('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:@/+-')
_TITLE_CHARACTERS = _NAME_CHARACTERS | frozenset(' (),?')


def clean_name(text: str, limit: int = 60) -> str:
    """A foreign name (container, pod, process, namespace), others of its characters as '?'."""
    safe = ''.join(c if c in _NAME_CHARACTERS else '?' for c in text)
    return safe if len(safe) <= limit else safe[:limit - 3] + '...'


def clean_title(text: str, limit: int = 200) -> str:
    """What a namespace or an address is called, with the words around its name: 'container web (docker, pid 5)'."""
    safe = ''.join(c if c in _TITLE_CHARACTERS else '?' for c in text[:limit])
    return safe if len(text) <= limit else safe[:limit - 3] + '...'


def duration(seconds: float) -> str:
    """A span of time in the one unit that a reader needs: '45 s', '21 min', '3 h', '2 days'."""
    if 0 < seconds < 0.0095:
        return f'{max(1, round(seconds * 1000))} ms'
    if seconds and seconds < 0.95:
        return f'{seconds:.1f} s'
    if seconds < 119.5:
        return f'{seconds:.0f} s'
    if seconds < 119.5 * 60:
        return f'{seconds / 60:.0f} min'
    if seconds < 47.5 * 3600:
        return f'{seconds / 3600:.0f} h'
    return f'{seconds / 86400:.0f} days'


def clock_time(wall: float, now: float, seconds: bool = False) -> str:
    """Wall time (seconds since 1970) in the host's zone: '11:00 CET'; with the date when that is not today's."""
    date = '' if time.localtime(wall)[:3] == time.localtime(now)[:3] else '%Y-%m-%d '
    return local_time(f'{date}%H:%M{":%S" if seconds else ""} %Z', wall)


def local_time(pattern: str, wall: float) -> str:
    """Wall time in the host's zone, which a file of anybody's choice may have given a name ($TZ)."""
    then = time.localtime(wall)
    return time.strftime(pattern.replace('%Z', clean_name(time.strftime('%Z', then), 20)), then)


def percent(value: float) -> str:
    """One decimal, '100%' without; of a table that is not quite full at most '99.9%'."""
    if value == 100:
        return '100%'
    return f'{min(value, 99.9) if 99.9 < value < 100 else value:.1f}%'


def share_text(value: float) -> str:
    """A part of the whole, 0 to 1, as whole percent; below 1 % 'under 1%'."""
    return f'{value * 100:.0f}%' if value >= 0.01 or value == 0 else 'under 1%'


def size_text(number: float) -> str:
    """Bytes: '1.5 GiB', '12 MiB', '640 KiB'."""
    for unit, size in (('GiB', 1 << 30), ('MiB', 1 << 20)):
        if number >= size:
            return f'{number / size:.{1 if number < 10 * size else 0}f} {unit}'
    return f'{number / 1024:.0f} KiB'


def rate(per_second: float) -> str:
    """Packets per second with the digits that matter: '312/s', '5.1/s', '0.02/s'."""
    if per_second >= 99.5 or not per_second:
        return f'{per_second:.0f}/s'
    if per_second >= 0.095:
        return f'{per_second:.1f}/s'
    return f'{per_second:.2g}/s' if per_second >= 0.0001 else 'less than 0.0001/s'


def growth(per_second: float) -> str:
    """Entries per minute, signed: '+3210 entries/min'; 'steady' below one in two minutes."""
    return f'{per_second * 60:+.0f} entries/min' if abs(per_second) * 60 >= 0.5 else 'steady'


def count(number: int, noun: str) -> str:
    """'1 packet', '2 packets', '2 entries', '2 processes', '2 clashes'."""
    if number == 1:
        return f'1 {noun}'
    if noun.endswith(('ss', 'sh')):
        return f'{number} {noun}es'
    return f'{number} {noun[:-1]}ies' if noun.endswith('ry') else f'{number} {noun}s'
