"""Which sample losses are counted from: no loss is diluted, each stays visible for a window and ends."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import proctree
import pytest

from check_conntrack_lib.model import Instant
from check_conntrack_lib.plugin import cli

UPTIME = 400_000.0
WINDOW = 300.0


class Laboratory:
    """One namespace whose `drop` is what the test says, at times that the test says."""

    def __init__(self, directory: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.directory, self.capfd = directory, capfd
        self.history = directory / 'state' / 'h.sqlite'
        self.history.parent.mkdir()

    def run(self, ago: float, drop: int, *argv: str) -> tuple[int, str]:
        stat = f'{proctree.HEADER}\n00007f00' + ' 00000000' * 9 + f' {drop:08x}' + ' 00000000' * 6 + '\n'
        proctree.make(self.directory / 'proc', stat=stat)
        at = Instant(1_795_000_000.0 - ago, UPTIME - ago, UPTIME - ago)
        status = cli.main(['--procfs', str(self.directory / 'proc'), '--kernel-log', 'off', '--history',
                           str(self.history), '--diagnose', 'never', *argv], lambda: at)
        return status, self.capfd.readouterr().out.split(' | ')[0]


@pytest.fixture
def lab(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Laboratory:
    return Laboratory(tmp_path, capfd)


@pytest.mark.parametrize('before', [[310, 240, 180, 120, 65], [3000, 120, 65], [86400, 120, 65], [200_000, 65], [65]])
def test_a_burst_is_critical_whether_or_not_checks_were_paused_before(lab: Laboratory, before: list[float]) -> None:
    for ago in before:
        lab.run(ago, 0)
    status, text = lab.run(0, 5000)
    assert status == 2, text
    assert '5000 ' in text


def test_what_was_lost_in_a_pause_stays_for_a_window_and_ends(lab: Laboratory) -> None:
    lab.run(7200, 0)
    seen = [lab.run(ago, 5000)[0] for ago in (600, 500, 400, 310)]
    assert seen == [1, 1, 1, 1]
    assert lab.run(290, 5000)[0] == 0


def test_a_burst_after_a_pause_with_losses_is_not_diluted_by_it(lab: Laboratory) -> None:
    lab.run(7200, 0)
    lab.run(120, 3000)
    status, text = lab.run(0, 8000)
    assert (status, '5000 packets dropped since 11:0' in text) == (2, True), text


def test_a_loss_ends_where_nothing_can_be_recorded_any_more(
        lab: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    from check_conntrack_lib.history import database

    lab.run(1000, 0)

    def full(*_: object) -> None:
        raise sqlite3.OperationalError('database or disk is full')

    monkeypatch.setattr(database, '_record', full)
    status, text = lab.run(700, 30)
    assert (status, '30 packets dropped' in text) == (1, True), text
    status, text = lab.run(0, 30)
    assert status == 0
    assert 'not checked: losses' in text


def test_nothing_is_judged_by_a_sample_of_days_ago(lab: Laboratory) -> None:
    lab.run(200_000, 0)
    status, text = lab.run(0, 5000)
    assert status == 0
    assert 'not checked: losses' in text
    # said once: the next run has this one to count from
    assert 'not checked' not in lab.run(-60, 5000)[1]


def test_counters_that_only_one_sample_has_are_left_out(lab: Laboratory) -> None:
    lab.run(400, 0)
    with sqlite3.connect(lab.history) as db:
        # as a kernel without chain_too_long counts
        text, = db.execute('SELECT counters FROM sample').fetchone()
        columns = json.loads(text)
        columns['zero'] = columns['zero'].replace('c', '')
        db.execute('UPDATE sample SET counters = ?', (json.dumps(columns),))
    db.close()
    status, text = lab.run(0, 40)
    assert (status, '40 packets dropped' in text) == (1, True), text
