"""What a table consists of: entries by TCP state, others by protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..analysis.profile import Key, Profile
from ..flow import TCP


def by_state(profile: Profile) -> dict[str, int]:
    """Entries of the table, most first: 'ESTABLISHED', 'udp', ...; estimated unless all were seen."""
    found: dict[str, int] = {}
    for (protocol, state), seen in profile.states.items():
        name = str(Key(protocol)) if protocol != TCP else state or 'tcp offloaded'
        found[name] = found.get(name, 0) + seen
    return {name: profile.estimate(found[name]) for name in sorted(found, key=lambda name: -found[name])}


def states_line(profile: Profile, most: int = 4) -> str:
    """'61% ESTABLISHED, 20% udp, 3% other; 12% unreplied'."""
    found = by_state(profile)
    total = sum(found.values()) or 1
    named = dict(list(found.items())[:most])
    parts = [f'{round(entries * 100 / total)}% {name}' for name, entries in named.items()]
    rest = sum(entries for name, entries in found.items() if name not in named)
    if rest:
        parts.append(f'{round(rest * 100 / total)}% other')
    unreplied = f'; {round(profile.unreplied * 100 / profile.seen)}% unreplied' if profile.seen else ''
    return ', '.join(parts) + unreplied


def largest(profiles: Sequence[Mapping[str, int]], most: int) -> list[str]:
    """The names that matter most in any of them, the largest first."""
    peaks: dict[str, int] = {}
    for profile in profiles:
        for name, entries in profile.items():
            peaks[name] = max(peaks.get(name, 0), entries)
    return sorted(peaks, key=lambda name: -peaks[name])[:most]
