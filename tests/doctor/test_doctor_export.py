"""export: golden pages, the textfile, and a server that stays small whoever comes."""

import contextlib
import http.client
import json
import os
import signal
import socket
import stat
import subprocess
import urllib.parse

import proctree
import pytest
from needed import need
from served import serving, wait_until

from check_conntrack_lib import __version__
from check_conntrack_lib.analysis.profile_counter import summarize
from check_conntrack_lib.doctor import atomic_write, cli, export, readings
from check_conntrack_lib.doctor.export import json_metrics, metrics
from check_conntrack_lib.doctor.watch import view
from check_conntrack_lib.flow import Flow
from check_conntrack_lib.host import Host
from check_conntrack_lib.model import Instant
from check_conntrack_lib.readers.ctnetlink_events import NewConnections

prometheus = pytest.importorskip('check_conntrack_lib.doctor.export.prometheus', reason='pip install prometheus_client')

NOW = Instant(1795185614.0, 3079.0, 3000.0)
RECORDS = ('4,1,2500000000,-;nf_conntrack: nf_conntrack: table full, dropping packet\n'
           '4,2,2800000000,-;net_ratelimit: 188 callbacks suppressed\n'
           '4,3,2800000001,-;nf_conntrack: nf_conntrack: table full, dropping packet\n')


@pytest.fixture
def tree(tmp_path):
    (tmp_path / 'records').write_text(RECORDS)
    return proctree.make(tmp_path / 'proc')


def page(tree, names='conntrack', log=''):
    taken = readings.take(Host(str(tree), lambda: NOW), log or str(tree.parent / 'records'), 300)
    return prometheus.page(metrics.collect(taken, names))


@pytest.mark.parametrize('names', ['conntrack', 'node-exporter', 'stat'])
def test_the_whole_page(tree, names, request):
    proctree.check_golden(request, f'export-{names}.prom', page(tree, names).decode())


def lines(text):
    return {line for line in text.decode().splitlines() if not line.startswith('#')}


def container(tree, **counters):
    """Another namespace than the initial one, with these counters."""
    values = ' '.join(f'{counters.get(name, 0):08x}' for name in proctree.HEADER.split()[1:])
    proctree.make(tree, 5, 2000, f'{proctree.HEADER}\n{5:08x} {values}\n')
    (tree / 'sys/net/nf_conntrack_max').unlink()
    return tree


@pytest.mark.parametrize(('counters', 'own'), [
    ({}, 0), ({'drop': 1, 'insert_failed': 1}, 0), ({'drop': 2, 'insert_failed': 1}, 1)])
def test_lines_of_a_neighbour_are_not_this_namespace_s(tree, counters, own):
    """Below 6.18 the log names no namespace; the alert on these lines fired in every container of the node."""
    container(tree, **counters)
    assert f'conntrack_log_table_full_lines {own}.0' in lines(page(tree))
    got = readings.take(Host(str(tree), lambda: NOW), str(tree.parent / 'records'), 300)
    assert json_metrics.as_dict(got)['kernel_log']['table_full_lines'] == own
    assert [line.text.split(' in ')[0] for line in view.screen(view.next_state(None, got), 0)
            if line.label == 'kernel log'] == [f'{own} "table full" message' if own else 'no "table full" message']


def test_an_exporter_knows_since_when_nothing_dropped(tree):
    """The counter is not 0 for ever: a drop of last week makes no line of today this namespace's own."""
    container(tree, drop=7)
    (tree.parent / 'records').write_text(RECORDS + '4,4,3150000000,-;nf_conntrack: table full, dropping packet\n')
    later = NOW._replace(uptime=NOW.uptime + 200, monotonic=NOW.monotonic + 200)
    clock = [NOW]
    rounds = readings.Rounds(Host(str(tree), lambda: clock[0]), str(tree.parent / 'records'), 1000.0)
    rounds.take()
    clock[0] = later
    log = rounds.take().log
    assert ([round(age) for age in log.ages], log.elsewhere) == ([700, 400], {-1: 1})
    container(tree, drop=8)
    clock[0] = later._replace(uptime=later.uptime + 1, monotonic=later.monotonic + 1)
    assert len(rounds.take().log.ages) == 3


