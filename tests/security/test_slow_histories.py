"""Another user's history of any size and shape: triage and tune answer without it, nothing takes its square of time."""

from __future__ import annotations

import os
import time
from pathlib import Path

import hostile
import pasts
import proctree
import pytest

from check_conntrack_lib.analysis.timeline import intervals
from check_conntrack_lib.doctor import cli
from check_conntrack_lib.doctor.history import netns_names
from check_conntrack_lib.history import foreign, identity, readonly
from check_conntrack_lib.history.profiles import EMPTY
from check_conntrack_lib.history.readonly import PastProfile

MANY = 20_000
#: seconds; in proportion to the rows it takes a tenth of one, by their square minutes
DEADLINE = 20.0


def give(place: Path) -> str:
    path = hostile.write(place / 'history.sqlite', boot_id=proctree.BOOT_ID, netns=proctree.NETNS)
    os.chown(path, hostile.NOBODY, hostile.NOBODY)
    return str(path)


def test_an_inode_that_was_given_away_thousands_of_times() -> None:
    samples = [pasts.sample(k, 1) for k in range(MANY)]
    one = samples[0]
    recorded = [(one.boot_id, one.netns, samples[0].at.uptime + k, f'n{k}') for k in reversed(range(MANY))]
    began = time.monotonic()
    named = identity.with_names(samples, recorded)
    assert time.monotonic() - began < DEADLINE
    assert [sample.name for sample in named[:3]] == ['n0', 'n1', 'n2']
    assert named[-1].since == samples[-1].at.uptime
    assert identity.with_names(samples[:1], [(one.boot_id, one.netns, 1e9, 'later')]) == samples[:1]


@pytest.mark.slow
def test_profiles_of_thousands_of_namespaces_with_one_name() -> None:
    own = intervals(pasts.sample(k, 1, netns=k + 1) for k in range(MANY))
    first = own[0].sample
    profiles = [PastProfile(one.sample.at.wall, first.boot_id, one.sample.netns, True, EMPTY) for one in own]
    other = profiles[0]._replace(at=profiles[0].at + 3600)
    began = time.monotonic()
    assert netns_names.profiles_of(own, [*profiles, other]) == profiles
    assert time.monotonic() - began < DEADLINE


@pytest.mark.slow
@pytest.mark.parametrize('verb', ['triage', 'tune'])
def test_a_file_that_takes_too_long(verb: str, tmp_path: Path, theirs: Path, monkeypatch: pytest.MonkeyPatch,
                                    capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(foreign, 'load', lambda *_: time.sleep(100))
    arguments = [verb, '--procfs', str(proctree.make(tmp_path / 'proc')), '--history', give(theirs), '--timeout', '6']
    began = time.monotonic()
    assert cli.main([*arguments, *(['--kernel-log', 'off'] if verb == 'triage' else [])]) == 0
    assert time.monotonic() - began < 60
    text = capsys.readouterr().out
    assert 'no answer within 2 s' in ' '.join(text.split())
    assert '32512' in text


def test_several_questions_are_one_child(theirs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, loaded, real = give(theirs), [], foreign.load

    def load(*arguments: object) -> object:
        loaded.append(arguments)
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(foreign, 'load', load)
    for _ in range(2):
        assert len(readonly.read_samples(path, 0, 1e12)) == 3  # type: ignore[arg-type]
        assert readonly.read_profiles(path, 0, 1e12) == []
    assert len(loaded) == 1
    os.unlink(path)
    assert len(readonly.read_samples(give(theirs), 0, 1e12)) == 3  # type: ignore[arg-type]
    assert len(loaded) == 2


def test_a_file_that_could_not_be_read_is_not_tried_again(theirs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, loaded = give(theirs), []
    monkeypatch.setattr(foreign, 'QUICK', 0.0)
    monkeypatch.setattr(foreign, 'load', lambda *_: loaded.append(1) or readonly.Missing('too large'))
    assert str(readonly.read_samples(path, 0, 1e12)) == str(readonly.read_profiles(path, 0, 1e12))
    assert loaded == [1]
