"""A small HTTP server for one page: one thread, so many connections at once, each only for so long."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Callable

#: seconds that a client has for its whole request and for taking the answer
PATIENCE = 10.0
#: more connections at once are closed unheard
MOST_CONNECTIONS = 400
LONGEST_HEAD = 16384

_REQUEST = re.compile(rb'([A-Z]{1,20}) ([!-~]{1,2000}) HTTP/1\.[01]\r?\n')
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
    open_connections: set[asyncio.StreamWriter] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(open_connections) >= MOST_CONNECTIONS:
            writer.transport.abort()
            return
        open_connections.add(writer)
        try:
            await asyncio.wait_for(_converse(reader, writer, page, content_type), PATIENCE)
        except (OSError, asyncio.TimeoutError):
            pass  # a client that went away, or took too long
        finally:
            open_connections.discard(writer)
            # after a full answer everything is flushed by now
            writer.transport.abort()

    server = await asyncio.start_server(connected, host, port, limit=LONGEST_HEAD, backlog=MOST_CONNECTIONS)
    ready([_shown(*socket.getsockname()[:2]) for socket in server.sockets])
    await stopped.wait()
    server.close()


async def _converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, page: Callable[[], bytes],
                    content_type: str) -> None:
    try:
        head = await reader.readuntil(b'\r\n\r\n')
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        head = b''
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
