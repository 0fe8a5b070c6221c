"""Rows as nouns: the last value that is taken and the first that is not, of every column."""

from __future__ import annotations

import json

import pytest

from check_conntrack_lib.counters import COUNTERS
from check_conntrack_lib.history import codec
from check_conntrack_lib.model import Counters, Instant, Sample

GOOD = ('b', 1, 1e9, 50.0, 5, 100, 64, '{"cpus":2,"drop":[7,0]}')


def taken(**other: object) -> Sample:
    names = ('boot_id', 'netns', 'wall', 'uptime', 'entries', 'maximum', 'buckets', 'counters')
    return codec.sample_of(*{**dict(zip(names, GOOD)), **other}.values())  # type: ignore[arg-type]


def test_a_row() -> None:
    assert taken() == Sample(Instant(1e9, 50.0, 0.0), 'b', 1, 5, 100, 64, Counters({'drop': (7, 0)}))
    assert taken(counters=None, buckets=None) == Sample(Instant(1e9, 50.0, 0.0), 'b', 1, 5, 100)


@pytest.mark.parametrize(('column', 'last', 'first_refused'), [
    ('entries', 0, -1), ('entries', 1 << 20, (1 << 20) + 1), ('maximum', (1 << 32) - 1, 1 << 32),
    ('maximum', -(1 << 31), -(1 << 31) - 1), ('buckets', 0, -1), ('buckets', (1 << 32) - 1, 1 << 32),
    ('netns', (1 << 63) - 1, 1 << 63), ('netns', -(1 << 63), -(1 << 63) - 1), ('wall', 0, -0.001),
    ('wall', 253402214399.0, 253402214400.0), ('uptime', 0, -1), ('uptime', 0, float('nan')),
    ('boot_id', 'a' * 64, 'a' * 65), ('boot_id', '0123456789abcdef-', ''), ('boot_id', 'a-', '-a'),
    ('boot_id', 'f', 'g')])
def test_the_last_of_each_column_and_the_first_that_is_none(column: str, last: object, first_refused: object) -> None:
    assert taken(**{column: last})
    with pytest.raises(ValueError):  # noqa: PT011
        taken(**{column: first_refused})


@pytest.mark.parametrize(('entries', 'maximum', 'possible'), [
    (1_600_000, 100_000, True), (1_600_001, 100_000, False), (1 << 20, 1, True), ((1 << 31) - 1, 0, True),
    (1 << 31, 0, False), ((1 << 31) - 1, -1, True)])
def test_more_entries_than_a_table_can_have(entries: int, maximum: int, possible: bool) -> None:
    assert codec.is_possible(Sample(Instant(0, 0, 0), 'b', 1, entries, maximum)) is possible


def test_entries_alone() -> None:
    assert codec.checked_entries((1 << 31) - 1) == (1 << 31) - 1
    assert codec.checked_entries(0) == 0
    for number in (-1, 1 << 31):
        with pytest.raises(ValueError, match='entries'):
            codec.checked_entries(number)


def test_counters_that_stand_at_zero_are_letters() -> None:
    counters = Counters({'drop': (0, 0, 0), 'early_drop': (0, 1, 0), 'found': (0, 0, 0), 'new_one': (0, 0, 0)})
    text = codec.counters_to_text(counters)
    assert text == '{"cpus":3,"zero":"do","early_drop":[0,1,0],"new_one":[0,0,0]}'
    assert codec.counters_from_text(text) == counters
    assert codec.counters_to_text(None) is None


def test_every_letter_stands_for_its_counter() -> None:
    letters = ''.join(counter.letter for counter in COUNTERS.values())
    found = codec.counters_from_text(json.dumps({'cpus': 1, 'zero': letters}))
    assert found
    assert found.per_cpu == dict.fromkeys(COUNTERS, (0,))


@pytest.mark.parametrize('text', [
    '{"cpus":8192,"zero":"d"}', '{"cpus":1,"zero":"abcdefghijklmnopqrstuvwxyzd"}', '{"cpus":2,"drop":[]}',
    '{"cpus":1,"drop":[4294967295]}'])
def test_counters_at_the_limit(text: str) -> None:
    found = codec.counters_from_text(text)
    assert found
    assert len(found.per_cpu['drop']) == json.loads(text)['cpus']


@pytest.mark.parametrize('text', [
    '{"cpus":0,"zero":"d"}', '{"cpus":8193,"zero":"d"}', '{"cpus":1,"zero":"abcdefghijklmnopqrstuvwxyz_dd"}',
    '{"cpus":1,"zero":["d"]}', '{"cpus":1,"drop":[-1]}', '{"cpus":1,"drop":[4294967296]}', '{"cpus":1,"zero":"e"}',
    '{"cpus":1,"zero":"d","Drop":[1]}', '{"cpus":1,"drop":[1],"x":[0,-1]}',
    '{"cpus":1,"drop":[1]' + ' ' * (1 << 20) + '}', '[' * 100000])
def test_what_are_no_counters(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        codec.counters_from_text(text)


@pytest.mark.parametrize(('size', 'remembered'), [(4096, True), (4097, False)])
def test_short_texts_are_parsed_once(size: int, remembered: bool) -> None:
    text = '{"cpus":1,"drop":[1]}'.ljust(size)
    assert (codec.counters_from_text(text) is codec.counters_from_text(text)) is remembered


def test_the_longest_text() -> None:
    text = '{"cpus":1,"drop":[1]}'
    assert codec.counters_from_text(text + ' ' * ((1 << 20) - len(text)))
