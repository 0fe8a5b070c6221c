"""'Full in' is said while the table rises, and no longer: whole runs over a recorded history, one a minute."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import proctree
import pytest

from check_conntrack_lib.model import Instant
from check_conntrack_lib.plugin.cli import main

MAXIMUM = 20_000
BEGIN, UPTIME = 1_800_000_000.0, 90_000.0
#: two steps, each at once
STEPS = (*[8_000] * 4, *[17_400] * 4, 19_400)


def outputs(directory: Path, capfd: pytest.CaptureFixture[str], entries: Sequence[int], *argv: str) -> list[str]:
    """What the check prints at each of so many entries, a minute after the one before."""
    found = []
    for minute, count in enumerate(entries):
        root = proctree.make(directory / 'proc', count, MAXIMUM, f'{proctree.HEADER}\n{count:08x}{" 00000000" * 16}\n')
        at = Instant(BEGIN + 60 * minute, UPTIME + 60 * minute, UPTIME + 60 * minute)
        main(['--procfs', str(root), '--kernel-log', 'off', '--history', str(directory / 'history.sqlite'),
              '--settings-check', 'off', '--diagnose', 'never', '-v', *argv], lambda at=at: at)  # type: ignore[misc]
        found.append(capfd.readouterr().out)
    return found


def test_two_steps_are_no_rise_once_they_are_over(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    flat = 7
    after = outputs(tmp_path, capfd, [*STEPS, *[19_400] * flat])[len(STEPS):]
    for minute, text in enumerate(after, 1):
        assert 'full in' not in text
        if minute > 2:
            # before, its median slope was 0
            last = min(15, len(STEPS) - 1 + minute)
            assert f'rose by 11400 in the last {last} min, steady for {minute} min' in text.splitlines()[0]


def test_a_rise_that_goes_on(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    first, *_, last = outputs(tmp_path, capfd, range(10_000, 18_001, 500))
    assert 'full in' not in first
    assert re.search(r' used, full in 4 min \(.*\) at \+500 entries/min', last.splitlines()[0])
    assert '; above 95% in 2 min, full in 4 min' in last


def test_a_rise_that_turned_into_a_fall(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = outputs(tmp_path, capfd, [*range(12_000, 19_500, 500), 18_600, 18_300, 18_000])[-1]
    assert 'full in' not in text
    assert 'falling for' in text


def test_an_alert_that_waits_for_its_end_says_when(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    full = [10_000, 19_200, 19_300, 19_300]
    *_, text = outputs(tmp_path, capfd, [*full, 12_000])
    first, *rest = text.splitlines()
    until, clears = re.search(r'CRITICAL - 60.0% used.*, above 95% until (\S+ \w+), clears at (\S+ \w+)',
                              first).groups()  # type: ignore[union-attr]
    minutes = [60 * int(time[:2]) + int(time[3:5]) for time in (until, clears)]
    # ten minutes since it was below 90 % first, a minute after it was above 95 % last
    assert (minutes[1] - minutes[0]) % 1440 == 11
    assert f'alert: usage (docs/alerts.md#usage); clears at {clears} unless usage rises again (--clear)' in rest
    (tmp_path / 'history.sqlite').unlink()
    states = [text.split()[1] for text in outputs(tmp_path, capfd, [*full, *[12_000] * 12])]
    assert states == ['OK', *['CRITICAL'] * 13, *['OK'] * 2]


@pytest.mark.slow
def test_a_burst_above_the_warning_threshold(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    wait = ('--warning-after', '4m')
    texts = outputs(tmp_path, capfd, [10_000, *[17_400] * 6, *[10_000] * 2], *wait)
    assert [text.split()[1] for text in texts] == [*['OK'] * 4, *['WARNING'] * 5]
    said = [re.search(r'87.0% used \(17400 of 20000\), WARNING from (\S+ \w+) on unless it falls', text)
            for text in texts[1:4]]
    # that is when it comes
    assert len({one and one[1] for one in said}) == 1
    assert all(said)
    assert re.match(r'CONNTRACK WARNING - 87.0% used \(17400 of 20000\), .*above 85% since \S+ \w+, clears below 80%',
                    texts[4])
    (tmp_path / 'history.sqlite').unlink()
    texts = outputs(tmp_path, capfd, [10_000, *[17_400] * 3, *[10_000] * 2], *wait)
    assert [text.split()[1] for text in texts] == ['OK'] * 6
    (tmp_path / 'history.sqlite').unlink()
    assert [text.split()[1] for text in outputs(tmp_path, capfd, [10_000, 19_200], *wait)] == ['OK', 'CRITICAL']
    (tmp_path / 'history.sqlite').unlink()
    # as it is by default
    assert [text.split()[1] for text in outputs(tmp_path, capfd, [10_000, 17_400])] == ['OK', 'WARNING']
