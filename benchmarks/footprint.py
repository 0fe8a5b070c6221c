"""What the exporter holds after many readings, in a process of its own: memory, descriptors, threads (for soak.py)."""

from __future__ import annotations

import contextlib
import http.client
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from benchmarks.demand import Demand

ROOT = Path(__file__).parent.parent
#: in KiB: Python's free lists fill in the first 2,000 readings or so, and then stay as they are
NOISE = 1024
#: the exporter's server without its rest: scrapes of one second get the same page
SERVER = """
import sys
from check_conntrack_lib.doctor import cli
from check_conntrack_lib.doctor.export import prometheus
prometheus.FRESH = -1.0
sys.exit(cli.main(['export', '--listen', '127.0.0.1:0', *sys.argv[1:]]))
"""
#: the textfile again and again; says each round, and waits to be looked at when that is a number of the first argument
TEXTFILE = """
import sys
from check_conntrack_lib.doctor import cli, export
looks, write, rounds = sys.argv[1].split(','), export.write_file, 0
def counted(path, content):
    global rounds
    write(path, content)
    rounds += 1
    if str(rounds) in looks:
        print(rounds, flush=True)
        sys.stdin.readline()
export.write_file = counted
sys.exit(cli.main(['export', '--every', '0.001', '--textfile', *sys.argv[2:]]))
"""


class Footprint(NamedTuple):
    """What a process holds."""

    kib: int
    descriptors: int
    threads: int


def footprint(pid: int) -> Footprint:
    """What this process holds now."""
    fields = dict(line.split(':', 1) for line in Path(f'/proc/{pid}/status').read_text().splitlines())
    return Footprint(int(fields['VmRSS'].split()[0]), len(os.listdir(f'/proc/{pid}/fd')), int(fields['Threads']))


def settled(pid: int) -> Footprint:
    """The same when its last connection is closed."""
    seen = []
    for _ in range(10):
        time.sleep(0.05)
        seen.append(footprint(pid))
    return min(seen, key=lambda foot: foot.descriptors)


def scraped(options: list[str], looks: tuple[int, int], in_netns: Callable[[], AbstractContextManager[None]],
            ) -> tuple[Footprint, Footprint]:
    """The server after so many scrapes, each of which reads anew."""
    with in_netns():
        command = [sys.executable, '-c', SERVER, *options]
        process = subprocess.Popen(command, cwd=ROOT, text=True, stderr=subprocess.PIPE)
        with ended(process):
            assert process.stderr
            said = process.stderr.readline()
            assert said.startswith('serving http://'), said
            port = int(said.split(':')[2].split('/')[0])
            seen = {}
            for k in range(1, looks[1] + 1):
                with contextlib.closing(http.client.HTTPConnection('127.0.0.1', port, timeout=20)) as connection:
                    connection.request('GET', '/metrics')
                    answer = connection.getresponse()
                    assert b'conntrack_entries ' in answer.read()
                    assert answer.status == 200
                if k in looks:
                    seen[k] = settled(process.pid)
    return seen[looks[0]], seen[looks[1]]


def written(options: list[str], looks: tuple[int, int], in_netns: Callable[[], AbstractContextManager[None]],
            ) -> tuple[Footprint, Footprint]:
    """The textfile's writer after so many rounds."""
    with tempfile.TemporaryDirectory() as directory, in_netns():
        command = [sys.executable, '-c', TEXTFILE, ','.join(map(str, looks)), f'{directory}/conntrack.prom', *options]
        process = subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        seen = []
        with ended(process):
            assert process.stdin
            assert process.stdout
            for look in looks:
                assert process.stdout.readline() == f'{look}\n'
                seen.append(footprint(process.pid))
                if look != looks[-1]:
                    process.stdin.write('\n')
                    process.stdin.flush()
        assert os.listdir(directory) == ['conntrack.prom']
    return seen[0], seen[1]


@contextlib.contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[None]:
    """It ends when it is told to, and has had nothing to complain of."""
    try:
        yield
        process.terminate()
        rest = process.communicate(timeout=20)[1]
        assert (process.returncode, rest) == (0, ''), (process.returncode, rest)
    finally:
        process.kill()
        process.wait()


def grown(what: str, looks: tuple[int, int], feet: tuple[Footprint, Footprint]) -> Demand:
    before, after = feet
    kept = after.kib - before.kib <= NOISE and after.descriptors <= before.descriptors \
        and after.threads <= before.threads
    said = [f'{foot.kib / 1024:.1f} MiB, {foot.descriptors} descriptors, {foot.threads} thread after {look}'
            for look, foot in zip(looks, feet)]
    return Demand(f'{what}: no growth', kept, '; '.join(said))
