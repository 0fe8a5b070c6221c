"""Which growth of the table is named, and the text where no few keys explain it."""

from __future__ import annotations

from ..analysis.profile import Profile
from ..analysis.profile_diff import Growth, growth, table_growth, usual_entries
from ..history.profiles import Baseline
from ..model import Missing

#: entries below this part of nf_conntrack_max explain nothing
NEWS = 0.01


def worth_telling(profile: Profile, baseline: Baseline | Missing, maximum: int) -> tuple[tuple[Growth, ...], int]:
    """The keys that grew by more than next to nothing; without one, the entries by which the table did, else 0."""
    if isinstance(baseline, Missing):
        return (), 0
    grown = tuple(one for one in growth(profile, baseline.profiles) if one.entries >= NEWS * maximum)
    total = table_growth(profile, baseline.profiles)
    return grown, total if not grown and total > 0 and total >= NEWS * maximum else 0


def without_keys(profile: Profile, baseline: Baseline, spread: int, since: str) -> str:
    """The text for a growth that no key explains. since: ' since TIME' or alike; spread: see `Cause`."""
    if spread:
        return f'growth of {spread} entries{since} is spread over many sources and destinations'
    return f'no large growth ({profile.entries} entries, usually {usual_entries(baseline.profiles)})'
