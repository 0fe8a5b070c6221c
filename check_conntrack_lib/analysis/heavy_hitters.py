"""Counting a stream of any length in bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

#: keys counted before the rarest are dropped, and keys that are kept then; a sample of 20,000 never gets there
MOST_KEYS, KEPT_KEYS = 24576, 8192
#: values told apart by Histogram
MOST_STEPS = 2048

_K = TypeVar('_K', bound=Hashable)


class HeavyHitters(Generic[_K]):
    """The frequent keys of a stream (Misra and Gries 1982; the pruning of Agarwal and others, 2012).

    When there are too many keys, the count of the first one to go is subtracted from all. All that was subtracted is
    at most 1 / KEPT_KEYS of the stream. A count plus that is never too low, and right for a key that was always kept.
    """

    def __init__(self) -> None:
        self.counts: Counter[_K] = Counter()
        self.subtracted = 0

    def update(self, keys: Iterable[_K]) -> None:
        self.counts.update(keys)
        if len(self.counts) > MOST_KEYS:
            cut = sorted(self.counts.values(), reverse=True)[KEPT_KEYS]
            self.counts = Counter({key: count - cut for key, count in self.counts.items() if count > cut})
            self.subtracted += cut

    def count(self, key: _K) -> int:
        """Never too low."""
        return self.counts[key] + self.subtracted

    def top(self, number: int) -> list[tuple[_K, int]]:
        """The most frequent first; equal ones in the order of their keys, whatever came first."""
        ranked = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        return [(key, count + self.subtracted) for key, count in ranked[:number]]


class Histogram:
    """Whole numbers, counted in steps of equal width, which doubles when there are too many."""

    def __init__(self) -> None:
        self.width = 1
        #: by number // width
        self.steps: dict[int, int] = {}

    def add(self, number: int, count: int) -> None:
        step = number // self.width
        self.steps[step] = self.steps.get(step, 0) + count
        while len(self.steps) > MOST_STEPS:
            self.width *= 2
            wider: dict[int, int] = {}
            for step, many in self.steps.items():
                wider[step // 2] = wider.get(step // 2, 0) + many
            self.steps = wider
