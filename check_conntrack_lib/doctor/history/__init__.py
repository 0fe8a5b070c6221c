"""What the check recorded, for the review of an incident: in the terminal, as SVG, HTML, CSV or JSON."""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from ...analysis.timeline import Interval, intervals, namespace_key, namespaces
from ...argument_types import UNITS, path_or, seconds
from ...counters import COUNTERS
from ...formatting import clean
from ...history import readonly
from ...host import Host
from ...model import Missing, Sample
from .. import DoctorError, common_options, readings
from ..atomic_write import write_file
from . import chart
from .facts import HistoryFacts, log_marks
from .netns_names import choose, names, profiles_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--from', metavar='TIME', dest='since', type=parse_time, default=float('-inf'),
                        help="start: '2026-11-20 02:10', 02:10 (today or yesterday), or 6h (ago); "
                             'default: the whole history')
    parser.add_argument('--to', metavar='TIME', dest='until', type=parse_time, default=float('inf'), help='end')
    common_options.add_history(parser)
    parser.add_argument('--file', dest='history', type=path_or(), help=argparse.SUPPRESS)
    parser.add_argument('--host', metavar='NAME',
                        help="the host's name in titles (default: this host's, if the history is of this boot)")
    parser.add_argument('--netns', metavar='WHICH',
                        help='a network namespace by any name that check_conntrack --netns takes, also one that is '
                             'gone, or by its inode; default: the one with the highest peak')
    parser.add_argument('--svg', metavar='FILE', help='write the chart to a file')
    parser.add_argument('--html', metavar='FILE',
                        help='write chart, facts of the worst incident and samples to one self-contained file')
    common_options.add_json(parser, 'every recorded sample as a line')
    parser.add_argument('--csv', action='store_true', help='print every recorded sample as comma-separated values')
    common_options.add_procfs(parser)
    common_options.add_kernel_log(parser)


def run(arguments: argparse.Namespace) -> int:
    if arguments.since > arguments.until:
        raise DoctorError('--from is after --to')
    common_options.check_history(arguments.history)
    path = arguments.history or _find()
    samples = readonly.read_samples(path, arguments.since, arguments.until)
    if isinstance(samples, Missing):
        raise DoctorError(f'{samples.why}{"; " if samples.remedy else ""}{samples.remedy}')
    if not samples:
        raise DoctorError(f'{clean(path)}: nothing recorded between these times')
    if not (arguments.csv or arguments.json) and arguments.until == float('inf'):
        samples = _without_misdated(samples)
    everything = intervals(samples)
    all_namespaces, host = namespaces(everything), readings.host_of(arguments)
    called = names(host, everything)
    recorded = choose(host, all_namespaces, arguments.netns, called)
    if arguments.csv or arguments.json:
        wanted = everything if arguments.netns is None else [
            interval for interval in everything if namespace_key(interval.sample) == recorded.key]
        return _write_json(wanted) if arguments.json else _write_csv(wanted)
    own = [interval for interval in everything if namespace_key(interval.sample) == recorded.key]
    others = [interval for interval in everything if namespace_key(interval.sample) != recorded.key]
    profiles = readonly.read_profiles(path, arguments.since, arguments.until)
    history = HistoryFacts(clean(path), own, others, all_namespaces, log_marks(host, own, arguments.kernel_log),
                           [] if isinstance(profiles, Missing) else profiles_of(own, profiles), called,
                           arguments.host or _host_name(host, everything))
    if arguments.svg:
        from .svg import svg

        write_file(arguments.svg, svg(history).encode('utf-8'))
    if arguments.html:
        from .html_page import html

        write_file(arguments.html, html(history).encode('utf-8'))
    if not (arguments.svg or arguments.html):
        columns = os.get_terminal_size().columns if sys.stdout.isatty() else 80
        print(chart.text(history, max(40, columns), _draws_blocks()))
    return 0


def _without_misdated(samples: list[Sample]) -> list[Sample]:
    """Without samples of the future, of a clock that was wrong: of a chart up to 2100 they would be all."""
    tomorrow = time.time() + UNITS['d']
    kept = [one for one in samples if one.at.wall <= tomorrow]
    if not kept or len(kept) == len(samples):
        return samples
    print(f'conntrack-doctor: left out, as dated after tomorrow: {len(samples) - len(kept)} of {len(samples)} samples; '
          '--to 9999-01-01 shows them', file=sys.stderr, flush=True)
    return kept


