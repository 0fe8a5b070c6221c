#!/usr/bin/env python3
"""What reading the kernel log costs: all of it record by record, as a check does where nothing is new and where lines
are, and as a program that stays does.

    python3 benchmarks/kernel_log.py                     this kernel's log as it is
    python3 benchmarks/kernels.py --kernel debian13-6.12 --argument log_buf_len=1M --count-instructions \\
        --command 'python3 benchmarks/kernel_log.py --fill 12000 --pause 0'

--fill writes so many records of noise into the log first: only for a guest, it pushes out what others want to read.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from check_conntrack_lib.host import Host
from check_conntrack_lib.model import NOTHING_READ, KernelLog, LogMemory, LogRing
from check_conntrack_lib.readers import kernel_log
from check_conntrack_lib.readers.followed_log import FollowedLog
from check_conntrack_lib.readers.log_clock import CLOCKS_DIFFER, memory_of

#: a check's look-back in seconds
SPAN = 300.0
#: the same device by a name under which all of it is read
ALL = '/' + kernel_log.DEVICE


def read(choice: str, span: float, memory: LogMemory | None) -> LogMemory | None:
    """One reading; what it gives to remember."""
    host = Host()
    log = kernel_log.read(host, choice, span, memory)
    assert isinstance(log, KernelLog), log
    return memory_of(log, host.clock().monotonic, SPAN, memory)


def taken(clock: Callable[[], float], what: Callable[[], object]) -> float:
    """Milliseconds."""
    before = clock()
    what()
    return (clock() - before) * 1e3


def number_of_records() -> int:
    """How many records the log has."""
    handle = os.open(kernel_log.DEVICE, os.O_RDONLY | os.O_NONBLOCK)
    number = 0
    try:
        while os.read(handle, kernel_log.RECORD_SIZE):
            number += 1
    except BlockingIOError:
        pass
    finally:
        os.close(handle)
    return number


def fill(number: int) -> None:
    """So many lines of noise."""
    # else the kernel takes 10 in 5 s
    Path('/proc/sys/kernel/printk_devkmsg').write_text('on\n')
    with open(kernel_log.DEVICE, 'w', buffering=1) as device:
        for line in range(number):
            device.write(f'benchmark: a line of noise as long as most of them are, number {line}\n')


def remember() -> LogMemory:
    """What a run that has just read all remembers."""
    memory = read('kmsg', SPAN, NOTHING_READ)
    assert memory
    # its lines would be taken for lists in the process that it is given to
    return memory._replace(table_full=(), suppressed=())


def in_a_process(wall: bool, choice: str, span: float, remembers: bool = False) -> float:
    """Milliseconds that a reading takes in a process of its own, as a check's is."""
    arguments = json.dumps([choice, span, remember() if remembers else None])
    return float(subprocess.check_output([sys.executable, __file__, '--one', arguments, *['--wall'] * wall]))


def measures(options: argparse.Namespace, clock: Callable[[], float]) -> dict[str, Callable[[], float]]:
    """What is measured, and how."""
    # noise of just now is within any look-back: this one begins after it, as that of a check in an hour does
    span = -(CLOCKS_DIFFER + 1) if options.fill else SPAN
    kept = FollowedLog()
    kept.read(Host(), 'kmsg', SPAN)
    return {'every record': partial(in_a_process, options.wall, ALL, SPAN),
            'a check, nothing new': partial(in_a_process, options.wall, 'kmsg', SPAN, True),
            'a check, new lines': partial(in_a_process, options.wall, 'kmsg', span),
            'a program that stays': lambda: taken(clock, lambda: kept.read(Host(), 'kmsg', SPAN))}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--fill', type=int, default=0, metavar='N', help='write N records of noise first')
    parser.add_argument('--runs', type=int, default=15)
    parser.add_argument('--pause', type=float, default=1.0, metavar='SECONDS',
                        help='before each reading: between two of a host the processor does other work')
    parser.add_argument('--wall', action='store_true', help='by the clock, where the kernel counts CPU time in ticks')
    parser.add_argument('--one', help=argparse.SUPPRESS)
    options = parser.parse_args()
    clock = time.perf_counter if options.wall else time.process_time
    if options.one:
        choice, span, memory = json.loads(options.one)
        if memory:
            fields = dict(zip(LogMemory._fields, memory))
            memory = LogMemory(**{**fields, 'ring': LogRing(*fields['ring'])})
        print(taken(clock, lambda: read(choice, span, memory)))
        return 0
    if options.fill:
        fill(options.fill)
    records = number_of_records()
    library, nothing = (
        statistics.median(taken(time.perf_counter, partial(subprocess.run, [sys.executable, '-c', what], check=True))
                          for _ in range(5)) for what in ('import nagiosplugin', ''))
    measured = measures(options, clock)
    times: dict[str, list[float]] = {name: [] for name in measured}
    for _ in range(options.runs):
        for name, measure in measured.items():
            time.sleep(options.pause)
            times[name].append(measure())
    print(f'{os.uname().release}, {records} records; import nagiosplugin {library:.0f} ms, '
          f'Python alone {nothing:.0f} ms')
    every = statistics.median(times['every record'])
    for name, took in ((name, statistics.median(these)) for name, these in times.items()):
        print(f'{name:22}{took:9.3f} ms{took / every:9.3f} of every record'
              f'{took / library:9.3f} of import nagiosplugin')
    return 0


if __name__ == '__main__':
    sys.exit(main())
