"""Entries that are counted and in no list: a listing that ended by itself is no sample."""

from __future__ import annotations

from pathlib import Path

import proctree
import pytest

from check_conntrack_lib.plugin.cli import main

LINE = ('ipv4     2 tcp      6 400000 ESTABLISHED src=10.0.0.{0} dst=192.0.2.10 sport=40000 dport=443 src=192.0.2.10 '
        'dst=10.0.0.{0} sport=443 dport=40000 [ASSURED] mark=0 zone=0 use=2\n')


def check(tree: Path, listed: int, capfd: pytest.CaptureFixture[str]) -> str:
    (tree / 'net/nf_conntrack').write_text(''.join(LINE.format(number) for number in range(1, listed + 1)))
    main(['--procfs', str(tree), '--kernel-log', 'off', '--history', 'off', '--diagnose', 'always', '-v'])
    return capfd.readouterr().out


@pytest.mark.parametrize(('counted', 'listed', 'told'), [(262144, 40, True), (300, 20, True), (262144, 0, True),
                                                         (60, 40, False), (200, 200, False), (230, 200, False)])
def test_what_is_in_no_list_is_named_and_nothing_else_is_blamed(
        counted: int, listed: int, told: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    proctree.make(tmp_path, entries=counted)
    out = check(tmp_path, listed, capfd)
    assert (f'{counted - listed} of {counted} counted entries are in no list' in out) == told
    if told:
        assert '% of the table' not in out
        assert 'a larger table does not help' in out


@pytest.mark.slow
def test_triage_and_tune_advise_no_larger_table(tmp_path: Path) -> None:
    proctree.make(tmp_path, entries=262144)
    (tmp_path / 'net/nf_conntrack').write_text(LINE.format(1))
    triage = proctree.doctor('triage', '--procfs', tmp_path, '--kernel-log', 'off').stdout
    assert 'sudo conntrack -L unconfirmed' in triage
    assert 'raise nf_conntrack_max' not in triage
    tune = proctree.doctor('tune', '--procfs', tmp_path).stdout
    assert 'proposed   nf_conntrack_max = 262144 (as it is)' in tune
