"""Every test here is an attack: `pytest -m security` runs them all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import isolation
import pytest
from hostile import NOBODY

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.security)


@pytest.fixture
def theirs() -> Iterator[Path]:
    """A directory of another user, that root and that user can enter."""
    if os.geteuid():
        pytest.skip('giving files away needs root')
    # in memory, where root's tests have some: a disk makes databases slow
    place = Path(tempfile.mkdtemp(prefix='check_conntrack-security-', dir=os.environ.get(isolation.MARK)))
    place.chmod(0o755)
    os.chown(place, NOBODY, NOBODY)
    yield place
    shutil.rmtree(place)
