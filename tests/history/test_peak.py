"""The peak of a recent time."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pasts
import pytest

from check_conntrack_lib.history.peak import Peak, peak_before, read_peak
from check_conntrack_lib.history.profiles import EMPTY
from check_conntrack_lib.model import Instant, Missing, Sample

NOW = pasts.sample(1000, 10)
TAKEN = EMPTY._replace(entries=700)


def peak(path: Path, *samples: Sample, profiled: tuple[tuple[Sample, bool], ...] = ()) -> Peak | None:
    file = pasts.write(path / 'history.sqlite', samples, [(one, TAKEN, quiet) for one, quiet in profiled])
    database = sqlite3.connect(file)
    try:
        return peak_before(database, NOW, 300)
    finally:
        database.close()


def test_of_that_time_and_before_now(tmp_path: Path) -> None:
    at = [pasts.sample(second, entries, maximum) for second, entries, maximum in (
        (699, 900, 50), (700, 600, 800), (900, 500, 700), (1000, 950, 60))]
    elsewhere = [pasts.sample(800, 990, 70, netns=pasts.CONTAINER), pasts.sample(800, 980, 80, boot=-5000.0)]
    assert peak(tmp_path, *at, *elsewhere) == Peak(600, 700)


def test_without_a_sample(tmp_path: Path) -> None:
    assert peak(tmp_path, pasts.sample(600, 5), pasts.sample(1000, 5)) is None


def test_the_fullest_of_which_there_is_a_profile_of_trouble(tmp_path: Path) -> None:
    early, most, quiet, late, old = (pasts.sample(second, entries, 800) for second, entries in (
        (750, 700), (800, 790), (810, 780), (850, 700), (699, 795)))
    found = peak(tmp_path, early, most, quiet, late, old,
                 profiled=((early, False), (quiet, True), (late, False), (old, False)))
    wall, uptime = early.at.wall, early.at.uptime
    assert found == Peak(790, 800, NOW._replace(at=Instant(wall, uptime, uptime), entries=700, maximum=800), TAKEN)


def test_of_a_file_it_is_the_same(tmp_path: Path) -> None:
    file = pasts.write(tmp_path / 'history.sqlite', [pasts.sample(800, 790, 800)])
    assert read_peak(str(file), NOW, 300, 1) == Peak(790, 800)
    assert read_peak(str(file), NOW, 100, 1) is None


@pytest.mark.parametrize('spoil', [b'', b'no database'])
def test_a_file_that_cannot_be_read(tmp_path: Path, spoil: bytes) -> None:
    file = tmp_path / 'sub/history.sqlite'
    if spoil:
        file.parent.mkdir()
        file.write_bytes(spoil)
    assert isinstance(read_peak(str(file), NOW, 300, 0.1), Missing)
