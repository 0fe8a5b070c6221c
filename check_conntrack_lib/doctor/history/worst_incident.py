"""The worst incident of the recorded past in words: what happened, its cause, and what to do about it afterwards."""

from __future__ import annotations

from collections.abc import Iterator

from ...analysis.profile_diff import growth
from ...analysis.timeline import Episode, Interval
from ...defaults import TREND, WARNING
from ...formatting import count, duration
from ...history.profiles import BASELINE_SPAN
from ..state_shares import states_line
from ..zones_and_bytes import zones_and_bytes
from .facts import HistoryFacts, change_in_words, how_full, losses_in_words, when


def retrospective(episode: Episode, history: HistoryFacts) -> Iterator[tuple[str, str]]:
    """(label, text) of the episode's facts, in their order in time."""
    first = episode.began
    signs = [how_full(first, True)] if first.usage else [when(first.sample.at.wall, True)]
    if first.counted('early_drop'):
        signs.append(f'{count(first.counted("early_drop"), "entry")} evicted')
    if first.lost:
        signs.append(f'{count(first.lost, "packet")} dropped')
    yield f'above {WARNING:.0f}% since' if first.usage >= WARNING else 'first sign', ', '.join(signs)
    if episode.first_loss:
        interval = episode.first_loss
        yield 'first drop', f'between {when(interval.sample.at.wall - (interval.span or 0.0), True)} and ' \
                            f'{when(interval.sample.at.wall, True)}: {count(interval.lost, "packet")}'
        lead = _lead(history, interval)
        if lead:
            yield 'warning time', f'{duration(lead)} between {TREND:.0f}% and the first drop'
    yield 'dropped', losses_in_words(episode.lost, episode.counted)
    yield 'peak', how_full(episode.peak, True)
    yield from _causes(episode, history)
    for change in episode.changes:
        yield 'nf_conntrack_max', change_in_words(change)
    if episode.ended is None:
        yield 'ended', 'still ongoing at the last sample'
    else:
        yield 'ended', f'{when(episode.ended, True)}, after {duration(episode.ended - first.sample.at.wall)}'


def _causes(episode: Episode, history: HistoryFacts) -> Iterator[tuple[str, str]]:
    """What the table grew by, from the fullest profile of the episode and the quiet ones of the day before."""
    began = episode.began.sample.at.wall
    end = episode.ended or history.end
    during = [past for past in history.profiles if began <= past.at <= end]
    usual = [past.profile for past in history.profiles if past.quiet and began - BASELINE_SPAN <= past.at < began]
    if not during or not usual:
        yield 'cause', f'not recorded: no {"profile of the flows then" if usual else "baseline of the day before"}'
        return
    fullest = max(during, key=lambda past: past.profile.entries)
    for one in growth(fullest.profile, usual):
        yield 'cause', one.line(fullest.profile)
    yield 'states', f'{states_line(fullest.profile)}, {when(fullest.at)}'
    yield from zones_and_bytes(fullest.profile)


def checklist(episode: Episode, history: HistoryFacts) -> Iterator[tuple[str, str]]:
    """(who should do it, what), with the numbers where there are any."""
    yield 'application', 'limit connection pools and use keep-alive: each new connection is an entry for minutes'
    yield 'application', 'limit retries, with exponential backoff: retries against a full table keep it full'
    evicted = episode.counted.get('early_drop', 0)
    if evicted:
        yield 'edge', (f'{count(evicted, "entry")} evicted (not yet ASSURED: half-open TCP, one-way UDP): '
                       'rate-limit new connections per source, consider SYNPROXY')
    else:
        yield 'edge', 'rate-limit new connections per source in front of conntrack'
    lead = _lead(history, episode.first_loss) if episode.first_loss else None
    before = f' (here {duration(lead)} before the first drop)' if lead else ''
    yield 'platform', f'check every node with check_conntrack, which warns from {TREND:.0f}% while it fills{before}'
    yield 'platform', 'test the drain procedure'
    if episode.counted.get('chaintoolong'):
        yield 'platform', (f'{count(episode.counted["chaintoolong"], "packet")} dropped due to long hash chains: raise '
                           'nf_conntrack_buckets to at least half the entries at the peak')
    yield 'platform', (f'size the table for {episode.peak.sample.entries} entries: conntrack-doctor tune')
    for change in episode.changes:
        if change.after > change.before and not change.rebooted:
            yield 'platform', (f'nf_conntrack_max was raised to {change.after}: store it in sysctl.d with its reason '
                               'and, if temporary, with "# expires:"')


def _lead(history: HistoryFacts, loss: Interval) -> float | None:
    """For how many seconds usage was above TREND when the first packet was dropped; None: it was not."""
    known = loss.sample.at.wall - (loss.span or 0.0)
    above = None
    for interval in reversed(history.intervals[:history.intervals.index(loss)]):
        if interval.usage < TREND or interval.sample.boot_id != loss.sample.boot_id:
            break
        above = interval.sample.at.wall
    return known - above if above is not None and known > above else None
