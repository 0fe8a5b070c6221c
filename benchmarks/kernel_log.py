#!/usr/bin/env python3
"""What reading the kernel log costs: all of it record by record, as a check does, and as a program that stays does.

    python3 benchmarks/kernel_log.py                     this kernel's log as it is
    python3 benchmarks/kernels.py --kernel debian13-6.12 --argument log_buf_len=1M --count-instructions \\
        --command 'python3 benchmarks/kernel_log.py --fill 12000'

--fill writes so many records of noise into the log first: only for a guest, it pushes out what others want to read.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from check_conntrack_lib.host import Host
from check_conntrack_lib.model import KernelLog
from check_conntrack_lib.readers import kernel_lines, kernel_log
from check_conntrack_lib.readers.followed_log import FollowedLog
from check_conntrack_lib.readers.log_clock import CLOCKS_DIFFER

#: a check's look-back in seconds
SPAN = 300.0


def every_record() -> int:
    """Each record of the log, looked at as the check does; how many there are."""
    handle = os.open(kernel_log.DEVICE, os.O_RDONLY | os.O_NONBLOCK)
    number = 0
    try:
        while True:
            record = os.read(handle, kernel_log.RECORD_SIZE)
            number += 1
            if kernel_lines.TABLE in record or kernel_lines.MISSED in record:
                continue
    except BlockingIOError:
        return number
    finally:
        os.close(handle)


def milliseconds(runs: int, *measured: Callable[[], object]) -> list[float]:
    """The median of each, of CPU time; they take turns, so that what others do on the machine slows all alike."""
    times: list[list[float]] = [[] for _one in measured]
    for _ in range(runs):
        for one, taken in zip(measured, times):
            begin = os.times()
            before = time.process_time()
            one()
            end = os.times()
            children = end.children_user + end.children_system - begin.children_user - begin.children_system
            taken.append((time.process_time() - before + children) * 1e3)
    return [statistics.median(taken) for taken in times]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--fill', type=int, default=0, metavar='N', help='write N records of noise first')
    parser.add_argument('--runs', type=int, default=15)
    options = parser.parse_args()
    if options.fill:
        # else the kernel takes 10 in 5 s
        Path('/proc/sys/kernel/printk_devkmsg').write_text('on\n')
        with open(kernel_log.DEVICE, 'w', buffering=1) as device:
            for number in range(options.fill):
                device.write(f'benchmark: a line of noise as long as most of them are, number {number}\n')
    host, kept = Host(), FollowedLog()
    # noise of just now is within any look-back: this one begins after it, as that of a check in an hour does
    span = -(CLOCKS_DIFFER + 1) if options.fill else SPAN

    def check() -> None:
        log = kernel_log.read(host, 'kmsg', span)
        assert isinstance(log, KernelLog), log

    records = every_record()
    kept.read(host, 'kmsg', SPAN)
    library, nothing = milliseconds(5, *(lambda what=what: subprocess.run([sys.executable, '-c', what], check=True)
                                         for what in ('import nagiosplugin', '')))
    former, now, stays = milliseconds(options.runs, every_record, check, lambda: kept.read(host, 'kmsg', SPAN))
    print(f'{os.uname().release}, {records} records; import nagiosplugin {library:.0f} ms, '
          f'Python alone {nothing:.0f} ms')
    for what, took in (('every record', former), ('a check', now), ('a program that stays', stays)):
        print(f'{what:22}{took:9.3f} ms{took / former:9.3f} of every record'
              f'{took / library:9.3f} of import nagiosplugin')
    return 0


if __name__ == '__main__':
    sys.exit(main())
