"""The Prometheus dashboard as a picture: its panels as packaging/dashboards describes them, drawn by matplotlib from
what a real Prometheus answers.
"""

from __future__ import annotations

import json
import math
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dashboards.model import Panel, Promql
from dashboards.rows import ROWS

#: (legend, seconds, values)
Line = tuple[str, list[float], list[float]]
#: asks Prometheus' API: (path, parameters) -> data.result
Ask = Callable[[str, dict[str, str]], list[dict[str, Any]]]
COLOURS = ('#1f60c4', '#37872d', '#8f3bb8', '#fa6400', '#c4162a')
STATES = {'green': '#37872d', 'orange': '#ff9830', 'red': '#c4162a'}
UNITS = {'percent': '%', 'pps': 'packets/s', 'cps': 'connections/s', 's': 's', 'short': ''}
INK, FRAME, BACK = '#24292e', '#d0d7de', '#f4f5f5'
#: of the picture, in inches; and of one line of Grafana's grid
WIDTH, LINE = 14.0, 0.34


def asker(address: str) -> Ask:
    """Asks the Prometheus at this address."""
    def ask(path: str, parameters: dict[str, str]) -> list[dict[str, Any]]:
        url = f'{address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}'
        with urllib.request.urlopen(url, timeout=10) as page:
            found: list[dict[str, Any]] = json.load(page)['data']['result']
        return found
    return ask


def lines(panel: Panel, ask: Ask, start: float, end: float) -> list[Line]:
    """What a panel shows of a time."""
    found = []
    for query in panel.prometheus:
        step = max(1.0, (end - start) / 300)
        for one in ask('query_range', {'query': query.expr.replace('$instance', '.*'), 'start': str(start),
                                       'end': str(end), 'step': str(step)}):
            found.append((legend(query, one['metric']), [float(at) - start for at, _ in one['values']],
                          [float(value) for _, value in one['values']]))
    return found


def legend(query: Promql, labels: dict[str, str]) -> str:
    text = query.legend
    for name, value in labels.items():
        text = text.replace('{{' + name + '}}', value)
    # a label that a series does not have
    return ' '.join(part for part in text.replace('{{', ' {{').split() if not part.startswith('{{'))


def placed(panels: Sequence[tuple[str, Panel]]) -> Iterator[tuple[str, Panel, int, int, int]]:
    """(heading, panel, column, line, width), as Grafana lays them out; a heading takes a line."""
    heading, left, top, height = '', 0, 0, 0
    for title, panel in panels:
        if title != heading or left + panel.width > 24:
            top, left, height = top + height + (title != heading), 0, 0
        yield title if title != heading else '', panel, left, top, panel.width
        heading, left, height = title, left + panel.width, max(height, panel.height)


def draw(ask: Ask, start: float, end: float, title: str, file: Path) -> list[str]:
    """Draws all panels that have data into an SVG; returns the titles of those without."""
    import matplotlib

    matplotlib.use('svg')
    matplotlib.rcParams.update({'svg.fonttype': 'none', 'svg.hashsalt': 'dashboard', 'font.size': 8,
                                'font.family': 'DejaVu Sans', 'text.color': INK, 'axes.edgecolor': FRAME,
                                'xtick.color': INK, 'ytick.color': INK, 'axes.spines.top': False,
                                'axes.spines.right': False})
    from matplotlib import pyplot
    from matplotlib.patches import Rectangle

    shown, empty = [], []
    for row in ROWS:
        for panel in row.shown('prometheus'):
            found = lines(panel, ask, start, end)
            if found:
                shown.append((row.title, panel, found))
            else:
                empty.append(panel.title)
    answers = {id(panel): found for _, panel, found in shown}
    #: of a name the same in every panel
    colours: dict[str, str] = {}
    places = list(placed([(heading, panel) for heading, panel, _ in shown]))
    total = max(top + panel.height for _, panel, _, top, _ in places) + 2
    figure = pyplot.figure(figsize=(WIDTH, total * LINE), facecolor=BACK)
    figure.text(0.012, 1 - 0.7 / total, title, fontsize=12, fontweight='bold', va='center')
    for heading, panel, left, top, width in places:
        top += 1
        if heading:
            figure.text(0.012, 1 - (top - 0.4) / total, heading, fontsize=9, fontweight='bold', va='center')
        x, y = left / 24, 1 - (top + panel.height) / total
        across, high = width / 24, panel.height / total
        figure.add_artist(Rectangle((x + 0.004, y + 0.15 / total), across - 0.008, high - 0.3 / total,
                                    facecolor='white', edgecolor=FRAME, linewidth=0.8, zorder=-1))
        unit = UNITS[panel.unit]
        figure.text(x + 0.012, y + high - 0.75 / total, panel.title + (f'  ({unit})' if unit else ''), va='center',
                    fontweight='bold')
        axes = figure.add_axes((x + 0.05, y + 1.6 / total, across - 0.065, high - 3.2 / total), facecolor='white')
        if panel.kind == 'lines':
            _lines(axes, panel, answers[id(panel)], colours)
        else:
            _ranking(axes, panel, answers[id(panel)])
    figure.savefig(file, format='svg', metadata={'Date': None}, facecolor=BACK)
    pyplot.close(figure)
    return empty