@pytest.mark.parametrize(('dropped', 'own'), [(0, 0), (30, 2)])
def test_an_exporter_knows_what_was_dropped_before_a_reload(tree, dropped, own):
    """The counters begin again with the module; the lines of the table before are still this namespace's."""
    container(tree, drop=dropped)
    clock = [NOW]
    rounds = readings.Rounds(Host(str(tree), lambda: clock[0]), str(tree.parent / 'records'), 1000.0)
    rounds.take()
    proctree.unload(tree)
    rounds.take()
    container(tree)
    for second in (30, 60):
        clock[0] = NOW._replace(uptime=NOW.uptime + second, monotonic=NOW.monotonic + second)
        assert len(rounds.take().log.ages) == own
    # those of a neighbour, after all of its own
    clock[0] = NOW._replace(uptime=NOW.uptime + 1100, monotonic=NOW.monotonic + 1100)
    (tree.parent / 'records').write_text(RECORDS + '4,4,4000000000,-;nf_conntrack: table full, dropping packet\n')
    assert len(rounds.take().log.ages) == 0


def test_a_failing_reading_drops_its_own_metrics_only(tree):
    whole = lines(page(tree))
    (tree / 'net/stat/nf_conntrack').unlink()
    without = lines(page(tree))
    assert not [line for line in without if line.startswith('conntrack_stat_')]
    assert whole - without - {line for line in whole if line.startswith('conntrack_stat_')} \
        == {'conntrack_scrape_error{signal="counters"} 0.0'}
    assert without - whole == {'conntrack_scrape_error{signal="counters"} 1.0'}


def test_a_broken_table_file_is_an_error_and_the_rest_is_there(tree):
    (tree / 'sys/net/netfilter/nf_conntrack_max').write_text('many\n')
    got = lines(page(tree))
    assert 'conntrack_scrape_error{signal="usage"} 1.0' in got
    assert 'conntrack_log_table_full_lines 1.0' in got
    assert not [line for line in got if line.startswith(('conntrack_entries', 'conntrack_loaded'))]


def test_no_log_where_none_is_wanted_and_an_error_where_it_is_missing(tree):
    assert not [line for line in lines(page(tree, log='off')) if 'log' in line]
    got = lines(page(tree, log=str(tree / 'nothing')))
    assert 'conntrack_scrape_error{signal="kernel-log"} 1.0' in got


@pytest.mark.parametrize(('core', 'initial'), [(True, 'true'), (False, 'false')])
def test_the_initial_namespace_is_known_without_the_module(tree, core, initial):
    """The module makes the file that tells; the core of the network has some that are in the initial one only."""
    proctree.unload(tree)
    if core:
        (tree / 'sys/net/core/netdev_budget').write_text('300\n')
    assert f'initial="{initial}"' in page(tree).decode()


def test_not_loaded_is_no_error(tree):
    proctree.unload(tree)
    got = lines(page(tree))
    assert 'conntrack_loaded 0.0' in got
    assert not [line for line in got if line.startswith(('conntrack_entries', 'conntrack_stat_'))]
    assert not [line for line in got if line.startswith('conntrack_scrape_error') and line.endswith('1.0')]


def test_without_a_limit_no_ratio_fires(tree):
    proctree.make(tree, maximum=0)
    assert {'conntrack_entries_limit +Inf', 'conntrack_usage_ratio 0.0'} <= lines(page(tree))
    assert 'node_nf_conntrack_entries_limit +Inf' in lines(page(tree, 'node-exporter'))


def test_json_gives_everything_and_the_reasons(tree):
    (tree / 'sys/net/netfilter/nf_conntrack_buckets').unlink()
    done = proctree.doctor('export', '--json', '--procfs', tree, '--kernel-log', tree / 'nothing')
    got = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (0, '')
    assert got['table'] == {'loaded': True, 'entries': 32512, 'limit': 262144, 'usage_percent': 12.40234375,
                            'buckets': {'missing': f'{tree}/sys/net/netfilter/nf_conntrack_buckets: '
                                                   'No such file or directory', 'remedy': ''}}
    assert got['counters']['per_cpu']['drop'] == [0xA, 0]
    assert got['counters']['total']['expect_create'] == 0xE
    assert got['kernel_log'] == {'missing': f'{tree}/nothing: No such file or directory', 'remedy': ''}
    assert (got['netns'], got['initial_netns'], got['boot_id']) == (proctree.NETNS, True, proctree.BOOT_ID)


