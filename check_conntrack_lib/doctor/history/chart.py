"""The history as text for a terminal: usage as a chart, drops below it, facts below that."""

from __future__ import annotations

import time
from collections.abc import Mapping
from math import ceil, log10

from ...analysis.timeline import TimeBucket, condense
from ...defaults import DAY
from .facts import HistoryFacts, extent, facts, title
from .worst_incident import checklist, retrospective

#: characters of the chart, by eighths of a line; of ASCII where the terminal has no blocks
BLOCKS = ' \u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588'
ASCII = ' .:-=+*%#'
#: lines of the chart
HEIGHT = 8
#: columns left of the chart
MARGIN = 14
#: below this many minutes times have seconds
SHORT = 10
#: a pause in the history longer than this stays empty in the chart, and is a gap in the line, in seconds
PAUSE = 3600.0


def text(history: HistoryFacts, columns: int, blocks: bool) -> str:
    """The whole output, without the last newline."""
    width = columns - MARGIN
    slot = max((history.end - history.begin) / (width - 1), 1.0)
    slots = condense(history.intervals, history.begin, slot)
    shades = BLOCKS if blocks else ASCII
    lines = [title(history), f'{extent(history)}, from {history.path}', '',
             *_chart(history, slots, slot, width, shades)]
    for name in ('dropped', 'early_drop', 'insert_failed'):
        counted = {number: _counted(bucket, name) for number, bucket in slots.items()}
        if any(counted.values()):
            # by magnitude: one dropped packet must be seen beside a million
            row = ''.join(shades[min(8, ceil(log10(counted.get(k, 0)) + 1)) if counted.get(k) else 0]
                          for k in range(width))
            lines.append(f'{name:>{MARGIN - 1}}|{row}'.rstrip())
    lines += [' ' * (MARGIN - 1) + '+' + '-' * width, _axis(history, width), '']
    lines += [f'{name:17}{words}' for name, words in facts(history)]
    episode = history.worst
    if episode:
        lines += ['', 'worst incident']
        lines += [f'  {name:17}{words}' for name, words in retrospective(episode, history)]
        lines += ['', 'follow-up']
        lines += [f'  {who:17}{words}' for who, words in checklist(episode, history)]
    return '\n'.join(lines)


def _chart(history: HistoryFacts, slots: Mapping[int, TimeBucket], slot: float, width: int, shades: str) -> list[str]:
    unlimited = all(interval.sample.maximum <= 0 for interval in history.intervals)
    values = {k: bucket.peak.sample.entries if unlimited else bucket.peak.usage for k, bucket in slots.items()}
    top = max(1.0, max(values.values()) if unlimited else 100.0)
    heights = [min(1.0, value / top) * HEIGHT * 8 for value in _filled(values, width, PAUSE / slot)]
    lines = []
    for row in range(HEIGHT - 1, -1, -1):
        line = top * (row + 1) / HEIGHT
        label = (f'{line:.0f}' if unlimited else f'{line:.0f}%') if row % 2 else ''
        drawn = ''.join(shades[max(0, min(8, ceil(height - row * 8)))] for height in heights)
        lines.append(f'{label:>{MARGIN - 1}}|{drawn}'.rstrip())
    return lines


def _filled(values: Mapping[int, float], width: int, longest: float) -> list[float]:
    """A value for each column: between two that are not too far apart, on the line between them."""
    row = [0.0] * width
    known = sorted(values)
    for a, b in zip(known, known[1:]):
        if b - a <= longest:
            for k in range(a + 1, min(b, width)):
                row[k] = values[a] + (values[b] - values[a]) * (k - a) / (b - a)
    for k in known:
        row[min(k, width - 1)] = max(row[min(k, width - 1)], values[k])
    return row


def _axis(history: HistoryFacts, width: int) -> str:
    """Times below the chart, as many as there is room for."""
    days = (history.end - history.begin) / DAY
    pattern = '%H:%M:%S' if days * 1440 < SHORT else '%H:%M' if days < 1 else '%m-%d %H:%M' if days < 8 else '%m-%d'
    row = [' '] * (MARGIN + width)
    for k in range(0, width - 10, max(14, width // 6)):
        stamp = time.strftime(pattern, time.localtime(history.begin + (history.end - history.begin) * k / (width - 1)))
        row[MARGIN + k:MARGIN + k + len(stamp)] = stamp
    return ''.join(row).rstrip()


def _counted(bucket: TimeBucket, name: str) -> int:
    if not bucket.losses:
        return 0
    return bucket.losses.lost if name == 'dropped' else bucket.losses.packets.get(name, 0)
