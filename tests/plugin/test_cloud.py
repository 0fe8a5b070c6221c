"""AWS's limits: from the statistics of the interfaces to the first line, with a history, resets and old numbers."""

from __future__ import annotations

import functools
import shutil

import pytest
import scenarios
from assessments import assessment

from check_conntrack_lib.analysis.cloud import CloudLimit, allowances, compare
from check_conntrack_lib.history import allowances as table
from check_conntrack_lib.history import cloud_limit
from check_conntrack_lib.history.database import open_database
from check_conntrack_lib.host import ENA_DEVICES, Host
from check_conntrack_lib.model import Allowances, Instant, Missing
from check_conntrack_lib.plugin import cloud_lines
from check_conntrack_lib.plugin.cli import main
from check_conntrack_lib.plugin.options import parse
from check_conntrack_lib.readers import ethtool

FIRST = {'conntrack_allowance_exceeded': 0, 'conntrack_allowance_available': 70000, 'linklocal_allowance_exceeded': 3,
         'pps_allowance_exceeded': 1, 'bw_in_allowance_exceeded': 2, 'bw_out_allowance_exceeded': 4, 'tx_timeout': 9}
#: an interface without traffic keeps an old number
IDLE = {**FIRST, 'conntrack_allowance_available': 136812, 'linklocal_allowance_exceeded': 0}


def test_several_interfaces_are_one_instance():
    assert allowances({'eth1': IDLE, 'eth0': FIRST}) == Allowances(
        0, 3, 14, 70000, (('eth0', 0, 3, 7), ('eth1', 0, 0, 7)))


def test_names_that_are_missing():
    del_available = {name: value for name, value in FIRST.items() if 'available' not in name}
    assert allowances({'eth0': del_available}) == Allowances(0, 3, 7, None, (('eth0', 0, 3, 7),))
    assert allowances({'eth0': {'tx_timeout': 1}}) is None
    assert allowances({}) is None


@pytest.mark.parametrize(('old', 'new', 'moved'), [(5, 12, 7), (0, 0, 0), (5, 2, 2), (1 << 40, (1 << 40) + 1, 1)])
def test_counters_that_begin_again_at_a_reset_of_the_driver(old, new, moved):
    got = compare(Allowances(old, old, old, 9), 10.0, Allowances(new, new, new, 9), None)
    assert (got.exceeded, got.linklocal, got.queued, got.rate(got.exceeded)) == (moved, moved, moved, moved / 10)


@pytest.mark.parametrize(('most', 'available', 'left'), [(70000, 7000, 10.0), (None, 7000, 100.0), (10, None, None),
                                                         (5, 70, 100.0), (0, 0, None)])
def test_what_is_left(most, available, left):
    assert compare(None, 0.0, Allowances(0, 0, 0, available), most).left == left


@pytest.fixture
def run(tmp_path, monkeypatch, capfd):
    """Runs the check on a quiet host with interfaces of these statistics, so many seconds after the first run."""
    scenario = scenarios.load('quiet-gateway')
    shutil.copytree(scenario.directory, tmp_path / 'host', symlinks=True)
    monkeypatch.chdir(tmp_path / 'host')
    (tmp_path / 'sys/bus/pci/drivers/ena').mkdir(parents=True)
    monkeypatch.setattr(cloud_limit, 'SYSFS', str(tmp_path / 'sys'))
    monkeypatch.setattr(Host, 'is_this_kernel', lambda _host: True)

    def one(seconds, *interfaces, arguments=()):
        monkeypatch.setattr(ethtool, 'read_ena', lambda _sysfs: {
            f'eth{place}': counters for place, counters in enumerate(interfaces) if counters})
        now = Instant(1_795_000_000.0 + seconds, 1000.0 + seconds, 1000.0 + seconds)
        status = main(['--procfs', 'proc', '--kernel-log', 'off', '--history', str(tmp_path / 'h.sqlite'),
                       '--diagnose', 'never', '--settings-check', 'off', *arguments], lambda: now)
        return status, capfd.readouterr().out
    return one


