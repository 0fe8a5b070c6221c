"""How many entries each refresh of `watch --top` looks at, and how often it comes: for at most 5 % of a core."""

from __future__ import annotations

from ...namedtuples import NamedTuple

#: part of a core at most, and seconds that one refresh may take
SHARE, LONGEST = 0.05, 0.2
#: part of both that is aimed at, since readings differ
AIM = 0.8
#: entries that are looked at: 10,000 tell a share to within 1.5 points, 2,000 to within 3.4
MOST, LEAST = 10000, 2000
#: a longer interval leaves time for so many in each of its seconds, up to a bound: each takes a kilobyte of memory
MORE_A_SECOND, MOST_OF_ALL = 5000, 50000


class Pace(NamedTuple):
    """What the next refresh may do."""

    #: seconds between two refreshes that were asked for, and those that it takes
    every: float
    period: float
    #: entries at most
    sample: int = MOST


def after(pace: Pace, cpu: float, wall: float) -> Pace:
    """The next pace after a refresh; cpu and wall: the seconds of CPU time and of time that it took."""
    budget = pace.every * SHARE
    fits = min(AIM * budget / max(cpu, 1e-6), AIM * max(LONGEST, budget) / max(wall, 1e-6))
    most = max(MOST, min(MOST_OF_ALL, round(MORE_A_SECOND * pace.every)))
    # one slow refresh is no rule: at most halved or doubled
    sample = round(pace.sample * min(2.0, max(0.5, fits)))
    return Pace(pace.every, max(pace.every, cpu / SHARE), max(LEAST, min(most, sample)))
