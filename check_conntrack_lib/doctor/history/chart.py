"""A recorded past as characters: usage as a chart, losses below it, facts below that."""

from __future__ import annotations

import time
from collections.abc import Mapping
from math import ceil, log10

from ...analysis.timeline import Stretch, condense
from .facts import Story, checklist, facts, retrospective, title

BLOCKS = ' \u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588'
ASCII = ' .:-=+*%#'
#: lines of the chart
HEIGHT = 8
MARGIN = 14
#: a pause in the record longer than this stays empty in the chart, in seconds
PAUSE = 3600.0


def text(story: Story, columns: int, blocks: bool) -> str:
    """The whole output, without the last newline."""
    width = columns - MARGIN
    slot = max((story.end - story.begin) / (width - 1), 1.0)
    slots = condense(story.steps, story.begin, slot)
    shades = BLOCKS if blocks else ASCII
    lines = [story.path, title(story), '', *_chart(story, slots, slot, width, shades)]
    for name in ('lost', 'early_drop', 'insert_failed'):
        counted = {number: _counted(stretch, name) for number, stretch in slots.items()}
        if any(counted.values()):
            # by magnitude: one lost packet must be seen beside a million
            row = ''.join(shades[min(8, ceil(log10(counted.get(k, 0)) + 1)) if counted.get(k) else 0]
                          for k in range(width))
            lines.append(f'{name:>{MARGIN - 1}}|{row}'.rstrip())
    lines += [' ' * (MARGIN - 1) + '+' + '-' * width, _axis(story, width), '']
    lines += [f'{name:17}{words}' for name, words in facts(story)]
    episode = story.worst
    if episode:
        lines += ['', 'the worst episode']
        lines += [f'  {name:15}{words}' for name, words in retrospective(episode, story)]
        lines += ['', 'for good']
        lines += [f'  {who:15}{words}' for who, words in checklist(episode, story)]
    return '\n'.join(lines)


def _chart(story: Story, slots: Mapping[int, Stretch], slot: float, width: int, shades: str) -> list[str]:
    unlimited = all(step.sample.maximum <= 0 for step in story.steps)
    values = {k: stretch.peak.sample.entries if unlimited else stretch.peak.usage for k, stretch in slots.items()}
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


def _axis(story: Story, width: int) -> str:
    """Times below the chart, as many as there is room for."""
    days = (story.end - story.begin) / 86400
    pattern = '%H:%M' if days < 1 else '%m-%d %H:%M' if days < 8 else '%m-%d'
    row = [' '] * (MARGIN + width)
    for k in range(0, width - 10, max(14, width // 6)):
        stamp = time.strftime(pattern, time.localtime(story.begin + (story.end - story.begin) * k / (width - 1)))
        row[MARGIN + k:MARGIN + k + len(stamp)] = stamp
    return ''.join(row).rstrip()


def _counted(stretch: Stretch, name: str) -> int:
    if not stretch.losses:
        return 0
    return stretch.losses.lost if name == 'lost' else stretch.losses.packets.get(name, 0)
