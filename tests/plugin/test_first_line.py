"""What a pager and NRPE's old protocol leave of an alert: of every golden output, the first 120 characters and the
first 1024 bytes.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import scenarios

from check_conntrack_lib.plugin.first_line import LONGEST

ROOT = Path(__file__).parents[2]
#: NRPE protocol 2
NRPE = 1024


def output(name: str) -> list[str]:
    return (ROOT / f'tests/golden/{name}.txt').read_text().splitlines()[1:-1]


ALERTS = [name for name in scenarios.names() if ' OK - ' not in output(name)[0]]


@pytest.mark.parametrize('name', scenarios.names())
def test_a_pager_shows_the_whole_first_line(name: str) -> None:
    first = re.sub(r'(container|pod|netns) .*?: ', '', output(name)[0].partition(' | ')[0], count=1)
    assert len(first) <= LONGEST, first


@pytest.mark.parametrize('name', ALERTS)
def test_nrpe_shows_the_next_command_and_the_kind_of_alert(name: str) -> None:
    shown = '\n'.join(output(name)).encode()[:NRPE].decode()
    assert re.search(r'^next: (?:sudo |systemctl )\S.*\n', shown, re.MULTILINE)
    code = re.search(r'^alert: ([a-z-]+) \(docs/alerts\.md#\1\); clears .+$', shown, re.MULTILINE)
    assert code, shown


@pytest.mark.parametrize('name', ALERTS)
def test_cause_then_next_then_alert(name: str) -> None:
    heads = [line.split(':')[0].split()[0] for line in output(name)[1:4]]
    assert heads[:3] == ['cause', 'next', 'alert'] or heads[:2] == ['next', 'alert'], heads
