"""Values from outside that no column holds: they cost themselves, never what was recorded before."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import hostile
import pasts
import proctree
import pytest

from check_conntrack_lib.analysis.losses import comparable
from check_conntrack_lib.doctor import cli as doctor
from check_conntrack_lib.history import database, readonly
from check_conntrack_lib.history.queries import HistoryQuery
from check_conntrack_lib.model import History, LogMemory
from check_conntrack_lib.plugin import cli

LOOK = HistoryQuery(300, 2700, comparable, 900)
FULL = 'nf_conntrack: nf_conntrack: table full'
#: kernel logs in a file: number, stamp and text of a record
RECORDS = {
    'a number of 19 digits': ('9' * 19, 'now', f'{FULL}, dropping packet'),
    'a number of 63 bits and one': (str(1 << 63), 'now', f'{FULL}, dropping packet'),
    'a stamp of 20 digits': ('5', '9' * 20, f'{FULL}, dropping packet'),
    'a namespace of 20 digits': ('5', 'now', f'{FULL} in netns {"9" * 20}, dropping packet'),
    'messages of 20 digits': ('5', 'now', f'net_ratelimit: {"9" * 20} callbacks suppressed'),
}


@pytest.mark.parametrize('kind', RECORDS)
def test_a_kernel_log_costs_the_history_nothing(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log, path = tmp_path / 'kern.log', tmp_path / 'h' / 'history.sqlite'
    now = f'{time.monotonic() * 1e6:.0f}'
    log.write_text(f'4,4,{now},-;something\n' + '4,{},{},-;{}\n'.format(*RECORDS[kind]).replace('now', now))
    arguments = ['--procfs', str(proctree.make(tmp_path / 'proc')), '--history', str(path), '--kernel-log', str(log)]
    path.parent.mkdir(mode=0o700)
    for _ in range(2):
        # the second run reads what the first one has kept of the log
        cli.main(arguments)
        assert 'history (' not in capsys.readouterr().out
        time.sleep(0.01)
    assert os.listdir(path.parent) == ['history.sqlite']
    samples = readonly.read_samples(str(path), 0, 1e12)
    assert isinstance(samples, list)
    assert len(samples) == 2


def test_a_log_with_a_name_that_is_no_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log, path = os.fsdecode(os.fsencode(tmp_path) + b'/kern-\xff.log'), tmp_path / 'h' / 'history.sqlite'
    Path(log).write_text(f'4,5,1000000,-;{FULL}, dropping packet\n')
    path.parent.mkdir(mode=0o700)
    for _ in range(2):
        cli.main(['--procfs', str(proctree.make(tmp_path / 'proc')), '--history', str(path), '--kernel-log', log])
        assert 'history (' not in capsys.readouterr().out
    assert os.listdir(path.parent) == ['history.sqlite']


@pytest.mark.parametrize(('source', 'number'), [('/dev/kmsg', 1 << 63), ('\udcff', 5)])
def test_whatever_value_it_is(source: str, number: int, tmp_path: Path) -> None:
    """Also where a reader lets one through: the file is sound, and is not put aside."""
    path = str(tmp_path / 'history.sqlite')
    assert isinstance(database.query_and_record(path, pasts.sample(0, 1), LOOK, 14), History)
    memory = LogMemory(number, 5.0, 0.0, 0.0, False, (), ())
    answer = database.query_and_record(path, pasts.sample(60, 1), LOOK, 14,
                                       log_reader=database.LogReader(source, lambda _history, _memory: memory))
    assert 'too large' in str(answer) or 'surrogates' in str(answer)
    assert os.listdir(tmp_path) == ['history.sqlite']
    assert isinstance(database.query_and_record(path, pasts.sample(120, 1), LOOK, 14), History)


PORTS = {'no ports at all': [[6, '192.0.2.1', 80, '192.0.2.2', 1, 0, 1, 1]], 'no list': 5, 'nothing': None,
         'a text': [[6, '192.0.2.1', 80, '192.0.2.2', 'x', 'y', 1, 1]], 'a short row': [[1]]}


@pytest.mark.slow
@pytest.mark.parametrize('kind', [*PORTS, 'nested'])
def test_a_profile_of_somebody_else_does_not_end_triage(kind: str, tmp_path: Path, theirs: Path,
                                                        capsys: pytest.CaptureFixture[str]) -> None:
    """Its use of ports is looked at before all of it is read."""
    text = '{"nat_ports":' + '[' * 100_000 if kind == 'nested' else json.dumps({'nat_ports': PORTS[kind]})
    procfs = proctree.make(tmp_path / 'proc')
    (theirs / 'dir').mkdir()
    now, uptime = time.time(), time.clock_gettime(time.CLOCK_BOOTTIME)
    path = hostile.write(theirs / 'dir' / 'history.sqlite', boot_id=proctree.BOOT_ID, netns=proctree.NETNS,
                         profile=text.replace('": ', '":'), statements=(
                             f'UPDATE sample SET time = {now - 400} + rowid * 30, uptime = {uptime - 400} + rowid * 30',
                             f'UPDATE profile SET netns = {proctree.NETNS}, time = {now - 370}, '
                             f'uptime = {uptime - 370}'))
    for one in (theirs / 'dir', path):
        os.chown(one, hostile.NOBODY, hostile.NOBODY)
    assert doctor.main(['triage', '--procfs', str(procfs), '--history', str(path), '--kernel-log', 'off']) == 0
    assert '12.4% used' in capsys.readouterr().out