def parse_time(text: str) -> float:
    """Seconds since 1970 of a date, of a time of the last 24 hours, or of a duration ago. Raises ArgumentTypeError."""
    now = datetime.datetime.now()
    try:
        if len(text) <= 8 and ':' in text:
            clock = datetime.time.fromisoformat(text)
            then = datetime.datetime.combine(now.date(), clock)
            return (then if then <= now else then - datetime.timedelta(days=1)).timestamp()
        if '-' in text:
            return datetime.datetime.fromisoformat(text).timestamp()
        return time.time() - seconds(text)
    except (ValueError, OverflowError, argparse.ArgumentTypeError):
        raise argparse.ArgumentTypeError(
            f"'{text}' is not a time, such as '2026-11-20 02:10', 2026-11-20, 02:10 or 6h (ago)") from None


def _host_name(host: Host, everything: Sequence[Interval]) -> str:
    """This host's name if the history ends in its present boot; '' if it may be another's."""
    if everything[-1].sample.boot_id != host.boot_id():
        return ''
    try:
        return clean(host.read('sys/kernel/hostname').strip())
    except (OSError, ValueError):
        return ''


def _find() -> str:
    candidates = readonly.candidate_files(os.environ)
    path = readonly.newest(candidates)
    if path is None:
        raise DoctorError(f'no history yet (looked for {", ".join(map(clean, candidates))}); '
                          'check_conntrack records it from its first run')
    return path


COLUMNS = ('time', 'unix_time', 'boot_id', 'netns', 'name', 'entries', 'maximum', 'usage_percent', 'buckets', 'seconds',
           'growth_per_s', 'dropped', *COUNTERS)
#: of the columns with fractions
DECIMALS = {'unix_time': '.3f', 'usage_percent': '.3f', 'seconds': '.3f', 'growth_per_s': '.4f'}


def _rows(intervals: Sequence[Interval]) -> Iterator[tuple[Any, ...]]:
    """A row for each sample, with the columns of COLUMNS."""
    for interval in intervals:
        s = interval.sample
        counted = interval.losses.packets if interval.losses else {}
        yield (_iso_time(s.at.wall),
               round(s.at.wall, 3), s.boot_id, s.netns, s.name, s.entries, s.maximum,
               round(interval.usage, 3), s.buckets,
               None if interval.span is None else round(interval.span, 3),
               None if interval.growth is None else round(interval.growth, 4),
               interval.losses.lost if interval.losses else None, *(counted.get(name) for name in COUNTERS))


def _iso_time(wall: float) -> str:
    """With the offset of the host's zone; in UTC where $TZ gives an offset of a day and more."""
    try:
        return datetime.datetime.fromtimestamp(wall).astimezone().isoformat(timespec='seconds')
    except ValueError:
        return datetime.datetime.fromtimestamp(wall, datetime.timezone.utc).isoformat(timespec='seconds')


def _write_json(intervals: Sequence[Interval]) -> int:
    for row in _rows(intervals):
        print(json.dumps({'schema_version': common_options.SCHEMA_VERSION, **dict(zip(COLUMNS, row))}))
    return 0


def _write_csv(intervals: Sequence[Interval]) -> int:
    writer = csv.writer(sys.stdout, lineterminator='\n')
    writer.writerow(COLUMNS)
    for row in _rows(intervals):
        writer.writerow(f'{value:{DECIMALS.get(name, "")}}' if isinstance(value, float) else
                        _no_formula(value) if isinstance(value, str) else value
                        for name, value in zip(COLUMNS, row))
    return 0


def _no_formula(text: str) -> str:
    """Text that a spreadsheet does not compute: a namespace may be called =1+1."""
    return f'?{text[1:]}' if text[:1] in ('+', '-', '@', '=') else text


def _draws_blocks() -> bool:
    """Can standard output show block characters?"""
    try:
        chart.BLOCKS.encode(sys.stdout.encoding or 'ascii')
    except (UnicodeEncodeError, LookupError):
        return False
    return True
