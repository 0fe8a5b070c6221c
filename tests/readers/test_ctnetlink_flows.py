"""Entries from ctnetlink messages, most of them captured from a kernel (capture_flows.py)."""

from __future__ import annotations

import contextlib
import socket
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from check_conntrack_lib.flow import HW_OFFLOAD, OFFLOAD, Flow
from check_conntrack_lib.readers import ctnetlink
from check_conntrack_lib.readers.ctnetlink import find_layout, parse_flows

SAMPLES = Path(__file__).parents[1] / 'samples'
CAPTURED = {
    name: bytes.fromhex(payload)
    for name, payload in (line.split() for line in (SAMPLES / 'host-6.18/ctnetlink.txt').read_text().splitlines())
}


def attribute(kind, value):
    return struct.pack('=HH', 4 + len(value), kind) + value + bytes(-len(value) % 4)


def nest(kind, *inside):
    return attribute(kind | 0x8000, b''.join(inside))


def tuple_of(kind, protocol, src, dst, *more):
    return nest(kind, nest(1, attribute(1, socket.inet_aton(src)), attribute(2, socket.inet_aton(dst))),
                nest(2, attribute(1, bytes([protocol])), *more))


def entry(*attributes):
    return struct.pack('!BBH', socket.AF_INET, 0, 0) + b''.join(attributes)


def ports(src, dst):
    return attribute(2, struct.pack('!H', src)), attribute(3, struct.pack('!H', dst))


def parse_one(payload):
    flow, = parse_flows([payload])
    return flow


def seen(flow):
    """A flow as a person would write it down."""
    ends = [socket.inet_ntop(socket.AF_INET if len(end) == 4 else socket.AF_INET6, end)
            for end in (flow.src, flow.dst, flow.reply_src, flow.reply_dst)]
    marks = [name for name in ('replied', 'assured', 'snat', 'dnat', 'offloaded') if getattr(flow, name)]
    return (flow.protocol, flow.state, flow.timeout, *ends, flow.sport, flow.dport, flow.zone, ' '.join(marks))


@pytest.mark.parametrize(('name', 'flow'), [
    ('tcp4', (6, 'ESTABLISHED', 431999, '10.0.0.1', '10.0.0.2', '10.0.0.2', '10.0.0.1', 40000, 443, 0,
              'replied assured')),
    ('tcp4-time-wait', (6, 'TIME_WAIT', 119, '10.0.0.1', '10.0.0.2', '10.0.0.2', '10.0.0.1', 40001, 443, 0,
                        'replied assured')),
    ('tcp4-syn-sent', (6, 'SYN_SENT', 119, '10.0.0.1', '10.0.0.2', '10.0.0.2', '10.0.0.1', 40002, 443, 0, '')),
    ('tcp4-accounting', (6, 'ESTABLISHED', 432000, '10.0.0.1', '10.0.0.2', '10.0.0.2', '10.0.0.1', 40000, 443, 0,
                         'replied assured')),
    ('tcp6', (6, 'ESTABLISHED', 86399, 'fd00::1', 'fd00::2', 'fd00::2', 'fd00::1', 40000, 443, 0,
              'replied assured')),
    ('udp4', (17, '', 29, '10.0.0.1', '10.0.0.53', '10.0.0.53', '10.0.0.1', 40000, 53, 0, '')),
    ('udp6', (17, '', 120, 'fd00::1', 'fd00::53', 'fd00::53', 'fd00::1', 40000, 53, 0, 'replied assured')),
    ('icmp', (1, '', 29, '10.0.0.1', '10.0.0.2', '10.0.0.2', '10.0.0.1', 0, 0, 0, 'replied')),
    ('icmpv6', (58, '', 29, 'fd00::1', 'fd00::2', 'fd00::2', 'fd00::1', 0, 0, 0, 'replied')),
    ('gre', (47, '', 179, '10.0.0.1', '10.0.0.2', '10.0.0.2', '10.0.0.1', 0, 0, 0, 'replied assured')),
    ('sctp', (132, 'COOKIE_WAIT', 2, '10.0.0.1', '10.0.0.2', '10.0.0.2', '10.0.0.1', 1000, 2000, 0, 'replied')),
    ('udplite', (136, '', 179, '10.0.0.1', '10.0.0.2', '10.0.0.2', '10.0.0.1', 1000, 2000, 0, 'replied assured')),
    ('esp', (50, '', 599, '10.0.0.1', '10.0.0.2', '10.0.0.2', '10.0.0.1', 0, 0, 0, '')),
    ('zone', (17, '', 30, '10.0.0.1', '10.0.0.53', '10.0.0.53', '10.0.0.1', 40000, 53, 7, 'replied assured')),
    ('snat', (6, 'ESTABLISHED', 86399, '10.0.0.3', '10.0.0.2', '10.0.0.2', '192.0.2.1', 40000, 443, 0,
              'replied assured snat')),
    ('dnat', (6, 'ESTABLISHED', 86399, '10.0.0.4', '192.0.2.2', '10.0.0.2', '10.0.0.4', 40000, 443, 0,
              'replied assured dnat')),
])
def test_captured(name, flow):
    assert seen(parse_one(CAPTURED[name])) == flow


