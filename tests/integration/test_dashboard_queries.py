"""InfluxDB and Graphite, fed by Icinga's writers: every query of the dashboards finds data where these put it."""

from __future__ import annotations

import json
import re
import time
import urllib.parse
from collections.abc import Iterator
from typing import Any

import grafana
import laboratory
import pytest
import stage

MASTER = """
object Endpoint NodeName { }
object Zone "master" { endpoints = [ NodeName ] }
object ApiListener "api" { bind_host = "127.0.0.1"; bind_port = 5665 }
object ApiUser "root" { password = "icinga"; permissions = [ "*" ] }
object CheckerComponent "checker" { }
object InfluxdbWriter "influxdb" {
	host = "127.0.0.1"
	port = 8086
	database = "icinga2"
	flush_threshold = 1
	enable_send_thresholds = true
	host_template = { measurement = "$host.check_command$", tags = { hostname = "$host.name$" } }
	service_template = {
		measurement = "$service.check_command$"
		tags = { hostname = "$host.name$", service = "$service.name$" }
	}
}
object GraphiteWriter "graphite" { host = "127.0.0.1"; port = 2003; enable_send_thresholds = true }
template Host "test" {
	check_command = "dummy"
	enable_active_checks = false
	zone = "master"
	vars.conntrack = true
}
object Host "gw1" { import "test"; vars.conntrack_window = "2s" }
object Host "gw2" { import "test" }
"""
INFLUXDB = """
reporting-disabled = true
bind-address = "127.0.0.1:8088"
[meta]
  dir = "{0}/meta"
[data]
  dir = "{0}/data"
  wal-dir = "{0}/wal"
[http]
  bind-address = "127.0.0.1:8086"
"""
CARBON = """
[cache]
STORAGE_DIR = {0}
LOCAL_DATA_DIR = {0}/whisper
CONF_DIR = {0}
LOG_DIR = {0}
PID_DIR = {0}
USER =
LINE_RECEIVER_INTERFACE = 127.0.0.1
PICKLE_RECEIVER_INTERFACE = 127.0.0.1
CACHE_QUERY_INTERFACE = 127.0.0.1
MAX_CREATES_PER_MINUTE = inf
MAX_UPDATES_PER_SECOND = inf
"""
GRAPHITE_WEB = """
from graphite.settings import *
SECRET_KEY = 'test'
STANDARD_DIRS = ['{0}/whisper']
LOG_DIR = '{0}'
INDEX_FILE = '{0}/index'
CARBONLINK_HOSTS = []
DATABASES = {{'default': {{'ENGINE': 'django.db.backends.sqlite3', 'NAME': ':memory:'}}}}
ALLOWED_HOSTS = ['*']
"""
RENDER = """
import json, sys, django
django.setup()
from django.test import Client
for target in sys.argv[1:]:
    answer = Client().get('/render', {'target': target, 'format': 'json', 'from': '-1h', 'noNullPoints': '1'})
    print(answer.content.decode())
"""
ASK = """
import sys, urllib.request as r
print(r.urlopen(r.Request(sys.argv[2], method=sys.argv[1]), timeout=5).read().decode())
"""
#: what a run with a flow profile and --netns all adds
PROFILE = {'flows_tcp_established': 900, 'flows_tcp_time_wait': 40, 'flows_tcp_syn_sent': 5, 'flows_tcp_other': 7,
           'flows_udp': 48, 'flows_other': 0, 'flows_unreplied': 11, 'namespaces': 3, 'namespaces_over_warning': 0,
           'entries_all_namespaces': 2000}
#: what a host in AWS and a gateway with full ranges of ports add
ELSEWHERE = {'nat_ports': '12%;60;90;0;100', 'conntrack_allowance_exceeded_per_s': '1;;0',
             'linklocal_allowance_exceeded_per_s': '2;1', 'conntrack_allowance_available': '70%;15:;5:;0;100'}


class Fed:
    """A monitored table whose results went to both stores."""

    def __init__(self, on: stage.Stage) -> None:
        self.stage = on
        self._graphite = on.directory('graphite')
        (self._graphite / 'carbon.conf').write_text(CARBON.format(self._graphite))
        (self._graphite / 'storage-schemas.conf').write_text('[all]\npattern = .*\nretentions = 1s:1h\n')
        (self._graphite / 'graphite_web.py').write_text(GRAPHITE_WEB.format(self._graphite))
        on.start('carbon-cache', f'--config={self._graphite}/carbon.conf', '--nodaemon', 'start')
        influxdb = on.directory('influxdb')
        (influxdb / 'influxdb.conf').write_text(INFLUXDB.format(influxdb))
        on.start('influxd', '-config', str(influxdb / 'influxdb.conf'))
        stage.wait(lambda: self.ask('SHOW DATABASES'), 'answer of InfluxDB')
        self.ask('CREATE DATABASE icinga2', 'POST')

    def in_graphite(self) -> set[str]:
        """The metrics that Graphite has."""
        place = self._graphite / 'whisper/icinga2/gw1/services/conntrack/conntrack/perfdata'
        return {path.parent.name for path in place.glob('*/value.wsp')}

    def in_influxdb(self) -> set[str]:
        """The metrics that InfluxDB has."""
        return {tag for series in self.ask('SHOW TAG VALUES FROM conntrack WITH KEY = metric')
                for _, tag in series['values']}

    def render(self, targets: list[str]) -> list[list[dict[str, Any]]]:
        """The series that Graphite answers with, for each target."""
        done = self.stage.run('env', 'DJANGO_SETTINGS_MODULE=graphite_web', f'PYTHONPATH={self._graphite}',
                              '/usr/bin/python3', '-W', 'ignore', '-c', RENDER, *targets)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def ask(self, query: str, method: str = 'GET') -> list[dict[str, Any]]:
        """The series that InfluxDB answers with."""
        asked = urllib.parse.urlencode({'db': 'icinga2', 'q': query, 'epoch': 's'})
        done = self.stage.run('/usr/bin/python3', '-c', ASK, method, f'http://127.0.0.1:8086/query?{asked}')
        if done.returncode:
            return []
        result = json.loads(done.stdout)['results'][0]
        assert 'error' not in result, (query, result)
        series: list[dict[str, Any]] = result.get('series', [])
        return series


