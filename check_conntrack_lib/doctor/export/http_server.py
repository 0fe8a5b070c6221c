"""Serves a WSGI application by waitress, with a bounded number of connections, each for a bounded time.

One thread reads, answers and sends: readings are bounded by an alarm, which only the main thread gets.
"""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer

from .pages import Application

#: seconds for the head of a request, from the connection or the head's first byte on; for taking the whole answer;
#: and until the next request on a connection that has been answered: Prometheus keeps one for 5 minutes
HEAD_PATIENCE, ANSWER_PATIENCE, IDLE_PATIENCE = 3.0, 10.0, 360.0
#: seconds in which a new connection's request is on its way: that is not silence yet
FIRST_MOMENT = 0.5
#: connections at once, in all and from one client (see `Connection.network`)
MOST_CONNECTIONS, MOST_FROM_ONE = 400, 100
#: seconds for answers, and connections that are accepted, before requests are looked for again
TURN, AT_ONCE = 0.05, 20
#: bytes of answers that clients have not taken yet, in all connections together
MOST_UNSENT = 16 << 20
#: bytes of a request's head and of its body, which nothing here reads
LONGEST_HEAD, LONGEST_BODY = 16384, 1024
#: bytes that are read from a client before it is its turn: more requests than are in these are not kept
AT_A_TIME = 1024
#: what an IPv4 address begins with where a socket takes both kinds
MAPPED = bytes(10) + b'\xff\xff'
#: longer than any answer: waitress would write to a temporary file, or wait for the client
NEVER = 1 << 31


class Connection(HTTPChannel):
    """A client's connection."""

    #: when the last answer was made; 0: none was yet
    answered = 0.0

    def __init__(self, *arguments: Any, **more: Any) -> None:
        #: when the connection, the head of a request or the idle time began
        self.since = time.monotonic()
        super().__init__(*arguments, **more)

    def received(self, data: bytes) -> bool:
        if self.answered and self.request is None:
            self.since = time.monotonic()
        try:
            return bool(super().received(data))
        except ValueError:
            # a length of 5000 digits, an address that is none: waitress would log a trace of each
            self.handle_close()
            return False

    def service(self) -> None:
        super().service()
        self.answered = self.since = time.monotonic()

    @property
    def busy(self) -> bool:
        """Whether an answer is awaited or not taken yet."""
        return bool(self.requests or self.total_outbufs_len)

    @property
    def network(self) -> str:
        """Whose connection it is: an IPv4 address, or the /64 of an IPv6 address, all of which one client has."""
        address = str(self.addr[0]).partition('%')[0]
        if ':' not in address:
            return address
        packed = socket.inet_pton(socket.AF_INET6, address)
        # ::ffff:1.2.3.4 is the address of one IPv4 client
        return (packed if packed.startswith(MAPPED) else packed[:8]).hex()

    def overdue(self, now: float) -> bool:
        """Whether the client has had all the time that it may have."""
        if self.requests and not self.total_outbufs_len:
            return False  # its turn comes
        patience = (ANSWER_PATIENCE if self.total_outbufs_len else
                    IDLE_PATIENCE if self.answered and self.request is None else HEAD_PATIENCE)
        return now - self.since > patience


class Server(TcpWSGIServer):
    """One listening socket."""

    channel_class = Connection

    def maintenance(self, _now: float) -> None:
        """Nothing: waitress would wait for ever for what a client does not take. `close_overdue` does it."""

    def handle_accept(self) -> None:
        """Nothing: `accept` takes several connections at a time, and closes others for them."""

    def accept_one(self) -> bool:
        """Accepts the next connection that waits; False: none does."""
        before = len(self._map)
        super().handle_accept()
        return len(self._map) > before


def close_overdue(connections: list[Connection]) -> None:
    """Closes those that have had all the time that they may have."""
    now = time.monotonic()
    for one in connections:
        if one.overdue(now):
            one.handle_close()


