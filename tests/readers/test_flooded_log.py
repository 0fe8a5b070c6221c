"""A kernel log that is written faster than it is read: whoever is shown the log is told so, and no state changes."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

import proctree
import pytest

from check_conntrack_lib.doctor import readings
from check_conntrack_lib.doctor.export import json_metrics
from check_conntrack_lib.doctor.text_layout import TextLayout
from check_conntrack_lib.doctor.triage import json_output, reading, report
from check_conntrack_lib.doctor.watch import view
from check_conntrack_lib.formatting import FLOODED
from check_conntrack_lib.host import Host
from check_conntrack_lib.model import Instant
from check_conntrack_lib.plugin import cli
from check_conntrack_lib.readers import kernel_log

NOW = Instant(1795185614.0, 3079.0, 3000.0)
FULL = b'4,1,2990000000,-;nf_conntrack: nf_conntrack: table full, dropping packet\n'
FIRST = ('40.0% used (400 of 1000), first run: drops are counted from now on | usage=40%;85;95;0;100 '
         'entries=400;850;950;0;1000 buckets=65536')


class Log:
    """A device whose ring turns over once while it is read."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = directory / 'kmsg'
        self.records: list[bytes] = []
        os.mkfifo(self.path)
        monkeypatch.setattr(kernel_log, 'is_kernel_log', lambda _status, _path: True)
        self._true_open, self._true_read = os.open, os.read
        self._left: dict[int, list[bytes | None]] = {}
        monkeypatch.setattr(os, 'open', self._open)
        monkeypatch.setattr(os, 'read', self._read)

    def _open(self, path: str, *args: int, **kw: int) -> int:
        handle = self._true_open(path, *args, **kw)
        self._left.pop(handle, None)
        # a descriptor is opened again by its own name
        if path == str(self.path) or (path.startswith('/proc/self/fd/') and os.readlink(path) == str(self.path)):
            self._left[handle] = [b'6,1,1,-;noise\n', None, *self.records]
        return handle

    def _read(self, handle: int, size: int) -> bytes:
        if handle not in self._left:
            return self._true_read(handle, size)
        if not self._left[handle]:
            raise BlockingIOError
        record = self._left[handle].pop(0)
        if record is None:
            raise BrokenPipeError
        return record


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Log:
    proctree.make(tmp_path / 'proc', 400, 1000)
    return Log(tmp_path, monkeypatch)


def check(log: Log, *argv: str) -> int:
    history = log.path.parent / 'h.sqlite'
    return cli.main(['--procfs', str(log.path.parent / 'proc'), '--kernel-log', str(log.path), '--history',
                     str(history), *argv], lambda: NOW)


def test_an_ok_check_is_as_short_as_ever(log: Log, capfd: pytest.CaptureFixture[str]) -> None:
    assert check(log) == 0
    assert capfd.readouterr().out == f'CONNTRACK OK - {FIRST} table_full_lines=0;;0;0\n'


def test_the_long_output_says_it(log: Log, capfd: pytest.CaptureFixture[str]) -> None:
    assert check(log, '-v') == 0
    assert capfd.readouterr().out == (
        f'CONNTRACK OK - {FIRST} table_full_lines=0;;0;0\n'
        'table: 400 of 1000 entries (nf_conntrack_max), 0.0 per bucket\n'
        f'kernel log: no "table full" message in the last 5 min; {FLOODED}\n')


def test_it_stands_beside_the_lines_that_were_seen(log: Log, capfd: pytest.CaptureFixture[str]) -> None:
    log.records = [FULL]
    short = FIRST.replace(': drops are counted from now on', '')
    assert check(log, '--diagnose', 'never') == 2
    assert capfd.readouterr().out == (
        f'CONNTRACK CRITICAL - kernel logged "table full" once since 14:40 UTC, now {short} '
        'table_full_lines=1;;0;0\n'
        "next: sudo conntrack-doctor history --from '2026-11-20 14:25'\n"
        'alert: table-full (docs/alerts.md#table-full); clears at about 14:45 UTC unless more packets are dropped '
        '(--window)\n'
        f'kernel log: 1 "table full" message at 14:40:04 UTC (rate-limited, not a packet count); {FLOODED}\n')


@pytest.mark.parametrize(('records', 'lines'), [([], 'no "table full" message in the last 5 min'),
                                                ([FULL], '1 "table full" message in the last 5 min, last 10 s ago')])
def test_watch_and_the_json_of_the_exporter(log: Log, records: list[bytes], lines: str) -> None:
    log.records = records
    taken = readings.take(Host(str(log.path.parent / 'proc'), lambda: NOW), str(log.path), 300.0)
    moment = view.next_state(None, taken)
    assert [line.text for line in view.screen(moment, 0) if line.label == 'kernel log'] \
        == [f'{lines}; {FLOODED}']
    assert json_metrics.as_dict(taken)['kernel_log']['flooded'] is True


@pytest.mark.parametrize(('records', 'lines'), [([], 'no "table full" message in the last 5 min; '),
                                                ([FULL], '1 "table full" message at 14:40:04 UTC '
                                                         '(rate-limited, not a packet count); ')])
def test_triage(log: Log, records: list[bytes], lines: str) -> None:
    log.records = records
    seen = reading.gather(Host(str(log.path.parent / 'proc'), lambda: NOW), str(log.path), str(log.path) + '.none', 100,
                          contextlib.nullcontext, lambda _: None)
    screen = ' '.join(report.text(seen, TextLayout(80)).split())
    assert f' log {lines}{FLOODED} ' in screen
    assert json.loads(json_output.as_json(seen))['log']['flooded'] is True


def test_more_records_than_are_read(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest are missing then."""
    monkeypatch.setattr(kernel_log, 'MOST_RECORDS', 1)
    seen = kernel_log.read_records(str(log.path), 0.0)
    assert isinstance(seen, kernel_log.KernelLog)
    assert seen.overrun