def _lines(axes: Any, panel: Panel, found: Sequence[Line], colours: dict[str, str]) -> None:
    dashed = dict(panel.dashed)
    for name, at, values in found:
        ending = next((ending for ending in dashed if name.endswith(ending)), None)
        style = {'color': STATES[dashed[ending]], 'linestyle': '--', 'linewidth': 1.0} if ending else \
            {'color': colours.setdefault(name, COLOURS[len(colours) % len(COLOURS)]), 'linewidth': 1.3}
        axes.plot(at, values, label=name, **style)
    if panel.logarithmic:
        axes.set_yscale('log')
        axes.minorticks_off()
    axes.grid(color='#ebedf0', linewidth=0.6)
    if panel.minimum is not None:
        axes.set_ylim(bottom=panel.minimum)
    if panel.maximum is not None and panel.unit == 'percent':
        axes.set_ylim(top=panel.maximum * 1.02)
    elif panel.maximum is not None:
        axes.set_ylim(top=min(panel.maximum, axes.get_ylim()[1]))
    axes.xaxis.set_major_formatter(lambda second, _: f'{second:g} s')
    axes.yaxis.set_major_formatter(lambda value, _: _value(panel, value) if panel.unit == 's' else _short(value))
    axes.tick_params(length=0)
    # what was 0 all the time has no entry
    named = [line for line, (_, _, values) in zip(axes.get_lines(), found) if any(values)]
    if named:
        axes.legend(handles=named, loc='upper center', bbox_to_anchor=(0.5, -0.1), ncols=6, frameon=False, fontsize=7)


def _ranking(axes: Any, panel: Panel, found: Sequence[Line]) -> None:
    values = [(name, known[-1]) for name, _, known in sorted(found)]
    if panel.kind == 'first':
        values.sort(key=lambda one: one[1], reverse=panel.unit != 's')
    highest = panel.maximum or max((value for _, value in values), default=1) or 1
    for place, (name, value) in enumerate(values):
        colour = [state for start, state in ((-math.inf, 'green'), *panel.colours) if value >= start][-1]
        axes.barh(place, highest, color='#f0f1f3', height=0.6)
        axes.barh(place, value, color=STATES[colour], height=0.6)
        axes.text(0, place - 0.36, f'{name}  {_value(panel, value)}', va='bottom', fontsize=8,
                  color=INK if colour == 'green' else STATES[colour])
    axes.set_ylim(max(3, len(values)) - 0.4, -0.9)
    axes.set_axis_off()


def _value(panel: Panel, value: float) -> str:
    if panel.unit == 's':
        return f'{value:.0f} s' if value < 120 else f'{value / 60:.0f} min' if value < 7200 else f'{value / 3600:.1f} h'
    return f'{value:.1f} {UNITS[panel.unit]}'


def _short(value: float) -> str:
    for size, letter in ((1e6, 'M'), (1e3, 'K')):
        if abs(value) >= size:
            return f'{value / size:g}{letter}'
    return f'{value:g}'
