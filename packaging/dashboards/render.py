"""Rows as a dashboard of Grafana 10.1 or later, by the types of grafana-foundation-sdk, made of Grafana's own."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Any, Union

from grafana_foundation_sdk.builders import bargauge, common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common as choices
from grafana_foundation_sdk.models import dashboard as models

from . import perfdata
from .model import Panel, Promql, Row
from .variables import NEEDS, TITLES, Variable, variables

Drawn = Union[timeseries.Panel, stat.Panel, bargauge.Panel, table.Panel]
#: three minutes without a value are a gap
GAP = 180_000
EVERY = '1m'


class StoreQuery(Dataquery, Builder['StoreQuery']):
    """A query of a store that the SDK has no types for."""

    def __init__(self, **fields: object) -> None:
        self.fields = fields

    def build(self) -> StoreQuery:
        return self

    def to_json(self) -> dict[str, object]:
        return self.fields


def text(store: str, rows: Sequence[Row]) -> str:
    """The dashboard's file."""
    built = _dashboard(store, rows).build().to_json()
    # the SDK asks for the dark one, whatever the reader has chosen
    del built['style']
    return json.dumps(built, cls=JSONEncoder, indent=2) + '\n'


def _dashboard(store: str, rows: Sequence[Row]) -> dashboard.Dashboard:
    built = (dashboard.Dashboard(f'Connection tracking ({TITLES[store]})').uid(f'conntrack-{store}')
             .description(f'Goes to Grafana by Dashboards - Import. Needs {NEEDS[store]}')
             .tags(['conntrack', 'netfilter']).refresh(EVERY).time('now-6h', 'now').timezone(choices.TimeZoneBrowser)
             .tooltip(models.DashboardCursorSync.CROSSHAIR).version(2)
             .with_variable(dashboard.DatasourceVariable('datasource').label('Data source').type(store)))
    for variable in variables(store):
        built.with_variable(_variable(store, variable))
    numbers = itertools.count(1)
    top = 0
    for row in rows:
        panels = row.shown(store)
        if not panels:
            continue
        heading = (dashboard.Row(row.title).id(next(numbers)).collapsed(row.closed)
                   .grid_pos(models.GridPos(h=1, w=24, x=0, y=top)))
        drawn, bottom = _placed(store, panels, top + 1, numbers)
        if row.closed:
            # Grafana keeps the panels of a row in it only while it is closed
            for panel in drawn:
                heading.with_panel(panel)
        built.with_row(heading)
        if not row.closed:
            for panel in drawn:
                built.with_panel(panel)
        top = top + 1 if row.closed else bottom
    return built


def _placed(store: str, panels: Sequence[Panel], top: int, numbers: Iterator[int]) -> tuple[list[Drawn], int]:
    """Panels from the left to the right as long as there is room, and the line below them."""
    drawn, left, height = [], 0, 0
    for panel in panels:
        # the last one, where its neighbour has nothing from this store, takes the whole width
        width = 24 if len(panels) == 1 or (panel is panels[-1] and left == 0) else panel.width
        if left + width > 24:
            top, left, height = top + height, 0, 0
        place = models.GridPos(h=panel.height, w=width, x=left, y=top)
        drawn.append(_panel(store, panel).id(next(numbers)).grid_pos(place))
        left, height = left + width, max(height, panel.height)
    return drawn, top + height


def _source(store: str) -> models.DataSourceRef:
    return models.DataSourceRef(type_val=store, uid='${datasource}')


def _variable(store: str, variable: Variable) -> dashboard.QueryVariable:
    built = (dashboard.QueryVariable(variable.name).label(variable.label).query(variable.query)
             .datasource(_source(store)).regex(variable.regex).multi(variable.multi)
             .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(models.VariableSort.ALPHABETICAL_ASC))
    if variable.all:
        return built.include_all(True)
    return built.current(models.VariableOption(selected=True, text=variable.first, value=variable.first))


def _panel(store: str, panel: Panel) -> Drawn:
    built: Drawn
    # of InfluxDB a ranking is a table, in which a bar gauge would mix up host and value
    if panel.kind == 'first' and store == 'influxdb':
        built = table.Panel()
    elif panel.kind == 'first':
        built = bargauge.Panel().orientation(choices.VizOrientation.HORIZONTAL).reduce_options(_last())
    elif panel.kind == 'now':
        built = (stat.Panel().reduce_options(_last()).color_mode(choices.BigValueColorMode.BACKGROUND)
                 .graph_mode(choices.BigValueGraphMode.NONE))
    else:
        built = _lines(panel)
    built.title(panel.title).description(panel.text).datasource(_source(store)).unit(panel.unit)
    if panel.minimum is not None:
        built.min(panel.minimum)
    if panel.maximum is not None:
        built.max(panel.maximum)
    if panel.kind != 'lines':
        built.thresholds(dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(
            [models.Threshold(value=None, color='green')]
            + [models.Threshold(value=start, color=colour) for start, colour in panel.colours]))
    return built.targets(list(_targets(store, panel)))


def _lines(panel: Panel) -> timeseries.Panel:
    built = (timeseries.Panel().line_width(1).fill_opacity(10).show_points(choices.VisibilityMode.NEVER)
             .span_nulls(GAP)
             .legend(common.VizLegendOptions().display_mode(choices.LegendDisplayMode.TABLE).show_legend(True)
                     .placement(choices.LegendPlacement.BOTTOM).calcs(['lastNotNull', 'max']))
             .tooltip(common.VizTooltipOptions().mode(choices.TooltipDisplayMode.MULTI)
                      .sort(choices.SortOrder.DESCENDING)))
    if panel.logarithmic:
        built.scale_distribution(common.ScaleDistributionConfig().type(choices.ScaleDistribution.LOG).log(10))
    for ending, colour in panel.dashed:
        built.override_by_regexp(f'/{ending}$/', [
            models.DynamicConfigValue('color', {'mode': 'fixed', 'fixedColor': colour}),
            models.DynamicConfigValue('custom.lineStyle', {'fill': 'dash', 'dash': [10, 10]}),
            models.DynamicConfigValue('custom.fillOpacity', 0)])
    return built


def _last() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().values(False).calcs(['lastNotNull'])


def _targets(store: str, panel: Panel) -> Iterator[Builder[Any]]:
    for number, asked in enumerate(panel.queries(store)):
        ref = chr(ord('A') + number)
        if isinstance(asked, Promql):
            query = (prometheus.Dataquery().expr(asked.expr).legend_format(asked.legend).ref_id(ref)
                     .datasource(_source(store)))
            yield query.instant() if panel.kind == 'first' else query.range()
        elif store == 'influxdb':
            found = perfdata.influxdb(asked)
            named = {'resultFormat': 'time_series', 'alias': found.alias} if found.alias else {'resultFormat': 'table'}
            yield StoreQuery(rawQuery=True, **named, query=found.query, refId=ref, datasource=_source(store))
        else:
            yield StoreQuery(target=perfdata.graphite(asked), refId=ref, datasource=_source(store))
