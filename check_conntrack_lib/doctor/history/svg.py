"""The history as SVG, drawn by matplotlib; where the reader wants dark pages its style sheet changes the colours."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

from ...analysis.timeline import RecordedNamespace, TimeBucket, changes, condense, episodes, namespace_key
from ...defaults import CRITICAL, WARNING
from ...formatting import local_time
from ...model import Missing
from .. import DoctorError
from ..state_shares import by_state, largest
from .chart import PAUSE
from .facts import HistoryFacts
from .matplotlib_settings import own_settings

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: each colour that is drawn with, and what it becomes where the reader wants dark pages
COLOURS: Mapping[str, str] = {
    '#ffffff': '#0d1117',  # paper
    '#1f2328': '#e6edf3',  # ink
    '#d0d7de': '#30363d',  # grid
    '#0969da': '#58a6ff',  # usage, growth
    '#8c959f': '#6e7681',  # other namespaces
    '#9a6700': '#d29922',  # warning
    '#cf222e': '#ff7b72',  # dropped
    '#8250df': '#bc8cff',  # insert_failed
    '#54aeff': '#388bfd', '#4ac26b': '#2ea043', '#d4a72c': '#bb8009', '#e16f24': '#db6d28', '#bf3989': '#db61a2',
    '#1b7c83': '#39c5cf', '#afb8c1': '#484f58',  # states
}
PAPER, INK, GRID, BLUE, GREY, AMBER, RED, VIOLET, *STATES = COLOURS
#: text without a colour of its own is black
DARK = '@media (prefers-color-scheme:dark){' + f'text{{fill:{COLOURS[INK]}}}' + ''.join(
    f'[style*="{kind}: {light}"]{{{kind}:{dark}!important}}'
    for light, dark in COLOURS.items() for kind in ('fill', 'stroke')) + '}'
#: inches; narrow, for a telephone: text keeps its size when the picture is as wide as the screen
WIDTH, PANEL = 5.6, 1.75
#: more points than there are pixels are no use
MOST_POINTS = 700
#: growth from one sample to the next is mostly noise
GROWTH_POINTS = 140
OTHERS = 5
#: incidents and changes that are drawn, the newest: each costs milliseconds
MOST_MARKS = 500
#: room above the highest value for a line of the legend
LEGEND = 1.2
TICKS = (1, 10, 60, 300, 600, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800, 604800)


def svg(history: HistoryFacts) -> str:
    """A whole SVG document. Raises DoctorError without matplotlib."""
    try:
        with own_settings():
            import matplotlib
            from matplotlib.backends.backend_svg import FigureCanvasSVG
            from matplotlib.figure import Figure
    except ImportError:
        raise DoctorError('--svg and --html need the Python library matplotlib: apt install python3-matplotlib, '
                          'or pip install matplotlib') from None
    settings: dict[Any, Any] = {
        'svg.fonttype': 'none', 'svg.hashsalt': 'conntrack', 'font.family': 'sans-serif', 'font.size': 9,
        'text.color': INK, 'axes.labelcolor': INK, 'axes.edgecolor': GRID, 'xtick.color': INK, 'ytick.color': INK,
        'grid.color': GRID, 'axes.facecolor': PAPER, 'figure.facecolor': PAPER, 'axes.spines.top': False,
        'axes.spines.right': False, 'legend.facecolor': PAPER, 'legend.edgecolor': 'none',
        'legend.framealpha': 0.8, 'legend.fontsize': 8,
    }
    with matplotlib.rc_context(settings):
        panels = [_usage, _growth, _losses]
        if len(history.profiles) > 1 and any(by_state(past.profile) for past in history.profiles):
            panels.append(_states)
        figure = Figure(figsize=(WIDTH, PANEL * len(panels) + 0.3), layout='constrained')
        FigureCanvasSVG(figure)
        axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        slot = max((history.end - history.begin) / MOST_POINTS, 1.0)
        buckets = list(condense(history.intervals, history.begin, slot).values())
        for own, panel in zip(axes, panels):
            own.grid(axis='y', linewidth=0.5)
            panel(own, history, buckets)
        axes[-1].set_xlim(history.begin, max(history.end, history.begin + 1))
        _times(axes[-1], history)
        out = io.StringIO()
        figure.savefig(out, format='svg', metadata={'Date': None, 'Creator': None})
    return _adaptable(out.getvalue())


def _usage(axes: Axes, history: HistoryFacts, buckets: Sequence[TimeBucket]) -> None:
    unlimited = all(interval.sample.maximum <= 0 for interval in history.intervals)
    shown = namespace_key(history.intervals[-1].sample)
    for recorded in [one for one in history.namespaces if one.key != shown][:OTHERS]:
        _other(axes, history, recorded)
    points = [(bucket.peak.sample.at.wall, bucket.peak.sample.entries if unlimited else bucket.peak.usage,
               bucket.peak.sample.boot_id) for bucket in buckets]
    x, y = _line(points)
    axes.plot(x, y, color=BLUE, linewidth=1.4, marker='.' if len(points) < 30 else None, markersize=4)
    axes.fill_between(x, y, color=BLUE, alpha=0.12, linewidth=0)
    if unlimited:
        axes.set_title('entries (no limit)', loc='left', fontsize=9)
    else:
        axes.axhline(WARNING, color=AMBER, linewidth=0.8, linestyle='--', label=f'{WARNING:g}% WARNING')
        axes.axhline(CRITICAL, color=RED, linewidth=0.8, linestyle='--', label=f'{CRITICAL:g}% CRITICAL')
        axes.set_title('% of nf_conntrack_max used', loc='left', fontsize=9)
        axes.set_ylim(top=max(100.0, max(bucket.peak.usage for bucket in buckets)) * LEGEND * LEGEND)
    axes.set_ylim(bottom=0)
    _events(axes, history)
    if not isinstance(history.marks, Missing) and history.marks:
        axes.plot(list(history.marks), [0.78] * len(history.marks), color=RED, marker='v',
                  markersize=4, linestyle='', label='"table full" in the kernel log',
                  transform=axes.get_xaxis_transform())
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc='upper left', ncols=3, fontsize=7)


def _events(axes: Axes, history: HistoryFacts) -> None:
    """Shades the incidents and marks each change of nf_conntrack_max."""
    least = (history.end - history.begin) / MOST_POINTS
    for number, episode in enumerate(episodes(history.intervals)[-MOST_MARKS:]):
        begin = episode.began.sample.at.wall
        end = max(episode.ended or history.end, begin + least)
        axes.axvspan(begin, end, color=AMBER, alpha=0.3, linewidth=0, label='' if number else 'incident')
    for number, change in enumerate(changes(history.intervals)[-MOST_MARKS:]):
        axes.axvline(change.at, color=VIOLET, linewidth=0.8, linestyle=':',
                     label='' if number else 'nf_conntrack_max changed')


def _other(axes: Axes, history: HistoryFacts, recorded: RecordedNamespace) -> None:
    own = [interval for interval in history.others if namespace_key(interval.sample) == recorded.key]
    slot = max((history.end - history.begin) / MOST_POINTS, 1.0)
    points = [(bucket.peak.sample.at.wall, bucket.peak.usage, bucket.peak.sample.boot_id)
              for bucket in condense(own, history.begin, slot).values()]
    axes.plot(*_line(points), color=GREY, linewidth=0.8, label=f'namespace {history.called.of(recorded.newest)}')


def _growth(axes: Axes, history: HistoryFacts, _buckets: Sequence[TimeBucket]) -> None:
    slot = max((history.end - history.begin) / GROWTH_POINTS, 1.0)
    smoothed = condense(history.intervals, history.begin, slot).values()
    x, y = _stairs([(s.begin, s.end, None if s.growth is None else s.growth * 60) for s in smoothed])
    axes.plot(x, y, color=BLUE, linewidth=1)
    known = [value for value in y if value == value]
    if known and max(known) > 0:
        # a table that is emptied at once must not press the growth flat
        axes.set_ylim(bottom=max(min(0.0, *known), -max(known)) * 1.1, top=max(known) * 1.1)
    axes.axhline(0, color=INK, linewidth=0.5)
    axes.set_title('growth, entries per minute', loc='left', fontsize=9)


def _losses(axes: Axes, _history: HistoryFacts, buckets: Sequence[TimeBucket]) -> None:
    highest = 0.0
    for name, words, colour in (('', 'packets dropped', RED), ('early_drop', 'entries evicted', AMBER),
                                ('insert_failed', 'insert_failed', VIOLET)):
        rates = [(s.begin, s.end, None if s.losses is None else
                  s.losses.rate(s.losses.packets.get(name, 0) if name else s.losses.lost)) for s in buckets]
        x, y = _stairs(rates)
        highest = max([highest, *(rate for _, _, rate in rates if rate)])
        axes.plot(x, y, color=colour, linewidth=1, label=words)
        if not name:
            axes.fill_between(x, y, color=colour, alpha=0.25, linewidth=0)
    axes.set_ylim(bottom=0, top=highest * LEGEND or 1)
    axes.set_title('per second', loc='left', fontsize=9)
    axes.legend(loc='upper left', ncols=3, fontsize=7)


def _states(axes: Axes, history: HistoryFacts, _buckets: Sequence[TimeBucket]) -> None:
    known = [by_state(past.profile) for past in history.profiles]
    names = largest(known, len(STATES) - 1)
    layers = [[float(profile.get(name, 0)) for profile in known] for name in names]
    layers.append([float(sum(entries for name, entries in profile.items() if name not in names)) for profile in known])
    shown = len(layers) if any(layers[-1]) else len(names)
    axes.stackplot([past.at for past in history.profiles], layers[:shown], labels=[*names, 'other'][:shown],
                   colors=STATES[:len(names)] + STATES[-1:], linewidth=0)
    axes.set_title('entries by state', loc='left', fontsize=9)
    axes.set_ylim(bottom=0, top=max(sum(profile.values()) for profile in known) * LEGEND * LEGEND or 1)
    axes.legend(loc='upper left', ncols=4)


def _line(points: Sequence[tuple[float, float, str]]) -> tuple[list[float], list[float]]:
    """A line through (time, value, boot id), broken by reboots and pauses."""
    x, y = [], []
    before: tuple[float, float, str] | None = None
    for point in points:
        if before and (point[2] != before[2] or point[0] - before[0] > PAUSE):
            x.append(point[0])
            y.append(float('nan'))
        x.append(point[0])
        y.append(point[1])
        before = point
    return x, y


def _stairs(spans: Sequence[tuple[float, float, float | None]]) -> tuple[list[float], list[float]]:
    """A step for each (begin, end, value), broken where there is none."""
    x: list[float] = []
    y: list[float] = []
    for begin, end, value in spans:
        x += [begin, end]
        y += [float('nan') if value is None else value] * 2
    return x, y


def _times(axes: Axes, history: HistoryFacts) -> None:
    """Ticks at round local times; midnight is labelled with its date, and a short time with seconds."""
    span = history.end - history.begin
    tick = next((tick for tick in TICKS if span / tick <= 6), span / 6 or 1)
    offset = time.localtime(history.end).tm_gmtoff
    first = ceil((history.begin + offset) / tick) * tick - offset
    ticks = [first + k * tick for k in range(int((history.end - first) / tick) + 1)]
    clocks = [time.localtime(tick) for tick in ticks]
    pattern = '%H:%M:%S' if tick < 60 else '%H:%M'
    labels = [time.strftime('%b %d' if clock[3:6] == (0, 0, 0) else pattern, clock) for clock in clocks]
    if labels and all(':' in label for label in labels):
        labels[0] += time.strftime('\n%b %d', clocks[0])
    axes.set_xticks(ticks, labels)
    axes.set_xlabel(local_time('%Z', history.end), loc='right', fontsize=8)


def _adaptable(document: str) -> str:
    """The document with its style sheet, as wide as its place."""
    document = re.sub(r'(<svg [^>]*?) ?width="[^"]*"', r'\1', document, count=1)
    document = re.sub(r'(<svg [^>]*?) ?height="[^"]*"', r'\1', document, count=1)
    document = document.replace('<svg ', '<svg role="img" aria-label="usage, growth, drops and states over time" ', 1)
    return re.sub(r'(<svg [^>]*>)', lambda m: f'{m[1]}<style>{DARK}</style>', document, count=1)
