"""watch --top: its screens, its pace, what it says without accounting or events, and a real table of known traffic."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import laboratory
import proctree
import pytest

from check_conntrack_lib.analysis import top_lists
from check_conntrack_lib.analysis.top_lists import BYTES, ENTRIES, NEW
from check_conntrack_lib.diagnosis import sample
from check_conntrack_lib.doctor import cli, readings
from check_conntrack_lib.doctor.watch import pace, top, top_view, view
from check_conntrack_lib.doctor.watch.pace import Pace
from check_conntrack_lib.doctor.watch.top_view import TopRefresh
from check_conntrack_lib.flow import Flow
from check_conntrack_lib.host import Host
from check_conntrack_lib.model import Instant, Missing
from check_conntrack_lib.readers.ctnetlink_events import NewConnections

NOW = Instant(1795185614.0, 1000.0, 1000.0)
OFF = Missing('net.netfilter.nf_conntrack_acct is 0: no bytes')
DNS = '2001:db8:85a3:8d3:1319:8a2e:370:7348'
NAMES = {'10.0.0.1': 'pod shop/web-7d4b9c-x2x5z', DNS: 'service kube-system/kube-dns'}


def flow(number: int, source: str, destination: str, port: int, octets: int | None = None, protocol: int = 6) -> Flow:
    src, dst = (socket.inet_pton(socket.AF_INET6 if ':' in text else socket.AF_INET, text)
                for text in (source, destination))
    counters = (None,) * 4 if octets is None else (octets // 100, octets, octets // 100, octets)
    state = 'ESTABLISHED' if protocol == 6 else ''
    return Flow(protocol, state, 0, 100, src, dst, 1024 + number, port, dst, src, 0, port, 1024 + number, *counters)


def table(extra: int, octets: int | None) -> list[Flow]:
    """What a small gateway has; extra: new ones of one client; octets: carried by each entry so far."""
    return [*(flow(k, '10.0.0.1', '192.0.2.80', 443, octets) for k in range(60)),
            *(flow(k, f'10.0.0.{2 + k % 9}', '192.0.2.53', 53, octets, 17) for k in range(30)),
            *(flow(k, '2001:db8::1', DNS, 443, octets) for k in range(10)),
            *(flow(k, '10.66.0.6', '203.0.113.9', 8080, octets) for k in range(extra))]


def refresh(root: Path, order: str = ENTRIES, octets: tuple[int, int] | None = None, complete: bool = True,
          new: NewConnections | None = None, **more: Any) -> TopRefresh:
    """The second of two refreshes, 2 s apart."""
    flows = [table(0, octets and octets[0]), table(100, octets and octets[1])]
    entries = [len(one) if complete else 10 * len(one) for one in flows]
    proctree.make(root, entries[1])
    moment = view.next_state(None, readings.take(Host(str(root), lambda: NOW), 'off', 300.0))
    first, second = (top_lists.observe(one, 2.0 * place, entries[place])._replace(complete=complete)
                     for place, one in enumerate(flows))
    return TopRefresh(moment, top_lists.compare(first, second, new, 4, order), NAMES, order, **more)


def text(rows: list[tuple[str, int]]) -> str:
    return ''.join(f'{severity} {row}\n' for row, severity in rows)


def test_the_screens(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    events = NewConnections(1.0, 5000, tuple(table(100, None)[-150:]))
    full = refresh(tmp_path, octets=(10_000, 400_000), new=events)
    rough = refresh(tmp_path, BYTES, (10_000, 400_000), complete=False,
                  uncounted=Missing('nf_conntrack_events is 0: the kernel does not report new connections'))
    plain = refresh(tmp_path, BYTES, new=events, no_bytes=OFF)
    wide = {80: full, 79: rough, 78: plain, 50: full, 20: rough}
    proctree.check_golden(request, 'watch-top.txt', '\n'.join(
        f'{width} columns\n{text(top_view.screen(one, width, 10))}' for width, one in wide.items()))
    assert not [row for width, one in wide.items() if width > 40
                for row, _ in top_view.screen(one, width, 10)[5:] if len(row) > width]


def test_a_block_and_a_line_of_json(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    seen = refresh(tmp_path, NEW, (0, 1000))
    proctree.check_golden(request, 'watch-top-block.txt', '\n'.join(top_view.block(seen, '2026-11-20 15:30:00 UTC')))
    got = json.loads(top_view.as_json(seen, ''))
    assert (got['schema_version'], got['entries'], got['sampled'], got['complete']) == (1, 200, 200, True)
    assert (got['new_per_s'], got['new_by_events'], got['bytes_per_s']) == (50.0, False, 200_000.0)
    assert got['sources'][0] == {
        'protocol': None, 'source': '10.66.0.6', 'destination': '', 'port': None, 'zone': None, 'name': '',
        'entries': 100, 'share': 0.5, 'new_per_s': 50.0, 'packets_per_s': 1000.0, 'bytes_per_s': 100_000.0}
    assert got['errors'] == {}
    assert json.loads(top_view.as_json(None, 'no answer')) == {'schema_version': 1, 'error': 'no answer'}


def test_off_is_said_once_and_only_where_bytes_were_asked_for(tmp_path: Path) -> None:
    asked, not_asked = refresh(tmp_path, BYTES, no_bytes=OFF), refresh(tmp_path)
    assert text(top_view.screen(asked, 80, 0)).count('nf_conntrack_acct is 0: no bytes') == 1
    assert '\n'.join(top_view.block(asked, '')).count('no bytes') == 1
    assert 'bytes' not in text(top_view.screen(not_asked, 80, 0))


def test_flows_that_cannot_be_read(tmp_path: Path) -> None:
    root = Missing('needs root')
    seen = refresh(tmp_path)._replace(lists=None, unread=root, uncounted=root)
    assert [row for row, _ in top_view.screen(seen, 80, 0) if row.startswith('not shown')] == [
        'not shown     flows: needs root', 'not shown     new-connections: needs root']
    assert json.loads(top_view.as_json(seen, ''))['errors'] == {'flows': 'needs root', 'new-connections': 'needs root'}


@pytest.mark.parametrize(('lines', 'rows'), [(24, 4), (50, 13), (5, 1)])
def test_the_lists_fill_the_screen(lines: int, rows: int) -> None:
    assert top_view.room(lines) == rows
    assert lines < 10 or 1 + 6 + 3 * (1 + rows) <= lines - 1


@pytest.mark.parametrize(('looked_at', 'cpu', 'wall', 'period', 'then'), [
    # a fast machine: as many as wanted, as often as asked for
    (10000, 0.04, 0.05, 2.0, 10000),
    (4000, 0.02, 0.03, 2.0, 8000),
    # 5 % of a core are 0.1 s in two: fewer, and until then more rarely
    (10000, 0.16, 0.16, 3.2, 5000),
    (10000, 0.1, 0.11, 2.0, 8000),
    # the time counts, too: another program has the processor
    (10000, 0.04, 0.32, 2.0, 5000),
    # never too few to say anything
    (2000, 0.5, 0.5, 10.0, 2000),
])
def test_the_pace(looked_at: int, cpu: float, wall: float, period: float, then: int) -> None:
    seen = pace.after(Pace(2.0, 2.0, looked_at), cpu, wall)
    assert seen == (2.0, pytest.approx(period), then)


def test_a_longer_interval_looks_at_more() -> None:
    assert pace.after(Pace(30.0, 30.0, 40000), 0.4, 0.4) == (30.0, 30.0, 50000)
    assert pace.after(Pace(30.0, 30.0, 40000), 2.4, 1.0).sample == 20000


def test_the_pace_holds_whatever_a_refresh_costs() -> None:
    """A machine on which an entry takes so many microseconds and a refresh 20 ms besides."""
    for cost in (2e-6, 8e-6, 40e-6, 400e-6):
        speed = Pace(2.0, 2.0)
        for _ in range(10):
            used = 0.02 + speed.sample * cost
            speed = pace.after(speed, used, used)
            assert used / speed.period <= pace.SHARE * 1.000001
        assert 0.02 + speed.sample * cost <= pace.LONGEST or speed.sample == pace.LEAST


def test_names_are_searched_for_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def resolve(_host: Host, wanted: set[str]) -> dict[str, str]:
        asked.append(sorted(wanted))
        return {'10.0.0.1': f'web {len(asked)}'}

    monkeypatch.setattr(top.address_names, 'resolve', resolve)
    names, deadline = top.AddressNames(Host()), SimpleNamespace(budget=lambda _most: nullcontext())
    told = [dict(names.of(wanted, at, deadline)) for at, wanted in (  # type: ignore[arg-type]
        (100.0, {'10.0.0.1'}), (102.0, {'10.0.0.1', '10.0.0.2'}), (110.0, {'10.0.0.1', '10.0.0.2'}),
        (161.0, {'10.0.0.1'}))]
    assert asked == [['10.0.0.1'], ['10.0.0.2'], ['10.0.0.1']]
    assert [one['10.0.0.1'] for one in told] == ['web 1', 'web 1', 'web 2', 'web 3']


@pytest.mark.parametrize(('argv', 'said'), [
    (['--sort', 'new'], '--sort and --rows need --top'), (['--rows', '3'], '--sort and --rows need --top'),
    (['--top', '--rows', '0'], '--rows: 0 is not between 1 and 1000'),
    (['--top', '--sort', 'size'], "argument --sort: invalid choice: 'size'")])
def test_wrong_use_is_one_line(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(['watch', *argv]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count('\n')) == ('', 1)
    assert said in err


def test_without_a_table(tmp_path: Path) -> None:
    proctree.make(tmp_path)
    proctree.unload(tmp_path)
    done = proctree.doctor('watch', '--top', '--procfs', tmp_path, '--every', '0.05', '--count', '2')
    assert done.returncode == 2
    assert done.stdout.count('nf_conntrack is not loaded') == 2


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Iterator[laboratory.Namespace]:
    # beside others a listing may take longer than a user waits for
    for module in (top, sample):
        monkeypatch.setattr(module, 'SAMPLE_SECONDS', 60.0)
    if laboratory.why_not():
        pytest.skip(laboratory.why_not())
    with laboratory.maximum(262144), laboratory.namespace() as made:
        yield made


@pytest.mark.kernel
def test_known_traffic_of_a_real_table(lab: laboratory.Namespace) -> None:
    """Exact differences: all entries fit into the sample."""
    lab.do('sysctl -qw net.netfilter.nf_conntrack_acct=1')
    lab.do('sysctl -qw net.netfilter.nf_conntrack_events=0')
    with lab.in_netns():
        client, server = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        with client, server:
            client.bind(('127.0.0.2', 0))
            server.bind(('127.0.0.1', 7001))
            client.sendto(b'a' * 100, ('127.0.0.1', 7001))
            reader = top.Reader(Host(), BYTES)
            first = reader.refresh(10000, 5, 0.0)
            for _ in range(40):
                client.sendto(b'a' * 100, ('127.0.0.1', 7001))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                other.bind(('127.0.0.3', 0))
                other.sendto(b'a' * 72, ('127.0.0.1', 7001))
            before = reader._before
            second = reader.refresh(10000, 5, 0.0)
            after = reader._before
            reader.close()
    assert first.lists
    assert second.lists
    assert before
    assert after
    span = after.at - before.at
    assert (first.lists.new_per_s, first.lists.bytes_per_s, second.lists.complete) == (None, None, True)
    assert second.uncounted == Missing('nf_conntrack_events is 0: the kernel does not report new connections',
                                       'sudo sysctl -w net.netfilter.nf_conntrack_events=1')
    told = [(str(row.key), row.entries, round((row.bytes_per_s or 0) * span), round((row.new_per_s or 0) * span))
            for row in second.lists.rows['sources']]
    assert told == [('from 127.0.0.2', 1, 40 * 128, 0), ('from 127.0.0.3', 1, 100, 1)]
    assert '/s, by the difference of two samples (nf_conntrack_events is 0)\n' in text(top_view.screen(second, 80, 0))


@pytest.mark.kernel
def test_a_sample_of_a_real_table(lab: laboratory.Namespace) -> None:
    """A tenth of the table is looked at; a fifth more is new: the difference of two samples tells it."""
    lab.do('sysctl -qw net.netfilter.nf_conntrack_events=0')
    lab.fill(laboratory.mixed_flows(20000, {laboratory.Flow('tcp', '10.1.0.0/16'): 1}))
    with lab.in_netns():
        reader = top.Reader(Host(), NEW)
        reader.refresh(2000, 5, 0.0)
        before = reader._before
        lab.fill(laboratory.mixed_flows(4000, {laboratory.Flow('udp', '10.2.0.9', dport=53): 1}))
        found = reader.refresh(2000, 5, 0.0).lists
        after = reader._before
        reader.close()
    assert found
    assert found.new_per_s
    assert before
    assert after
    assert (found.seen, found.complete) == (2000, False)
    new = found.new_per_s * (after.at - before.at)
    # 333 of the 2000 are new: a standard deviation is 6 %
    assert 3000 < new < 5000
    assert str(found.rows['sources'][0].key) == 'from 10.2.0.9'


@pytest.mark.kernel
def test_the_command_with_events(lab: laboratory.Namespace) -> None:
    """Named from outside, with connections that are opened meanwhile."""
    lab.fill_to(500)
    command = proctree.command('watch', '--top', '--json', '--every', '1', '--count', '2', '--netns', lab.name)
    with subprocess.Popen(command, cwd=proctree.ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        process.stdout.readline()
        end = time.monotonic() + 30
        with lab.in_netns():
            sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sink:
            sink.bind(('127.0.0.1', 7001))
            while process.poll() is None and time.monotonic() < end:
                lab.flood(1, limit=20)
                time.sleep(0.01)
        got = json.loads(process.stdout.read())
    assert got['new_by_events'] is True
    assert got['new_per_s'] > 0
    assert got['entries'] >= 500
    assert got['errors'] == {}
    assert sum(row['new_per_s'] for row in got['services']) > 0
