"""What the check recorded, as a picture for the post-mortem: in the terminal, as SVG, as one HTML file, or as CSV."""

from __future__ import annotations

import argparse
import csv
import datetime
import os
import sys
import time
from collections.abc import Sequence

from ...analysis.timeline import Interval, intervals, namespaces
from ...argument_types import seconds
from ...counters import COUNTERS
from ...formatting import clean
from ...history import readonly
from ...model import Missing
from .. import DoctorError, readings
from ..atomic_write import write_file
from . import chart
from .facts import HistoryFacts, log_marks
from .netns_names import choose, names


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--from', metavar='TIME', dest='since', type=parse_time, default=float('-inf'),
                        help="the beginning: '2026-11-20 02:10', 02:10 (today or yesterday), or 6h (ago); "
                             'default: all that is recorded')
    parser.add_argument('--to', metavar='TIME', dest='until', type=parse_time, default=float('inf'), help='the end')
    parser.add_argument('--file', metavar='FILE', help="a recorder's file; default: the newest of this user's, of "
                                                       "/var/lib/check_conntrack and, for root, of monitoring users")
    parser.add_argument('--netns', metavar='WHICH',
                        help='a network namespace by its inode or, while it is there, by the name that check_conntrack '
                             '--netns takes; default: the one with the highest peak')
    parser.add_argument('--svg', metavar='FILE', help='write the picture to a file')
    parser.add_argument('--html', metavar='FILE',
                        help='write picture, facts of the worst episode and numbers to one self-contained file')
    parser.add_argument('--csv', action='store_true', help='print every recorded sample as comma-separated values')
    readings.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    if arguments.since > arguments.until:
        raise DoctorError('--from is after --to')
    path = arguments.file or _find()
    samples = readonly.read_samples(path, arguments.since, arguments.until)
    if isinstance(samples, Missing):
        raise DoctorError(f'{samples.why}{"; " if samples.remedy else ""}{samples.remedy}')
    if not samples:
        raise DoctorError(f'{clean(path)}: nothing is recorded between these times')
    everything = intervals(samples)
    all_namespaces, host = namespaces(everything), readings.host(arguments)
    called = names(host, everything)
    recorded = choose(host, all_namespaces, arguments.netns, called)
    if arguments.csv:
        return _write_csv(everything if arguments.netns is None
                          else [interval for interval in everything if interval.sample.netns == recorded.netns])
    own = [interval for interval in everything if interval.sample.netns == recorded.netns]
    others = [interval for interval in everything if interval.sample.netns != recorded.netns]
    profiles = readonly.read_profiles(path, arguments.since, arguments.until)
    history = HistoryFacts(clean(path), own, others, all_namespaces, log_marks(host, own, arguments.kernel_log),
                  [] if isinstance(profiles, Missing) else [past for past in profiles if past.netns == recorded.netns],
                  called)
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


def _find() -> str:
    candidates = readonly.candidate_files(os.environ)
    path = readonly.newest(candidates)
    if path is None:
        raise DoctorError(f'no history yet: none of {", ".join(map(clean, candidates))}; it is kept from the '
                      'first run of check_conntrack on, and a second run makes a picture')
    return path


def _write_csv(intervals: Sequence[Interval]) -> int:
    writer = csv.writer(sys.stdout, lineterminator='\n')
    writer.writerow(['time', 'unix_time', 'boot_id', 'netns', 'entries', 'maximum', 'usage_percent', 'buckets',
                     'seconds', 'growth_per_s', 'lost', *COUNTERS])
    for interval in intervals:
        s = interval.sample
        counted = interval.losses.packets if interval.losses else {}
        writer.writerow([
            datetime.datetime.fromtimestamp(s.at.wall).astimezone().isoformat(timespec='seconds'),
            f'{s.at.wall:.3f}', s.boot_id, s.netns, s.entries, s.maximum, f'{interval.usage:.3f}', s.buckets,
            None if interval.span is None else f'{interval.span:.3f}',
            None if interval.growth is None else f'{interval.growth:.4f}',
            interval.losses.lost if interval.losses else None, *(counted.get(name) for name in COUNTERS)])
    return 0


def _draws_blocks() -> bool:
    """Can standard output show block characters?"""
    try:
        chart.BLOCKS.encode(sys.stdout.encoding or 'ascii')
    except (UnicodeEncodeError, LookupError):
        return False
    return True
