"""A netlink socket whose datagrams, and who sent them, are a test's."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

from check_conntrack_lib.readers import netlink


class Wire:
    """A socket whose datagrams, and who sent them, are a test's; time goes by while it is read."""

    def __init__(self, script: Callable[[int], Iterator[tuple[bytes, int]]]) -> None:
        self.script = script
        self.timeout = 0.0

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def settimeout(self, seconds: float) -> None:
        self.timeout = seconds

    def send(self, request: bytes) -> None:
        _length, _kind, flags, sequence, _port = netlink.HEADER.unpack_from(request)
        assert flags == 0x301
        self.incoming = self.script(sequence)

    def recvfrom(self, _size: int) -> tuple[bytes, tuple[int, int]]:
        try:
            datagram, port = next(self.incoming)
        except StopIteration:
            raise socket.timeout('timed out') from None
        return datagram, (port, 0)
