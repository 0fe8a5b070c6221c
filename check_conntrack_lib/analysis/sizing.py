"""How large the table should be: from what was recorded, for this kernel's hash table and this host's memory."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..defaults import CRITICAL, TREND, WARNING
from ..flow import TCP
from ..model import Missing, Table
from ..namedtuples import NamedTuple
from .hash_chains import BUCKET_BYTES, rounded_buckets
from .profile import OFFLOADED, Profile
from .state_notes import meaning_of

#: the recorded peak shall fill so much of the table
FILL = 0.7
#: so much of the maximum may be the demand that the maximum itself cut off
CUT_OFF = 0.95
#: a peak of fewer days has seen no whole week
FEW_DAYS = 7
#: bytes: struct nf_conn where it could not be measured (the largest seen, Ubuntu 5.4 and 5.15), the extensions of an
#: entry with NAT, accounting or events (NF_CT_EXT_PREALLOC)
ENTRY, EXTENSIONS = 320, 128
#: shares of the table from which one source, target or state, or what has no reply, alone makes it large
ONE_SOURCE, ONE_TARGET, ONE_STATE, NO_REPLY = 0.25, 0.5, 0.3, 0.5


class Peak(NamedTuple):
    """The most entries that were recorded."""

    entries: int
    #: seconds since 1970
    at: float
    #: between the first and the last sample
    days: float
    samples: int
    #: nf_conntrack_max at that moment
    maximum: int

    @property
    def cut_off(self) -> bool:
        """The table was full: nobody knows how many entries there would have been."""
        return self.maximum > 0 and self.entries >= CUT_OFF * self.maximum


class Size(NamedTuple):
    """A proposal for nf_conntrack_max and nf_conntrack_buckets, and what it costs."""

    maximum: int
    buckets: int
    #: bytes an entry: struct nf_conn and its extensions
    entry: float
    #: struct nf_conn was measured
    measured: bool
    #: bytes when the table is full
    memory: float
    #: bytes that a full table of this size takes more than the entries of now
    more: float


def propose(peak: int, table: Table, entry: float | Missing) -> Size:
    """For a peak of this many entries; entry: measured bytes of struct nf_conn. Never below today's maximum."""
    maximum = max(rounded_maximum(math.ceil(peak / FILL)), table.maximum)
    # one bucket an entry, as the kernel's own default is since 5.15
    now = 0 if isinstance(table.buckets, Missing) else table.buckets
    buckets = max(rounded_buckets(maximum), now)
    measured = not isinstance(entry, Missing)
    size = (ENTRY if isinstance(entry, Missing) else entry) + EXTENSIONS
    memory = maximum * size + buckets * BUCKET_BYTES
    return Size(maximum, buckets, size, measured, memory,
                max(0.0, memory - table.entries * size - now * BUCKET_BYTES))


def rounded_maximum(number: int) -> int:
    """To a multiple of an eighth of its power of two: at most a quarter more, and a number that is easy to remember."""
    if number <= 4096:
        return 4096
    step: int = 1 << number.bit_length() - 3
    return -(-number // step) * step


def concentration(profile: Profile) -> Iterator[str]:
    """What alone makes the table large: to be looked at before any size."""
    for (protocol, state), count in profile.states.items():
        share = profile.share(count)
        if protocol == TCP and state not in ('ESTABLISHED', 'TIME_WAIT', OFFLOADED, '') and share.low >= ONE_STATE:
            meaning = meaning_of(profile, protocol, state) or 'unusual in such number'
            yield f'{share.value:.0%} of the table is in state {state}: {meaning}'
    share = profile.share(profile.unreplied)
    if share.low >= NO_REPLY:
        yield f'{share.value:.0%} of the table has no reply: a flood, a scan, or a dead server'
    for keys, least in ((profile.sources, ONE_SOURCE), (profile.targets, ONE_TARGET)):
        # where several share the table, each having its part is no news
        alone = len(keys) < 2 or keys[0][1] >= 2 * keys[1][1]
        if keys and alone and profile.share(keys[0][1]).low >= least:
            yield f'{profile.share(keys[0][1]).value:.0%} of the table is {keys[0][0]}'


def alert_thresholds(peak: Peak, maximum: int) -> tuple[int, int]:
    """Thresholds of warning and critical usage, in percent of a maximum: well above the usual, early enough to act."""
    if peak.days < FEW_DAYS or maximum <= 0:
        return int(WARNING), int(CRITICAL)
    usual = peak.entries * 100 / maximum
    warning = min(int(WARNING), max(int(TREND), 5 * math.ceil((usual + 15) / 5)))
    return warning, max(90, min(int(CRITICAL), warning + 10))
