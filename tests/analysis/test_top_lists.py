"""Rates of two samples: what is new, what was carried, and what a sample cannot tell."""

from __future__ import annotations

import socket

from check_conntrack_lib.analysis import top_lists
from check_conntrack_lib.analysis.profile import Key
from check_conntrack_lib.analysis.top_lists import BYTES, NEW, TableSample, TopLists, compare
from check_conntrack_lib.flow import Flow
from check_conntrack_lib.readers.ctnetlink_events import NewConnections

SERVER = socket.inet_aton('192.0.2.1')


def flow(number: int, source: str = '10.0.0.1', packets: int | None = None, octets: int | None = None,
         port: int = 443) -> Flow:
    src = socket.inet_aton(source)
    return Flow(6, 'ESTABLISHED', 0, 100, src, SERVER, number, port, SERVER, src, 0, port, number,
                packets, octets, packets and 0, octets and 0)


def observe(flows: list[Flow], at: float = 0.0, entries: int = 0, complete: bool = True,
            buckets: int = 1024) -> TableSample:
    return top_lists.observe(flows, at, entries, buckets)._replace(complete=complete)


def sources(found: TopLists) -> list[tuple[str, int, float | None]]:
    return [(row.key.source, row.entries, row.new_per_s) for row in found.rows['sources']]


def test_whole_tables() -> None:
    before = observe([flow(1, packets=10, octets=1000), flow(2, '10.0.0.2', 1, 40)])
    now = observe([flow(3, '10.0.0.2', 3, 300), flow(1, packets=30, octets=5000), flow(2, '10.0.0.2', 1, 40)], 2.0)
    found = compare(before, now, None, 5)
    assert sources(found) == [('10.0.0.2', 2, 0.5), ('10.0.0.1', 1, 0.0)]
    # all that a new entry has carried it has carried since
    assert (found.new_per_s, found.packets_per_s, found.bytes_per_s) == (0.5, 11.5, 2150.0)
    assert [row.bytes_per_s for row in found.rows['sources']] == [150.0, 2000.0]
    assert found.rows['targets'] == ((Key(6, '', '192.0.2.1', 443), 3, 1.0, 0.5, 11.5, 2150.0),)
    assert found.rows['services'] == ((Key(6, '', '', 443), 3, 1.0, 0.5, 11.5, 2150.0),)
    by_bytes = compare(before, now, None, 1, BYTES)
    assert [row.key.source for row in by_bytes.rows['sources']] == ['10.0.0.1']
    assert (found.margin, found.by_events, found.counted) == (0.0, False, 3)


def test_an_entry_made_anew_with_the_same_ends() -> None:
    found = compare(observe([flow(1, packets=50, octets=9000)]), observe([flow(1, packets=2, octets=80)], 1.0), None, 5)
    assert (found.new_per_s, found.packets_per_s, found.bytes_per_s) == (1.0, 2.0, 80.0)


def test_of_a_sample_what_lies_behind_the_common_part_is_not_new() -> None:
    """Entries that are gone move others into the first thousand: those have been there before."""
    before = observe([flow(number) for number in range(1000)], 0.0, 4000, complete=False)
    listed = [flow(number) for number in range(200, 1000)]
    listed[100:100] = [flow(20000 + number, '10.0.0.9') for number in range(8)]
    listed += [flow(1000 + number) for number in range(192)]
    found = compare(before, observe(listed, 2.0, 4040, complete=False), None, 5)
    # 8 of the first 808, of a table of 4040, in 2 s
    assert found.new_per_s == 20.0
    assert sources(found) == [('10.0.0.1', 4008, 0.0), ('10.0.0.9', 32, 20.0)]
    assert 0.03 < found.margin < 0.05


def test_bytes_of_a_sample_are_those_of_its_entries() -> None:
    before = observe([flow(number, packets=1, octets=100) for number in range(100)], 0.0, 5000, complete=False)
    now = observe([flow(number, packets=2, octets=300) for number in range(100)], 2.0, 5000, complete=False)
    found = compare(before, now, None, 5)
    assert (found.packets_per_s, found.bytes_per_s, found.rows['sources'][0].entries) == (50.0, 10_000.0, 5000)


def test_samples_of_another_order_give_no_rates() -> None:
    before = observe([flow(number, packets=1, octets=1) for number in range(100)], 0.0, 400, complete=False)
    others = [flow(1000 + number, packets=1, octets=1) for number in range(100)]
    for now in (observe(others, 2.0, 400, complete=False),
                observe([flow(number, packets=1, octets=1) for number in range(100)], 2.0, 400, False, buckets=2048)):
        found = compare(before, now, None, 5, BYTES)
        assert (found.new_per_s, found.packets_per_s, found.bytes_per_s) == (None, None, None)
        # by entries then
        assert len(found.rows['sources']) == 1
    assert compare(None, before, None, 5, NEW).new_per_s is None


def test_without_counters_there_are_no_bytes() -> None:
    found = compare(observe([flow(1)]), observe([flow(1), flow(2)], 1.0), None, 5)
    assert (found.new_per_s, found.bytes_per_s, found.counted) == (1.0, None, 0)


def test_counted_by_events() -> None:
    new = NewConnections(2.0, 800, tuple(flow(number, '10.0.0.7') for number in range(30)) + (
        flow(40, '10.0.0.8', port=80),) * 10)
    found = compare(None, observe([flow(1)], 1.0), new, 5, NEW)
    assert (found.new_per_s, found.by_events) == (400.0, True)
    # those that are gone again are among them
    assert sources(found) == [('10.0.0.7', 0, 300.0), ('10.0.0.8', 0, 100.0)]
    assert [(str(row.key), row.new_per_s) for row in found.rows['services']] == [
        ('tcp port 443', 300.0), ('tcp port 80', 100.0)]


def test_a_damaged_or_empty_table_is_no_error() -> None:
    empty = observe([])
    assert compare(empty, observe([], 1.0), None, 5).new_per_s == 0.0
    assert compare(empty, observe([flow(1)], 1.0), None, 5).new_per_s == 1.0
    assert compare(observe([flow(1)]), observe([], 1.0), None, 5, BYTES).rows['sources'] == ()


def test_events_of_a_table_that_is_empty_by_now() -> None:
    new = NewConnections(1.0, 10, (flow(1, '10.0.0.7'),))
    found = compare(None, observe([], 1.0), new, 5, NEW)
    assert [(row.entries, row.share, row.new_per_s) for row in found.rows['sources']] == [(0, 0.0, 10.0)]
