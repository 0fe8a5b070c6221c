"""What a scrape of `export --listen` costs, and whether one is answered beside clients that mean harm.

python3 -m benchmarks.exporter [--scrapes 300] [--json]

The same for waitress as it comes, with one thread and no limits of ours. Reads this machine's own table; what a scrape
costs is measured without the page that is kept for a second. Everything stays on the loopback device; 100 hostile
clients share an address.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.footprint import ROOT, footprint

OURS = """
import sys
from check_conntrack_lib.doctor import cli
from check_conntrack_lib.doctor.export import http_server, prometheus
sys.exit(cli.main(['export', '--listen', '127.0.0.1:0', '--kernel-log', 'off']))
"""
AS_IT_COMES = OURS.replace('sys.exit', """
import waitress
from check_conntrack_lib.deadline import Deadline
def serve(host, port, application, ready):
    server = waitress.create_server(application, host=host, port=port, threads=1)
    ready([f'{host}:{server.effective_port}'])
    server.run()
# the alarm of a reading is the main thread's alone
Deadline.start = Deadline.stop = lambda self: None
http_server.serve = serve
sys.exit""", 1)
REQUEST = b'GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n'
#: seconds that a scraper waits for its answer
PATIENCE = 5.0


@contextlib.contextmanager
def served(code: str) -> Iterator[tuple[int, int]]:
    """The server's process id and port."""
    process = subprocess.Popen([sys.executable, '-c', code], cwd=ROOT, text=True, stderr=subprocess.PIPE)
    assert process.stderr
    try:
        said = process.stderr.readline()
        assert said.startswith('serving http://'), said
        # what it says of its clients must not fill the pipe
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield process.pid, int(said.split(':')[2].split('/')[0])
    finally:
        process.kill()
        process.wait()


def cpu(pid: int) -> float:
    """Seconds that the process has computed."""
    fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def most_memory(pid: int) -> float:
    """The most that it ever held, in MiB."""
    status = Path(f'/proc/{pid}/status').read_text()
    return round(int(status.split('VmHWM:')[1].split()[0]) / 1024, 1)


def scrape(connection: http.client.HTTPConnection, **headers: str) -> int:
    """The bytes of one answer."""
    connection.request('GET', '/metrics', headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    assert answer.status == 200, answer.status
    return len(body)


def latency(port: int, scrapes: int, kept: bool) -> float:
    """The median time of a scrape in ms."""
    times = []
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=PATIENCE)
    for _ in range(scrapes):
        began = time.perf_counter()
        scrape(connection)
        if not kept:
            connection.close()
        times.append(time.perf_counter() - began)
    connection.close()
    return round(statistics.median(times) * 1000, 2)


def answered(port: int, times: int = 5) -> int:
    """How many of so many scrapes, each of a new connection, get their answer."""
    found = 0
    for _ in range(times):
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection('127.0.0.1', port, timeout=PATIENCE)
            with contextlib.closing(connection):
                scrape(connection)
                found += 1
    return found


def connect(port: int, number: int, sends: bytes = b'') -> socket.socket:
    """A client of the address 127.0.1.NUMBER, 100 clients an address, which reads nothing."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(2)
    client.bind((f'127.0.1.{number // 100 + 1}', 0))
    with contextlib.suppress(OSError):
        client.connect(('127.0.0.1', port))
        client.sendall(sends)
    return client


def beside(port: int, clients: int, sends: bytes = b'', scrapes: Callable[[int], object] = answered) -> object:
    """scrapes(port) while so many clients are connected that sent this, and read nothing."""
    held: list[socket.socket] = []
    try:
        held += [connect(port, number, sends) for number in range(clients)]
        return scrapes(port)
    finally:
        for client in held:
            client.close()


def beside_new_ones(port: int) -> object:
    """answered(port) while 250 clients a second come with half a request, and stay."""
    stopped = threading.Event()
    held: list[socket.socket] = []

    def come() -> None:
        while not stopped.wait(0.004):
            held.append(connect(port, len(held) % 400, REQUEST[:-2]))

    thread = threading.Thread(target=come)
    thread.start()
    try:
        time.sleep(2)
        return answered(port)
    finally:
        stopped.set()
        thread.join()
        for client in held:
            client.close()


def measure(code: str, scrapes: int) -> dict[str, object]:
    """Every figure of one server."""
    with served(code.replace('sys.exit', 'prometheus.FRESH = -1.0\nsys.exit')) as (pid, port):
        before = cpu(pid)
        found: dict[str, object] = {
            'a scrape on a kept connection, ms': latency(port, scrapes, True),
            'a scrape on a new one, ms': latency(port, scrapes, False)}
        found['CPU time of one, ms'] = round((cpu(pid) - before) / scrapes / 2 * 1000, 2)
    with served(code) as (pid, port):
        connection = http.client.HTTPConnection('127.0.0.1', port, timeout=PATIENCE)
        found['bytes of an answer'] = scrape(connection)
        found['bytes with gzip'] = scrape(connection, **{'Accept-Encoding': 'gzip'})
        connection.close()
        found['memory then, MiB'] = most_memory(pid)
        found['a scrape beside 300 idle clients, ms'] = beside(
            port, 300, scrapes=lambda port: latency(port, scrapes, False) if answered(port, 1) else 'none answered')
        found['of 5 beside 450 idle clients'] = beside(port, 450)
        found['of 5 beside 250 new ones a second'] = beside_new_ones(port)
        found['of 5 beside 300 that ask 200 times and read nothing'] = beside(port, 300, REQUEST * 200)
        found['memory at most, MiB'] = most_memory(pid)
        found['threads'] = footprint(pid).threads
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--scrapes', type=int, default=300)
    parser.add_argument('--json', action='store_true')
    arguments = parser.parse_args()
    ours, plain = (measure(code, arguments.scrapes) for code in (OURS, AS_IT_COMES))
    if arguments.json:
        print(json.dumps({'ours': ours, 'waitress as it comes': plain}))
        return
    print(f'{"":54}{"ours":>16}{"waitress alone":>16}')
    for name, value in ours.items():
        print(f'{name:54}{value!s:>16}{plain[name]!s:>16}')


if __name__ == '__main__':
    main()
