"""What a recorded past says, in words: the facts for any picture of it, and the retrospective of its worst episode."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

from ..deadline import Deadline
from ..host import Host
from ..model import KernelLog, Missing
from ..noun import NamedTuple
from ..readers import kernlog, sysctls
from ..reasoning.chronicle import Change, Episode, Place, Step, changes, episodes, may_have_dropped, peak, worst
from ..reasoning.growth import growth as growth_by
from ..reasoning.losses import add_up, innocent_for, log_evidence
from ..recall import PastProfile
from ..text import clean, count, duration, growth, percent
from .called import Names
from .states import in_words

#: from this usage on the check warns of a table that fills, in percent
TREND_LINE = 70.0
#: profiles from so many seconds before an episode are what is usual
USUAL = 86400.0
#: seconds for reading the kernel log
LONGEST_READING = 10.0


class Story(NamedTuple):
    """One namespace's past, and what is around it."""

    path: str
    steps: list[Step]
    #: those of the other namespaces
    others: list[Step]
    #: all namespaces in the same file
    places: list[Place]
    #: when the kernel logged a full table, in seconds since 1970
    marks: tuple[float, ...] | Missing
    #: of the shown namespace, by time
    profiles: list[PastProfile]
    called: Names = Names()

    @property
    def begin(self) -> float:
        return self.steps[0].sample.at.wall

    @property
    def end(self) -> float:
        return self.steps[-1].sample.at.wall

    @property
    def worst(self) -> Episode | None:
        return worst(episodes(self.steps))


def log_marks(own: Sequence[Step], choice: str) -> tuple[float, ...] | Missing:
    """When this host's kernel logged that the table of these steps was full, as far as the log goes back."""
    host = Host()
    boot_id, netns = host.boot_id(), own[-1].sample.netns
    if boot_id not in {step.sample.boot_id for step in own}:
        return Missing('not recorded since this host was booted', chosen=True)
    now = host.clock()
    deadline = Deadline(3 * LONGEST_READING)
    deadline.start()
    try:
        with deadline.share(LONGEST_READING):
            log = kernlog.read(host, choice, now.uptime)
    finally:
        deadline.stop()
    if not isinstance(log, KernelLog):
        return log
    initial = netns == host.netns() and sysctls.is_initial_namespace(host)
    innocent = innocent_for(own[-1].sample.counters, None)
    ages = log_evidence(log, now.monotonic, now.uptime, netns, initial, innocent).ages
    return tuple(now.wall - age for age in ages if own[0].sample.at.wall <= now.wall - age <= own[-1].sample.at.wall
                 and may_have_dropped(own, now.wall - age))


def when(wall: float, seconds: bool = False) -> str:
    """Local time."""
    return time.strftime('%Y-%m-%d %H:%M:%S' if seconds else '%Y-%m-%d %H:%M', time.localtime(wall))


def title(story: Story) -> str:
    return (f'{count(len(story.steps), "sample")} from {when(story.begin)} to {when(story.end)} '
            f'({duration(story.end - story.begin)}), times in {time.strftime("%Z", time.localtime(story.end))}')


def facts(story: Story) -> Iterator[tuple[str, str]]:
    """(name, text) of everything that the whole past says in one line each."""
    yield 'peak', how_full(peak(story.steps))
    yield 'at the end', how_full(story.steps[-1])
    if story.profiles:
        fullest = max(story.profiles, key=lambda past: past.profile.entries)
        yield 'states', f'{in_words(fullest.profile)}, {when(fullest.at)}'
    counted = add_up(step.losses for step in story.steps if step.losses)
    if any(step.losses for step in story.steps):
        yield 'lost', losses_in_words(sum(step.lost for step in story.steps), counted)
        if counted.get('early_drop'):
            yield 'evicted', f'{count(counted["early_drop"], "entry")} gave way to new ones'
        if counted.get('insert_failed'):
            yield 'insert_failed', f'{counted["insert_failed"]}'
    else:
        yield 'lost', 'not recorded (no counters, or only one sample)'
    fastest = max((step for step in story.steps if step.growth is not None), key=lambda step: step.growth or 0.0,
                  default=None)
    if fastest and fastest.growth and fastest.growth > 0:
        yield 'fastest growth', f'{growth(fastest.growth)}, {when(fastest.sample.at.wall)}'
    for change in changes(story.steps):
        yield 'nf_conntrack_max', change_in_words(change)
    boots = len({step.sample.boot_id for step in story.steps})
    if boots > 1:
        yield 'reboots', f'{boots - 1}; nothing is counted across one'
    yield 'kernel log', _log(story)
    shown = story.steps[-1].sample.netns
    others = [f'{story.called.of(place.netns)}: peak {percent(place.peak.usage)}, {place.lost} lost'
              for place in story.places if place.netns != shown]
    if others:
        yield 'namespaces', f'{story.called.of(shown)} is shown; also recorded: {"; ".join(others[:9])}' + (
            f'; and {len(others) - 9} more' if len(others) > 9 else '')


