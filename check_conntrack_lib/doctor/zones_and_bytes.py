"""Entries by conntrack zone, and bytes by source, target and service, in words: where there are any."""

from __future__ import annotations

from collections.abc import Iterator

from ..analysis.profile import Profile
from ..analysis.traffic import Traffic
from ..formatting import count, share_text, size_text
from .text_layout import StyledLine, TextLayout

#: zones and keys that are named, at most
MOST = 4
#: share of the table, or of the bytes, below which none is named
LEAST = 0.01


def zones_text(profile: Profile) -> str:
    """'zone 5 52%, zone 0 40%, others 8%'; '' where next to nothing is in a zone."""
    shares = [(key, profile.share(seen).value) for key, seen in profile.zones]
    named = [(key, share) for key, share in shares[:MOST] if share >= LEAST]
    if not any(key.zone for key, _share in named):
        return ''
    rest = 1.0 - sum(share for _key, share in named)
    others = [f'others {share_text(rest)}'] if rest >= LEAST else []
    return ', '.join([*(f'{key} {share_text(share)}' for key, share in named), *others])


def bytes_text(profile: Profile, traffic: Traffic) -> str:
    """'1.2 GiB in 30000 packets of 970 entries since each was made'."""
    # entries that were made before nf_conntrack_acct was switched on have no counters
    those = count(traffic.counted, 'entry') + (f' of {profile.seen}' if traffic.counted < profile.seen else '')
    sampled = 'sampled ' if profile.seen < profile.entries and not profile.complete else ''
    return f'{size_text(traffic.bytes)} in {count(traffic.packets, "packet")} of {sampled}{those} since each was made'


def bytes_rows(profile: Profile, layout: TextLayout) -> list[str]:
    """Rows of text; none where the kernel counts no bytes."""
    traffic = profile.traffic
    if traffic is None:
        return []
    total = max(traffic.bytes, 1)
    columns = [(title, [f'{one.key.short()} {share_text(one.bytes / total)}' for one in volumes[:MOST]
                        if one.bytes >= LEAST * total])
               for title, volumes in (('bytes from', traffic.sources), ('bytes to', traffic.targets),
                                      ('bytes port', traffic.services))]
    rows = layout.rows(StyledLine('bytes', bytes_text(profile, traffic)))
    return rows + (layout.columns('', columns) if any(cells for _title, cells in columns) else [])


def zones_and_bytes(profile: Profile) -> Iterator[tuple[str, str]]:
    """(label, text) of a recorded profile, for the history."""
    zones = zones_text(profile)
    if zones:
        yield 'zones', zones
    traffic = profile.traffic
    if traffic is not None:
        largest = [f'{one.key}{profile.name_behind(one.key)} {share_text(one.bytes / max(1, traffic.bytes))}'
                   for volumes in (traffic.sources, traffic.targets) for one in volumes[:1]]
        yield 'bytes', ': '.join(filter(None, (bytes_text(profile, traffic), ', '.join(largest))))
