"""conntrack-doctor tune: the report, the drop-in and the rules, from readings of our own making."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from functools import cache

import proctree
import pytest

from check_conntrack_lib.analysis.losses import comparable
from check_conntrack_lib.analysis.profile_counter import summarize
from check_conntrack_lib.analysis.rates import NewEntryCounter
from check_conntrack_lib.analysis.sizing import Peak
from check_conntrack_lib.analysis.sysctl_drift import DEFAULTS
from check_conntrack_lib.doctor import DoctorError, cli
from check_conntrack_lib.doctor.tune import plan, rate_lines, sysctl_file
from check_conntrack_lib.doctor.tune import report as report_module
from check_conntrack_lib.doctor.tune.plan import Recorded, TuneReadings
from check_conntrack_lib.flow import ASSURED, OFFLOAD, SEEN_REPLY, SRC_NAT, Flow
from check_conntrack_lib.history import database, profiles, queries
from check_conntrack_lib.model import History, Instant, Missing, Sample, Table
from check_conntrack_lib.readers import sysctl_files
from check_conntrack_lib.readers.ctnetlink_events import NewConnections
from check_conntrack_lib.readers.processes import SysctlSetter

AT = 1795188600.0  # 2026-11-20 15:30 UTC


def flow(number, protocol=6, state='ESTABLISHED', left=431000, dport=443, dst='192.0.2.7',
         status=SEEN_REPLY | ASSURED | SRC_NAT):
    return Flow(protocol, state, status, left, socket.inet_aton(f'10.1.{number // 200}.{number % 200}'),
                socket.inet_aton(dst), 40000, dport, b'', b'')


def gateway():
    """A NAT gateway: web traffic, much of it over, a resolver on the inside, and idle database connections."""
    for n in range(6000):
        yield flow(n, dst=f'192.0.2.{n % 20}')
        yield flow(n, state='TIME_WAIT', left=n % 120, dst=f'192.0.2.{n % 20}')
        yield flow(n, 17, '', n % 30, 53, '10.0.0.53', SEEN_REPLY)
        if n % 3 == 0:
            yield flow(n, left=100000, dport=5432, dst='198.51.100.5')


@cache
def profile():
    return summarize(gateway(), 180000)


def readings(**other):
    standard = TuneReadings(
        AT, 'gw1', '6.12.107+deb13-amd64', Table(180000, 262144, 262144), True, 4026531833,
        Recorded('/var/lib/check_conntrack/history.sqlite', Peak(243000, AT - 200000, 12.4, 3100, 262144), 4026531833),
        profile(), None, {name: values[0] for name, values in DEFAULTS.items()}, 256.0,
        12 << 30, (), '', all_entries=180012)
    return standard._replace(**other)


@pytest.fixture(autouse=True)
def _utc(monkeypatch):
    monkeypatch.setenv('TZ', 'UTC')
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def report(**other):
    return report_module.text(plan.make(readings(**other)))


def drop_in(expires=None, **other):
    return sysctl_file.text(plan.make(readings(**other)), expires)


def settings(text):
    return {setting.key.rpartition('/')[2]: setting for setting in sysctl_files.parse(text, '99-conntrack.conf')}


def test_report(request):
    proctree.check_golden(request, 'tune-gateway.txt', report())


def test_drop_in(request):
    proctree.check_golden(request, 'tune-gateway.conf', drop_in(48 * 3600.0))


def test_what_the_drop_in_sets():
    found = settings(drop_in())
    assert {name: setting.value for name, setting in found.items()} == {
        'nf_conntrack_buckets': '393216', 'nf_conntrack_max': '393216', 'nf_conntrack_tcp_timeout_time_wait': '30'}
    assert all(setting.expires is None for setting in found.values())
    # the hash first: a larger table in a small one loses packets
    assert next(iter(found)) == 'nf_conntrack_buckets'


def test_temporary_values_carry_a_note_that_the_check_reads():
    found = settings(drop_in(48 * 3600.0))
    assert {setting.expires for setting in found.values()} == {AT + 48 * 3600}


def test_what_may_cut_connections_is_a_comment():
    text = drop_in()
    assert '\n#net.netfilter.nf_conntrack_tcp_timeout_established = 86400\n' in text
    assert 'connections idle for more than a day break' in text
    assert 'nf_conntrack_tcp_timeout_established' not in settings(text)


def test_nothing_to_change():
    quiet = {'table': Table(1000, 262144, 262144), 'profile': Missing('needs root', 'run it by sudo'),
             'recorded': Missing('no history yet', 'it is kept from the first run of check_conntrack on')}
    assert drop_in(**quiet).endswith('\n# No change needed.\n')
    text = report(**quiet)
    assert 'peak       1000 entries (now): no history yet; it is kept from the first run' in text
    assert 'nf_conntrack_max = 262144 (as it is), nf_conntrack_buckets = 262144 (as it is)' in text
    assert '\nTimeouts\n  not counted: needs root; run it by sudo\n' in text


def test_a_peak_that_was_cut_off_and_few_days():
    text = report(recorded=Recorded('x', Peak(262144, AT, 2.0, 90, 262144), 4026531833))
    assert 'maximum of 2 days of history (90 samples); at least one week is recommended' in ' '.join(text.split())
    assert 'the table was full at that time: actual demand may be higher' in text


def test_the_cause_stands_before_any_number():
    flows = [flow(n, 6, 'SYN_SENT', 100, status=0) for n in range(1000)]
    text = report(profile=summarize(flows, 1000), peak_profile=summarize(flows, 1000))
    first = text[:text.index('\nSize\n')]
    assert 'at the recorded peak 100% of the table is in state SYN_SENT: half-open' in first
    assert '\n  100% of the table is in state SYN_SENT: half-open' in first
    assert 'a larger table would only hide this' in first


def test_offloaded_flows_have_another_timeout():
    flows = [flow(n, state='', status=SEEN_REPLY | ASSURED | OFFLOAD)._replace(timeout=None) for n in range(90)]
    flows += [flow(n) for n in range(10)]
    text = ' '.join(report(profile=summarize(flows, 100), flowtable_timeouts={'nf_flowtable_tcp_timeout': 30}).split())
    assert 'offloaded: 90.0% +-0.0 of the table; the flowtable keeps their time (nf_flowtable_tcp_timeout 30 s)' in text


def test_the_buckets_are_those_of_all_namespaces():
    text = report(release='6.12.0', table=Table(100, 20000, 8192), all_entries=400000)
    assert 'now 48.8, with those of other network namespaces' in ' '.join(text.split())
    assert 'nf_conntrack_buckets = 400384' in text


def test_who_is_not_root_is_told_that_others_are_not_seen():
    text = ' '.join(report(all_entries=Missing('needs root'), entry=Missing('needs root')).split())
    assert 'per bucket of the hash table that all network namespaces share (others are not seen), this table' in text


@pytest.mark.parametrize(('release', 'table', 'said'), [
    ('5.15.0-25-generic', Table(180000, 262144, 65536),
     'above about 2 (16 from 5.15.103 on) entries per bucket; with 4.0 when full, packets are dropped from 131072 '
     'entries on, before the table'),
    ('5.4.0-26-generic', Table(180000, 262144, 65536), 'this kernel has no limit for hash chains'),
    ('6.12.0', Table(180000, 262144, Missing('x')), 'above about 16 entries per bucket'),
])
def test_hash(release, table, said):
    assert said in ' '.join(report(release=release, table=table).split())


def test_an_old_kernel_takes_buckets_from_its_module():
    text = drop_in(release='3.10.0-1160.el7.x86_64')
    assert '#   echo 393216 > /sys/module/nf_conntrack/parameters/hashsize\n' in text
    assert 'nf_conntrack_buckets' not in settings(text)


@pytest.mark.parametrize(('available', 'said'), [
    (12 << 30, '12 GiB available'), (200 << 20, '200 MiB available, a large part of it'),
    (10 << 20, 'only 10 MiB available: shorten timeouts'), (Missing('no MemAvailable'), 'unknown (no MemAvail')])
def test_memory(available, said):
    assert said in report(available=available)


def test_memory_not_measured():
    assert '(448 bytes per entry, estimated: only root reads' in report(entry=Missing('Permission denied'))


def test_kube_proxy_and_containers_are_named():
    setter = SysctlSetter('kube-proxy', 77, ('--conntrack-min=131072',))
    for text in (report(setters=(setter,)), drop_in(setters=(setter,))):
        text = ' '.join(text.split())
        assert 'kube-proxy (pid 77, --conntrack-min=131072) sets nf_conntrack_max, tcp_timeout_est' in text
    assert 'this is a container (docker): nf_conntrack_max' in drop_in(initial=False, container='docker')
    assert 'this is not the initial network namespace: nf_conntrack_max' in drop_in(initial=False)
    assert 'with the network of its host' in drop_in(container='docker')


def test_no_limit():
    text = report(table=Table(180000, 0, 262144))
    assert '180000 entries, no limit (nf_conntrack_max 0)' in text
    assert '\n#net.netfilter.nf_conntrack_max = 393216\n' in drop_in(table=Table(180000, 0, 262144))


def test_more_now_than_ever_recorded():
    made = plan.make(readings(table=Table(250000, 262144, 262144)))
    assert (made.peak.entries, made.peak.at, made.peak.days) == (250000, AT, 12.4)


def test_alerts_end_it():
    assert report().endswith('\nAlerts\n  check_conntrack -w 80 -c 90\n  vars.conntrack_warning = "80"\n'
                             '  vars.conntrack_critical = "90"\n')


def test_json():
    found = json.loads(report_module.as_json(plan.make(readings(setters=(SysctlSetter('k3s', 1, ()),))), None))
    assert found['size']['maximum'] == 393216
    assert found['timeouts'][0]['name'] == 'tcp_timeout_time_wait'
    assert found['candidates'][0]['addresses'] == ['10.0.0.53']
    assert found['readings']['profile'] == {'entries': 180000, 'seen': 20000, 'assured': 14000, 'unreplied': 0,
                                            'nat': 14000}
    assert found['rules']['nft'].startswith('# check: nft')
    assert json.loads(report_module.as_json(plan.make(readings(profile=Missing('x'))), None))['rules'] is None


class TestRun:
    @pytest.fixture
    def tree(self, tmp_path):
        return proctree.make(tmp_path / 'proc')

    def test_without_anything(self, tree, capsys):
        assert cli.main(['tune', '--procfs', str(tree)]) == 0
        out, err = capsys.readouterr()
        assert err == ''
        assert 'now        32512 entries, 12.4% of nf_conntrack_max 262144, nf_conntrack_buckets 65536\n' in out
        assert 'Alerts\n' in out

    def test_every_output(self, tree, capsys):
        for more in (['--drop-in'], ['--drop-in', '--expires', '48h'], ['--json'], ['--exact', '--json']):
            assert cli.main(['tune', '--procfs', str(tree), *more]) == 0
            assert capsys.readouterr().out

    @pytest.mark.parametrize(('argv', 'said'), [
        (['--expires', '48h'], '--expires needs --drop-in'),
        (['--sample', '0'], "'0' is not a number of entries"),
        (['--rules', 'pf'], "invalid choice: 'pf'"),
        (['--procfs', '/nonexistent'], 'is not a directory'),
        (['--json', '--drop-in'], 'not allowed with argument'),
    ])
    def test_bad_input(self, argv, said, capsys):
        assert cli.main(['tune', *argv]) == 2
        err = capsys.readouterr().err
        assert said in err
        assert err.count('\n') == 1

    def test_no_rules_are_an_empty_file(self, tree, capsys):
        assert cli.main(['tune', '--procfs', str(tree), '--rules', 'nft']) == 0
        assert capsys.readouterr().out.startswith('# no bypass rules proposed: ')

    def test_not_loaded(self, tmp_path, capsys):
        proctree.unload(tmp_path / 'proc')
        assert cli.main(['tune', '--procfs', str(tmp_path / 'proc')]) == 2
        assert 'connection tracking is not loaded' in capsys.readouterr().err
        with pytest.raises(DoctorError):
            plan.gather(plan.Host(str(tmp_path / 'proc')), None, 100, None)


def test_the_recorded_peak_and_what_was_in_the_table_then(tmp_path):
    """Of all namespaces and boots in the file: the maximum is one for all."""
    path = str(tmp_path / 'history.sqlite')
    for at, entries, boot in ((0.0, 1000, 'a'), (86400.0, 200000, 'b'), (172800.0, 5000, 'b')):
        sample = Sample(Instant(AT + at, 1000 + at, 1000 + at), boot, 7, entries, 262144)
        query = queries.HistoryQuery(300, 900, comparable)
        assert isinstance(database.query_and_record(path, sample, query, 14), History)
        if entries > 2000:
            profile = summarize([flow(n, state='SYN_SENT', status=0) for n in range(100)], entries)
            profiles.record(path, sample, profile, quiet=False, patience=1)
    found = plan.gather(plan.Host(str(proctree.make(tmp_path / 'proc'))), path, 1000, contextlib.nullcontext)
    assert found.recorded == Recorded(path, Peak(200000, AT + 86400, 2.0, 3, 262144), 7)
    assert found.peak_profile.entries == 200000
    made = plan.make(found)
    assert made.size.maximum == 327680
    assert made.first[0].startswith('at the recorded peak 100% of the table is in state SYN_SENT')
    assert 'in network namespace 7' in ' '.join(report_module.text(made).split())


class TestRates:
    """What the new connections of now need."""

    def plan(self, counted):
        timeouts = {name: values[0] for name, values in DEFAULTS.items()}
        timeouts.update(udp_timeout=60, tcp_timeout_time_wait=120)
        fresh = NewEntryCounter(timeouts)
        # 100 per second of each, for a whole timeout; and connections that stay
        flows = [*(flow(n, 17, '', 60 - n // 100 - 1, 53, '10.0.0.53', 0) for n in range(6000)),
                 *(flow(n, state='TIME_WAIT', left=120 - n // 100 - 1) for n in range(12000)),
                 *(flow(n) for n in range(3000))]
        profile = summarize(fresh.watch(flows), 21000)
        return plan.make(readings(table=Table(21000, 262144, 262144), profile=profile, timeouts=timeouts,
                                  rate=fresh.rate(21000), counted=counted))

    def test_what_each_timeout_costs(self):
        lines = list(rate_lines.rates(self.plan(NewConnections(1.0, 203))))
        assert lines[0] == 'now        203 per second, counted in 1.0 s'
        assert [line.split() for line in lines[2:4]] == [
            ['tcp_timeout_time_wait', 'about', '100', '120', 's', '12000', '30', 's', '3000'],
            ['udp_timeout', 'about', '100', '60', 's', '6000', '30', 's', '3000']]
        assert lines[4] == ('with 3000 entries that their traffic keeps: about 21000 in the long run, '
                            '9000 at the proposed timeouts; the peak above is 243000')

    def test_why_they_were_not_counted(self):
        lines = list(rate_lines.rates(self.plan(Missing('nf_conntrack_events is 0', 'set it to 1'))))
        assert lines[0] == 'now        not counted: nf_conntrack_events is 0; set it to 1'

    def test_a_table_without_new_connections(self):
        silent = plan.make(readings(profile=summarize([flow(n) for n in range(100)], 100)))
        assert list(rate_lines.rates(silent)) == []

    def test_ports(self):
        flows = [Flow(6, 'TIME_WAIT', SEEN_REPLY | ASSURED | SRC_NAT, 9, b'\x0a\1\0\1', b'\xcb\0\x71\x09', 4000 + n,
                      443, b'\xcb\0\x71\x09', b'\xc6\x33\x64\1', 0, 443, 1024 + n) for n in range(40000)]
        lines = list(rate_lines.nat_ports(plan.make(readings(profile=summarize(flows, 40000)))))
        assert lines[0] == ('203.0.113.9:443 tcp through 198.51.100.1: 100% used (40000 of 40000), 100% in TIME_WAIT')
        assert 'fully-random' not in lines[1]
        assert 'a larger table does not help' in lines[1]
