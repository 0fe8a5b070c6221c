"""Profiles as the history file keeps them: a few hundred bytes of JSON, and no trust in what comes back."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Mapping
from typing import Any

from ..analysis.nat_ports import DEFAULT, PortUse
from ..analysis.profile import RECORDED_TOP, Key, Profile
from ..flow import ReplyTuple, address_text
from ..formatting import clean_title
from ..namedtuples import TYPE_CHECKING
from .codec import LARGEST, LARGEST_COUNT

if TYPE_CHECKING:
    from ..analysis.traffic import Traffic

#: share of the flows seen that a recorded key must have
RECORDED_SHARE = 0.01
#: rows of one kind in a profile, letters of a state or an address: more was never recorded
MOST_ROWS, LONGEST_WORD = 1000, 64
_NUMBERS = ('entries', 'seen', 'assured', 'unreplied', 'snat', 'dnat', 'nat', 'offloaded', 'uncertain')
_KEYS = {
    'sources': ('source',),
    'destinations': ('destination',),
    'services': ('protocol', 'port'),
    'targets': ('protocol', 'destination', 'port'),
}
#: what other versions' records lack
_TRAFFIC = ('sources', 'targets', 'services')


def to_json(profile: Profile, top: int = RECORDED_TOP) -> str:
    """The part that is worth recording, in a few hundred bytes."""
    least = profile.seen * RECORDED_SHARE
    record: dict[str, Any] = {name: getattr(profile, name) for name in _NUMBERS}
    record['states'] = [[*state, count] for state, count in profile.states.items()]
    for name, parts in _KEYS.items():
        record[name] = [[*(getattr(key, part) for part in parts), count]
                        for key, count in getattr(profile, name)[:top] if count >= least]
    if profile.zones:
        # the small ones, too: no row at all says that zones were not counted
        record['zones'] = [[key.zone, count] for key, count in profile.zones[:top]]
    if profile.traffic:
        record['traffic'] = _traffic_record(profile.traffic, top)
    if profile.names:
        record['names'] = dict(profile.names)
    if profile.spared:
        record['spared'] = profile.spared
    if profile.nat_ports:
        record['nat_ports'] = [[pool.protocol, address_text(pool.server), pool.port, address_text(pool.address),
                                *rest] for pool, rest in
                               ((one.pool, (one.used, one.size, int(one.exact), int(one.kept)))
                                for one in profile.nat_ports)]
    return json.dumps(record, separators=(',', ':'))


def from_json(text: str) -> Profile:
    """What `to_json` kept; the rest is empty. Raises ValueError for another text."""
    try:
        record = json.loads(text)
        if any(len(record[name]) > MOST_ROWS for name in ('states', *_KEYS)):
            raise ValueError('more than any profile has')
        fields: dict[str, Any] = {name: _count(record[name]) for name in _NUMBERS}
        fields['states'] = {(_count(protocol), _word(state, _NAME)): _count(count)
                            for protocol, state, count in record['states']}
        for name, parts in _KEYS.items():
            fields[name] = tuple((Key(**{part: _PARTS[part](value) for part, value in zip(parts, row)}),
                                  _count(row[-1])) for row in record[name])
        fields['names'] = {_word(address, _ADDRESS): clean_title(name)
                           for address, name in list(record.get('names', {}).items())[:MOST_ROWS]}
        fields['nat_ports'] = tuple(_port_use(*row) for row in record.get('nat_ports', ()))
        fields['zones'] = tuple((Key(zone=_zone(zone)), _count(count)) for zone, count in _rows(record, 'zones'))
        fields['spared'] = _count(record.get('spared', 0))
        if 'traffic' in record:
            fields['traffic'] = _traffic(record['traffic'])
        return Profile(**fields)
    except (TypeError, AttributeError, OSError, LookupError, ArithmeticError, RecursionError) as error:
        raise ValueError(f'not a profile: {error}') from error


def _rows(record: Mapping[str, Any], name: str) -> Any:
    rows = record.get(name, ())
    if len(rows) > MOST_ROWS:
        raise ValueError('more than any profile has')
    return rows


def _traffic_record(traffic: Traffic, top: int) -> dict[str, Any]:
    """Of the keys with at least RECORDED_SHARE of the bytes."""
    least = traffic.bytes * RECORDED_SHARE
    record: dict[str, Any] = {'counted': traffic.counted, 'packets': min(traffic.packets, LARGEST - 1),
                              'bytes': min(traffic.bytes, LARGEST - 1)}
    for name in _TRAFFIC:
        record[name] = [[*(getattr(one.key, part) for part in _KEYS[name]), min(one.packets, LARGEST - 1),
                         min(one.bytes, LARGEST - 1)] for one in getattr(traffic, name)[:top] if one.bytes >= least]
    return record


def _traffic(record: Mapping[str, Any]) -> Traffic:
    from ..analysis.traffic import Traffic, Volume  # where there are any

    tops = []
    for name in _TRAFFIC:
        parts = _KEYS[name]
        tops.append(tuple(Volume(Key(**{part: _PARTS[part](value) for part, value in zip(parts, row)}),
                                 _counter(row[len(parts)]), _counter(row[len(parts) + 1]))
                          for row in _rows(record, name)))
    return Traffic(_count(record['counted']), _counter(record['packets']), _counter(record['bytes']), *tops)


def _port_use(protocol: Any, server: Any, port: Any, address: Any, used: Any, size: Any, exact: Any,
              kept: Any) -> PortUse:
    pool = ReplyTuple(_count(protocol), _packed(server), _count(port), _packed(address))
    if not 0 <= used <= size <= DEFAULT or not size:
        raise ValueError('not a use of ports')
    return PortUse(pool, _count(used), _count(size), _count(used), bool(exact), bool(kept))


def _packed(value: Any) -> bytes:
    address = _word(value, _ADDRESS)
    return socket.inet_pton(socket.AF_INET6 if ':' in address else socket.AF_INET, address)


def _count(value: Any) -> int:
    number = int(value)
    if not 0 <= number < LARGEST_COUNT:
        raise ValueError(f'not a count: {number}')
    return number


def _counter(value: Any) -> int:
    number = int(value)
    if not 0 <= number < LARGEST:
        raise ValueError(f'not a counter: {number}')
    return number


def _zone(value: Any) -> int:
    number = _count(value)
    if number > 0xFFFF:
        raise ValueError(f'not a zone: {number}')
    return number


def _word(value: Any, letters: str) -> str:
    """A text of these letters only: it will be printed."""
    if not isinstance(value, str) or len(value) > LONGEST_WORD or value.strip(letters):
        raise ValueError('not a word')
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