@pytest.mark.parametrize(('text', 'place'), [
    ('9318', ('127.0.0.1', 9318)), (':9318', ('127.0.0.1', 9318)), ('0.0.0.0:80', ('0.0.0.0', 80)),
    ('[::1]:9318', ('::1', 9318)), ('localhost:1', ('localhost', 1)),
])
def test_addresses(text, place):
    assert export.address(text) == place


@pytest.mark.parametrize(('argv', 'said'), [
    (['--textfile', '/nonexistent/x.prom'], '/nonexistent: no such directory\n'),
    (['--listen', '192.0.2.1:9318'], 'cannot listen on 192.0.2.1:9318: Cannot assign requested address\n'),
    (['--listen', 'nowhere.invalid:9318'], 'cannot listen on nowhere.invalid:9318: '),
])
def test_a_place_that_cannot_be_had_is_one_line(argv, said, capsys):
    assert cli.main(['export', *argv]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count('\n')) == ('', 1)
    assert said in err


# the textfile

def test_the_textfile_is_replaced_in_one_step_and_readable_by_all(tree, tmp_path):
    place = tmp_path / 'out' / 'conntrack.prom'
    place.parent.mkdir()
    place.write_text('old')
    before = place.stat().st_ino
    done = proctree.doctor('export', '--procfs', tree, '--kernel-log', 'off', '--textfile', place)
    assert (done.returncode, done.stdout, done.stderr) == (0, '', '')
    own = prometheus.page(metrics.collect(readings.take(Host(str(tree)), 'off', 300), 'conntrack')).decode()
    text, _, about = place.read_text().partition('# HELP conntrack_build_info')
    assert text == own
    assert f'\nconntrack_build_info{{version="{__version__}"}} 1.0\n' in about
    assert 0 < float(about.split()[-1]) < readings.LONGEST_ROUND
    assert stat.S_IMODE(place.stat().st_mode) == 0o644
    assert place.stat().st_ino != before
    assert os.listdir(place.parent) == ['conntrack.prom']


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    place = tmp_path / 'conntrack.prom'
    place.write_text('old')
    monkeypatch.setattr(os, 'replace', lambda *_, **__: (_ for _ in ()).throw(OSError(28, 'No space left on device')))
    with pytest.raises(OSError, match='No space'):
        atomic_write.write_file(str(place), b'new')
    assert (place.read_text(), os.listdir(tmp_path)) == ('old', ['conntrack.prom'])


def test_a_stop_amid_a_write_leaves_no_litter(tmp_path, monkeypatch):
    make = os.open

    def stopped(*how, **place):
        made = make(*how, **place)
        if not place:
            return made
        assert len(os.listdir(tmp_path)) == 1
        signal.raise_signal(signal.SIGTERM)
        return made

    monkeypatch.setattr(os, 'open', stopped)
    before = signal.signal(signal.SIGTERM, export._stop)
    try:
        with pytest.raises(SystemExit):
            atomic_write.write_file(str(tmp_path / 'conntrack.prom'), b'new')
    finally:
        signal.signal(signal.SIGTERM, before)
        monkeypatch.undo()
    assert os.listdir(tmp_path) == []


def test_a_directory_that_is_exchanged_meanwhile(tmp_path, monkeypatch):
    """Its owner has rights of his own only: what was begun in it ends in it."""
    place, other, make = tmp_path / 'place', tmp_path / 'other', os.open
    place.mkdir()
    other.mkdir()

    def exchanged(*how, **there):
        made = make(*how, **there)
        if how[1] & os.O_CREAT:
            place.rename(tmp_path / 'aside')
            place.symlink_to(other)
        return made

    monkeypatch.setattr(os, 'open', exchanged)
    atomic_write.write_file(str(place / 'conntrack.prom'), b'new')
    monkeypatch.undo()
    assert os.listdir(other) == []
    assert (tmp_path / 'aside' / 'conntrack.prom').read_bytes() == b'new'
    assert os.listdir(tmp_path / 'aside') == ['conntrack.prom']


