"""What counting new connections costs, and how right NAT ports are estimated: `python3 benchmarks/rates.py`, as root.

First two generators open 20,000 connections per second, which are counted and sampled every other second: CPU of this
process, and of all CPUs per new connection. Then 20 tables of known content: the error of the ports.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / 'tests')]

import laboratory  # type: ignore[import-not-found,unused-ignore]  # noqa: E402

from check_conntrack_lib.analysis import rates  # noqa: E402
from check_conntrack_lib.analysis.profile import Profile  # noqa: E402
from check_conntrack_lib.analysis.profile_counter import summarize  # noqa: E402
from check_conntrack_lib.host import Host  # noqa: E402
from check_conntrack_lib.model import Missing  # noqa: E402
from check_conntrack_lib.readers import ctnetlink, ctnetlink_events  # noqa: E402

RATE, SHARE, SECONDS = 20000, 0.8, 1.0
TABLE, USED, SIZE, SAMPLE = 200_000, 30_000, 64_512, 20_000


def busy() -> float:
    """Seconds that all CPUs have worked (user, nice, system, irq, softirq, steal)."""
    ticks = [int(word) for word in Path('/proc/stat').read_text().split('\n')[0].split()[1:]]
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf('SC_CLK_TCK')


def generators(lab: Any, stack: ExitStack, seconds: float) -> None:
    for source, rate in (('127.0.0.1', RATE * SHARE), ('127.0.0.2', RATE * (1 - SHARE))):
        process = stack.enter_context(subprocess.Popen(
            ['ip', 'netns', 'exec', lab.name, sys.executable, str(ROOT / 'tests/generator.py'), source, str(rate),
             str(seconds)], stdout=subprocess.PIPE, text=True))
        assert process.stdout
        process.stdout.readline()
        stack.callback(process.communicate)


def listening(rounds: int) -> None:
    """Seconds with and without a listener in turns, while connections are opened."""
    own, worked, quiet, errors, shares = [], [], [], [], []
    with laboratory.maximum(4_000_000), laboratory.namespace() as lab, ExitStack() as stack:
        generators(lab, stack, 2 * SECONDS * rounds + 1)
        with lab.in_netns():
            for _ in range(rounds):
                before, count = busy(), lab.count()
                time.sleep(SECONDS)
                quiet.append((busy() - before) / max(1, lab.count() - count))
                usage = resource.getrusage(resource.RUSAGE_SELF)
                before, count = busy(), lab.count()
                listener = ctnetlink_events.open_listener(Host())
                assert not isinstance(listener, Missing), listener
                time.sleep(0.1)
                ctnetlink_events.start_sample(listener, SECONDS)
                time.sleep(SECONDS - listener.seconds())
                new = ctnetlink_events.finish(listener)
                assert not isinstance(new, Missing), new
                opened = lab.count() - count
                worked.append((busy() - before) / max(1, opened))
                now = resource.getrusage(resource.RUSAGE_SELF)
                own.append(now.ru_utime + now.ru_stime - usage.ru_utime - usage.ru_stime)
                errors.append(abs(new.connections - opened) / max(1, opened))
                seen = rates.counted(new.rate, new.flows)
                first = seen.busiest()
                shares.append(abs(seen.share(first.seen) - SHARE) if first else 1.0)
    print(f'{RATE} new connections/s, counted and sampled for {SECONDS:g} s, {rounds} times')
    print(f'  CPU of the reader:           {1000 * statistics.median(own):.0f} ms')
    print(f'  all CPUs per new connection: {1e6 * statistics.median(worked):.1f} us with, '
          f'{1e6 * statistics.median(quiet):.1f} us without')
    print(f'  error of the rate:           {100 * statistics.median(errors):.2f} %, at most {100 * max(errors):.2f} %')
    print(f'  error of the share:          {100 * statistics.median(shares):.1f} points, at most '
          f'{100 * max(shares):.1f}')


def ports(tables: int) -> None:
    """Tables of which the true use is known, each sampled once."""
    flow = laboratory.Flow
    used, size = [], []
    with laboratory.maximum(1_000_000), laboratory.namespace() as lab, lab.in_netns():
        for number in range(tables):
            lab.drain()
            client = f'10.{number + 1}'
            lab.fill(flow('tcp', f'{client}.{k // 250}.{k % 250}', '203.0.113.9', 20000 + k * 4 // 3, 443,
                          snat='198.51.100.1') for k in range(USED))
            lab.fill(laboratory.mixed_flows(TABLE - USED, {flow('tcp', f'{client}.128.0/18'): 1}))
            found = ctnetlink.read_flows(lambda flows: summarize(flows, lab.count()), SAMPLE)
            assert isinstance(found, Profile), found
            one = found.nat_ports[0]
            used.append(one.used / USED - 1)
            size.append(one.size / SIZE - 1)
    print(f'NAT ports of {tables} tables of {TABLE} entries, {USED} of them in one pool, from samples of {SAMPLE}')
    print(f'  error of the ports used:     {100 * statistics.mean(map(abs, used)):.1f} % in the mean, at most '
          f'{100 * max(map(abs, used)):.1f} %')
    print(f'  size of the range:           {100 * statistics.mean(map(abs, size)):.1f} % in the mean')


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or '').split('\n')[0])
    parser.add_argument('--rounds', type=int, default=8)
    parser.add_argument('--tables', type=int, default=20)
    arguments = parser.parse_args()
    if laboratory.why_not():
        sys.exit(f'benchmarks/rates.py: {laboratory.why_not()}')
    listening(arguments.rounds)
    ports(arguments.tables)


if __name__ == '__main__':
    main()
