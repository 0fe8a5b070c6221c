"""The shipped sudo rule against hostile command lines: no file, nothing that erases what root recorded."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from check_conntrack_lib.plugin.options import UsageError, parse

ROOT = Path(__file__).parents[2]
RULE = (ROOT / 'icinga/sudoers.d/check_conntrack').read_text()
#: as sudo reads them: '\,' is a comma, all arguments are one text
PATTERNS = [pattern.replace('\\,', ',') for pattern in re.findall(r'check_conntrack\.py (\^.*?\$)(?:, |$)', RULE, re.M)]

#: kept by default
DAYS = 14

HOSTILE = [
    ['--history-days', '1s'], ['--history-days', '0'], ['--history-days', '0.001'], ['--history-days', '0d'],
    ['--history-days', '23h'], ['--history-days', '1m'], ['--history-days', '00001'], ['--history-days', '86399'],
    ['--history-days', '1 --history-days 1s'], ['--history-days', '-1'], ['--history-days', '1d1s'],
    ['--history-days', '1'], ['--history-days', '7'], ['--history-days', '14d'],
    ['--critical', '95', '--history-days', '1d'],
    ['--history-days=1s'], ['--history-days', ''], ['--history-days'],
    ['--history', '/root/x'], ['--history', 'x'], ['--history', 'off/x'], ['--history', '..'], ['--history=off'],
    ['--kernel-log', '/etc/shadow'], ['--kernel-log', 'file'], ['--kernel-log', 'kmsg/../../x'],
    ['--procfs', '/tmp'], ['--procfs', 'proc'], ['--netns', '/proc/1/ns/net'], ['--netns', '../x'], ['--netns', '-x'],
    ['--netns', 'a\nb'], ['--netns', 'a b'], ['-w', '85', '-c', '95', '--history', 'x'], ['-w', '85 -c 95', '-c', '1'],
    ['--warning', '85\t--procfs', 'x'], ['--warning', '$(id)'], ['--warning', '85;id'], ['--', 'x'], ['-vv'],
    ['--verbose=1'], ['--require', 'x'], ['--diagnose', 'a/b'], ['--sample', '/x'], ['@file'], ['--help'],
]


def allowed(argv: list[str]) -> bool:
    return any(re.fullmatch(pattern, ' '.join(argv)) for pattern in PATTERNS)


def test_the_rule_is_read_as_it_stands() -> None:
    assert len(PATTERNS) == 2
    assert 'history-days' not in ''.join(PATTERNS)
    for argv in (['-w', '85', '-c', '95'], ['--critical', '95', '--warning', '80%'], ['--netns', 'all'],
                 ['--history', 'off', '--verbose']):
        assert allowed(argv), argv


@pytest.mark.parametrize('argv', HOSTILE, ids=map(repr, HOSTILE))
def test_hostile_command_lines(argv: list[str]) -> None:
    """Refused by sudo; or, where its words are those of an allowed line, harmless to the plugin."""
    if allowed(argv):
        with pytest.raises((UsageError, SystemExit)):
            parse(argv)


@pytest.mark.slow
def test_words_joined_and_cut_at_random() -> None:
    """Whatever passes, sudo compares one text: the plugin then takes no file, and deletes nothing early."""
    chance = random.Random(7)
    words = sorted({word for argv in HOSTILE for word in argv} | {'7', '14d', '85', 'off', 'all', '--window', ' '})
    passed = 0
    for _ in range(20_000):
        argv = [''.join(chance.choice(words) + chance.choice(['', '', ' ']) for _ in range(chance.randint(1, 2)))
                for _ in range(chance.randint(1, 4))]
        if not allowed(argv):
            continue
        passed += 1
        try:
            options = parse(argv)
        except (UsageError, SystemExit):
            continue
        assert options.history in ('', 'off'), argv
        assert options.kernel_log in ('auto', 'kmsg', 'journal', 'off'), argv
        assert options.procfs == '/proc', argv
        assert options.history_days == DAYS, argv
    assert passed > 20
