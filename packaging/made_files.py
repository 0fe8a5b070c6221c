"""Files that a command of this directory writes: brought up to date, or with --check only compared."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent


def update(made: Mapping[Path, str], command: str) -> int:
    """Writes what is out of date; with --check names it and the command instead. Returns the exit status."""
    stale = {path: text for path, text in made.items() if path.read_text() != text}
    if '--check' in sys.argv[1:]:
        for path in stale:
            print(f'{path.relative_to(CHECKOUT)} is out of date: python3 packaging/{command} writes it')
        return len(stale)
    for path, text in stale.items():
        path.write_text(text)
    return 0