def one_too_many(connections: list[Connection]) -> Connection | None:
    """Which connection has to be closed for the newest, the last of the list; None: there is room for all.

    It is one of the client that has most: the one that has been silent, or been taking its answer, for longest; else
    the answered one that has been idle longest; else one that has had answers and waits for more; else the newest.
    """
    count = Counter(one.network for one in connections)
    most = max(count.values(), default=0)
    if most <= MOST_FROM_ONE and len(connections) <= MOST_CONNECTIONS:
        return None
    newest = connections[-1]
    young = newest.since - FIRST_MOMENT

    def order(one: Connection) -> tuple[int, float]:
        if one.requests and not one.total_outbufs_len:
            return (2 if one.answered else 5), -one.since
        if one.answered and not one.busy:
            return 1, one.since
        return (4 if one is newest else 3 if one.since > young else 0), one.since

    return min((one for one in connections if count[one.network] == most), key=order)


class Queue:
    """The requests that wait for their answer, as waitress' dispatcher of tasks, but without threads."""

    def __init__(self) -> None:
        self._waiting: list[Connection] = []

    def add_task(self, connection: Connection) -> None:
        self._waiting.append(connection)

    def ready(self) -> list[Connection]:
        """Those that can be answered: they have taken their last answer, or are closed."""
        return [one for one in self._waiting if not (one.connected and one.total_outbufs_len)]

    def answer(self, connections: list[Connection]) -> None:
        """Answers for a moment; first who has had no answer for the longest time: nobody can take all the turns."""
        end = time.monotonic() + TURN
        ready = self.ready()
        while ready and time.monotonic() < end:
            connection = min(ready, key=lambda one: one.answered)
            self._waiting.remove(connection)
            connection.service()
            limit_unsent(connections)
            ready = self.ready()


def limit_unsent(connections: list[Connection]) -> None:
    """Closes those that have been taking their answer longest, until what is not taken fits."""
    unsent = sum(one.total_outbufs_len for one in connections)
    if unsent > MOST_UNSENT:
        for one in sorted((one for one in connections if one.total_outbufs_len), key=lambda one: one.since):
            unsent -= one.total_outbufs_len
            one.handle_close()
            if unsent <= MOST_UNSENT:
                break


def serve(host: str, port: int, application: Application, ready: Callable[[list[str]], None]) -> None:
    """Answers by the application until a signal's handler raises.

    ready: gets the addresses as 'host:port', when they are open. Raises OSError when they cannot be had.
    """
    settings = Adjustments(
        listen='', ident=None, connection_limit=NEVER,
        recv_bytes=AT_A_TIME, max_request_header_size=LONGEST_HEAD, max_request_body_size=LONGEST_BODY,
        outbuf_overflow=NEVER, outbuf_high_watermark=NEVER)
    sockets: dict[int, Any] = {}
    queue = Queue()
    servers = [Server(application, sockets, dispatcher=queue, adj=settings, sockinfo=(family, kind, protocol, place))
               for family, kind, protocol, _, place in socket.getaddrinfo(
                   host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)]
    ready([_shown(*server.socket.getsockname()[:2]) for server in servers])
    while True:
        wasyncore.loop(timeout=0 if queue.ready() else 1, use_poll=True, map=sockets, count=1)
        # nothing is closed amid the loop: a new connection would get its descriptor, and its events
        for server in servers:
            accept(server, sockets)
        connections = _connections(sockets)
        close_overdue(connections)
        queue.answer(connections)


def accept(server: Server, sockets: dict[int, Any]) -> None:
    """Accepts the connections that wait, and closes one for each that is too many."""
    for _ in range(AT_ONCE):
        if not server.accept_one():
            break
        unwanted = one_too_many(_connections(sockets))
        if unwanted:
            unwanted.handle_close()


def _connections(sockets: dict[int, Any]) -> list[Connection]:
    """The oldest first."""
    return [one for one in sockets.values() if isinstance(one, Connection)]


def _shown(host: str, port: int) -> str:
    return f'[{host}]:{port}' if ':' in host else f'{host}:{port}'
