"""What a random sample says of a share of the whole table."""

from __future__ import annotations

from math import sqrt

from ..namedtuples import NamedTuple

#: a margin holds for all shares of a profile at once with 95 %: the normal quantile for 5 % / 20 shares, two-sided
Z = 3.02


class Proportion(NamedTuple):
    """A part of the table, 0 to 1, and the bounds that hold with 95 %."""

    value: float
    low: float
    high: float

    @property
    def margin(self) -> float:
        """The larger distance to a bound."""
        return max(self.high - self.value, self.value - self.low)


def share(count: int, seen: int, entries: int) -> Proportion:
    """Wilson's interval for `count` of `seen`, a random sample of `entries` without repetition.

    Unlike the usual formula it is right for shares near 0 and 1, too. The sample counts for more the more of the table
    it has seen (finite-population correction), and is no sample any more when it has seen all.
    """
    if not seen:
        return Proportion(0.0, 0.0, 1.0)
    value = count / seen
    if seen >= entries:
        return Proportion(value, value, value)
    n = seen * (entries - 1) / (entries - seen)
    middle = (value + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * sqrt(value * (1 - value) / n + Z * Z / (4 * n * n))
    return Proportion(value, max(0.0, min(value, middle - half)), min(1.0, max(value, middle + half)))
