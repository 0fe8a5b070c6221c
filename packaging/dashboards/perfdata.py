"""What InfluxDB and Graphite are asked for the check's performance data, as Icinga 2's writers put it there."""

from __future__ import annotations

from typing import NamedTuple, Union

from .model import First, FullIn, Perfdata

Asked = Union[Perfdata, FullIn, First]
FROM = 'FROM /^$measurement$/ WHERE {}'
CHOSEN = '"hostname" =~ /^$host$/ AND "service" =~ /^$service$/ AND $timeFilter'
ALL = '"service" =~ /^$service$/ AND $timeFilter'
TREE = 'icinga2.{}.services.$service.$command.perfdata'
#: nodes of a path up to 'perfdata', and those with the host and the label
PREFIX, HOST, LABEL = 5, 1, 6


class InfluxQuery(NamedTuple):
    """A query in InfluxQL, and how its series are called; without an alias it answers with one table."""

    query: str
    alias: str


def influxdb(asked: Asked) -> InfluxQuery:
    """Asks InfluxDB 1.x."""
    if isinstance(asked, First):
        if isinstance(asked.of, FullIn):
            inner, choice = _influx_full_in(ALL, 'last', 'GROUP BY "hostname"'), 'BOTTOM'
        else:
            inner, choice = (f'SELECT last("{asked.of.field}") AS "last" '
                             + FROM.format(f'"metric" = \'{asked.of.labels[0]}\' AND {ALL} GROUP BY "hostname"')), 'TOP'
        return InfluxQuery(f'SELECT {choice}("last", "hostname", {asked.number}) FROM ({inner})', '')
    if isinstance(asked, FullIn):
        return InfluxQuery(_influx_full_in(CHOSEN, 'max', 'GROUP BY time(1m), "hostname" fill(none)'), '$tag_hostname')
    several = len(asked.labels) > 1 or '*' in asked.labels[0]
    metric = f"= '{asked.labels[0]}'" if not several else f'=~ /^({"|".join(asked.labels).replace("*", ".*")})$/'
    by = '"hostname", "metric"' if several else '"hostname"'
    return InfluxQuery(f'SELECT {asked.together}("{asked.field}") ' + FROM.format(
        f'"metric" {metric} AND {CHOSEN} GROUP BY time($__interval), {by} fill(none)'),
        '$tag_hostname' + (' $tag_metric' if several else asked.suffix))


def _influx_full_in(hosts: str, together: str, group: str) -> str:
    entries = 'SELECT "value" AS "entries", "max" AS "limit" ' + FROM.format(f'"metric" = \'entries\' AND {hosts}')
    growth = ('SELECT "value" AS "growth" '
              + FROM.format(f'"metric" = \'growth_per_s\' AND "value" > 0 AND {hosts}'))
    return (f'SELECT ({together}("limit") - {together}("entries")) / {together}("growth") AS "last" '
            f'FROM ({entries}), ({growth}) WHERE $timeFilter {group}')


def graphite(asked: Asked) -> str:
    """Asks Graphite 1.1.5 or later."""
    if isinstance(asked, First):
        choice = 'lowest' if isinstance(asked.of, FullIn) else 'highest'
        inner = _graphite_full_in('*') if isinstance(asked.of, FullIn) else f'{TREE.format("*")}.{_values(asked.of)}'
        return f'aliasByNode({choice}({inner}, {asked.number}, "current"), {HOST})'
    if isinstance(asked, FullIn):
        return f'aliasByNode({_graphite_full_in("$host")}, {HOST})'
    several = len(asked.labels) > 1 or '*' in asked.labels[0]
    named = f'aliasByNode({TREE.format("$host")}.{_values(asked)}, {HOST}{f", {LABEL}" if several else ""})'
    return f'aliasSub({named}, "$", "{asked.suffix}")' if asked.suffix else named


def _values(asked: Perfdata) -> str:
    label = asked.labels[0] if len(asked.labels) == 1 else '{' + ','.join(asked.labels) + '}'
    return f'{label}.{asked.field}'


def _graphite_full_in(hosts: str) -> str:
    # host by host: lists of series are paired by their place, and not every host has each
    return (f'applyByNode({TREE.format(hosts)}.growth_per_s.value, {PREFIX}, "divideSeries(diffSeries(%.entries.max, '
            '%.entries.value), removeBelowValue(%.growth_per_s.value, 0.000001))", "%")')