def exceeded(number, available=70000, linklocal=3):
    return {**FIRST, 'conntrack_allowance_exceeded': number, 'conntrack_allowance_available': available,
            'linklocal_allowance_exceeded': linklocal}


def test_packets_dropped_at_the_limit_are_critical_for_a_window(run):
    assert run(0, FIRST)[0] == 0
    assert run(60, FIRST)[0] == 0
    status, out = run(120, exceeded(40, 0))
    assert status == 2
    assert out.startswith('CONNTRACK CRITICAL - AWS limit of tracked connections: 40 packets dropped in the last 2 min,'
                          ' 0% left (0 of about 70000)')
    assert 'conntrack_allowance_exceeded_per_s=0.333333;;0;0' in out
    assert 'nf_conntrack_max does not' in out
    assert run(300, exceeded(40))[0] == 2
    assert run(430, exceeded(40))[0] == 0


@pytest.mark.parametrize(('available', 'status', 'said'), [
    (10400, 1, 'WARNING - AWS limit of tracked connections: 15% left (10400 of about 70000)'),
    (3400, 2, 'CRITICAL - AWS limit of tracked connections: 5% left (3400 of about 70000)'),
    (10600, 0, 'OK - ')])
def test_what_is_left_of_the_most_that_was_seen(run, available, status, said):
    run(0, FIRST)
    got, out = run(60, exceeded(0, available))
    assert got == status
    assert out.startswith(f'CONNTRACK {said}')


def test_an_interface_that_is_detached_or_attached_has_dropped_nothing(run):
    """As container networks do all the time: what it counted before is not of now."""
    assert run(0, exceeded(5000), exceeded(12000))[0] == 0
    assert run(60, exceeded(5000))[0] == 0
    assert run(120, exceeded(5000), None, exceeded(700))[0] == 0
    # of the others' losses none is missed
    status, out = run(180, exceeded(5040), None, exceeded(700))
    assert (status, '40 packets dropped in the last 3 min' in out) == (2, True), out


def test_a_file_of_an_earlier_version(run, tmp_path):
    run(0, exceeded(5000), exceeded(12000))
    with open_database(str(tmp_path / 'h.sqlite'), 1.0) as database:
        database.execute('ALTER TABLE allowance DROP COLUMN each')
    assert '10 packets dropped in the last 60 s' in run(60, exceeded(5000), exceeded(12010))[1]
    assert run(400, exceeded(5000))[0] == 0


def test_the_limit_of_an_instance_that_was_resized(tmp_path):
    """It is stopped for that: an hour after the new boot the larger limit of before does not count."""
    path = str(tmp_path / 'h.sqlite')

    def most(boot, uptime, available):
        return table.query_and_record(path, boot, Instant(1e9 + uptime, uptime, uptime),
                                      Allowances(0, 0, 0, available), 300.0, 14.0, 1.0).most
    assert most('old', 9e5, 900000) is None
    assert most('new', 10, 70000) == 900000
    assert most('new', 3610, 60000) == 900000
    assert most('new', 3611, 60000) == 70000


@pytest.mark.parametrize('text', ['', 'null', '[1]', '[["eth0", 1]]', '[["eth0", "x", 1, 1]]', '{"a": 1}',
                                  '[["eth0", Infinity, 1, 1]]', pytest.param('[' * 200_000, id='deep')])
def test_what_another_wrote_of_the_interfaces_is_nothing(text):
    assert table._interfaces(text) == ()


def test_link_local_packets(run):
    run(0, FIRST)
    status, out = run(60, exceeded(0, linklocal=603))
    assert status == 1
    assert 'AWS: 10.0/s packets to DNS, metadata or time service dropped' in out.splitlines()[0]


