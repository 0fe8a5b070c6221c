"""Clients of `export --listen` that keep others out, or send what is no request. It speaks HTTP only."""

from __future__ import annotations

import itertools
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import proctree
import pytest

pytest.importorskip('prometheus_client')
pytest.importorskip('waitress')
GET = b'GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'


@pytest.fixture(scope='module')
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    proc = proctree.make(tmp_path_factory.mktemp('host') / 'proc')
    with closing(socket.create_server(('127.0.0.1', 0))) as probe:
        free = int(probe.getsockname()[1])
    process = subprocess.Popen(proctree.command('export', '--listen', f'127.0.0.1:{free}', '--kernel-log', 'off',
                                                '--procfs', proc), cwd=proctree.ROOT, stderr=subprocess.PIPE, text=True)
    while 'serving' not in proctree.next_line(process, 30):
        pass
    yield free
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=30)[1]
    # whoever reaches the port must not fill the log either
    assert (process.returncode, said) == (0, '')


def ask(port: int, request: bytes = GET, seconds: float = 30) -> bytes:
    with socket.create_connection(('127.0.0.1', port), timeout=seconds) as client:
        client.sendall(request)
        answer = b''
        while True:
            part = client.recv(1 << 16)
            if not part:
                return answer
            answer += part


def answered(port: int, times: int) -> int:
    found = 0
    for _ in range(times):
        try:
            found += ask(port).startswith(b'HTTP/1.1 200')
        except OSError:
            continue
    return found


def test_silent_connections_keep_nobody_out(port: int) -> None:
    silent = []
    try:
        for _ in range(450):
            silent.append(socket.create_connection(('127.0.0.1', port), timeout=5))
        assert answered(port, 5) == 5
    finally:
        for one in silent:
            one.close()


@pytest.mark.slow
def test_nor_do_those_that_come_again_and_again(port: int) -> None:
    stopped = threading.Event()

    def connect() -> None:
        kept: list[socket.socket] = []
        while not stopped.wait(0.004):
            try:
                kept.append(socket.create_connection(('127.0.0.1', port), timeout=2))
                # half a request is silence, too
                kept[-1].sendall(b'GET /metrics HTTP/1.1\r\nX: ')
            except OSError:
                continue
            if len(kept) > 500:
                kept.pop(0).close()
        for one in kept:
            one.close()

    thread = threading.Thread(target=connect)
    thread.start()
    try:
        time.sleep(2.5)
        found = sum(answered(port, 1) for _ in range(10))
    finally:
        stopped.set()
        thread.join()
    assert found == 10


@pytest.mark.slow
def test_nor_do_many_addresses_that_ask_for_ever_and_take_nothing(port: int) -> None:
    """As from an IPv6 network: each address has few connections, each with 40 requests, and all are at work."""
    stopped = threading.Event()
    kept: list[socket.socket] = []

    def ask_and_leave() -> None:
        addresses = itertools.cycle(range(1, 61))
        while not stopped.wait(0 if len(kept) < 500 else 0.01):
            if len(kept) > 600:
                kept.pop(0).close()  # a user may have 1024 open files
            client = socket.socket()
            try:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
                client.bind((f'127.0.1.{next(addresses)}', 0))
                client.settimeout(2)
                client.connect(('127.0.0.1', port))
                client.sendall(GET.replace(b'Connection: close\r\n', b'') * 40)
            except OSError:
                continue
            finally:
                kept.append(client)

    thread = threading.Thread(target=ask_and_leave)
    thread.start()
    try:
        while len(kept) < 600:
            time.sleep(0.1)
        found = sum(answered(port, 1) for _ in range(10))
    finally:
        stopped.set()
        thread.join()
    for one in kept:
        one.close()
    assert found == 10


def test_a_request_by_an_absolute_form(port: int) -> None:
    for target in (b'http://h/metrics', b'http://127.0.0.1:9318/metrics?x=1', b'https://[::1]:9318/metrics'):
        assert ask(port, GET.replace(b'/metrics', target)).startswith(b'HTTP/1.1 200'), target
    assert ask(port, GET.replace(b'/metrics', b'http://h/other')).startswith(b'HTTP/1.1 404')


@pytest.mark.slow
@pytest.mark.parametrize('request_', [
    b'\r\n\r\n', b'\0' * 20000, b'\x16\x03\x01\x02\x00\x01\x00\r\n\r\n', b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    b'GET /metrics HTTP/1.1\r\nX: ' + b'a' * 200_000 + b'\r\n\r\n', b'GET http:// HTTP/1.0\r\n\r\n',
    b'GET /../../etc/passwd HTTP/1.0\r\n\r\n', b'TRACE / HTTP/1.0\r\n\r\n',
    b'GET /metrics?x=%0d%0aSet-Cookie:a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n',
    # two lengths, and a request in the body of another
    b'GET /metrics HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 40\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n',
    b'POST / HTTP/1.1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n'
    b'14\r\nGET / HTTP/1.1\r\n\r\n--\r\n0\r\n\r\n',
    # what Python or the library raise an error at
    b'GET /metrics HTTP/1.1\r\nContent-Length: ' + b'9' * 5000 + b'\r\n\r\n',
    b'GET http://[::1/metrics HTTP/1.1\r\n\r\n', b'GET http://[v1.x]/metrics HTTP/1.0\r\n\r\n',
    b'GET /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n' + b'f' * 5000 + b'\r\n',
    b'GET /metrics HTTP/1.1\r\nConnection: close\r\nAccept-Encoding: ' + b'gzip;q=1,' * 1500 + b'\r\n\r\n',
    b'GET /metrics HTTP/1.1\r\nConnection: close\r\nAccept: ' + b';' * 14000 + b'\r\n\r\n',
    b'GET /metrics?x=' + b'a' * 15000 + b' HTTP/1.1\r\nConnection: close\r\n\r\n',
], ids=range(18))
def test_junk_costs_itself(port: int, request_: bytes) -> None:
    try:
        answer = ask(port, request_)
    except (ConnectionError, TimeoutError):
        answer = b''
    assert b'Set-Cookie' not in answer
    assert b'root:' not in answer
    assert answered(port, 1) == 1
