"""What a recorded past says, in words: the facts for any picture of it, and the retrospective of its worst episode."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

from ...analysis.losses import add_up, log_evidence
from ...analysis.profile_diff import growth as growth_by
from ...analysis.timeline import Change, Episode, Interval, RecordedNamespace, changes, episodes, peak, worst
from ...deadline import Deadline
from ...defaults import TREND
from ...formatting import clean, count, duration, growth, percent
from ...history.readonly import PastProfile
from ...host import Host
from ...model import KernelLog, Missing
from ...namedtuples import NamedTuple
from ...readers import kernel_log, sysctl_values
from ..state_shares import states_line
from .netns_names import Names

#: from this usage on the check warns of a table that fills, in percent
#: profiles from so many seconds before an episode are what is usual
USUAL = 86400.0
#: seconds for reading the kernel log
LONGEST_READING = 10.0


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
    called: Names = Names()

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
    """When this host's kernel logged that the table of these steps was full, as far as the log goes back."""
    boot_id, netns = host.boot_id(), own[-1].sample.netns
    if boot_id not in {interval.sample.boot_id for interval in own}:
        return Missing('not recorded since this host was booted', chosen=True)
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
    return tuple(now.wall - age for age in ages if own[0].sample.at.wall <= now.wall - age <= own[-1].sample.at.wall)


def when(wall: float, seconds: bool = False) -> str:
    """Local time."""
    return time.strftime('%Y-%m-%d %H:%M:%S' if seconds else '%Y-%m-%d %H:%M', time.localtime(wall))


def title(history: HistoryFacts) -> str:
    return (f'{count(len(history.intervals), "sample")} from {when(history.begin)} to {when(history.end)} '
            f'({duration(history.end - history.begin)}), times in {time.strftime("%Z", time.localtime(history.end))}')


def facts(history: HistoryFacts) -> Iterator[tuple[str, str]]:
    """(name, text) of everything that the whole past says in one line each."""
    yield 'peak', how_full(peak(history.intervals))
    yield 'at the end', how_full(history.intervals[-1])
    if history.profiles:
        fullest = max(history.profiles, key=lambda past: past.profile.entries)
        yield 'states', f'{states_line(fullest.profile)}, {when(fullest.at)}'
    counted = add_up(interval.losses for interval in history.intervals if interval.losses)
    if any(interval.losses for interval in history.intervals):
        yield 'lost', losses_in_words(sum(interval.lost for interval in history.intervals), counted)
        if counted.get('early_drop'):
            yield 'evicted', f'{count(counted["early_drop"], "entry")} gave way to new ones'
        if counted.get('insert_failed'):
            yield 'insert_failed', f'{counted["insert_failed"]}'
    else:
        yield 'lost', 'not recorded (no counters, or only one sample)'
    fastest = max((one for one in history.intervals if one.growth is not None), key=lambda one: one.growth or 0.0,
                  default=None)
    if fastest and fastest.growth and fastest.growth > 0:
        yield 'fastest growth', f'{growth(fastest.growth)}, {when(fastest.sample.at.wall)}'
    for change in changes(history.intervals):
        yield 'nf_conntrack_max', change_in_words(change)
    boots = len({interval.sample.boot_id for interval in history.intervals})
    if boots > 1:
        yield 'reboots', f'{boots - 1}; nothing is counted across one'
    yield 'kernel log', _log(history)
    shown = history.intervals[-1].sample.netns
    others = [f'{history.called.of(recorded.netns)}: peak {percent(recorded.peak.usage)}, {recorded.lost} lost'
              for recorded in history.namespaces if recorded.netns != shown]
    if others:
        yield 'namespaces', f'{history.called.of(shown)} is shown; also recorded: {"; ".join(others[:9])}' + (
            f'; and {len(others) - 9} more' if len(others) > 9 else '')


def retrospective(episode: Episode, history: HistoryFacts) -> Iterator[tuple[str, str]]:
    """(name, text) of the episode's facts, in their order in time."""
    first = episode.began
    signs = [how_full(first, True)] if first.usage else [when(first.sample.at.wall, True)]
    if first.counted('early_drop'):
        signs.append(f'{count(first.counted("early_drop"), "entry")} evicted')
    if first.lost:
        signs.append(f'{count(first.lost, "packet")} lost')
    yield 'first sign', ', '.join(signs)
    if episode.first_loss:
        interval = episode.first_loss
        yield 'first loss', f'between {when(interval.sample.at.wall - (interval.span or 0.0), True)} and ' \
                            f'{when(interval.sample.at.wall, True)}: {count(interval.lost, "packet")}'
        lead = _lead(history, interval)
        if lead:
            yield 'time to act', f'the table was above {TREND:.0f}% for {duration(lead)} before that'
    yield 'packets lost', losses_in_words(episode.lost, episode.counted)
    yield 'peak', how_full(episode.peak, True)
    yield from _who(episode, history)
    for change in episode.changes:
        yield 'setting', change_in_words(change)
    if episode.ended is None:
        yield 'end', 'not within the record: it may be going on'
    else:
        yield 'end', f'{when(episode.ended, True)}, after {duration(episode.ended - first.sample.at.wall)}'


