"""Opens connections: datagrams from one source, each to another address of 127/8, at a rate. Prints how many.

generator.py SOURCE RATE SECONDS: the source is an address of 127/8, and a network of targets of its own.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import time

PORT = 30053


def main(source: str, rate: float, seconds: float) -> None:
    sink, sender = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    # else each one is answered by an ICMP error
    with contextlib.suppress(OSError):
        sink.bind(('', PORT))
    sender.bind((source, 0))
    # 127.A.x.y for the source 127.0.0.A
    base = int(source.rsplit('.', 1)[1]) << 16 | 127 << 24
    sent = tried = 0
    began = time.monotonic()
    print('begins', flush=True)
    while (elapsed := time.monotonic() - began) < seconds:
        while tried < elapsed * rate:
            tried += 1
            try:
                sender.sendto(b'', (socket.inet_ntoa((base + 1 + tried % 65000 + (tried // 65000 << 17))
                                                     .to_bytes(4, 'big')), PORT))
                sent += 1
            except PermissionError:
                pass  # the table is full
        time.sleep(0.0005)
    print(sent, tried, time.monotonic() - began, flush=True)


if __name__ == '__main__':
    main(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]))