@pytest.mark.slow
def test_the_loop_outlives_a_failure_and_ends_on_sigterm(tree, tmp_path):
    place = tmp_path / 'out' / 'conntrack.prom'
    place.parent.mkdir()
    process = subprocess.Popen(
        proctree.command('export', '--procfs', tree, '--kernel-log', 'off', '--textfile', place, '--every', '0.1'),
        cwd=proctree.ROOT, stderr=subprocess.PIPE, text=True)
    try:
        wait_until(place.exists)
        proctree.make(tree, entries=77)
        wait_until(lambda: 'conntrack_entries 77.0' in place.read_text())
        # not while a file is being written there: it could be neither finished nor removed
        wait_until(lambda: stopped_with(process, place))
        aside = place.parent.rename(tmp_path / 'aside')
        process.send_signal(signal.SIGCONT)
        # it may have looked for the directory before it was stopped, and made the file after
        wait_until(lambda: proctree.next_line(process).endswith('out: no such directory\n'))
        aside.rename(place.parent)
        assert proctree.next_line(process) == f'{place}: written again\n'
        (tree / 'net/stat/nf_conntrack').unlink()
        assert proctree.next_line(process) == f'not exported: counters: no {tree}/net/stat/nf_conntrack\n'
    finally:
        process.terminate()
        rest = process.communicate(timeout=10)[1]
    assert (process.returncode, rest, os.listdir(place.parent)) == (0, '', ['conntrack.prom'])


def stopped_with(process, place):
    """Stops it; if it is amid another file than this, lets it run on."""
    proctree.stop(process)
    if os.listdir(place.parent) == [place.name]:
        return True
    process.send_signal(signal.SIGCONT)
    return False


@pytest.fixture
def served(tree):
    with serving(tree) as server:
        yield server


@pytest.fixture
def served_as_node_exporter(tree):
    with serving(tree, '--names', 'node-exporter') as server:
        yield server


# real programs

@pytest.mark.daemons
@pytest.mark.parametrize('names', ['conntrack', 'node-exporter'])
def test_promtool_finds_nothing_to_complain_of(tree, names):
    promtool = need('promtool', 'prometheus')
    done = subprocess.run([promtool, 'check', 'metrics'], input=page(tree, names), capture_output=True, timeout=20)
    assert (done.returncode, done.stdout, done.stderr) == (0, b'', b'')


@pytest.mark.daemons
def test_a_real_prometheus_scrapes_both_and_the_usual_alerts_fire(served, served_as_node_exporter, tree, tmp_path):
    prometheus = need('prometheus', 'prometheus')
    proctree.make(tree, entries=250000)
    (tmp_path / 'alerts.yml').write_text(
        'groups: [{name: g, rules: [{alert: Full, expr: conntrack_entries / conntrack_entries_limit > 0.75}, '
        '{alert: Usual, expr: node_nf_conntrack_entries / node_nf_conntrack_entries_limit > 0.75}]}]\n')
    (tmp_path / 'prometheus.yml').write_text(
        'global: {scrape_interval: 500ms, scrape_timeout: 400ms, evaluation_interval: 500ms}\nrule_files: [alerts.yml]'
        f'\nscrape_configs: [{{job_name: c, static_configs: [{{targets: ["127.0.0.1:{served.address[1]}"]}}]}}, '
        f'{{job_name: n, static_configs: [{{targets: ["127.0.0.1:{served_as_node_exporter.address[1]}"]}}]}}]\n')
    with socket.create_server(('127.0.0.1', 0)) as free:
        port = free.getsockname()[1]
    with open(tmp_path / 'log', 'w') as log:
        process = subprocess.Popen(
            [prometheus, f'--config.file={tmp_path}/prometheus.yml', f'--storage.tsdb.path={tmp_path}/data',
             f'--web.listen-address=127.0.0.1:{port}'], stdout=log, stderr=log)
    try:
        def ask(query):
            connection = http.client.HTTPConnection('127.0.0.1', port, timeout=5)
            with contextlib.closing(connection), contextlib.suppress(ConnectionRefusedError):
                connection.request('GET', f'/api/v1/query?query={urllib.parse.quote(query)}')
                answer = connection.getresponse()
                if answer.status == 200:
                    return [(result['metric'], result['value'][1])
                            for result in json.loads(answer.read())['data']['result']]
            return []

        wait_until(lambda: [value for _, value in ask('up')] == ['1', '1'], 20)
        wait_until(lambda: {metric['alertname'] for metric, _ in ask('ALERTS')} == {'Full', 'Usual'}, 20)
        assert [value for _, value in ask('conntrack_stat_drop_total')] == ['10']
        assert [value for _, value in ask('node_nf_conntrack_stat_drop')] == ['10']
        assert [(metric['signal'], value) for metric, value in ask('conntrack_scrape_error{job="c"}')] \
            == [('counters', '0'), ('kernel-log', '0'), ('usage', '0')]
        kinds = http.client.HTTPConnection('127.0.0.1', port, timeout=5)
        # in OpenMetrics, which it asks for, the family's name is without '_total'
        kinds.request('GET', '/api/v1/metadata?metric=conntrack_stat_drop')
        assert json.loads(kinds.getresponse().read())['data']['conntrack_stat_drop'][0]['type'] == 'counter'
        kinds.close()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def test_nat_ports_and_new_connections(tree):
    flows = [Flow(6, 'TIME_WAIT', 0x1e, 9, b'\x0a\1\0\1', b'\xcb\0\x71\x09', 4000, 443, b'\xcb\0\x71\x09',
                  b'\xc6\x33\x64\1', 0, 443, 40000 + k) for k in range(1000)]
    taken = readings.take(Host(str(tree), lambda: NOW), 'off', 300)._replace(
        profile=summarize(flows, 1000), new=NewConnections(2.0, 4711), wanted=frozenset({readings.NAT_PORTS}))
    got = lines(prometheus.page(metrics.collect(taken, 'conntrack')))
    labels = '{address="198.51.100.1",port="443",protocol="tcp",server="203.0.113.9"}'
    assert f'conntrack_nat_ports_used{labels} 1000.0' in got
    assert f'conntrack_nat_ports{labels} 1000.0' in got
    assert 'conntrack_new_connections_total 4711.0' in got


