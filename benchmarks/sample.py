"""What the flow profile costs and how far it can be trusted: `python3 benchmarks/sample.py`, as root.

A table of a million entries in a namespace of its own, read in turns by `conntrack -L`, by a sample of 20,000 and by
the whole profile; then tables of known content, and the share that each of their samples was wrong by.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / 'tests')]

import laboratory  # type: ignore[import-not-found,unused-ignore]  # noqa: E402

from check_conntrack_lib.analysis.profile import Profile  # noqa: E402
from check_conntrack_lib.analysis.profile_counter import summarize  # noqa: E402
from check_conntrack_lib.readers import ctnetlink  # noqa: E402

SAMPLE = 20000
#: at most so much of the time of `conntrack -L`, and so much memory
SAMPLE_BUDGET, EXACT_BUDGET, MEMORY_BUDGET = 1 / 15, 1.5, 50.0
READ = """
import sys, time
started = time.monotonic()
from check_conntrack_lib.readers import ctnetlink
from check_conntrack_lib.analysis.profile_counter import summarize
most = int(sys.argv[1]) or None
profile = ctnetlink.read_flows(lambda flows: summarize(flows, 10**6), most)
peak = next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM'))
print(profile.seen, peak, time.monotonic() - started)
"""


def gateway(entries: int, table: int) -> Iterator[Any]:
    """Flows as a busy gateway has them: many clients, a few services, times spread over the timeouts."""
    flow = laboratory.Flow
    net = f'10.{table % 32 * 8}.0.0/15'
    shares = {
        flow('tcp', net, '198.51.100.1', 0, 443): 34,
        flow('tcp', net, '198.51.100.2', 0, 80, snat='192.0.2.1'): 6,
        flow('tcp', net, '198.51.100.3', 0, 443, 'TIME_WAIT'): 18,
        flow('tcp', net, '198.51.100.4', 0, 22, 'SYN_SENT', assured=False, seen_reply=False): 9,
        flow('tcp', net, '198.51.100.5', 0, 8080, 'CLOSE_WAIT'): 0.5,
        flow('udp', net, '198.51.100.53', 0, 53, assured=False): 20,
        flow('udp', net, '198.51.100.54', 0, 53, assured=False, seen_reply=False): 5,
        flow('tcp', f'fd00:{table:x}::/112', 'fd01::1', 0, 443): 7,
        flow('icmp', net, '198.51.100.6', assured=False): 0.5,
    }
    for number, made in enumerate(laboratory.mixed_flows(entries, shares)):
        if made.snat:
            # one address has not enough ports
            yield made._replace(timeout=432000, snat=f'192.0.2.{number % 100}')
        elif made.number == 6 and made.state is None:
            yield made._replace(timeout=432000 - number % 400 * 1000)
        else:
            yield made._replace(timeout=3600 + number % 50)


@contextmanager
def filled(namespace: Any, entries: int, table: int) -> Iterator[None]:
    """The maximum is held as long: a table that is full elsewhere would make the kernel evict entries here."""
    with laboratory.maximum(2 * entries):
        namespace.fill(gateway(entries, table))
        try:
            yield
        finally:
            namespace.drain()


def timed(namespace: Any, *command: str) -> tuple[float, str]:
    """(seconds, output) of one command in the namespace."""
    output = subprocess.DEVNULL if command[0] == 'conntrack' else subprocess.PIPE
    started = time.monotonic()
    done = namespace.run(command, stdout=output, stderr=subprocess.DEVNULL, check=True, timeout=600,
                         env={**os.environ, 'PYTHONPATH': str(ROOT)})
    return time.monotonic() - started, done.stdout or ''


def timings(namespace: Any, entries: int, rounds: int) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Seconds of each way of reading the filled table, round by round, and the peak of memory in MB."""
    rows: dict[str, list[float]] = {'conntrack -L': [], 'sample': [], 'sample, reading only': [], 'exact': []}
    memory: dict[str, float] = {}
    for _ in range(rounds):
        rows['conntrack -L'].append(timed(namespace, 'conntrack', '-L')[0])
        for name, most in (('sample', SAMPLE), ('exact', 0)):
            seconds, output = timed(namespace, sys.executable, '-c', READ, str(most))
            seen, peak, reading = output.split()
            assert int(seen) == (most or entries), f'{name} saw {seen} entries'
            rows[name].append(seconds)
            memory[name] = max(memory.get(name, 0.0), int(peak) / 1024)
            if name == 'sample':
                rows['sample, reading only'].append(float(reading))
    return rows, memory


