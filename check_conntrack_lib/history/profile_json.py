"""Profiles as the flight recorder keeps them: a few hundred bytes of JSON, and no trust in what comes back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from ..analysis.profile import RECORDED_TOP, Key, Profile

#: share of the flows seen that a recorded key must have
RECORDED_SHARE = 0.01
_NUMBERS = ('entries', 'seen', 'assured', 'unreplied', 'snat', 'dnat', 'nat', 'offloaded', 'uncertain')
_KEYS = {
    'sources': ('source',),
    'destinations': ('destination',),
    'services': ('protocol', 'port'),
    'targets': ('protocol', 'destination', 'port'),
}


def to_json(profile: Profile, top: int = RECORDED_TOP) -> str:
    """The part that is worth recording, in a few hundred bytes."""
    least = profile.seen * RECORDED_SHARE
    record: dict[str, Any] = {name: getattr(profile, name) for name in _NUMBERS}
    record['states'] = [[*state, count] for state, count in profile.states.items()]
    for name, parts in _KEYS.items():
        record[name] = [[*(getattr(key, part) for part in parts), count]
                        for key, count in getattr(profile, name)[:top] if count >= least]
    return json.dumps(record, separators=(',', ':'))


def from_json(text: str) -> Profile:
    """What `to_json` kept; the rest is empty. Raises ValueError for another text."""
    try:
        record = json.loads(text)
        fields: dict[str, Any] = {name: _count(record[name]) for name in _NUMBERS}
        fields['states'] = {(_count(protocol), _word(state, _NAME)): _count(count)
                            for protocol, state, count in record['states']}
        for name, parts in _KEYS.items():
            fields[name] = tuple((Key(**{part: _PARTS[part](value) for part, value in zip(parts, row)}),
                                  _count(row[-1])) for row in record[name])
        return Profile(**fields)
    except (TypeError, LookupError, OverflowError, RecursionError) as error:
        raise ValueError(f'not a profile: {error}') from error


def _count(value: Any) -> int:
    number = int(value)
    if not 0 <= number < 1 << 63:
        raise ValueError(f'not a count: {number}')
    return number


def _word(value: Any, letters: str) -> str:
    """A text of these letters only: it will be printed."""
    if not isinstance(value, str) or value.strip(letters):
        raise ValueError(f'not a word: {value!a}')
    return value


#: what each part of a recorded key may be
_NAME = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789'
_ADDRESS = '0123456789abcdef:.'
_PARTS: Mapping[str, Callable[[Any], Any]] = {
    'source': lambda value: _word(value, _ADDRESS),
    'destination': lambda value: _word(value, _ADDRESS),
    'protocol': _count,
    'port': lambda value: None if value is None else _count(value),
}