def test_limits_of_the_cloud(tree):
    taken = readings.take(Host(str(tree), lambda: NOW), 'off', 300)._replace(cloud={
        'eth0': {'conntrack_allowance_exceeded': 7, 'conntrack_allowance_available': 1234, 'rx_bytes': 1},
        'eth1': {'conntrack_allowance_exceeded': 0, 'linklocal_allowance_exceeded': 3}})
    assert {line for line in lines(prometheus.page(metrics.collect(taken, 'conntrack'))) if 'interface' in line} == {
        'conntrack_allowance_exceeded_total{interface="eth0"} 7.0',
        'conntrack_allowance_exceeded_total{interface="eth1"} 0.0',
        'conntrack_allowance_available{interface="eth0"} 1234.0',
        'conntrack_linklocal_allowance_exceeded_total{interface="eth1"} 3.0'}


def test_the_cloud_is_asked_at_each_round(tree, monkeypatch):
    counted = {'eth0': {'conntrack_allowance_exceeded': 7}}
    monkeypatch.setattr(readings.cloud_limit, 'read_now', lambda host: (NOW, counted))
    assert b'conntrack_allowance_exceeded_total{interface="eth0"} 7.0' in page(tree)


def test_zones_are_bounded(tree):
    flows = [Flow(17, '', 0x8, 9, b'\x0a\1\0\1', b'\xcb\0\x71\x09', 4000 + k, 53, b'\xcb\0\x71\x09', b'\x0a\1\0\1',
                  max(0, k - 100)) for k in range(200)]
    taken = readings.take(Host(str(tree), lambda: NOW), 'off', 300)._replace(
        profile=summarize(flows, 400), wanted=frozenset({readings.ZONES}))
    page = prometheus.page(metrics.collect(taken, 'conntrack')).decode()
    got = [line for line in page.splitlines() if line.startswith('conntrack_zone')]
    # of a sample: twice as many
    assert got[:2] == ['conntrack_zone_entries{zone="0"} 202.0', 'conntrack_zone_entries{zone="1"} 2.0']
    assert (len(got), got[-1]) == (21, 'conntrack_zone_entries{zone="other"} 160.0')


def test_all_namespaces_have_no_zones(capsys):
    for flag in ('--zones', '--bytes'):
        assert cli.main(['export', '--netns', 'all', flag]) == 2
        assert flag in capsys.readouterr().err


def test_a_rate_needs_a_start(capsys):
    assert cli.main(['export', '--rate']) == 2
    assert capsys.readouterr().err == \
        'conntrack-doctor: --rate needs --listen or --every: it counts from their start on\n'