def _who(episode: Episode, history: HistoryFacts) -> Iterator[tuple[str, str]]:
    """What the table grew by, from the fullest profile of the episode and the quiet ones of the day before."""
    began = episode.began.sample.at.wall
    end = episode.ended or history.end
    during = [past for past in history.profiles if began <= past.at <= end]
    usual = [past.profile for past in history.profiles if past.quiet and began - USUAL <= past.at < began]
    if not during or not usual:
        yield 'who grew', f'not recorded: no profile of the flows {"then" if usual else "in quiet times before"}'
        return
    fullest = max(during, key=lambda past: past.profile.entries)
    for one in growth_by(fullest.profile, usual):
        source = f', most from {one.source}' if one.source else ''
        yield 'who grew', (f'{one.key}: {one.before * 100:.0f}% -> {one.now * 100:.0f}% of the table '
                           f'({one.entries:+d} entries){source}')
    yield 'states', f'{states_line(fullest.profile)}, {when(fullest.at)}'


def checklist(episode: Episode, history: HistoryFacts) -> Iterator[tuple[str, str]]:
    """(who, what to do for good), with the numbers where there are any."""
    yield 'application', 'bounded connection pools with keep-alive: each new connection is an entry for minutes'
    yield 'application', 'a retry budget with growing pauses: retries against a full table keep it full'
    evicted = episode.counted.get('early_drop', 0)
    if evicted:
        yield 'edge', (f'{count(evicted, "entry")} not yet assured (half-open, one-way) were evicted; '
                       'limit new connections by source, and think of SYN proxying')
    else:
        yield 'edge', 'resilience to floods: a limit of new connections by source before they are tracked'
    lead = _lead(history, episode.first_loss) if episode.first_loss else None
    told = f' (here {duration(lead)} before the first loss)' if lead else ''
    yield 'platform', f'an alert for each node before it is full: check_conntrack warns from {TREND:.0f}%{told}'
    yield 'platform', 'a way to drain a node, tried before it is needed'
    if episode.counted.get('chaintoolong'):
        yield 'platform', (f'{count(episode.counted["chaintoolong"], "packet")} were lost to long hash chains: more '
                           'nf_conntrack_buckets, at least half as many as entries at the peak')
    yield 'platform', (f'a size for the peak of {episode.peak.sample.entries} entries: conntrack-doctor tune')
    for change in episode.changes:
        if change.after > change.before and not change.rebooted:
            yield 'platform', (f'nf_conntrack_max was raised to {change.after}: keep it in sysctl.d with a reason, '
                               'or write down when it ends')


def how_full(interval: Interval, seconds: bool = False) -> str:
    s = interval.sample
    limit = f'{percent(interval.usage)} used ({s.entries} of {s.maximum})' if s.maximum > 0 \
        else f'{count(s.entries, "entry")}, no limit'
    return f'{limit}, {when(s.at.wall, seconds)}'


def losses_in_words(lost: int, counted: Mapping[str, int]) -> str:
    if not lost:
        return count(lost, 'packet')
    too_long = min(lost, counted.get('chaintoolong', 0))
    parts = [f'{number} {name}' for name, number in (('drop', lost - too_long), ('chaintoolong', too_long)) if number]
    return f'{count(lost, "packet")} ({", ".join(parts)})'


def change_in_words(change: Change) -> str:
    how = ' after a reboot' if change.rebooted else ''
    return f'from {change.before} to {change.after}{how}, {when(change.at)}'


def _log(history: HistoryFacts) -> str:
    if isinstance(history.marks, Missing):
        return f'not looked at: {clean(history.marks.why)}'
    if not history.marks:
        return 'no table-full line as far as it goes back'
    return f'{count(len(history.marks), "table-full line")} as far as it goes back, from {when(history.marks[0])} to ' \
           f'{when(history.marks[-1])}'


def _lead(history: HistoryFacts, loss: Interval) -> float | None:
    """For how many seconds the table was above the trend line when the first packet was lost."""
    known = loss.sample.at.wall - (loss.span or 0.0)
    above = None
    for interval in reversed(history.intervals[:history.intervals.index(loss)]):
        if interval.usage < TREND or interval.sample.boot_id != loss.sample.boot_id:
            break
        above = interval.sample.at.wall
    return known - above if above is not None and known > above else None
