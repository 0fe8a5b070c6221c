"""What can be chosen above a dashboard, and what the dashboard needs."""

from __future__ import annotations

from typing import NamedTuple

TITLES = {'prometheus': 'Prometheus', 'influxdb': 'InfluxDB', 'graphite': 'Graphite'}
NEEDS = {
    'prometheus': "a Prometheus data source that scrapes conntrack-doctor export, by --listen or by node_exporter's "
                  'textfile collector, and has the rules of icinga/prometheus.',
    'influxdb': 'an InfluxDB data source with InfluxQL and of Icinga 2 its InfluxdbWriter or Influxdb2Writer with '
                'enable_send_thresholds = true: the thresholds and the maximum come from there.',
    'graphite': 'a Graphite data source (1.1.5 or later) and of Icinga 2 its GraphiteWriter with '
                'enable_send_thresholds = true: the thresholds and the maximum come from there.',
}


class Variable(NamedTuple):
    """Something that can be chosen among what a query finds."""

    name: str
    label: str
    query: str
    regex: str = ''
    multi: bool = True
    #: 'All' can be chosen, and is at first
    all: bool = True
    #: what else is chosen at first
    first: str = 'conntrack'


def variables(store: str) -> tuple[Variable, ...]:
    """Those of a store, each after those that its query needs."""
    return {
        'prometheus': (
            Variable('instance', 'Host', 'label_values(conntrack_entries, instance)'),
        ),
        'influxdb': (
            Variable('measurement', 'Check command', 'SHOW MEASUREMENTS', '/conntrack|nrpe/', all=False),
            Variable('service', 'Service', 'SHOW TAG VALUES FROM /^$measurement$/ WITH KEY = "service" '
                     'WHERE "metric" = \'usage\'', '/conntrack/i', multi=False, all=False),
            Variable('host', 'Host', 'SHOW TAG VALUES FROM /^$measurement$/ WITH KEY = "hostname" '
                     'WHERE "service" =~ /^$service$/'),
        ),
        'graphite': (
            Variable('host', 'Host', 'icinga2.*'),
            Variable('service', 'Service', 'icinga2.$host.services.*', '/conntrack/i', multi=False, all=False),
            Variable('command', 'Check command', 'icinga2.$host.services.$service.*'),
        ),
    }[store]
