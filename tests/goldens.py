"""Expected outputs: whole files below golden/, compared to the letter."""

from __future__ import annotations

from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / 'golden'


def compare(request: pytest.FixtureRequest, name: str, seen: str) -> None:
    """Compares with golden/NAME, or writes it with --update-golden."""
    file = GOLDEN / name
    if request.config.getoption('--update-golden'):
        file.write_text(seen)
    test = request.node.nodeid.partition('::')[0]
    command = f'if this output is meant: pytest {test} --update-golden, and look at the diff of tests/golden/{name}'
    assert file.exists(), command
    assert seen == file.read_text(), command
