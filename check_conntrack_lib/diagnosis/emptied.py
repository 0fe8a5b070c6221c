"""The cause of a loss that is over: what was in the table when it was fullest, by the recorded profiles."""

from __future__ import annotations

from ..analysis.profile import Profile
from ..analysis.profile_diff import Growth
from ..assessment import Assessment
from ..deadline import TimeBudget
from ..defaults import WINDOW
from ..history import peak, profiles
from ..history.peak import Peak
from ..history.profiles import Baseline
from ..model import Missing, Sample, Table
from ..namedtuples import NamedTuple
from .named_growth import large_growth

#: a table below this part of its peak has emptied since
EMPTIED = 0.75
#: a profile shows what filled the table if the table then held at least this part of what it has lost since the peak
NEAR_PEAK = 0.25
#: how far before the first loss or crossing the peak is looked for, in seconds
BEFORE = WINDOW


class Cause(NamedTuple):
    """What filled a table that has emptied since."""

    #: wall time of the profile, and usage then in percent
    at: float
    usage: float
    profile: Profile
    baseline: Baseline | Missing
    growth: tuple[Growth, ...]
    #: entries by which the table grew where no key explains it; 0: a key does, or the growth is not large
    spread: int = 0


def has_emptied(a: Assessment, table: Table, sample: Sample | Missing, budget: TimeBudget,
                patience: float) -> tuple[bool, bool, Peak | None]:
    """Whether the table is well below the peak of the losses or the usage that the check reports, whether it is known
    that it was full then, and that peak; None where it was not recorded.
    """
    now = a.snapshot.at.wall
    logged = () if isinstance(a.log, Missing) else a.log.ages
    was_full = bool(logged or (a.losses and a.losses.packets.get('early_drop')))
    # a packet is dropped for want of memory, too
    full = was_full or bool(a.drops or (a.losses and a.losses.dropped))
    spans = [BEFORE, *logged, *(now - one for one in (a.crossed and a.crossed.since, a.drops and a.drops.first) if one)]
    if a.losses and a.losses.lost:
        spans.append(a.losses.span)
    highest: Peak | Missing | None = None
    if a.history_file and isinstance(sample, Sample):
        with budget():
            highest = peak.read_peak(a.history_file, sample, max(spans) + BEFORE, patience)
    if not isinstance(highest, Peak):
        return full and not table.unlimited and table.entries < EMPTIED * table.maximum, was_full, None
    # without a limit, or where it was raised since, the table was as full as it was seen
    limit = min(highest.maximum, table.maximum) if highest.maximum > 0 else 0
    most = max(highest.entries, limit) if full and not table.unlimited else highest.entries
    troubled = full or (a.crossed is not None and a.crossed.held)
    return (troubled and table.entries < EMPTIED * most, was_full or table.entries < EMPTIED * highest.entries,
            highest._replace(entries=most))


def cause_at(file: str, table: Table, highest: Peak, patience: float) -> Cause | None:
    """What the profile nearest to the peak says, where much of what filled the table was still there."""
    then, profile = highest.sample, highest.profile
    if then is None or profile is None \
            or then.entries - table.entries < NEAR_PEAK * (highest.entries - table.entries):
        return None
    baseline = profiles.read_baseline(file, then, patience)
    usage = then.entries * 100.0 / then.maximum if then.maximum > 0 else 0.0
    return Cause(then.at.wall, usage, profile, baseline, *large_growth(profile, baseline, then.maximum))
