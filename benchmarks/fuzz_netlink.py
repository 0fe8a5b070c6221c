"""ctnetlink's messages, and who may have sent them, as targets of fuzz.py."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from random import Random

from netlink_wire import Wire

from benchmarks.fuzz_parsers import Target, check_profile, lines, of_bytes
from benchmarks.mutation import BYTES, mutated
from benchmarks.output import harmless
from check_conntrack_lib.analysis.profile_counter import summarize
from check_conntrack_lib.readers import addresses, ctnetlink, netlink


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack('=HH', 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _netlink_corpus() -> list[bytes]:
    flows = [bytes.fromhex(line.split()[1]) for line in lines('host-6.18/ctnetlink.txt')]
    stats = struct.pack('!BBH', 0, 0, 3) + b''.join(_attribute(kind, struct.pack('!I', kind)) for kind in range(1, 16))
    address = struct.pack('=BBBBI', 2, 24, 0, 0, 1) + _attribute(1, b'\x0a\0\0\1') + _attribute(2, b'\x0a\0\0\1')
    return [*flows, stats, address]


def _datagram(random: Random) -> bytes:
    """Some messages in one datagram, of which each or the whole may be damaged."""
    payloads = [PAYLOADS[int(random.random() * len(PAYLOADS))] if random.random() < 0.6
                else mutated(random, PAYLOADS, BYTES) for _ in range(1 + int(random.random() * 3))]
    datagram = b''.join(struct.pack('=IHHII', 16 + len(payload), 0x100, 2, 1, 0) + payload + bytes(-len(payload) % 4)
                        for payload in payloads)
    return datagram if random.random() < 0.7 else mutated(random, [datagram], BYTES)


def ctnetlink_message(payload: bytes) -> None:
    for read in (lambda: ctnetlink.parse_cpu_stats(payload), lambda: addresses.parse([payload])):
        try:
            read()
        except ValueError:
            continue
    for flow in ctnetlink.parse_flows([payload, payload]):
        assert len(flow.src) in (4, 16)
        harmless(flow.state)


def ctnetlink_datagram(datagram: bytes) -> None:
    payloads = [payload for _kind, payload in netlink.messages(datagram)]
    assert len(payloads) <= len(datagram) / 16
    check_profile(summarize(ctnetlink.parse_flows(payloads), 5))


def _forged(random: Random) -> list[tuple[bytes, int, int]]:
    """Datagrams, who sent each, and what is added to the sequence number that was asked with."""
    return [(_datagram(random), random.choice((0, 0, 1, 4242)), random.choice((0, 0, 1, 1 << 31)))
            for _ in range(int(random.random() * 6))]


def netlink_senders(made: list[tuple[bytes, int, int]]) -> None:
    """Only what the kernel sent with our number is read, and the end that it says is the end."""
    wanted: list[bytes] = []
    cut = False

    def script(sequence: int) -> Iterator[tuple[bytes, int]]:
        nonlocal cut
        for datagram, port, difference in made:
            number = (sequence + difference) % (1 << 32)
            datagram = bytes(datagram[:8]) + struct.pack('=I', number) + bytes(datagram[12:])
            try:
                found = list(netlink.messages(datagram, sequence))
            except ValueError:
                cut |= port == 0
                found = []
            wanted.extend(payload for kind, payload in found if kind == 0x100 and port == 0)
            yield datagram, port
        yield struct.pack('=IHHIIi', 20, netlink.NLMSG_DONE, 2, sequence, 0, 0), 0

    try:
        read = list(netlink.dump(0x101, 0x100, opened=Wire(script)))  # type: ignore[arg-type]
    except (OSError, ValueError):
        return
    assert cut or read == wanted[:len(read)]


PAYLOADS = _netlink_corpus()

TARGETS = {
    'ctnetlink': Target(of_bytes(PAYLOADS), ctnetlink_message),
    'datagram': Target(_datagram, ctnetlink_datagram),
    'senders': Target(_forged, netlink_senders),
}