def retrospective(episode: Episode, story: Story) -> Iterator[tuple[str, str]]:
    """(name, text) of the episode's facts, in their order in time."""
    first = episode.began
    signs = [how_full(first, True)] if first.usage else [when(first.sample.at.wall, True)]
    if first.counted('early_drop'):
        signs.append(f'{count(first.counted("early_drop"), "entry")} evicted')
    if first.lost:
        signs.append(f'{count(first.lost, "packet")} lost')
    yield 'first sign', ', '.join(signs)
    if episode.first_loss:
        step = episode.first_loss
        yield 'first loss', f'between {when(step.sample.at.wall - (step.span or 0.0), True)} and ' \
                            f'{when(step.sample.at.wall, True)}: {count(step.lost, "packet")}'
        lead = _lead(story, step)
        if lead:
            yield 'time to act', f'the table was above {TREND_LINE:.0f}% for {duration(lead)} before that'
    yield 'packets lost', losses_in_words(episode.lost, episode.counted)
    yield 'peak', how_full(episode.peak, True)
    yield from _who(episode, story)
    for change in episode.changes:
        yield 'setting', change_in_words(change)
    if episode.ended is None:
        yield 'end', 'not within the record: it may be going on'
    else:
        yield 'end', f'{when(episode.ended, True)}, after {duration(episode.ended - first.sample.at.wall)}'


def _who(episode: Episode, story: Story) -> Iterator[tuple[str, str]]:
    """What the table grew by, from the fullest profile of the episode and the quiet ones of the day before."""
    began = episode.began.sample.at.wall
    end = episode.ended or story.end
    during = [past for past in story.profiles if began <= past.at <= end]
    usual = [past.profile for past in story.profiles if past.quiet and began - USUAL <= past.at < began]
    if not during or not usual:
        yield 'who grew', f'not recorded: no profile of the flows {"then" if usual else "in quiet times before"}'
        return
    fullest = max(during, key=lambda past: past.profile.entries)
    for one in growth_by(fullest.profile, usual):
        source = f', most from {one.source}' if one.source else ''
        yield 'who grew', (f'{one.key}: {one.before * 100:.0f}% -> {one.now * 100:.0f}% of the table '
                           f'({one.entries:+d} entries){source}')
    yield 'states', f'{in_words(fullest.profile)}, {when(fullest.at)}'


def checklist(episode: Episode, story: Story) -> Iterator[tuple[str, str]]:
    """(who, what to do for good), with the numbers where there are any."""
    yield 'application', 'bounded connection pools with keep-alive: each new connection is an entry for minutes'
    yield 'application', 'a retry budget with growing pauses: retries against a full table keep it full'
    evicted = episode.counted.get('early_drop', 0)
    if evicted:
        yield 'edge', (f'{count(evicted, "entry")} not yet assured (half-open, one-way) were evicted; '
                       'limit new connections by source, and think of SYN proxying')
    else:
        yield 'edge', 'resilience to floods: a limit of new connections by source before they are tracked'
    lead = _lead(story, episode.first_loss) if episode.first_loss else None
    told = f' (here {duration(lead)} before the first loss)' if lead else ''
    yield 'platform', f'an alert for each node before it is full: check_conntrack warns from {TREND_LINE:.0f}%{told}'
    yield 'platform', 'a way to drain a node, tried before it is needed'
    if episode.counted.get('chain_too_long'):
        yield 'platform', (f'{count(episode.counted["chain_too_long"], "packet")} were lost to long hash chains: more '
                           'nf_conntrack_buckets, at least half as many as entries at the peak')
    yield 'platform', (f'a size for the peak of {episode.peak.sample.entries} entries: conntrack-doctor tune')
    for change in episode.changes:
        if change.after > change.before and not change.rebooted:
            yield 'platform', (f'nf_conntrack_max was raised to {change.after}: keep it in sysctl.d with a reason, '
                               'or write down when it ends')


def how_full(step: Step, seconds: bool = False) -> str:
    s = step.sample
    limit = f'{percent(step.usage)} used ({s.entries} of {s.maximum})' if s.maximum > 0 \
        else f'{count(s.entries, "entry")}, no limit'
    return f'{limit}, {when(s.at.wall, seconds)}'


def losses_in_words(lost: int, counted: Mapping[str, int]) -> str:
    if not lost:
        return count(lost, 'packet')
    too_long = min(lost, counted.get('chain_too_long', 0))
    parts = [f'{number} {name}' for name, number in (('drop', lost - too_long), ('chain_too_long', too_long)) if number]
    return f'{count(lost, "packet")} ({", ".join(parts)})'


def change_in_words(change: Change) -> str:
    how = ' after a reboot' if change.rebooted else ''
    return f'from {change.before} to {change.after}{how}, {when(change.at)}'


def _log(story: Story) -> str:
    if isinstance(story.marks, Missing):
        return f'not looked at: {clean(story.marks.why)}'
    if not story.marks:
        return 'no table-full line as far as it goes back'
    return f'{count(len(story.marks), "table-full line")} as far as it goes back, from {when(story.marks[0])} to ' \
           f'{when(story.marks[-1])}'


def _lead(story: Story, loss: Step) -> float | None:
    """For how many seconds the table was above the trend line when the first packet was lost."""
    known = loss.sample.at.wall - (loss.span or 0.0)
    above = None
    for step in reversed(story.steps[:story.steps.index(loss)]):
        if step.usage < TREND_LINE or step.sample.boot_id != loss.sample.boot_id:
            break
        above = step.sample.at.wall
    return known - above if above is not None and known > above else None
