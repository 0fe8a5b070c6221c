"""What a soak demands, a line each."""

from __future__ import annotations

from typing import NamedTuple


class Demand(NamedTuple):
    """Something that must hold, and what was seen."""

    what: str
    kept: bool
    seen: str

    def __str__(self) -> str:
        return f'{self.what:62} {self.seen.strip()}' + ('' if self.kept else '  NOT KEPT')
