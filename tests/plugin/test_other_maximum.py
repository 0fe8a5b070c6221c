"""A table that is full for its nf_conntrack_max alone: what the history says of another one is the cause."""

from __future__ import annotations

from pathlib import Path

import pytest
import scenarios

from check_conntrack_lib.plugin.cli import main

RECORD = '6,0,0,-;Linux version 6.18\n'


def check(tmp_path: Path, capfd: pytest.CaptureFixture[str], past: str, entries: int, maximum: int, drop: int = 0,
          initial: bool = True, options: str = '') -> tuple[int, str]:
    """The state, and the whole output of a run on a host with that table."""
    files = {'sys/net/netfilter/nf_conntrack_count': str(entries), 'sys/net/netfilter/nf_conntrack_max': str(maximum),
             'sys/net/netfilter/nf_conntrack_buckets': '262144', 'self/ns/net': 'net:[4026531840]',
             'sys/kernel/random/boot_id': '4b3e4f0e-5b2c-4b5e-9d3e-0d5a3a0a0a0a',
             'net/stat/nf_conntrack': 'entries insert_failed drop early_drop chainlength clashres\n'
             f'{entries:08x} 00000000 {drop:08x} 00000000 00000000 00000000\n' + ' '.join(['00000000'] * 6) + '\n'}
    if initial:
        files['sys/net/nf_conntrack_max'] = str(maximum)
    host = tmp_path / 'host'
    for name, text in files.items():
        (host / 'proc' / name).parent.mkdir(parents=True, exist_ok=True)
        (host / 'proc' / name).write_text(text + '\n')
    (host / 'kmsg.log').write_text(RECORD + ('4,1,863900000000,-;nf_conntrack: nf_conntrack: table full in netns '
                                             '4026531840, dropping packet\n' if drop else ''))
    scenario = scenarios.parse('host', f'-\noptions --diagnose never {options}\n{past}')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scenarios, 'HOSTS', tmp_path)
        scenarios.record(scenario, tmp_path / 'history.sqlite')
        patch.chdir(host)
        status = main(['--procfs', 'proc', '--kernel-log', './kmsg.log', '--history', str(tmp_path / 'history.sqlite'),
                       *scenario.argv], scenario.clock)
    return status, capfd.readouterr().out


BEFORE = 'past 900-60 entries=12000 maximum=20000\n'


@pytest.mark.parametrize(('drop', 'maximum', 'first'), [
    (0, 13000, 'CONNTRACK WARNING - 92.3% used (12000 of 13000), above 85% since 11:06 UTC'),
    (40, 8000, 'CONNTRACK CRITICAL - table full, 40 packets dropped since 11:05 UTC (0.1/s)')])
def test_a_maximum_that_was_lowered(tmp_path: Path, capfd: pytest.CaptureFixture[str], drop: int, maximum: int,
                                    first: str) -> None:
    status, out = check(tmp_path, capfd, BEFORE, 12000, maximum, drop)
    assert status == (2 if drop else 1)
    assert out.startswith(first)
    assert ': nf_conntrack_max was 20000' in out.splitlines()[0]
    assert out.splitlines()[1:3] == [
        f'cause: nf_conntrack_max was lowered from 20000 to {maximum} after 11:05 UTC',
        f'next: sudo sysctl -w net.netfilter.nf_conntrack_max=20000 (undo: ={maximum})']


@pytest.mark.parametrize(('past', 'entries', 'options', 'known'), [
    (BEFORE, 12000, '', True),
    # at any time of this boot, and from no limit
    pytest.param('past 90000-60000 entries=12000 maximum=20000\npast 59940-60 entries=12000 maximum=13000\n', 12000, '',
                 True, marks=pytest.mark.slow),
    (BEFORE.replace('maximum=20000', 'maximum=0'), 12000, '', True),
    # it has grown as well; it would alert with the larger one, too; another limit is the smaller one
    ('past 900-60 entries=9000 maximum=20000\n', 12000, '', False),
    (BEFORE, 12000, '-w 50', False), (BEFORE, 12000, '--limit 12500', False)])
def test_when_it_is_the_cause(tmp_path: Path, capfd: pytest.CaptureFixture[str], past: str, entries: int, options: str,
                              known: bool) -> None:
    status, out = check(tmp_path, capfd, past, entries, 13000, options=options)
    assert status in (1, 2)
    assert ('cause: nf_conntrack_max was lowered from ' in out) is known


def test_another_namespace_cannot_set_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    _status, out = check(tmp_path, capfd, BEFORE, 12000, 13000, initial=False)
    assert 'cause: nf_conntrack_max was lowered from 20000 to 13000' in out
    assert 'sysctl' not in out


def test_what_it_was_before_has_crossed_no_threshold_of_now(tmp_path: Path,
                                                            capfd: pytest.CaptureFixture[str]) -> None:
    """13,000 of 20,000 was no 85 %, though it is more than 85 % of 15,000."""
    status, _out = check(tmp_path, capfd, 'past 900-60 entries=13000 maximum=20000\n', 12000, 15000)
    assert status == 0


@pytest.mark.parametrize(('held', 'known'), [(12000, True), (7000, False)])
def test_a_maximum_that_was_raised_again(tmp_path: Path, capfd: pytest.CaptureFixture[str], held: int,
                                         known: bool) -> None:
    past = f'past 900-300 entries=12000 maximum=20000\npast 240-60 entries={held} maximum=8000 drop=300,0\n'
    status, out = check(tmp_path, capfd, past, 12000, 20000, 340)
    assert status == 2
    assert ('cause: nf_conntrack_max was 8000 until 11:05 UTC, which was reached, and is 20000 since' in out) is known
    assert 'next: sudo conntrack-doctor history' in out
    # the newest run that shows none of the dropped packets
    assert '340 packets dropped since 11:01 UTC (1.1/s)' in out