@pytest.mark.parametrize('bits', [OFFLOAD, HW_OFFLOAD | OFFLOAD])
def test_offloaded_entries_have_neither_state_nor_time(bits):
    # ctnetlink_fill_info leaves CTA_TIMEOUT and CTA_PROTOINFO out
    flow = parse_one(entry(
        tuple_of(1, 6, '10.1.0.2', '10.2.0.2', *ports(60606, 80)),
        tuple_of(2, 6, '10.2.0.2', '10.1.0.2', *ports(80, 60606)),
        attribute(3, struct.pack('!I', bits | 0xE))))
    assert seen(flow) == (6, '', None, '10.1.0.2', '10.2.0.2', '10.2.0.2', '10.1.0.2', 60606, 80, 0,
                          'replied assured offloaded')


def full(family, protocol, info, *more):
    """An entry with everything that there can be, each number another."""
    first = 1 if family == socket.AF_INET else 3
    ends = [bytes([10 + k]) * (4 if first == 1 else 16) for k in range(4)]
    ways = [nest(kind, nest(1, attribute(first, src), attribute(first + 1, dst)),
                 nest(2, attribute(1, bytes([protocol])), *ports(sport, dport)))
            for kind, src, dst, sport, dport in ((1, *ends[:2], 1001, 1002), (2, *ends[2:], 1003, 1004))]
    return entry(*ways, attribute(3, struct.pack('!I', 0x18E)), nest(4, info), attribute(7, struct.pack('!I', 77)),
                 nest(9, attribute(1, struct.pack('!Q', 5)), attribute(2, struct.pack('!Q', 6))),
                 nest(10, attribute(1, struct.pack('!Q', 7)), attribute(2, struct.pack('!Q', 8))),
                 attribute(18, struct.pack('!H', 9)), *more), ends


@pytest.mark.parametrize('family', [socket.AF_INET, socket.AF_INET6])
@pytest.mark.parametrize(('protocol', 'kind', 'state'), [(6, 1, 'ESTABLISHED'), (33, 2, 'PARTOPEN'),
                                                         (132, 3, 'COOKIE_ECHOED')])
def test_every_field(family, protocol, kind, state):
    payload, ends = full(family, protocol, nest(kind, attribute(1, b'\3')))
    assert parse_one(payload) == Flow(protocol, state, 0x18E, 77, *ends[:2], 1001, 1002, *ends[2:], 9, 1003, 1004, 5, 6,
                                      7, 8)


def test_a_zone_of_one_direction():
    zoned = nest(1, nest(1, attribute(1, b'\x0a\0\0\1'), attribute(2, b'\x0a\0\0\2')),
                 nest(2, attribute(1, b'\x11'), *ports(1, 2)), attribute(3, struct.pack('!H', 8)))
    assert parse_one(entry(zoned)).zone == 8


def test_a_zone_of_the_answers_only():
    answers = nest(2, nest(1, attribute(1, b'\x0a\0\0\2'), attribute(2, b'\x0a\0\0\1')),
                   nest(2, attribute(1, b'\x11'), *ports(2, 1)), attribute(3, struct.pack('!H', 9)))
    assert parse_one(entry(tuple_of(1, 17, '10.0.0.1', '10.0.0.2', *ports(1, 2)), answers)).zone == 9


def test_a_zone_of_both_directions():
    plain = tuple_of(1, 17, '10.0.0.1', '10.0.0.2', *ports(1, 2))
    first, second = parse_flows([entry(plain, attribute(18, struct.pack('!H', zone))) for zone in (5, 65535)])
    assert (first.zone, second.zone) == (5, 65535)


