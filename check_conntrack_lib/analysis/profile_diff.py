"""What changed: which flows the table grew by, against baseline profiles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..formatting import share_text
from ..namedtuples import NamedTuple
from .profile import RECORDED_TOP, Key, Profile

#: a key is named when it explains so much of the growth
WORTH_NAMING = 0.15
#: and others no more when the named ones explain so much
ENOUGH = 0.8
MOST_NAMED = 3
#: a zone is named when it explains so much of the growth
MOST_OF_IT = 0.5
#: from the key that says most about a flow to those that say less
SORTS = ('targets', 'services', 'destinations', 'sources')


class Growth(NamedTuple):
    """One key that grew."""

    key: Key
    #: shares of the table, 0 to 1
    before: float
    now: float
    #: entries of the key now, less those before
    entries: int
    #: most of these flows come from here; '' when from many
    source: str = ''

    def text(self) -> str:
        """'grew from 11% to 75% of the table (+700 entries)'; without the first share where that is no smaller."""
        before, now = share_text(self.before), share_text(self.now)
        if before == now or self.before > self.now:
            return f'grew by {self.entries} entries to {now} of the table'
        return f'grew from {before} to {now} of the table ({self.entries:+d} entries)'

    def line(self, profile: Profile, since: str = '') -> str:
        """The key with the name that this host has for it, `text`, since (' since TIME'), and the source."""
        source = f', mostly from {profile.named(self.source)}' if self.source else ''
        return f'{self.key}{profile.name_behind(self.key)} {self.text()}{since}{source}'


def growth(now: Profile, baseline: Sequence[Profile]) -> tuple[Growth, ...]:
    """The keys that explain most of the growth, each group of flows named once, the largest first.

    baseline: baseline profiles; of each key their median counts. A zone comes last: its flows may be those before it.
    """
    usual = usual_entries(baseline)
    total = now.entries - usual
    if total <= 0 or not now.seen:
        return ()
    grown = {sort: list(_grown(now, baseline, sort, usual)) for sort in SORTS}
    named: list[Growth] = []
    for sort in SORTS:
        for one in grown[sort]:
            own = one.entries - sum(other.entries for other in named if one.key.covers(other.key))
            explained = sum(other.entries for other in named)
            # a source is named along with the flows it opens, where both cannot but be the same
            alone = sort == 'targets' or explained + own <= total * 1.1
            if own >= total * WORTH_NAMING and explained < total * ENOUGH and alone and len(named) < MOST_NAMED:
                named.append(one)
    named.sort(key=lambda one: -one.entries)
    return (*(one._replace(source=_source(one, grown['sources'], total)) for one in named),
            *_zone(now, baseline, usual, total))


def table_growth(now: Profile, baseline: Sequence[Profile]) -> int:
    """Entries of the whole table, less the usual number of them; below 0: it shrank."""
    return now.entries - usual_entries(baseline)


def usual_entries(baseline: Sequence[Profile]) -> int:
    """The median number of entries of baseline profiles."""
    return _median([profile.entries for profile in baseline])


def _zone(now: Profile, baseline: Sequence[Profile], usual: int, total: int) -> tuple[Growth, ...]:
    """The zone that explains most of the growth, where there is more than one."""
    # a profile of flows that no zone was counted of says nothing of zones
    known = [profile for profile in baseline if profile.zones or not profile.seen]
    if not now.zoned or len(now.zones) < 2 or not known:
        return ()
    return tuple(one for one in _grown(now, known, 'zones', usual) if one.entries >= total * MOST_OF_IT)[:1]


def _grown(now: Profile, baseline: Sequence[Profile], sort: str, usual: int) -> Iterator[Growth]:
    """Keys of one sort that grew by more than chance, the largest growth first."""
    past = [_estimates(profile, sort) for profile in baseline]
    found = []
    for key, count in getattr(now, sort):
        share = now.share(count)
        before = _median([counts.get(key, rest) for counts, rest in past])
        if share.low * now.entries > before:
            entries = now.estimate(count) - before
            found.append(Growth(key, before / usual if usual else 0.0, share.value, entries))
    yield from sorted(found, key=lambda one: -one.entries)


def _estimates(profile: Profile, sort: str) -> tuple[Mapping[Key, int], int]:
    """Entries by key, and how many a key that was not recorded may have had."""
    keys = getattr(profile, sort)
    counts = {key: profile.estimate(count) for key, count in keys}
    # the first keys above 1 % are recorded: another was below that, or below the last of them
    return counts, min(counts.values()) if len(keys) >= RECORDED_TOP else 0


def _source(one: Growth, sources: Sequence[Growth], total: int) -> str:
    """The one source that must have opened most of these flows: both together exceed the growth by as much."""
    if one.key.source or not sources:
        return ''
    common = one.entries + sources[0].entries - total
    return sources[0].key.source if common >= 0.7 * one.entries else ''


def _median(values: Sequence[int]) -> int:
    return sorted(values)[(len(values) - 1) // 2] if values else 0
