"""What need not be read of the running kernel's log: two calls show that its rest has nothing new."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest
from test_kernel_log import as_device

from check_conntrack_lib.model import BOOT, NOTHING_READ, Instant, KernelLog, LogLine, LogMemory, LogRing, Suppressed
from check_conntrack_lib.readers import kernel_log, log_rest, syslog_call
from check_conntrack_lib.readers.kernel_lines import MARKERS
from check_conntrack_lib.readers.log_clock import memory_of
from check_conntrack_lib.readers.log_tail import has_none_since
from check_conntrack_lib.readers.syslog_call import read_tail, size_unread

TAIL = b'<6>[ 2640.000001] eth0: link up\n<4>[ 2999.500000][  T123] nf_conntrack: other\n'


@pytest.mark.parametrize(('text', 'since', 'expected'), [
    (TAIL, 2700.001, True),
    # it does not reach back so far, by clocks that differ
    (TAIL, 2700.0, False),
    (TAIL + b'<4>[ 2999.500000] nf_conntrack: nf_conntrack: table full, dropping packet\n', 2900.0, False),
    (TAIL + b'<4>[ 2999.500000] net_ratelimit: 3 callbacks suppressed\n', 2900.0, False),
    # the storm of an hour ago
    (b'<4>[ 2640.000001] nf_conntrack: nf_conntrack: table full, dropping packet\n' * 9 + TAIL, 2800.0, True),
    (b'<4>[ 2640.000001] nf_conntrack: nf_conntrack: table full, dropping packet\n' * 9 + TAIL, 2700.0, False),
    # nobody can hide a line of now behind one with another time
    (b'<4>[ 2640.000001] eth0\n<4>[ 2990.000000] nf_conntrack: table full, dropping packet\n'
     b'<4>[ 2641.000000] nf_conntrack: table full, dropping packet\n', 2800.0, False),
    (b'<4>[ 2640.000001] eth0\ntable full\n', 2800.0, False),
    # printk.time=0, and where the call cannot be made
    (b'<6>eth0: link up\n', 2900.0, False),
    (b'', 2900.0, False),
])
def test_the_tail_of_the_log_shows_that_there_is_nothing(
        monkeypatch: pytest.MonkeyPatch, text: bytes, since: float, expected: bool) -> None:
    monkeypatch.setattr(syslog_call, 'read_tail', lambda _size: text)
    assert has_none_since(since, MARKERS) is expected


@pytest.mark.parametrize(('rate', 'end', 'expected', 'sizes'), [
    (1, b'noise', True, [1 << 16]),
    (1, b'table full', False, [1 << 16]),
    # a gateway that logs packets writes 64 KiB within a minute
    (10, b'noise', True, [1 << 16, 1 << 18]),
    (10, b'table full', False, [1 << 16, 1 << 18]),
    (30, b'noise', False, [1 << 16, 1 << 18]),
    # all of a short log
    (0, b'noise', False, [1 << 16]),
])
def test_a_longer_tail_where_the_first_one_is_too_young(
        monkeypatch: pytest.MonkeyPatch, rate: int, end: bytes, expected: bool, sizes: list[int]) -> None:
    asked: list[int] = []

    def tail(size: int) -> bytes:
        asked.append(size)
        lines = [b'<4>[%5d.000000] %s\n' % (9000 - k // (rate or 1), b'n' * 61)
                 for k in range(size // 80 if rate else 9)]
        return b''.join(reversed(lines)) + b'<4>[ 9000.000000] %s\n' % end

    monkeypatch.setattr(syslog_call, 'read_tail', tail)
    assert has_none_since(8880.0, MARKERS) is expected
    assert asked == sizes


def long_log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tail: bytes, number: int = 4000,
             lost: int = 1) -> list[int]:
    """A device with so many records, 1 s apart, the last of them of a full table; counts the reads.

    lost: how many of this boot the ring no longer has.
    """
    as_device(tmp_path / 'device', monkeypatch)
    monkeypatch.setattr(kernel_log, 'DEVICE', str(tmp_path / 'device'))
    monkeypatch.setattr(syslog_call, 'read_tail', lambda _size: tail)
    monkeypatch.setattr(syslog_call, 'size_unread', lambda: 0)
    reads: list[int] = []

    def read(_handle: int, _size: int) -> bytes:
        reads.append(len(reads))
        if len(reads) > number:
            raise BlockingIOError
        text = 'nf_conntrack: table full, dropping packet' if len(reads) == number else 'noise'
        return b'4,%d,%d,-;%s\n' % (len(reads) - 1 + lost, len(reads) * 1_000_000, text.encode())
    monkeypatch.setattr(kernel_log.os, 'read', read)
    return reads


@pytest.mark.parametrize(('lost', 'read', 'since'), [(0, log_rest.LONG_LOG, BOOT), (1, log_rest.FULL_RING, 1.0)])
def test_a_long_log_without_news_is_not_read_to_its_end(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lost: int, read: int, since: float) -> None:
    """10,000 records to find nothing took more than all the rest of a check; a full ring is known to be long."""
    reads = long_log(monkeypatch, tmp_path, b'<6>[ 3000.000000] noise\n<6>[ 4000.000000] noise\n', lost=lost)
    log = kernel_log.read_records(kernel_log.DEVICE, 3700.0)
    assert log == KernelLog(kernel_log.DEVICE, complete_since=since)
    assert len(reads) == read
    # which record is the newest is not known then: what is remembered stays as it is
    assert memory_of(log, 4000.0, 3600.0) is None


@pytest.mark.parametrize(('ring', 'interval', 'all_read'), [(190, 120, 12), (250, 120, 6), (400, 120, 6),
                                                              (4000, 120, 0), (190, 60, 6), (250, 170, 12)])
def test_a_ring_that_turns_over_has_no_gap_between_two_runs(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ring: int, interval: int, all_read: int) -> None:
    """What a run found to be empty it does not remember: the next one must still have it, or this one reads it all."""
    as_device(tmp_path / 'device', monkeypatch)
    monkeypatch.setattr(kernel_log, 'DEVICE', str(tmp_path / 'device'))
    memory, now, position, reads = None, 10_000, 0, 0

    def read(_handle: int, _size: int) -> bytes:
        nonlocal position
        position += 1
        if position > ring:
            raise BlockingIOError
        stamp = now - ring + position
        return b'4,%d,%d000000,-;noise\n' % (stamp, stamp)

    monkeypatch.setattr(kernel_log.os, 'read', read)
    monkeypatch.setattr(syslog_call, 'size_unread', lambda: 0)
    monkeypatch.setattr(syslog_call, 'read_tail', lambda _size: b'<4>[%5d.000000] noise\n' % (now - ring + 1))
    for _run in range(12):
        position = 0
        log = kernel_log.read_records(kernel_log.DEVICE, now - 300, Instant(1.8e9, now, now), memory)
        assert isinstance(log, KernelLog)
        assert memory is None or log.complete_since <= max(now - 300, 10_000 - ring + 1)
        reads += position > 1
        memory = memory_of(log, now, 3600.0) or memory
        now += interval
    assert reads == all_read


def test_what_was_not_read_since_the_last_run_is_not_skipped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The log's clock may be behind: the tail must go back to the last run, on its own clock."""
    reads = long_log(monkeypatch, tmp_path, b'<6>[ 3000.000000] noise\n')
    now = Instant(1.8e9, 5000.0, 5000.0)
    log = kernel_log.read_records(kernel_log.DEVICE, 4700.0, now, LogMemory(3900, 4650.0, 1740.0, BOOT))
    assert isinstance(log, KernelLog)
    assert len(reads) == 4001
    assert [line.stamp for line in log.table_full] == [5000.0]