def counters(kind, packets, octets):
    return nest(kind, attribute(1, struct.pack('!Q', packets)), attribute(2, struct.pack('!Q', octets)))


def test_counters_of_both_directions():
    plain = tuple_of(1, 17, '10.0.0.1', '10.0.0.2', *ports(1, 2))
    one, other, without = parse_flows([entry(plain, counters(9, 3, 1 << 40), counters(10, 2, 999)),
                                       entry(plain, counters(9, (1 << 64) - 1, 7), counters(10, 0, 0)), entry(plain)])
    assert one[-4:] == (3, 1 << 40, 2, 999)
    assert other[-4:] == ((1 << 64) - 1, 7, 0, 0)
    assert without[-4:] == (None,) * 4


def test_a_cut_counter_is_damaged():
    plain = tuple_of(1, 17, '10.0.0.1', '10.0.0.2', *ports(1, 2))
    with pytest.raises(ValueError, match='orig_bytes of 4 bytes'):
        parse_one(entry(plain, nest(9, attribute(2, b'\0\0\0\1'))))


def test_dccp_state():
    state = nest(4, nest(2, attribute(1, b'\4')))
    assert parse_one(entry(tuple_of(1, 33, '10.0.0.1', '10.0.0.2', *ports(1, 2)), state)).state == 'OPEN'


def test_a_state_that_has_no_name_yet():
    state = nest(4, nest(1, attribute(1, b'\x2a')))
    assert parse_one(entry(tuple_of(1, 6, '10.0.0.1', '10.0.0.2', *ports(1, 2)), state)).state == 'STATE_42'


def test_the_order_of_attributes_does_not_matter():
    one = [tuple_of(1, 17, '10.0.0.1', '10.0.0.2', *ports(1, 2)), attribute(3, struct.pack('!I', 0xE)),
           attribute(7, struct.pack('!I', 30))]
    first, second = parse_flows([entry(*one), entry(*reversed(one))])
    assert first == second


def test_unknown_attributes_are_skipped():
    known = tuple_of(1, 17, '10.0.0.1', '10.0.0.2', *ports(1, 2))
    unknown = attribute(77, b'anything'), nest(0x3FFF, attribute(1, b'?'))
    assert parse_one(entry(unknown[0], known, *unknown)) == parse_one(entry(known))


def test_a_message_like_an_earlier_one_is_not_mistaken_for_it():
    """The same length and attributes, other values: one layout for those of many values, another for the kinds."""
    layouts = []

    def counted(payload):
        layouts.append(payload)
        return find_layout(payload)

    def udp(src, timeout, status):
        return entry(tuple_of(1, 17, src, '10.0.0.2', *ports(1, 2)), attribute(3, struct.pack('!I', status)),
                     attribute(7, struct.pack('!I', timeout)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ctnetlink, 'find_layout', counted)
        flows = list(parse_flows([udp('10.0.0.1', 30, 8), udp('10.0.0.9', 29, 8), udp('10.0.0.9', 29, 14)]))
    assert [(flow.src[-1], flow.timeout, flow.assured) for flow in flows] == [
        (1, 30, False), (9, 29, False), (9, 29, True)]
    assert len(layouts) == 2


def test_layouts_are_forgotten_rather_than_piled_up():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ctnetlink, 'MOST_LAYOUTS', 1)
        assert list(parse_flows(CAPTURED.values())) == [parse_one(payload) for payload in CAPTURED.values()]


@pytest.mark.parametrize('name', CAPTURED)
def test_cut_anywhere(name):
    """A cut message is refused, or it lacks attributes: it never has wrong ones."""
    whole = parse_one(CAPTURED[name])
    for length in range(len(CAPTURED[name])):
        try:
            flow = parse_one(CAPTURED[name][:length])
        except ValueError:
            continue
        for field, value in flow._asdict().items():
            assert value in (getattr(whole, field), 0, '', b'', None)


def test_one_cut_in_its_header():
    for payload in (b'', b'\2\0\0'):
        with pytest.raises(ValueError, match='cut nfgenmsg'):
            parse_one(payload)


@pytest.mark.parametrize(('number', 'name'), [(0, 'NONE'), (9, 'SYN_SENT2'), (10, 'STATE_10')])
def test_the_first_state_and_those_after_the_last(number, name):
    state = nest(4, nest(1, attribute(1, bytes([number]))))
    assert parse_one(entry(tuple_of(1, 6, '10.0.0.1', '10.0.0.2', *ports(1, 2)), state)).state == name


