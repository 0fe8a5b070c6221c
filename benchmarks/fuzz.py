"""Mutation fuzzing of every parser, of the recorder's files, the options and whole runs of the plugin.

    python3 benchmarks/fuzz.py                              20,000 inputs for each cheap target, 500 for the others
    python3 benchmarks/fuzz.py --inputs 1000000 --target stat
    python3 benchmarks/fuzz.py --seed 7                     other inputs; the same seed gives the same ones

Of each input is demanded: only the documented exceptions, at most 2 s of CPU, at most 1 GiB of memory; of a run also an
exit status of 0 to 3, printable lines, no '|' but the one before the performance data, no internal error.
"""

from __future__ import annotations

import argparse
import gc
import resource
import signal
import sys
import time
import traceback
from pathlib import Path
from random import Random
from types import FrameType

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / 'tests')]

from benchmarks import fuzz_foreign, fuzz_history, fuzz_netlink, fuzz_parsers, fuzz_runs  # noqa: E402
from benchmarks.fuzz_parsers import Target  # noqa: E402

CPU_SECONDS, MEMORY = 2.0, 1 << 30
#: different faults that are shown
MOST_SHOWN = 20
TARGETS = {**fuzz_parsers.TARGETS, **fuzz_netlink.TARGETS, **fuzz_history.TARGETS,
           **fuzz_foreign.TARGETS, **fuzz_runs.TARGETS}


class Hang(BaseException):
    """An input took too much time."""


def _hang(_signal: int, _frame: FrameType | None) -> None:
    raise Hang


def fuzz(name: str, target: Target, inputs: int, seed: int) -> int:
    """Prints a line of the table, and one input of each kind of fault; returns how many inputs were faulty."""
    random = Random(f'{seed}/{name}')
    faults: dict[str, str] = {}
    faulty = accepted = 0
    slowest = 0.0
    began = time.monotonic()
    signal.signal(signal.SIGVTALRM, _hang)
    for _ in range(inputs):
        made = target.make(random)
        # CPU time: what else the machine does must not matter
        signal.setitimer(signal.ITIMER_VIRTUAL, CPU_SECONDS)
        start = time.perf_counter()
        try:
            target.attempt(made)
            accepted += 1
        except target.allowed:
            pass
        except (Exception, Hang) as error:  # the whole point is to learn what else comes
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            faulty += 1
            frames = traceback.extract_tb(error.__traceback__)[-1:]
            where = ''.join(f'{Path(frame.filename).name}:{frame.lineno}' for frame in frames)
            # the same line may complain of several things
            kind = f'{type(error).__name__} at {where}: {str(error)[:90]}'
            if len(faults) < MOST_SHOWN:
                faults.setdefault(kind, f'{error}\n      {made!a:.1500}')
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        slowest = max(slowest, time.perf_counter() - start)
    print(f'{name:10} {inputs:9} inputs  {accepted:9} accepted  {faulty:6} faults  slowest {slowest * 1e3:7.1f} ms  '
          f'{time.monotonic() - began:6.1f} s', flush=True)
    for kind, example in faults.items():
        print(f'    {kind.partition(": ")[0]}: {example}')
    return faulty


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument('--inputs', type=int, default=0)
    options.add_argument('--seed', type=int, default=1)
    options.add_argument('--target', choices=TARGETS, action='append')
    given = options.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    # what is loaded stays: going through it again and again would cost a tenth of a whole run
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)
    return 1 if sum(
        fuzz(name, TARGETS[name], given.inputs or (500 if TARGETS[name].slow else 20000), given.seed)
        for name in given.target or TARGETS) else 0


if __name__ == '__main__':
    sys.exit(main())