def test_thresholds_are_options(run):
    run(0, FIRST)
    assert run(60, exceeded(7), arguments=['--allowance-exceeded-critical', 'off'])[0] == 0
    assert run(60, exceeded(7, 30000), arguments=['--allowance-available-warning', '50:',
                                                  '--allowance-exceeded-critical', 'off'])[0] == 1


def test_an_older_driver_is_said_and_no_alert(run):
    status, out = run(0, {'tx_timeout': 0}, arguments=['-v'])
    assert status == 0
    assert 'not checked: cloud' in out.splitlines()[0]
    assert 'the driver ena has no conntrack_allowance_exceeded' in out


def test_nothing_elsewhere(run, tmp_path, monkeypatch):
    monkeypatch.setattr(cloud_limit, 'SYSFS', str(tmp_path))
    status, out = run(0, FIRST)
    assert status == 0
    assert 'allowance' not in out
    assert 'AWS' not in out


@pytest.mark.slow
def test_the_history_stays_small(tmp_path):
    """Two weeks of one run a minute."""
    path = str(tmp_path / 'h.sqlite')
    record = functools.partial(table.query_and_record, path, 'boot', window=300.0, days=14.0, patience=1.0)
    with open_database(path, 1.0) as database:
        database.execute(table.SCHEMA)
        database.execute('BEGIN')
        database.executemany('INSERT INTO allowance VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
                             [(60.0 * k, 'boot', 60.0 * k, k, 0, 0, k % 977, '[]') for k in range(20 * 1440)])
        database.execute('COMMIT')
    for k in range(20 * 1440, 20 * 1440 + 30):
        before = record(Instant(60.0 * k, 60.0 * k, 60.0 * k), Allowances(k, 0, 0, 5))
        assert (before.base.exceeded, before.span, before.most) == (k - 5, 300.0, 976)
    with open_database(path, 1.0) as database:
        rows, oldest = database.execute('SELECT count(*), min(time) FROM allowance').fetchone()
        aged, = database.execute('SELECT count(*) FROM allowance WHERE time BETWEEN ? AND ?', (
            60.0 * (20 * 1440 + 30) - 86400 - 6000, 60.0 * (20 * 1440 + 30) - 86400)).fetchone()
    assert oldest >= 60.0 * (6 * 1440)
    assert aged <= 100 - 30 + 12
    assert rows < 15 * 1440


def test_a_broken_history_costs_the_rates_only(tmp_path):
    path = tmp_path / 'h.sqlite'
    path.write_bytes(b'no database' * 100)
    got = table.query_and_record(str(path), 'boot', Instant(1, 1, 1), Allowances(1, 1, 1, 1), 300, 14, 1)
    assert isinstance(got, Missing)
    assert got.why.startswith(f'{path}: ')


def test_the_limit_of_another_cloud(capfd, monkeypatch, tmp_path):
    scenario = scenarios.load('quiet-gateway')
    monkeypatch.chdir(scenario.directory)

    def check(*arguments):
        status = main(['--procfs', 'proc', '--kernel-log', 'off', '--history', 'off', '--diagnose', 'never',
                       *arguments],
                      scenario.clock)
        return status, capfd.readouterr().out

    assert '12.4% used (32512 of 262144) |' in check()[1]
    status, out = check('--limit', '35000', '-v')
    assert status == 1
    assert out.startswith('CONNTRACK WARNING - 92.9% used (32512 of 35000, --limit)')
    assert 'usage=92.89%;85;95;0;100 entries=32512;29750;33250;0;35000' in out
    assert 'table: 32512 of 35000 entries (--limit), nf_conntrack_max is 262144' in out
    assert '(32512 of 262144) |' in check('--limit', '500000')[1]
    assert check('--limit', '-5')[0] == 3


def test_a_table_without_a_limit_of_its_own():
    assert CloudLimit(0.0, 5, 0, 0, None, None).rate(5) == 0