@pytest.mark.parametrize('payload', [
    entry(),
    entry(attribute(3, b'\0\0\0\0')),
    entry(nest(1, nest(2, attribute(1, b'\6')))),
    entry(nest(1, nest(1, attribute(1, b'\x0a\0\0')), nest(2, attribute(1, b'\6')))),
    entry(tuple_of(1, 6, '10.0.0.1', '10.0.0.2'), attribute(7, b'\0\0')),
    entry(tuple_of(1, 6, '10.0.0.1', '10.0.0.2'))[:-2],
])
def test_damaged_entries(payload):
    with pytest.raises(ValueError):  # noqa: PT011
        parse_one(payload)


@pytest.mark.slow
@given(st.sampled_from(sorted(CAPTURED)), st.data())
def test_what_was_learnt_never_changes_an_answer(name, data):
    """A damaged message gives the same answer, or the same refusal, with and without earlier messages."""
    payload = bytearray(CAPTURED[name])
    for position in data.draw(st.lists(st.integers(0, len(payload) - 1), max_size=4)):
        payload[position] = data.draw(st.integers(0, 255))

    def answer(messages):
        try:
            return list(parse_flows(messages))[-1]
        except ValueError as error:
            return str(error)

    assert answer([*CAPTURED.values(), bytes(payload)]) == answer([bytes(payload)])


@given(st.lists(st.binary(max_size=120), max_size=3))
def test_no_bytes_give_a_traceback(payloads):
    with contextlib.suppress(ValueError):
        list(parse_flows(payloads))


@pytest.mark.slow
@given(st.recursive(st.binary(max_size=20), lambda inner: st.lists(st.tuples(st.integers(0, 20), inner), max_size=5)))
def test_no_attributes_give_a_traceback(tree):
    def encode(tree):
        return tree if isinstance(tree, bytes) else b''.join(attribute(kind, encode(inner)) for kind, inner in tree)

    with contextlib.suppress(ValueError):
        list(parse_flows([b'\2\0\0\0' + encode(tree)]))


class TestReading:
    def test_stops_after_most(self, monkeypatch):
        closed = []

        def dump(*_, **_wanted):
            try:
                while True:
                    yield CAPTURED['tcp4']
            finally:
                closed.append(True)

        monkeypatch.setattr(ctnetlink, 'dump', dump)
        assert ctnetlink.read_flows(lambda flows: sum(1 for _ in flows), 1000) == 1000
        assert closed

    @pytest.mark.parametrize(('error', 'why'), [
        (PermissionError(1, 'Operation not permitted'), 'needs root'),
        (OSError(93, 'Protocol not supported'), 'ctnetlink: Protocol not supported'),
        (ValueError('cut netlink header'), 'ctnetlink: cut netlink header'),
    ])
    def test_missing(self, monkeypatch, error, why):
        def dump(*_, **_wanted):
            yield CAPTURED['tcp4']
            raise error

        monkeypatch.setattr(ctnetlink, 'dump', dump)
        assert ctnetlink.read_flows(list).why == why

    def test_entries_of_one_pool_are_filtered_by_the_kernel_and_here(self, monkeypatch):
        pool = parse_one(CAPTURED['snat']).pool
        asked = []

        def dump(*arguments):
            asked.append(arguments)
            yield from (CAPTURED['tcp4'], CAPTURED['snat'])

        monkeypatch.setattr(ctnetlink, 'dump', dump)
        assert [flow.reply_dst for flow in ctnetlink.read_flows(list, pool=pool)] == [socket.inet_aton('192.0.2.1')]
        wanted = (tuple_of(2, 6, '10.0.0.2', '192.0.2.1', attribute(2, struct.pack('!H', 443)))
                  + nest(25, attribute(2, struct.pack('=I', 1 | 2 | 8 | 16))))
        assert asked == [(0x101, 0x100, None, 12, None, 300.0, wanted, socket.AF_INET)]

    def test_no_filter_for_ipv6(self, monkeypatch):
        asked = []
        monkeypatch.setattr(ctnetlink, 'dump', lambda *arguments: asked.append(arguments[-2:]) or
                            (CAPTURED[name] for name in ('tcp6', 'udp6')))
        assert len(ctnetlink.read_flows(list, pool=parse_one(CAPTURED['tcp6']).pool)) == 1
        assert len(ctnetlink.read_flows(list)) == 2
        assert asked == [(b'', 0)] * 2
