"""How long the chains of the hash table may get, and how many new connections a kernel refuses before that.

Each entry is in two chains (one for each direction) of one table, which all network namespaces share
(net/netfilter/nf_conntrack_core.c, __nf_conntrack_confirm: chaintoolong). No log message tells of a refusal.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache

from ..model import Missing, Table
from ..namedtuples import NamedTuple

#: entries per bucket above which a kernel refuses about one new connection in 1000
SHORT_CHAINS, LONG_CHAINS = 2.0, 16.0
#: the limit of a chain is drawn again for each new entry, between these (MIN_CHAINLEN, MAX_CHAINLEN)
LENGTHS = {SHORT_CHAINS: (8, 31), LONG_CHAINS: (50, 79)}
#: the stable release that brought the longer chains, by version; all of 6.3 and later have them
LONGER_SINCE = {(5, 15): 103, (6, 1): 20, (6, 2): 7}
#: buckets of a new size are a multiple of this; bytes of each (struct hlist_nulls_head)
BUCKET_STEP, BUCKET_BYTES = 512, 8


class ChainLimit(NamedTuple):
    """From which load on this kernel refuses entries because a hash chain is too long (nf_conntrack_core.c)."""

    #: entries per bucket; None: it never does
    entries_per_bucket: float | None
    #: can the buckets be set by sysctl? Before 4.8 only as a parameter of the module
    by_sysctl: bool = True
    #: it has the limit LONG_CHAINS instead if it is at least this stable release, which it does not say
    unless: str = ''

    def __str__(self) -> str:
        """'16', or '2 (16 from 5.15.103 on)'."""
        text = f'{self.entries_per_bucket:g}' if self.entries_per_bucket is not None else 'none'
        return f'{text} ({LONG_CHAINS:g} from {self.unless} on)' if self.unless else text


class HashLoad(NamedTuple):
    """The one hash table of all network namespaces."""

    #: entries in it, as far as they can be seen
    entries: int
    buckets: int
    #: are the entries of all namespaces among them, or those of one only?
    all_namespaces: bool
    limit: ChainLimit
    #: the share of new connections that is refused at this load, 0 to 1
    refused: float

    @property
    def per_bucket(self) -> float:
        return self.entries / self.buckets


@lru_cache(8)
def chain_limit(release: str, stable: str = '') -> ChainLimit:
    """By `uname -r` and the upstream stable release that it is built from, '' if that is not known.

    Chains of at most 8 to 31 entries since 5.15 and RHEL 9.0; 50 to 79 since c77737b736ce of March 2023, which is in
    the releases of LONGER_SINCE, and since RHEL 9.4.
    """
    match = re.match(r'(\d+)\.(\d+)(?:\.(\d+)-(\d+))?', release)
    if not match:
        return ChainLimit(None)
    version, build = (int(match[1]), int(match[2])), int(match[4] or 0)
    if '.el9' in release and version == (5, 14):
        return ChainLimit(LONG_CHAINS if build >= 427 else SHORT_CHAINS)
    if version < (5, 15):
        return ChainLimit(None, by_sysctl=version >= (4, 8))
    if version not in LONGER_SINCE:
        return ChainLimit(LONG_CHAINS if version > (6, 2) else SHORT_CHAINS)
    since = LONGER_SINCE[version]
    level = re.fullmatch(rf'{version[0]}\.{version[1]}\.(\d+)', stable)
    if level:
        return ChainLimit(LONG_CHAINS if int(level[1]) >= since else SHORT_CHAINS)
    # Debian's first 6.1 in a release was 6.1.0-7, of 6.1.20
    if version == (6, 1) and re.fullmatch(r'6\.1\.0-(0\.deb11\.)?([7-9]|[1-9]\d)-(?!generic)\S+', release):
        return ChainLimit(LONG_CHAINS)
    return ChainLimit(SHORT_CHAINS, unless=f'{version[0]}.{version[1]}.{since}')


def hash_load(entries: int, buckets: int, all_namespaces: bool, limit: ChainLimit) -> HashLoad | None:
    """None: this kernel has no limit, or the table is not known."""
    if limit.entries_per_bucket is None or buckets <= 0:
        return None
    load = entries / buckets
    # far below the limit there is nothing to compute
    refused = refused_share(load, *LENGTHS[limit.entries_per_bucket]) if 2 * load > limit.entries_per_bucket else 0.0
    return HashLoad(entries, buckets, all_namespaces, limit, refused)


def enough_buckets(entries: int, maximum: int) -> int:
    """Buckets for one entry each when the table is full, as the kernel's own default is since 5.15.

    entries: of all network namespaces, as far as they are seen; maximum: nf_conntrack_max.
    """
    return rounded_buckets(max(entries, maximum, 2 * BUCKET_STEP))


def rounded_buckets(buckets: int) -> int:
    """The number that the kernel makes of it (nf_ct_alloc_hashtable, net/netfilter/nf_conntrack_core.c)."""
    return -(-buckets // BUCKET_STEP) * BUCKET_STEP


def memory_text(buckets: int) -> str:
    """What a hash table of so many buckets takes: '4 MiB'."""
    return f'{max(1, round(buckets * BUCKET_BYTES / (1 << 20)))} MiB'


def others_have_many(own: int, everywhere: int) -> bool:
    """Are many entries those of other network namespaces?

    Both are counted at different moments, and the kernel's number of all is a little too high.
    """
    return everywhere > 1.1 * own + 1000


def per_bucket_text(table: Table, load: HashLoad | None) -> str:
    """'0.8 per bucket', of all network namespaces where others have many entries, too; '' if it is not known."""
    if isinstance(table.buckets, Missing) or table.buckets <= 0:
        return ''
    if load and others_have_many(table.entries, load.entries):
        return f'{load.per_bucket:.1f} per bucket with those of other namespaces'
    return f'{table.entries / table.buckets:.1f} per bucket'


def refused_share(per_bucket: float, shortest: int, longest: int) -> float:
    """The share of new connections that meet a chain too long, 0 to 1.

    per_bucket: entries per bucket; shortest, longest: limits of a chain, each as likely as the others. Entries hash at
    random, so the length of a chain is a Poisson variable with twice `per_bucket` as its mean. A chain is too long when
    it has two entries more than the limit, and both chains of a new entry are tried.
    """
    mean = 2.0 * per_bucket
    if mean > 700.0:
        return 1.0  # exp() underflows
    probability = at_most = math.exp(-mean)
    refused = 0.0
    for length in range(1, longest + 2):
        probability *= mean / length
        at_most += probability
        # a chain of at most this many entries is short enough for the limit length - 1
        if length > shortest:
            refused += max(0.0, 1.0 - at_most * at_most)
    return refused / (longest - shortest + 1)