def test_what_the_last_run_has_read_is_no_news(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A line of the last five minutes that is remembered does not have the whole log read again and again."""
    reads = long_log(monkeypatch, tmp_path, b'<6>[ 3000.000000] noise\n<4>[ 4000.000000] table full\n')
    memory = LogMemory(4000, 4100.0, 0.0, BOOT, table_full=(LogLine(4000.0),))
    log = kernel_log.read_records(kernel_log.DEVICE, 3900.0, Instant(1.8e9, 4160.0, 4160.0), memory)
    assert isinstance(log, KernelLog)
    assert (len(reads), log.sequence, log.table_full) == (1, None, (LogLine(4000.0),))


@pytest.mark.parametrize('wrong', [
    {'read': 4100.5}, {'offset': -1e9}, {'offset': float('nan')}, {'table_full': (LogLine(4050.5),)},
    {'suppressed': (Suppressed(float('inf'), 7),)}])
def test_a_memory_of_the_future_hides_nothing(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wrong: dict[str, Any]) -> None:
    """Of a damaged history: the rest of the log would be taken for old, and not be read until the next boot."""
    reads = long_log(monkeypatch, tmp_path, b'<6>[ 3000.000000] noise\n<4>[ 4000.000000] table full\n')
    memory = LogMemory(3998, 4050.0, 0.0, BOOT)._replace(**wrong)
    log = kernel_log.read_records(kernel_log.DEVICE, 3900.0, Instant(1.8e9, 4100.0, 4100.0), memory)
    assert isinstance(log, KernelLog)
    assert (len(reads), log.table_full) == (4001, (LogLine(4000.0),))


def test_where_there_was_news_just_now_the_tail_is_not_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    reads = long_log(monkeypatch, tmp_path, b'')
    monkeypatch.setattr(syslog_call, 'read_tail', lambda _size: pytest.fail('it has news: see what is remembered'))
    memory = LogMemory(3999, 4050.0, 0.0, BOOT, suppressed=(Suppressed(4000.0, 7),))
    log = kernel_log.read_records(kernel_log.DEVICE, 3900.0, Instant(1.8e9, 4060.0, 4060.0), memory)
    assert isinstance(log, KernelLog)
    assert (len(reads), log.sequence, log.suppressed) == (4001, 4000, (Suppressed(4000.0, 7),))
    assert log.table_full == (LogLine(4060.0),)  # the log has a clock of its own: as young as it may be


@pytest.mark.parametrize('tail', [
    b'<6>[ 3000.000000] noise\n<4>[ 4000.000000] nf_conntrack: table full, dropping packet\n',
    b'<6>[ 3690.000000] noise\n',
    b'',
], ids=['news', 'too short', 'no call'])
def test_a_long_log_is_read_whenever_there_may_be_news(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tail: bytes) -> None:
    reads = long_log(monkeypatch, tmp_path, tail)
    log = kernel_log.read_records(kernel_log.DEVICE, 3700.0)
    assert isinstance(log, KernelLog)
    assert [line.stamp for line in log.table_full] == [4000.0]
    assert len(reads) == 4001


def test_the_tail_of_another_log_says_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    long_log(monkeypatch, tmp_path, b'<6>[ 3000.000000] noise\n')
    monkeypatch.setattr(kernel_log, 'DEVICE', '/dev/kmsg')
    log = kernel_log.read_records(str(tmp_path / 'device'), 3700.0)
    assert isinstance(log, KernelLog)
    assert len(log.table_full) == 1


def test_the_call_is_made_for_real() -> None:
    """As root at least: the text begins with a whole line."""
    text = read_tail(1 << 16)
    if os.geteuid() and not text:
        pytest.skip('kernel.dmesg_restrict')
    assert text[:1] == b'<'
    assert len(text) <= 1 << 16
    assert text.endswith(b'\n')


class Ring:
    """The kernel's log as its interfaces show it, with a clock of its own; a position for readers of /proc/kmsg."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, holds: int) -> None:
        self.now, self.holds, self.taken = 1000.0, holds, 0
        #: number, time and text
        self.records: list[tuple[int, float, str]] = []
        self.count = self.position = self.reads = self.sizes = self.tails = 0
        self.memory: LogMemory | None = None
        as_device(tmp_path / 'device', monkeypatch)
        monkeypatch.setattr(kernel_log, 'DEVICE', str(tmp_path / 'device'))
        monkeypatch.setattr(kernel_log.os, 'read', self.read)
        monkeypatch.setattr(syslog_call, 'read_tail', self.tail)
        monkeypatch.setattr(syslog_call, 'size_unread', self.unread)

    def log(self, *texts: str) -> None:
        for text in texts:
            self.records.append((self.count, self.now, text))
            self.count += 1
        del self.records[:-self.holds]

    def line(self, record: tuple[int, float, str]) -> bytes:
        return b'<4>[%12.6f] %s\n' % (record[1], record[2].encode())

    def read(self, _handle: int, _size: int) -> bytes:
        self.reads += 1
        if self.position == len(self.records):
            raise BlockingIOError
        number, stamp, text = self.records[self.position]
        self.position += 1
        return b'4,%d,%d,-;%s\n' % (number, stamp * 1e6, text.encode())

    def tail(self, size: int) -> bytes:
        self.tails += 1
        text = b''.join(map(self.line, self.records))[-size:]
        return text[text.find(b'<'):]

    def unread(self) -> int:
        self.sizes += 1
        return sum(len(self.line(record)) for record in self.records if record[0] >= self.taken)

    def run(self, span: float = 300.0) -> list[float]:
        """A check: the times of the lines about full tables that it knows."""
        self.position = self.reads = self.sizes = self.tails = 0
        log = kernel_log.read_records(kernel_log.DEVICE, self.now - span, Instant(1.8e9, self.now, self.now),
                                      self.memory or NOTHING_READ)
        assert isinstance(log, KernelLog)
        self.memory = memory_of(log, self.now, 3600.0, self.memory) or self.memory
        return [round(line.stamp, 3) for line in log.table_full]


FULL = 'nf_conntrack: nf_conntrack: table full, dropping packet'
NOISE = 'a line of noise as long as most of them are'


@pytest.mark.parametrize('holds', [10_000, 900])
def test_a_log_of_the_same_size_has_nothing_new(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, holds: int) -> None:
    """One record is read and one size asked for; that a line came in is seen, and the size then is remembered."""
    ring = Ring(monkeypatch, tmp_path, holds)
    ring.log(*[NOISE] * 1000)
    ring.now += 3600
    assert ring.run() == []
    assert ring.reads == min(holds, 1000) + 1
    for _ in range(3):
        ring.now += 60
        assert ring.run() == []
        assert (ring.reads, ring.sizes, ring.tails) == (1, 1, 0)
    ring.log(NOISE)
    assert ring.run() == []
    if holds == 900:
        # its oldest record is another one: the size is asked for when that has stayed
        assert (ring.reads, ring.sizes, ring.tails) == (1, 0, 1)
        assert ring.run() == []
        assert (ring.reads, ring.sizes, ring.tails) == (1, 1, 1)
    else:
        assert (ring.reads, ring.sizes, ring.tails) == (log_rest.LONG_LOG, 1, 1)
    ring.now += 60
    assert ring.run() == []
    assert (ring.reads, ring.sizes, ring.tails) == (1, 1, 0)
    ring.log(FULL)
    assert ring.run() == [ring.now]
    ring.run()
    for _ in range(4):
        ring.now += 60
        # also while the line is so young that the end of the text cannot show that it is known
        assert ring.run() == [5020 - 180]
        assert (ring.reads, ring.sizes, ring.tails) == (1, 1, 0)


def test_what_a_logger_takes_is_no_sign_that_nothing_came(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is one line behind in every run of a storm: the same size each time, of other lines."""
    ring = Ring(monkeypatch, tmp_path, 10_000)
    ring.log(*[NOISE] * 1000)
    for behind in (1, 1, 300, 300, 2, 0, 0):
        ring.now += 60
        ring.log(*[FULL] * 400)
        ring.taken = ring.count - behind
        assert ring.run()[-1] == ring.now
        assert behind == 300 or ring.memory.ring.unread < log_rest.LEAST_UNREAD


def test_in_a_ring_that_is_never_quiet_no_size_is_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It would be another one in each run."""
    ring = Ring(monkeypatch, tmp_path, 900)
    ring.log(*[NOISE] * 1000)
    ring.now += 36_000
    ring.run()
    for _ in range(5):
        ring.now += 60
        ring.log(NOISE)
        assert ring.run() == []
        assert (ring.reads, ring.sizes, ring.tails) == (1, 0, 1)


@pytest.mark.parametrize('size', [0, log_rest.LEAST_UNREAD - 1])
def test_where_the_size_is_of_no_use_it_is_not_asked_for_again(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Path, size: int) -> None:
    """Of a small ring, or where it is refused: a security module may note each refusal."""
    ring = Ring(monkeypatch, tmp_path, 900)
    monkeypatch.setattr(syslog_call, 'size_unread', lambda: size)
    ring.log(*[NOISE] * 1000)
    ring.now += 3600
    assert ring.run() == []
    monkeypatch.setattr(syslog_call, 'size_unread', lambda: pytest.fail('asked again'))
    for number in (0, 1, 0, 1):
        ring.now += 60
        ring.log(*[NOISE] * number)
        assert ring.run() == []
        assert (ring.reads, ring.tails) == (1, 1)


def test_where_the_calls_show_nothing_they_are_made_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ring = Ring(monkeypatch, tmp_path, 9000)
    ring.log(*[NOISE] * 10_000)
    ring.now += 3600
    ring.run()
    ring.log(*[NOISE] * 5000)
    ring.run()
    assert (ring.sizes, ring.tails, ring.reads) == (0, 2, 9001)


def test_what_was_not_read_is_not_known_in_the_next_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of an enormous ring the end is not read: the next run must say so again, though nothing came."""
    ring = Ring(monkeypatch, tmp_path, 900)
    monkeypatch.setattr(kernel_log, 'MOST_RECORDS', 800)
    ring.log(*[NOISE] * 950, FULL)
    for _ in range(2):
        ring.run()
        assert ring.reads == 800
        assert ring.memory
        assert ring.memory.ring is None


def test_a_log_that_has_grown_is_asked_for_its_size_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """At first it is so short that reading it is as quick."""
    ring = Ring(monkeypatch, tmp_path, 10_000)
    for number, sizes, reads in ((400, 1, 401), (0, 1, log_rest.LONG_LOG), (800, 1, log_rest.LONG_LOG), (0, 1, 1)):
        ring.log(*[NOISE] * number)
        ring.now += 300
        assert ring.run() == []
        assert (ring.sizes, ring.reads) == (sizes, reads)


def test_what_is_remembered_must_be_possible(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of a damaged history: the size fits, but what it goes with is of the future."""
    ring = Ring(monkeypatch, tmp_path, 900)
    ring.log(*[NOISE] * 1000)
    ring.run()
    ring.log(FULL)
    memory = ring.memory
    assert memory
    ring.memory = memory._replace(read=ring.now + 1, ring=LogRing(101, ring.unread()))
    assert ring.run() == [ring.now]


@pytest.mark.parametrize('seed', range(40))
def test_no_line_is_missed_or_taken_for_new(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, seed: int) -> None:
    """Quiet and noisy hours, storms, a logger that begins and ends: each run knows what a reading of all would."""
    rng = random.Random(seed)
    holds = rng.choice((600, 2000, 20_000))
    ring = Ring(monkeypatch, tmp_path, holds)
    ring.log(*[NOISE] * rng.choice((100, 1000, 3000)))
    full: dict[int, float] = {}
    for _run in range(60):
        for _ in range(rng.choice((0, 0, 0, 1, 5))):
            ring.now += rng.choice((0.5, 7, 60))
            ring.log(*[rng.choice((FULL, NOISE, NOISE, NOISE))] * rng.choice((1, 1, 1, 10, 100)))
        if rng.random() < 0.1:
            ring.taken = rng.choice((0, ring.count, ring.count - 1))
        ring.now += rng.choice((1, 20, 60, 300))
        full.update({number: stamp for number, stamp, text in ring.records if text == FULL})
        found = ring.run()
        young = [stamp for stamp in full.values() if stamp >= ring.now - 300]
        assert found[-len(young):] == young or not young
        assert set(found) <= set(full.values())
        assert not found or len(found) == len([stamp for stamp in full.values() if stamp >= found[0]])


@pytest.mark.skipif(os.geteuid() != 0, reason='needs CAP_SYSLOG')
def test_the_size_is_the_kernel_s() -> None:
    """With the oldest number it stays as it is while nothing is logged, and changes by a line that is."""
    if not size_unread():
        pytest.skip('a logger reads /proc/kmsg')

    def both() -> tuple[bytes, int]:
        handle = os.open(kernel_log.DEVICE, os.O_RDONLY | os.O_NONBLOCK)
        try:
            return os.read(handle, kernel_log.RECORD_SIZE), size_unread()
        finally:
            os.close(handle)

    steady = 0
    # others may log meanwhile; what users write is limited to 10 lines in 5 s
    for number in range(5):
        first, second = both(), both()
        with open(kernel_log.DEVICE, 'w') as device:
            device.write(f'check_conntrack: test {number} of the size of this log\n')
        assert both() != second
        steady += first == second
    assert steady
