"""The dashboards are what their description says, whole, and ask for metrics that there are."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import grafana
import pytest

from check_conntrack_lib.doctor.export import all_namespaces, metrics, per_host

CHECKOUT = Path(__file__).parent.parent
RULES = CHECKOUT / 'icinga/prometheus'
GRAFANAS_OWN = {'timeFilter', '__interval', 'tag_hostname', 'tag_metric'}


@pytest.mark.skipif(sys.version_info < (3, 11), reason='no Python 3.11 or later here, which the SDK of Grafana needs')
def test_the_files_are_what_the_description_makes() -> None:
    done = subprocess.run([sys.executable, CHECKOUT / 'packaging/grafana_dashboards.py', '--check'],
                          capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, '', '')


@pytest.mark.parametrize('store', grafana.STORES)
def test_dashboard_is_whole(store: str) -> None:
    whole = grafana.dashboard(store)
    assert re.match(r'Goes to Grafana by .* Needs ', whole['description'])
    defined = {variable['name'] for variable in whole['templating']['list']}
    used = {word for query in grafana.targets(store) for word in re.findall(r'\$([a-zA-Z_]+)', query)} - GRAFANAS_OWN
    assert used == defined - {'datasource'}
    # no data source of ours may be in it
    assert set(re.findall(r'"uid": "(.*?)"', json.dumps(whole))) == {'${datasource}', f'conntrack-{store}'}
    ids = [panel['id'] for panel in [*whole['panels'], *grafana.panels(store)]]
    assert len(set(ids)) == len(ids) - len([1 for panel in whole['panels'] if panel['type'] != 'row'])
    assert all(panel['description'] and panel['title'] for panel in grafana.panels(store))


@pytest.mark.parametrize('store', grafana.STORES)
def test_panels_do_not_overlap(store: str) -> None:
    whole = grafana.dashboard(store)['panels']
    # what is in closed rows is beside nothing else
    for side_by_side in [whole, *(row['panels'] for row in whole if row['type'] == 'row')]:
        cells = [(x, y) for place in (panel['gridPos'] for panel in side_by_side)
                 for x in range(place['x'], place['x'] + place['w'])
                 for y in range(place['y'], place['y'] + place['h'])]
        assert len(set(cells)) == len(cells)
        assert all(x < 24 for x, _ in cells)


def exported() -> set[str]:
    """Every name that the export gives, and the recording rules."""
    source = Path(metrics.__file__).read_text() + Path(all_namespaces.__file__).read_text()
    return {
        *re.findall(r"'(conntrack_[a-z_]+)'", source),
        *(f'conntrack_stat_{name}' for name in metrics.COUNTED),
        *(f'conntrack_{group}_connections_total' for group in per_host.GROUPS.values()),
        *(f'conntrack_{name.removeprefix("conntrack_")}' for name, _kind, _text in metrics.CLOUD),
        *(name for path in RULES.glob('*.yml') for name in re.findall(r'- record: (\S+)', path.read_text())),
    }


def test_prometheus_is_asked_for_what_is_exported() -> None:
    asked = {name for query in grafana.targets('prometheus') for name in re.findall(r'conntrack[a-z0-9_:]+', query)}
    known = exported()
    assert {name for name in asked if name not in known and name.removesuffix('_total') not in known} == set()
    # of every group of metrics something is shown
    assert {'conntrack_nat_ports_used', 'conntrack_new_connections_total', 'conntrack_allowance_available',
            'conntrack_namespaces', 'conntrack:seconds_to_full:first10'} <= asked


@pytest.mark.parametrize('store', ['influxdb', 'graphite'])
def test_the_others_are_asked_for_labels_of_the_performance_data(store: str) -> None:
    table = (CHECKOUT / 'docs/performance-data.md').read_text()
    labels = set(re.findall(r'`([a-z_]+)`', ' '.join(line.split('|')[1] for line in table.splitlines()
                                                     if line.startswith('| `'))))
    pattern = r'"metric" =~? [\'/]\^?\(?(.*?)\)?\$?[\'/] ' if store == 'influxdb' \
        else r'perfdata\.\{?([a-z_,*]+?)\}?\.(?:value|warn|crit|max)'
    asked = {label for query in grafana.targets(store) for found in re.findall(pattern, query)
             for label in re.split(r'[|,]', found)}
    assert len(asked) > 15
    for label in asked:
        shape = re.compile(re.sub(r'\.?\*', '.*', label))
        assert any(shape.fullmatch(known) for known in labels), label
