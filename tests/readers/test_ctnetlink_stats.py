"""ctnetlink's per-CPU statistics: messages to the letter, damaged ones, and the real kernel."""

from __future__ import annotations

import struct

import laboratory
import pytest

from check_conntrack_lib.host import Host
from check_conntrack_lib.model import Counters, Missing
from check_conntrack_lib.readers import cpu_counters, ctnetlink, netlink


def attribute(kind: int, value: int) -> bytes:
    return struct.pack('=HH', 8, kind) + struct.pack('!I', value)


def answer(cpu: int, *attributes: bytes, kind: int = 0x104) -> bytes:
    body = struct.pack('!BBH', 0, 0, cpu) + b''.join(attributes)
    return struct.pack('=IHHII', 16 + len(body), kind, 2, 1, 0) + body


def test_messages_of_5_4_and_6_12() -> None:
    """5.4 has no clash_resolve and no chaintoolong; attributes come in any order and unknown ones are skipped."""
    old = answer(1, attribute(5, 300), attribute(10, 250), attribute(11, 50), attribute(9, 0))
    new = answer(258, attribute(15, 20542), attribute(99, 7), attribute(10, 3), attribute(14 | 0x4000, 9))
    (_, payload), = netlink.messages(old)
    assert ctnetlink.parse_cpu_stats(payload) == (1, {'drop': 250, 'early_drop': 50, 'insert_failed': 0})
    (_, payload), = netlink.messages(new)
    assert ctnetlink.parse_cpu_stats(payload) == (258, {'chaintoolong': 20542, 'drop': 3, 'clash_resolve': 9})


def test_rows_are_in_cpu_order() -> None:
    rows = {1: {'drop': 2, 'early_drop': 1}, 0: {'drop': 1}}
    assert ctnetlink.combine_cpu_stats(rows) == Counters({'drop': (1, 2)}, 'ctnetlink')
    with pytest.raises(ValueError, match='no drop counter'):
        ctnetlink.combine_cpu_stats({})


def test_every_cut_of_a_message_is_refused_or_short() -> None:
    whole = answer(0, attribute(10, 1), attribute(11, 2))
    for end in range(len(whole)):
        with pytest.raises(ValueError, match='netlink'):
            list(netlink.messages(whole[:end])) if end else netlink._raise_error(b'')


@pytest.mark.parametrize('length', [0, 3, 15, 17, 0xFFFFFFFF])
def test_lying_lengths(length: int) -> None:
    whole = bytearray(answer(0, attribute(10, 1)))[:16]
    whole[:4] = struct.pack('=I', length)
    with pytest.raises(ValueError, match='wrong length'):
        list(netlink.messages(bytes(whole)))


def test_lying_attribute_lengths() -> None:
    for length in (0, 3, 9, 0xFFFF):
        with pytest.raises(ValueError, match='wrong length'):
            list(netlink.attributes(struct.pack('=HHI', length, 10, 0), 0, 8))


@pytest.mark.parametrize(('error', 'answer'), [
    (PermissionError(1, 'Operation not permitted'), ctnetlink.NEEDS_ROOT),
    (OSError(93, 'Protocol not supported'), Missing('ctnetlink: Protocol not supported')),
    (ValueError('cut'), Missing('ctnetlink: cut'))])
def test_why_there_are_none(monkeypatch: pytest.MonkeyPatch, error: Exception, answer: Missing) -> None:
    def dump(*_: int, **_more: object) -> None:
        raise error

    monkeypatch.setattr(ctnetlink, 'dump', dump)
    assert ctnetlink.read_cpu_stats() == answer


@pytest.mark.kernel
def test_same_numbers_as_the_stat_file() -> None:
    why = laboratory.why_not()
    if why:
        pytest.skip(why)
    with laboratory.namespace() as lab, laboratory.maximum(300):
        lab.fill_to(300)
        lab.flood(40)
        with lab.in_netns():
            by_netlink = ctnetlink.read_cpu_stats()
            text = Host('/proc/thread-self').read('net/stat/nf_conntrack')
    assert isinstance(by_netlink, Counters)
    by_file = cpu_counters.parse(text)
    assert by_netlink.per_cpu == by_file.per_cpu
    assert by_netlink.total('drop') == 40


@pytest.mark.kernel
def test_nobody_is_told_what_it_takes() -> None:
    why = laboratory.why_not()
    if why:
        pytest.skip(why)
    code = 'from check_conntrack_lib.readers.ctnetlink import read_cpu_stats; print(read_cpu_stats().why)'
    with laboratory.namespace() as lab:
        done = lab.run(['/usr/bin/python3', '-c', code], user='nobody', cwd='.')
    assert done.stdout == 'needs root\n', done.stderr
