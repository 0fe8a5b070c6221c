"""Prometheus: the alert rules, and every query of the dashboard with the value that it has over known series."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import grafana
import pytest
import stage

RULES = stage.ICINGA / 'prometheus'
ALERTS = RULES / 'conntrack-alerts.yml'
RULE_TESTS = Path(__file__).parents[1] / 'prometheus/conntrack-alerts-test.yml'
# a gateway without --netns all; a node with a pod and a container
HOST = {'instance': 'gw1'}
NODE = {'instance': 'node1', 'netns': '', 'name': 'host', 'namespace': '', 'pod': '', 'container': ''}
POD = {**NODE, 'name': 'pod shop/web-1', 'namespace': 'shop', 'pod': 'web-1'}
REDIS = {**NODE, 'name': 'container redis (docker)', 'container': 'redis'}
PORTS = {**HOST, 'server': '203.0.113.9', 'port': '443', 'protocol': 'tcp', 'address': '198.51.100.1'}
#: one value a minute
SERIES: dict[str, list[tuple[dict[str, str], str]]] = {
    'conntrack_usage_ratio': [(HOST, '0.5+0.005x60'), (NODE, '0.2x60'), (POD, '0.3+0.01x60'), (REDIS, '0.3x60')],
    'conntrack_entries': [(HOST, '1000+10x60'), (NODE, '200x60'), (POD, '300+10x60'), (REDIS, '300x60')],
    'conntrack_entries_limit': [(HOST, '2000x60'), (NODE, '1000x60'), (POD, '1000x60'), (REDIS, '1000x60')],
    'conntrack_stat_drop_total': [(HOST, '0+60x60'), (NODE, '0x60'), (POD, '0+120x60'), (REDIS, '0x60')],
    'conntrack_stat_chaintoolong_total': [(HOST, '0+60x60')],
    'conntrack_stat_insert_failed_total': [(HOST, '0+120x60')],
    'conntrack_stat_early_drop_total': [(HOST, '0+180x60')],
    'conntrack_stat_clash_resolve_total': [(HOST, '0x60')],
    'conntrack_log_table_full_lines': [(HOST, '3x60')],
    'conntrack_new_connections_total': [(HOST, '0+600x60')],
    **{f'conntrack_{group}_connections_total': [({**HOST, 'host': '192.0.2.1'}, f'{number}x60'),
                                                ({**HOST, 'host': 'other'}, '10x60')]
       for number, group in enumerate(('opening', 'open', 'closing', 'closed'), 1)},
    'conntrack_nat_ports_used': [(PORTS, '100x60')],
    'conntrack_nat_ports': [(PORTS, '400x60')],
    'conntrack_allowance_exceeded_total': [({**HOST, 'interface': 'eth0'}, '0+60x60')],
    'conntrack_linklocal_allowance_exceeded_total': [({**HOST, 'interface': 'eth0'}, '0+120x60')],
    'conntrack_allowance_available': [({**HOST, 'interface': 'eth0'}, '1234x60')],
    'conntrack_namespaces': [({'instance': 'node1'}, '5x60')],
    'conntrack_entries_other': [({'instance': 'node1'}, '50x60')],
}
GW, NODE1 = ('gw1', 'node1')
#: of each panel what its queries answer after an hour, by instance and one more label (MORE)
MORE = {'Full first': 'pod', 'Fullest now': 'name', 'Remote hosts with most open connections': 'host',
        'NAT ports': 'port', 'Connections left': 'interface', 'Fullest namespaces': 'name',
        'Drops by namespace': 'name', 'Fullest pods': 'pod', 'Pods that are full first': 'pod', 'Drops by pod': 'pod',
        'Fullest containers outside of pods': 'container'}
ANSWERS: dict[str, list[dict[tuple[str, ...], float]]] = {
    'Usage': [{(GW,): 80, (NODE1,): 90}, {(): 85}, {(): 95}],
    'Usage now': [{(GW,): 80, (NODE1,): 90}],
    'Entries': [{(GW,): 1600, (NODE1,): 900}, {(GW,): 2000, (NODE1,): 1000}],
    'Growth': [{(GW,): 0.17, (NODE1,): 0.17}],
    # (2000 - 1600) / (10/60), (1000 - 900) / (10/60)
    'Full in': [{(GW,): 2400, (NODE1,): 600}],
    'Full in, now': [{(GW,): 2400, (NODE1,): 600}],
    'Drops and evictions by kind': [{(GW,): 1, (NODE1,): 2}, {(GW,): 1}, {(GW,): 2}, {(GW,): 3}],
    # of gw1 all that was dropped is of a clash, but for the long chains; node1 counts no clashes
    'Packets dropped': [{(GW,): 1, (NODE1,): 2}],
    'Kernel log': [{(GW,): 3}],
    'Full first': [{(GW,): 2400, (NODE1, 'web-1'): 600}],
    'Fullest now': [{(GW,): 80, (NODE1, 'host'): 20, (NODE1, 'pod shop/web-1'): 90,
                     (NODE1, 'container redis (docker)'): 30}],
    'Most packets dropped': [{(GW,): 1, (NODE1,): 2}],
    'New connections': [{(GW,): 10}],
    'TCP connections by state': [{(GW,): 11}, {(GW,): 12}, {(GW,): 13}, {(GW,): 14}],
    'Remote hosts with most open connections': [{(GW, '192.0.2.1'): 2}],
    'NAT ports': [{(GW, '443'): 25}],
    'Dropped by the cloud': [{(GW,): 1}, {(GW,): 2}],
    'Connections left': [{(GW, 'eth0'): 1234}],
    'Fullest namespaces': [{(NODE1, 'host'): 20, (NODE1, 'pod shop/web-1'): 90,
                            (NODE1, 'container redis (docker)'): 30}],
    'Drops by namespace': [{(NODE1, 'pod shop/web-1'): 2}],
    # 200 + 900 + 300 + 50
    'Namespaces': [{(NODE1,): 5}, {(NODE1,): 1450}],
    'Fullest pods': [{(NODE1, 'web-1'): 90}],
    'Pods that are full first': [{(NODE1, 'web-1'): 600}],
    'Drops by pod': [{(NODE1, 'web-1'): 2}],
    'Fullest containers outside of pods': [{(NODE1, 'redis'): 30}],
}


def promtool(*argv: str) -> None:
    stage.need('promtool')
    done = subprocess.run(['promtool', *argv], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.daemons
def test_alert_rules() -> None:
    promtool('check', 'rules', *map(str, RULES.glob('*.yml')))
    promtool('test', 'rules', str(RULE_TESTS))


@pytest.mark.daemons
def test_every_alert_has_a_test() -> None:
    alerts = re.findall(r'alert: (\w+)', ALERTS.read_text())
    assert len(alerts) == 18
    fired = re.findall(r'alertname: (\w+)\n +exp_alerts:', RULE_TESTS.read_text())
    assert set(fired) == set(alerts)


@pytest.mark.daemons
def test_every_query_of_the_dashboard_has_its_answer(tmp_path: Path) -> None:
    """By Prometheus' own engine, with the recording rules, over series as the exporter names them."""
    tests = []
    for panel in grafana.panels('prometheus'):
        answers, more = ANSWERS[panel['title']], MORE.get(panel['title'], 'none')
        assert len(answers) == len(panel['targets']), panel['title']
        for target, answer in zip(panel['targets'], answers):
            expr = target['expr'].replace('$instance', 'gw.*|node1')
            tests.append({
                # a series too many of the same labels would be in the sum
                'expr': f'sum by (instance, {more}) (round({expr}, 0.01))', 'eval_time': '1h',
                'exp_samples': [{'labels': labels(dict(zip(('instance', more), names))), 'value': value}
                                for names, value in answer.items()]})
    assert {panel['title'] for panel in grafana.panels('prometheus')} == ANSWERS.keys()
    file = tmp_path / 'dashboard.yml'
    # JSON is YAML
    file.write_text(json.dumps({
        'evaluation_interval': '1m', 'rule_files': [str(path) for path in RULES.glob('*.yml')],
        'tests': [{'interval': '1m', 'promql_expr_test': tests, 'input_series': [
            {'series': name + labels(own), 'values': values}
            for name, found in SERIES.items() for own, values in found]}]}))
    promtool('test', 'rules', str(file))


def labels(values: dict[str, str]) -> str:
    return '{' + ','.join(f'{name}="{value}"' for name, value in values.items() if value) + '}'
