"""Values in a history that no check wrote, in root's own or another user's: not printed, and no traceback."""

from __future__ import annotations

import json
import os
from pathlib import Path

import hostile
import pytest
from assessments import NOON

from check_conntrack_lib.diagnosis import Diagnosis
from check_conntrack_lib.diagnosis.emptied import Cause
from check_conntrack_lib.doctor import cli
from check_conntrack_lib.history import allowances, readonly
from check_conntrack_lib.history.codec import fault
from check_conntrack_lib.history.profiles import EMPTY, Baseline
from check_conntrack_lib.plugin import diagnosis_lines

EVIL = 'x|y\n\x1b[2J\u202e<script>alert(1)</script>`id`'
#: what the texts of Python and SQLite quote
QUOTED = [ValueError(f'could not convert string to float: {EVIL!r}'), KeyError(EVIL), TypeError(EVIL),
          ValueError(f'invalid literal for int() with base 10: {EVIL.encode()!r}'),
          ValueError(f"Could not decode to UTF-8 column 'name' with text '{EVIL}'"), ValueError(f'near "{EVIL}": x')]


@pytest.mark.parametrize('error', QUOTED, ids=range(len(QUOTED)))
def test_the_text_of_an_error_quotes_no_value(error: Exception) -> None:
    assert not set(fault(error)) & set('<>|\n\x1b\u202e`[]"\'')


def test_what_is_wrong_is_said() -> None:
    assert [fault(error) for error in (*QUOTED[:2], QUOTED[3], OSError(13, 'Permission denied'))] \
        == ['could not convert string to float', 'KeyError', 'invalid literal for int() with base 10',
            'Permission denied']


@pytest.mark.parametrize('name', ['uptime', 'buckets', 'counters', 'entries'])
@pytest.mark.parametrize('value', [EVIL, EVIL.encode()], ids=['text', 'bytes'])
def test_a_value_is_printed_nowhere(value: object, name: str, tmp_path: Path,
                                    capsys: pytest.CaptureFixture[str]) -> None:
    path = hostile.write(tmp_path / 'h.sqlite', **{name: value})  # type: ignore[arg-type]
    path.chmod(0o600)
    for owner in (os.geteuid(), hostile.NOBODY):
        if os.geteuid() == 0:
            os.chown(path, owner, owner)
        for form in ([], ['--json'], ['--csv']):
            assert cli.main(['history', '--history', str(path), *form]) == 2
            got = capsys.readouterr()
            assert (got.out, got.err.count('\n')) == ('', 1)
            assert not set('<>|\x1b\u202e`') & set(got.err)


def test_the_table_of_aws_makes_the_file_nobody_elses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On every instance there conntrack-doctor had refused the history of its own host."""
    path = hostile.write(tmp_path / 'h.sqlite', statements=(
        allowances.SCHEMA, "INSERT INTO allowance VALUES (1e9, 'b', 1, 0, 0, 0, 5, NULL)"))
    path.chmod(0o600)
    assert cli.main(['history', '--history', str(path), '--json']) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_a_recorded_profile_that_saw_nothing_is_no_internal_error() -> None:
    """What is counted may all have expired; the check had been UNKNOWN, in the place of CRITICAL."""
    cause = Cause(NOON - 60, 100, EMPTY._replace(entries=500), Baseline((EMPTY,), None), ())
    found = Diagnosis(at=NOON, profile=EMPTY, baseline=cause.baseline, growth=(), local=0.0, owners=(), emptied=True,
                      cause=cause)
    assert diagnosis_lines.details(found) == ['then 0% ASSURED (never evicted), 0% UNREPLIED']


def test_an_index_in_another_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                   capsys: pytest.CaptureFixture[str]) -> None:
    """A damaged one gives the rows as it likes; no sample is before the first one."""
    path = hostile.write(tmp_path / 'h.sqlite', rows=50, profile=hostile.profile())
    path.chmod(0o600)
    assert cli.main(['history', '--history', str(path)]) == 0
    expected = capsys.readouterr()
    for name in ('SAMPLES', 'PROFILES'):
        monkeypatch.setattr(readonly, name, getattr(readonly, name).replace('ORDER BY time', 'ORDER BY -time'))
    assert cli.main(['history', '--history', str(path)]) == 0
    assert capsys.readouterr() == expected


@pytest.mark.slow
def test_a_picture_of_profiles_that_saw_nothing(tmp_path: Path) -> None:
    path = hostile.write(tmp_path / 'h.sqlite', profile=hostile.profile(), statements=(
        'INSERT INTO profile SELECT time + 60, boot, netns, uptime + 60, 0, text FROM profile',))
    path.chmod(0o600)
    assert json.loads(hostile.profile())['states'] == []
    assert cli.main(['history', '--history', str(path), '--svg', str(tmp_path / 'p.svg')]) == 0
    assert '</svg>' in (tmp_path / 'p.svg').read_text()