def cost(namespace: Any, entries: int, rounds: int) -> bool:
    """Prints the table of times; True when all are within the budgets."""
    with filled(namespace, entries, 0):
        rows, memory = timings(namespace, entries, rounds)
    print(f'{entries} entries, {rounds} rounds          median s    least     most   of -L   peak MB')
    ratios = {}
    for name, times in rows.items():
        ratios[name] = median(mine / theirs for mine, theirs in zip(times, rows['conntrack -L']))
        print(f'  {name:32} {median(times):8.3f} {min(times):8.3f} {max(times):8.3f} {ratios[name]:7.3f} '
              + (f'{memory[name]:9.1f}' if name in memory else ''))
    good = (ratios['sample'] <= SAMPLE_BUDGET and ratios['exact'] <= EXACT_BUDGET
            and max(memory.values()) < MEMORY_BUDGET)
    print(f'  budgets: sample {SAMPLE_BUDGET:.3f}, exact {EXACT_BUDGET}, {MEMORY_BUDGET:.0f} MB: '
          + ('kept' if good else 'NOT KEPT'))
    return good


def counts(profile: Profile) -> dict[str, int]:
    """Every count of a profile that an alert may turn into a share."""
    named = {name: getattr(profile, name) for name in ('assured', 'unreplied', 'nat', 'offloaded')}
    named.update((f'{protocol} {state}', count) for (protocol, state), count in profile.states.items())
    for keys in (profile.destinations, profile.services, profile.targets):
        named.update((str(key), count) for key, count in keys)
    return named


def errors(namespace: Any, entries: int, tables: int) -> bool:
    """Prints how far samples were off; True when each share was within its margin in 19 of 20 tables."""
    worst: dict[str, float] = {}
    margins: dict[str, float] = {}
    missed: dict[str, int] = {}
    wrong_tables = 0
    for table in range(1, tables + 1):
        with filled(namespace, entries, table), namespace.in_netns():
            truth = ctnetlink.read_flows(lambda flows: summarize(flows, entries))
            sample = ctnetlink.read_flows(lambda flows: summarize(flows, entries), SAMPLE)
        assert isinstance(truth, Profile), truth
        assert isinstance(sample, Profile), sample
        assert (truth.seen, sample.seen) == (entries, min(entries, SAMPLE)), 'the table is not what it was made'
        drawn = counts(sample)
        wrong = 0
        for name, count in counts(truth).items():
            said = sample.share(drawn.get(name, 0))
            off = abs(said.value - count / truth.seen)
            worst[name] = max(worst.get(name, 0.0), off)
            margins[name] = max(margins.get(name, 0.0), said.margin)
            missed[name] = missed.get(name, 0) + (off > said.margin)
            wrong += off > said.margin
        wrong_tables += bool(wrong)
    print(f'{tables} tables of {entries} entries, {SAMPLE} of them read     largest error   margin   missed')
    for name in sorted(worst, key=lambda name: -margins[name]):
        print(f'  {name:48} {100 * worst[name]:8.2f} pp {100 * margins[name]:5.2f} pp {missed[name]:8}')
    good = max(missed.values()) <= tables / 20
    print(f'  all shares within their margins in {tables - wrong_tables} of {tables} tables; '
          f'each share in 19 of 20: {"yes" if good else "NO"}')
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--entries', type=int, default=1_000_000, help='of the table that is timed (%(default)s)')
    parser.add_argument('--rounds', type=int, default=5, help='of timing; 0: none (%(default)s)')
    parser.add_argument('--tables', type=int, default=20, help='for the error of shares; 0: none (%(default)s)')
    parser.add_argument('--table-entries', type=int, default=1_000_000, help='of each of those (%(default)s)')
    options = parser.parse_args()
    why = laboratory.why_not()
    if why:
        print(f'no laboratory here: {why}', file=sys.stderr)
        return 2
    good = True
    with laboratory.namespace() as namespace:
        if options.rounds:
            good = cost(namespace, options.entries, options.rounds) and good
        if options.tables:
            good = errors(namespace, options.table_entries, options.tables) and good
    return 0 if good else 1


if __name__ == '__main__':
    sys.exit(main())
