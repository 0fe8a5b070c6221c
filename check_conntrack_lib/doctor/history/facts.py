"""One namespace's recorded past, and the facts of the whole time in words (see `worst_incident` for the incident)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

from ...analysis.losses import add_up, log_evidence
from ...analysis.timeline import (
    Change,
    Episode,
    Interval,
    RecordedNamespace,
    changes,
    episodes,
    may_have_dropped,
    namespace_key,
    peak,
    worst,
)
from ...deadline import Deadline
from ...formatting import TABLE_FULL_MESSAGE, clean, count, duration, growth, local_time, percent
from ...history.readonly import PastProfile
from ...host import Host
from ...model import KernelLog, Missing
from ...namedtuples import NamedTuple
from ...readers import kernel_log, sysctl_values
from ..state_shares import states_line
from .netns_names import NamespaceNames

#: seconds for reading the kernel log
LONGEST_READING = 10.0
#: below this many seconds times are given with seconds
SHORT = 600.0


class HistoryFacts(NamedTuple):
    """One namespace's past, and what is around it."""

    path: str
    intervals: list[Interval]
    #: those of the other namespaces
    others: list[Interval]
    #: all namespaces in the same file
    namespaces: list[RecordedNamespace]
    #: when the kernel logged a full table, in seconds since 1970
    marks: tuple[float, ...] | Missing
    #: of the shown namespace, by time
    profiles: list[PastProfile]
    called: NamespaceNames = NamespaceNames()
    #: the host's name; '' when the history may be another host's
    host: str = ''

    @property
    def begin(self) -> float:
        return self.intervals[0].sample.at.wall

    @property
    def end(self) -> float:
        return self.intervals[-1].sample.at.wall

    @property
    def worst(self) -> Episode | None:
        return worst(episodes(self.intervals))


def log_marks(host: Host, own: Sequence[Interval], choice: str) -> tuple[float, ...] | Missing:
    """When this host's kernel logged that the table of these intervals was full, as far as the log goes back."""
    boot_id, netns = host.boot_id(), own[-1].sample.netns
    if boot_id not in {interval.sample.boot_id for interval in own}:
        return Missing('the history is of another boot or host', chosen=True)
    now = host.clock()
    deadline = Deadline(3 * LONGEST_READING)
    deadline.start()
    try:
        with deadline.budget(LONGEST_READING):
            log = kernel_log.read(host, choice, now.uptime)
    finally:
        deadline.stop()
    if not isinstance(log, KernelLog):
        return log
    initial = netns == host.netns() and sysctl_values.is_initial_namespace(host)
    ages = log_evidence(log, now.monotonic, now.uptime, netns, initial).ages
    # lines of before were of another namespace that had its inode
    ages = tuple(age for age in ages if now.uptime - age >= own[-1].sample.since)
    return tuple(now.wall - age for age in ages if own[0].sample.at.wall <= now.wall - age <= own[-1].sample.at.wall
                 and may_have_dropped(own, now.wall - age))


def when(wall: float, seconds: bool = False) -> str:
    """Local time."""
    return time.strftime('%Y-%m-%d %H:%M:%S' if seconds else '%Y-%m-%d %H:%M', time.localtime(wall))


def title(history: HistoryFacts) -> str:
    """'gw1: connection tracking, 2026-11-18 11:06 to 2026-11-21 11:01 CET'; with seconds where the time is short."""
    short = history.end - history.begin < SHORT
    host = f'{history.host}: ' if history.host else ''
    return (f'{host}connection tracking, {when(history.begin, short)} to {when(history.end, short)} '
            f'{local_time("%Z", history.end)}')


def extent(history: HistoryFacts) -> str:
    """'864 samples in 3 days'."""
    return f'{count(len(history.intervals), "sample")} in {duration(history.end - history.begin)}'


def facts(history: HistoryFacts) -> Iterator[tuple[str, str]]:
    """(name, text) of everything that the whole past says in one line each."""
    yield 'peak', how_full(peak(history.intervals))
    yield 'at the end', how_full(history.intervals[-1])
    if history.profiles:
        fullest = max(history.profiles, key=lambda past: past.profile.entries)
        yield 'states', f'{states_line(fullest.profile)}, {when(fullest.at)}'
    counted = add_up(interval.losses for interval in history.intervals if interval.losses)
    if any(interval.losses for interval in history.intervals):
        yield 'dropped', losses_in_words(sum(interval.lost for interval in history.intervals), counted)
        if counted.get('early_drop'):
            yield 'evicted', count(counted['early_drop'], 'entry')
        if counted.get('insert_failed'):
            yield 'insert_failed', f'{counted["insert_failed"]}'
    else:
        yield 'dropped', 'not recorded (no counters, or only one sample)'
    fastest = max((one for one in history.intervals if one.growth is not None), key=lambda one: one.growth or 0.0,
                  default=None)
    if fastest and fastest.growth and fastest.growth > 0:
        yield 'fastest growth', f'{growth(fastest.growth)}, {when(fastest.sample.at.wall)}'
    for change in changes(history.intervals):
        yield 'nf_conntrack_max', change_in_words(change)
    boots = len({interval.sample.boot_id for interval in history.intervals})
    if boots > 1:
        yield 'reboots', f'{boots - 1}; counters restart'
    yield 'kernel log', _log(history)
    shown = history.intervals[-1].sample
    others = [f'{history.called.of(recorded.newest)}: peak {percent(recorded.peak.usage)}, {recorded.lost} dropped'
              for recorded in history.namespaces if recorded.key != namespace_key(shown)]
    if others:
        yield 'namespaces', f'showing {history.called.of(shown)}; also in this file: {"; ".join(others[:9])}' + (
            f'; and {len(others) - 9} more' if len(others) > 9 else '')


def how_full(interval: Interval, seconds: bool = False) -> str:
    """'52.0% used (136314 of 262144), 2026-11-20 17:05'; seconds: of the time, too."""
    s = interval.sample
    limit = f'{percent(interval.usage)} used ({s.entries} of {s.maximum})' if s.maximum > 0 \
        else f'{count(s.entries, "entry")}, no limit'
    return f'{limit}, {when(s.at.wall, seconds)}'


def losses_in_words(lost: int, counted: Mapping[str, int]) -> str:
    """'7606 packets (7000 drop, 606 chaintoolong)'."""
    if not lost:
        return count(lost, 'packet')
    too_long = min(lost, counted.get('chaintoolong', 0))
    parts = [f'{number} {name}' for name, number in (('drop', lost - too_long), ('chaintoolong', too_long)) if number]
    return f'{count(lost, "packet")} ({", ".join(parts)})'


def change_in_words(change: Change) -> str:
    """'from 262144 to 524288 after a reboot, 2026-11-20 17:05'."""
    how = ' after a reboot' if change.rebooted else ''
    return f'from {change.before} to {change.after}{how}, {when(change.at)}'


def _log(history: HistoryFacts) -> str:
    if isinstance(history.marks, Missing):
        return f'not read: {clean(history.marks.why)}'
    if not history.marks:
        return 'no "table full" message (as far as the log goes back)'
    messages = count(len(history.marks), TABLE_FULL_MESSAGE)
    return f'{messages} from {when(history.marks[0])} to {when(history.marks[-1])} (as far as the log goes back)'
