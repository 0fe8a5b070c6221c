"""SO_NETNS_COOKIE (net/core/sock.c; since 5.14): a number of the network namespace, not given again."""

from __future__ import annotations

# the module below socket, which alone would take 2 ms of start-up
import _socket
import sys

SO_NETNS_COOKIE = 71


def read() -> int | None:
    """A signed 64-bit number, unique in this boot; None on an older kernel."""
    try:
        unix = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
    except OSError:
        return None
    try:
        return int.from_bytes(unix.getsockopt(_socket.SOL_SOCKET, SO_NETNS_COOKIE, 8), sys.byteorder, signed=True)
    except OSError:
        return None
    finally:
        unix.close()
