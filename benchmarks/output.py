"""What an output of the plugin must be, so that a monitoring system can read it."""

from __future__ import annotations

import re

STATES = ('OK', 'WARNING', 'CRITICAL', 'UNKNOWN')
PERFDATA = re.compile(r'[a-z0-9_]+=-?\d+(\.\d+)?[%sB]?(;(-?\d+(\.\d+)?)?){0,4}')


def proper(text: str, status: int) -> None:
    """An output as a monitoring system can read it. Raises AssertionError."""
    assert status in (0, 1, 2, 3), f'exit status {status}'
    assert text.endswith('\n'), f'no whole line: {text!a}'
    first, *rest = text[:-1].split('\n')
    assert re.match(f'CONNTRACK {STATES[status]} - .', first), f'first line {first!a}, exit status {status}'
    assert 'internal error' not in text, text
    assert len(text) < 20000, f'{len(text)} characters'
    said, _, perfdata = first.partition(' | ')
    for line in (said, *rest):
        harmless(line)
    for word in perfdata.split():
        assert PERFDATA.fullmatch(word), f'performance data {word!a}'


def harmless(text: str) -> None:
    """Fit for the output as it is."""
    assert text.isprintable(), f'not printable: {text!a}'
    assert '|' not in text, f'a stray pipe: {text!a}'
