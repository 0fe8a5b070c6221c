"""What a dashboard consists of, without a word of Grafana's."""

from __future__ import annotations

from typing import NamedTuple

STORES = ('prometheus', 'influxdb', 'graphite')


class Promql(NamedTuple):
    """A query of Prometheus. HOSTS stands in it for the chosen hosts."""

    expr: str
    legend: str = '{{instance}}'


class Perfdata(NamedTuple):
    """Values of the check's performance data: a series for each chosen host and, of several labels, for each label."""

    #: '*' stands for any rest of a label
    labels: tuple[str, ...]
    #: how InfluxDB puts the values of an interval together
    together: str = 'max'
    #: value, warn, crit or max, as Icinga's writers call them
    field: str = 'value'
    #: behind the host in the legend
    suffix: str = ''


class FullIn(NamedTuple):
    """Seconds until the table is full at the growth in the performance data; of hosts where it grows."""


class First(NamedTuple):
    """Of all hosts those whose last value is the highest; of FullIn, the lowest."""

    of: Perfdata | FullIn
    number: int = 10


class Panel(NamedTuple):
    """One panel. A store that has none of its queries does not get it."""

    title: str
    text: str
    prometheus: tuple[Promql, ...] = ()
    #: for InfluxDB and Graphite, which Icinga feeds
    perfdata: tuple[Perfdata | FullIn | First, ...] = ()
    #: 'lines', 'now' (the last value of each series) or 'first' (a ranking of last values)
    kind: str = 'lines'
    #: Grafana's name
    unit: str = 'short'
    #: of 24 columns, and in rows of 30 pixels
    width: int = 12
    height: int = 8
    minimum: float | None = 0
    maximum: float | None = None
    #: 10 times as much is as far as 100 times as much is from that
    logarithmic: bool = False
    #: (from this value on, colour)
    colours: tuple[tuple[float, str], ...] = ()
    #: endings of the legend whose lines are dashed
    dashed: tuple[tuple[str, str], ...] = ()

    def queries(self, store: str) -> tuple[Promql | Perfdata | FullIn | First, ...]:
        return self.prometheus if store == 'prometheus' else self.perfdata


class Row(NamedTuple):
    """Panels under a heading."""

    title: str
    panels: tuple[Panel, ...]
    #: shown only when it is opened, and asked only then
    closed: bool = False

    def shown(self, store: str) -> list[Panel]:
        """The panels that a store has something for."""
        return [panel for panel in self.panels if panel.queries(store)]