@pytest.fixture(scope='module')
def fed() -> Iterator[Fed]:
    """A growing table, checked by icinga2 until every metric was written."""
    stage.need('icinga2', 'influxd', 'carbon-cache', 'openssl', 'sudo')
    stage.need_plugin()
    if why_not := laboratory.why_not():
        pytest.skip(why_not)
    with laboratory.namespace() as network, stage.stage(network) as on:
        stores = Fed(on)
        icinga = stage.Icinga(on, 'master.test', MASTER)
        stage.Authority(on.directory('ca')).issue('master.test', icinga.home / 'lib/certs')
        icinga.start()
        icinga.wait_for_api()
        for _ in range(4):
            network.fill(laboratory.mixed_flows(100, {laboratory.Flow('tcp', f'10.1.{network.count() // 50}.0/24'): 1}))
            result = icinga.check('gw1')['last_check_result']
            time.sleep(1.1)
        labels = {item.split('=')[0] for item in result['performance_data']}
        assert labels >= {'usage', 'entries', 'growth_per_s', 'dropped_per_s'}, result['output']
        # the writer connects after 10 s, and what came before is lost to it
        stage.wait(lambda: 'Finished reconnecting to Graphite' in icinga.log(), 'connection to Graphite', 15)
        # the user can read no kernel log, and there is no profile. gw2 gives known numbers
        extra = {'table_full_lines': 0, **PROFILE, **ELSEWHERE}
        more = [f'{label}={value}' for label, value in extra.items() if label not in labels]
        icinga.api('POST', 'objects/services/gw2!conntrack', {'attrs': {'enable_active_checks': False}})
        for host, data in (('gw2', ['usage=50%;85;95;0;100', 'entries=1000;1700;1900;0;2000', 'growth_per_s=0.5']),
                           ('gw1', [*result['performance_data'], *more])):
            icinga.api('POST', 'actions/process-check-result', {
                'type': 'Service', 'service': f'{host}!conntrack', 'exit_status': 0,
                'plugin_output': 'CONNTRACK OK', 'performance_data': data})
        wanted = labels | set(extra)
        stage.wait(lambda: stores.in_graphite() >= wanted, 'metrics in Graphite')
        stage.wait(lambda: stores.in_influxdb() >= wanted, 'metrics in InfluxDB')
        yield stores


def influx_query(query: str) -> str:
    """With the variables as Grafana fills them in."""
    for name, value in (('timeFilter', 'time > now() - 1h'), ('__interval', '10s'), ('measurement', '(conntrack|nrpe)'),
                        ('service', 'conntrack'), ('host', '(gw1|gw2)')):
        query = query.replace(f'${name}', value)
    assert '$' not in query.replace('$/', '')
    return query


@pytest.mark.daemons
@pytest.mark.parametrize('query', dict.fromkeys(grafana.targets('influxdb')))
def test_influxdb_dashboard(fed: Fed, query: str) -> None:
    series = fed.ask(influx_query(query))
    if 'TOP(' in query or 'BOTTOM(' in query:
        # one table, a row for each host
        last = {row[2]: row[1] for one in series for row in one['values']}
        assert [one['columns'] for one in series] == [['time', 'top' if 'TOP(' in query else 'bottom', 'hostname']]
    else:
        # null where a minute has entries but no growth: a gap in the picture
        last = {one['tags']['hostname']: value for one in series for _, value in one['values'] if value is not None}
    assert 'gw1' in last
    if '"limit"' in query:
        # full in: 1000 entries are left, at 0.5 a second
        assert last['gw2'] == 2000
    if 'TOP("last"' in query and "'usage'" in query:
        assert last['gw2'] == 50
        assert last.keys() == {'gw1', 'gw2'}


@pytest.mark.daemons
def test_influxdb_variables(fed: Fed) -> None:
    found = {}
    for variable in grafana.dashboard('influxdb')['templating']['list'][1:]:
        series = fed.ask(influx_query(variable['query']))
        pattern = variable['regex'].strip('/i') or '.'
        found[variable['name']] = {row[-1] for one in series for row in one['values'] if re.search(pattern, row[-1])}
    assert found == {'measurement': {'conntrack'}, 'service': {'conntrack'}, 'host': {'gw1', 'gw2'}}


@pytest.mark.daemons
def test_graphite_dashboard(fed: Fed) -> None:
    queries = []
    for query in dict.fromkeys(grafana.targets('graphite')):
        for variable, value in (('host', '{gw1,gw2}'), ('service', 'conntrack'), ('command', '*')):
            query = query.replace(f'${variable}', value)
        queries.append(query)
    for query, series in zip(queries, fed.render(queries)):
        values = {one['target']: [value for value, _ in one['datapoints']] for one in series}
        assert any(name.startswith('gw1') for name in values), query
        assert all(values.values()), query
        if 'divideSeries' in query:
            assert values['gw2'][-1] == 2000
        if 'highest(' in query and '.usage.' in query:
            assert values['gw2'][-1] == 50
        if 'usage.warn' in query:
            assert values['gw2 warning'] == [85]