def test_the_counters_as_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr(cloud_limit, 'SYSFS', str(tmp_path))
    monkeypatch.setattr(Host, 'is_this_kernel', lambda _host: True)
    monkeypatch.setattr(ethtool, 'read_ena', {str(tmp_path): {'eth0': FIRST}}.get)
    host = Host(clock=lambda: Instant(1.0, 2.0, 3.0))
    assert cloud_limit.read_now(host) is None
    (tmp_path / ENA_DEVICES).mkdir(parents=True)
    assert cloud_limit.read_now(host) == (Instant(1.0, 2.0, 3.0), {'eth0': FIRST})
    for nothing in ({}, Missing('needs root')):
        monkeypatch.setattr(ethtool, 'read_ena', lambda _sysfs, found=nothing: found)
        assert cloud_limit.read_now(host) is None


PLAIN = parse([])


@pytest.mark.parametrize(('limit', 'rates', 'phrases', 'lines'), [
    (CloudLimit(0.0, 0, 0, 0, 7000, 70000), (None, None, 10.0),
     ('', 'AWS limit of tracked connections: 10% left (7000 of about 70000)', ''),
     ['AWS: tracked connections: 10% left (7000 of about 70000)']),
    (CloudLimit(0.0, 0, 0, 0, None, None), (None, None, None), ('', '', ''),
     ['AWS: how many tracked connections still fit is not reported by this driver or instance']),
    (CloudLimit(120.0, 0, 0, 0, None, None), (0.0, 0.0, None), ('', '', ''), [
        'AWS: 0 packets dropped at the limit of tracked connections in the last 2 min, 0 queued or dropped at those '
        'of bandwidth and packets per second',
        'AWS: how many tracked connections still fit is not reported by this driver or instance',
        'AWS: 0 packets to link-local services (DNS, metadata, time) dropped']),
    (CloudLimit(120.0, 1, 12, 9, None, None), (1 / 120, 0.1, None), (
        'AWS limit of tracked connections: 1 packet dropped in the last 2 min', '',
        'AWS: 0.1/s packets to DNS, metadata or time service dropped'), [
        'AWS: 1 packet dropped at the limit of tracked connections in the last 2 min, 9 queued or dropped at those '
        'of bandwidth and packets per second',
        'AWS: how many tracked connections still fit is not reported by this driver or instance',
        'AWS: 12 packets to link-local services (DNS, metadata, time) dropped']),
    (CloudLimit(120.0, 60, 1, 0, 0, 70000), (0.5, 1 / 120, 0.0), (
        'AWS limit of tracked connections: 60 packets dropped in the last 2 min, 0% left (0 of about 70000)',
        'AWS limit of tracked connections: 60 packets dropped in the last 2 min, 0% left (0 of about 70000)',
        'AWS: 0.0083/s packets to DNS, metadata or time service dropped'), [
        'AWS: 60 packets dropped at the limit of tracked connections in the last 2 min, 0 queued or dropped at those '
        'of bandwidth and packets per second',
        'AWS: tracked connections: 0% left (0 of about 70000)',
        'AWS: 1 packet to link-local services (DNS, metadata, time) dropped']),
    (None, (None, None, None), ('', '', ''), []), (Missing('x'), (None, None, None), ('', '', ''), [])])
def test_in_words(limit, rates, phrases, lines):
    a = assessment(cloud=limit)
    assert (cloud_lines.exceeded_rate(a), cloud_lines.linklocal_rate(a), cloud_lines.left(a)) == rates
    assert (cloud_lines.exceeded(a), cloud_lines.available(a), cloud_lines.linklocal(a)) == phrases
    assert [line for say in (cloud_lines.exceeded_line, cloud_lines.available_line, cloud_lines.linklocal_line)
            for line in say(a, PLAIN, True)] == lines


def test_without_a_number_nothing_is_said():
    for limit in (None, compare(None, 0.0, Allowances(0, 0, 0, None), None)):
        a = assessment(cloud=limit)
        assert [say(a) for say in (cloud_lines.exceeded, cloud_lines.available, cloud_lines.linklocal)] == [''] * 3
