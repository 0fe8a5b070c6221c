"""Which growth of the table is large enough to be named, and the text where no key explains it."""

from __future__ import annotations

from ..analysis.profile import Profile
from ..analysis.profile_diff import Growth, growth, table_growth, usual_entries
from ..history.profiles import Baseline
from ..model import Missing

#: growth by this part of nf_conntrack_max or more is large; less explains nothing
LARGE = 0.01


def large_growth(profile: Profile, baseline: Baseline | Missing, maximum: int) -> tuple[tuple[Growth, ...], int]:
    """The keys with large growth; without one, the entries by which the table grew, if that is large, else 0."""
    if isinstance(baseline, Missing):
        return (), 0
    grown = tuple(one for one in growth(profile, baseline.profiles) if one.entries >= LARGE * maximum)
    total = table_growth(profile, baseline.profiles)
    return grown, total if not grown and total > 0 and total >= LARGE * maximum else 0


def without_keys(profile: Profile, baseline: Baseline, spread: int, since: str) -> str:
    """The text for growth that no key explains. spread: see `emptied.Cause`; since: ' since TIME', or ''."""
    if spread:
        return f'growth of {spread} entries{since} is spread over many sources and destinations'
    return f'no large growth ({profile.entries} entries, usually {usual_entries(baseline.profiles)})'
