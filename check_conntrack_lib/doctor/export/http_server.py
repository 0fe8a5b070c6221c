"""A small HTTP server for one page: one thread, so many connections at once, each only for so long."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Callable

#: seconds that a client has for its whole request, and with taking the answer
HEAD_PATIENCE, PATIENCE = 3.0, 10.0
#: connections at once, in all and from one address: for one more, the one that has been silent longest is closed
MOST_CONNECTIONS, MOST_FROM_ONE = 400, 100
LONGEST_HEAD = 16384

_REQUEST = re.compile(rb'([A-Z]{1,20}) (?:https?://[!-.0-~]{1,255})?([!-~]{1,2000}) HTTP/1\.[01]\r?\n')
_PHRASES = {200: 'OK', 400: 'Bad Request', 404: 'Not Found', 405: 'Method Not Allowed', 503: 'Service Unavailable'}
_TEXT = 'text/plain; charset=utf-8'


class Unavailable(Exception):
    """The page cannot be had at the moment."""


async def serve(host: str, port: int, page: Callable[[], bytes], content_type: str,
                ready: Callable[[list[str]], None]) -> None:
    """Answers GET /metrics with page() until SIGTERM.

    ready: is told the addresses as 'host:port', when they are open. Raises OSError when they cannot be had.
    """
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    # by their age, each with its address; silent: of those, the ones that have not asked for anything yet
    open_connections: dict[asyncio.StreamWriter, str] = {}
    silent: dict[asyncio.StreamWriter, str] = {}

    def make_room(address: str) -> bool:
        if list(open_connections.values()).count(address) >= MOST_FROM_ONE:
            oldest = next((writer for writer, other in silent.items() if other == address), None)
        elif len(open_connections) >= MOST_CONNECTIONS:
            oldest = next(iter(silent), None)
        else:
            return True
        if oldest is None:
            return False
        oldest.transport.abort()
        del silent[oldest], open_connections[oldest]
        return True

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info('peername')
        address = str(peer[0]) if peer else ''
        if not make_room(address):
            writer.transport.abort()
            return
        open_connections[writer] = silent[writer] = address
        try:
            head = await asyncio.wait_for(_head(reader), HEAD_PATIENCE)
            silent.pop(writer, None)
            await asyncio.wait_for(_answer_to(head, writer, page, content_type), PATIENCE)
        except (OSError, asyncio.TimeoutError):
            pass  # a client that went away, or took too long
        finally:
            silent.pop(writer, None)
            open_connections.pop(writer, None)
            # after a full answer everything is flushed by now
            writer.transport.abort()

    server = await asyncio.start_server(connected, host, port, limit=LONGEST_HEAD, backlog=MOST_CONNECTIONS)
    ready([_shown(*socket.getsockname()[:2]) for socket in server.sockets])
    await stopped.wait()
    server.close()


async def _head(reader: asyncio.StreamReader) -> bytes:
    """The head of a request; empty when it ends early or is too long."""
    try:
        return await reader.readuntil(b'\r\n\r\n')
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return b''


async def _answer_to(head: bytes, writer: asyncio.StreamWriter, page: Callable[[], bytes],
                     content_type: str) -> None:
    status, kind, body = _answer(head, page, content_type)
    text = f'HTTP/1.1 {status} {_PHRASES[status]}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n' \
           'Connection: close\r\n\r\n'
    writer.write(text.encode('ascii') + (b'' if head.startswith(b'HEAD ') else body))
    writer.close()
    await writer.wait_closed()


def _answer(head: bytes, page: Callable[[], bytes], content_type: str) -> tuple[int, str, bytes]:
    """Status, content type and body for the head of a request."""
    request = _REQUEST.match(head)
    if not request:
        return 400, _TEXT, b'not an HTTP/1 request\n'
    if request[1] not in (b'GET', b'HEAD'):
        return 405, _TEXT, b'only GET and HEAD\n'
    path = request[2].partition(b'?')[0]
    if path == b'/':
        return 200, _TEXT, b'conntrack-doctor: the metrics are at /metrics\n'
    if path != b'/metrics':
        return 404, _TEXT, b'the metrics are at /metrics\n'
    try:
        return 200, content_type, page()
    except Unavailable as error:
        return 503, _TEXT, f'{error}\n'.encode('utf-8', 'replace')


def _shown(host: str, port: int) -> str:
    return f'[{host}]:{port}' if ':' in host else f'{host}:{port}'
