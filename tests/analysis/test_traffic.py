"""Packets and bytes of the entries seen."""

from __future__ import annotations

import socket

from check_conntrack_lib.analysis import heavy_hitters
from check_conntrack_lib.analysis.profile import Key
from check_conntrack_lib.analysis.profile_counter import summarize
from check_conntrack_lib.analysis.traffic import TrafficCounter, Volume
from check_conntrack_lib.flow import Flow


def flow(source: str, port: int, counters: tuple[int, int, int, int] | None, protocol: int = 17) -> Flow:
    src, dst = socket.inet_aton(source), socket.inet_aton('192.0.2.1')
    return Flow(protocol, '', 0, 30, src, dst, 40000, port, dst, src, 0, port, 40000, *(counters or (None,) * 4))


FLOWS = [flow('10.0.0.1', 53, (1, 60, 1, 200)), flow('10.0.0.1', 53, (2, 120, 0, 0)),
         flow('10.0.0.2', 4500, (100, 140_000, 50, 3000)), flow('10.0.0.3', 53, None),
         flow('10.0.0.4', 0, (0, 0, 0, 0), 1)]


def test_both_directions_are_added_up() -> None:
    traffic = summarize(FLOWS, 5).traffic
    assert traffic
    assert (traffic.counted, traffic.packets, traffic.bytes) == (4, 154, 143_380)
    assert traffic.sources == (Volume(Key(source='10.0.0.2'), 150, 143_000), Volume(Key(source='10.0.0.1'), 4, 380),
                               Volume(Key(source='10.0.0.4'), 0, 0))
    assert traffic.services[:2] == (Volume(Key(17, '', '', 4500), 150, 143_000), Volume(Key(17, '', '', 53), 4, 380))
    assert traffic.targets[2] == Volume(Key(1, '', '192.0.2.1', None), 0, 0)


def test_none_where_no_entry_has_counters() -> None:
    assert summarize(FLOWS[3:4], 1).traffic is None


def test_the_largest_are_kept_of_very_many_keys(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr('check_conntrack_lib.analysis.traffic.MOST_KEYS', 100)
    monkeypatch.setattr('check_conntrack_lib.analysis.traffic.KEPT_KEYS', 20)
    counter = TrafficCounter()
    for number in range(1000):
        counter.update([flow(f'10.1.{number // 250}.{number % 250}', 53, (1, 100, 0, 0)),
                        flow('10.0.0.1', 53, (1, 1000, 0, 0))])
    traffic = counter.traffic()
    assert traffic.sources[0] == Volume(Key(source='10.0.0.1'), 1000, 1_000_000)
    assert traffic.bytes == 1_100_000
    # many destinations of one service: what is forgotten of them is in its sum
    counter = TrafficCounter()
    for number in range(1000):
        counter.update([flow('10.0.0.1', 53, (1, 100, 0, 0))._replace(dst=number.to_bytes(4, 'big'))])
    assert counter.traffic().services == (Volume(Key(17, '', '', 53), 1000, 100_000),)
    assert heavy_hitters.MOST_KEYS > 20000, 'a sample never gets there'
