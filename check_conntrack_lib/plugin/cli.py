"""The command check_conntrack: one check, printed; whatever happens, it ends with a plugin's text and exit status."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType

from nagiosplugin import Check, Ok

from ..deadline import Deadline, OutOfTime
from ..formatting import duration
from ..host import Host, system_clock
from ..model import History, Instant, Missing, Table
from ..namedtuples import TYPE_CHECKING
from .contexts import Results, contexts
from .options import Options, UsageError, parse
from .output import NAME, CheckSummary, render, unknown
from .resource import ConnectionTracking

if TYPE_CHECKING:
    from typing import NoReturn

    from ..analysis.profile import Profile
    from ..assessment import Assessment
    from ..diagnosis import Diagnosis

UNKNOWN = 3
#: seconds that printing may take, also after the time is up
LONGEST_PRINT = 0.5
#: with fewer than one entry in so many buckets there is nothing worth recording
SPARSE = 64
#: NAT ports are looked at in every run while in the last profile this share of a pool was in use
WATCHED_PORTS = 0.5


class _Terminated(BaseException):
    """SIGTERM: the monitoring system does not wait any longer."""


#: what ends a run from outside, at any point of it
ENDINGS = (OutOfTime, KeyboardInterrupt, _Terminated)


def main(argv: Sequence[str] | None = None, clock: Callable[[], Instant] = system_clock) -> int:
    """Runs the check, prints its output and returns its exit status."""
    deadline = Deadline(10, _last_resort)
    deadline.start()
    sigterm = signal.signal(signal.SIGTERM, _terminated)

    try:
        try:
            output, status = _attempt(sys.argv[1:] if argv is None else argv, deadline, clock)
        finally:
            signal.signal(signal.SIGTERM, sigterm)
    except ENDINGS as error:
        # it came while another one was handled
        output, status = _ended(error, deadline), UNKNOWN
    try:
        # a reader that does not read must not hold the run
        deadline.extend_to(max(deadline.limit, deadline.limit - deadline.left() + LONGEST_PRINT))
        deadline.output.acquire()
        return status if _print(output) else UNKNOWN
    except ENDINGS:
        return UNKNOWN
    finally:
        deadline.stop()
        signal.signal(signal.SIGTERM, sigterm)


def _attempt(argv: Sequence[str], deadline: Deadline, clock: Callable[[], Instant]) -> tuple[str, int]:
    """Output and exit status, whatever happens."""
    verbose = 0
    try:
        options = parse(argv)
        verbose = options.verbose
        deadline.extend_to(options.timeout)
        return run(options, deadline, clock)
    except UsageError as error:
        return unknown(f'{error} (see --help)'), UNKNOWN
    except SystemExit:
        # --help and --version have printed: a caller in this process must get no alarm
        deadline.stop()
        try:
            if sys.stdout:
                sys.stdout.flush()
        except OSError:
            _discard_output()
        raise
    except ENDINGS as error:
        return _ended(error, deadline), UNKNOWN
    except Exception as error:  # the last border: a plugin must not end with a traceback
        output = unknown(f'internal error: {type(error).__name__}: {error} '
                         '(run with -vv for a traceback, please report it)')
        return output + (_trace() if verbose > 1 else ''), UNKNOWN


def _ended(error: BaseException, deadline: Deadline) -> str:
    if isinstance(error, OutOfTime):
        doing = f' while {deadline.doing}' if deadline.doing else ''
        return unknown(f'timed out after {duration(deadline.limit)} (--timeout){doing}')
    return unknown(f'stopped by {"SIGTERM" if isinstance(error, _Terminated) else "SIGINT"}')


def _last_resort(deadline: Deadline) -> NoReturn:
    """In the second thread, when the kernel holds the main one: prints one line if it can be written, and exits."""
    if deadline.output.acquire(blocking=False):
        import select  # no other run needs it

        text = _ended(OutOfTime(), deadline).encode('utf-8', 'replace')
        with contextlib.suppress(OSError, ValueError):
            if select.select((), (1,), (), LONGEST_PRINT)[1]:
                os.write(1, text)
    os._exit(UNKNOWN)


def program() -> NoReturn:
    """The console script. It ends without the interpreter's cleanup, which would cost a tenth of the run."""
    os._exit(main())


def run(options: Options, deadline: Deadline, clock: Callable[[], Instant] = system_clock) -> tuple[str, int]:
    """The plugin's output and exit status."""
    resource = ConnectionTracking(Host(options.procfs, clock), options, contexts(options), deadline)
    check = _check(resource)
    fine = check.state == Ok
    diagnosis = explain(resource, options, deadline, fine)
    # the use of NAT ports is known from the flows only, and may change the state
    if resource.add_ports(diagnosis):
        check = _check(resource)
        if fine and check.state != Ok:
            diagnosis = explain(resource, options, deadline, fine=False)
    return render(check, diagnosis), check.exitcode


def _check(resource: ConnectionTracking) -> Check:
    check = Check(resource, *resource.contexts, Results(), CheckSummary(resource.options))
    # 1.3.2 takes no name in the constructor
    check.name = NAME
    check()
    return check


def _profile_is_due(a: Assessment, table: Table, options: Options) -> bool:
    """Is it time to record a profile for the baseline, and cheap to take one?"""
    if not isinstance(a.history, History) or a.history.unwritten or options.baseline_every == float('inf'):
        return False
    age = float('inf') if a.history.profiled is None else a.snapshot.at.uptime - a.history.profiled
    if a.history.ports_used >= WATCHED_PORTS:
        age = float('inf')
    # of an almost empty table the kernel would go through every bucket
    sparse = isinstance(table.buckets, int) and table.entries < table.buckets / SPARSE
    return age >= options.baseline_every and not sparse


def explain(resource: ConnectionTracking, options: Options, deadline: Deadline,
            fine: bool) -> Profile | Diagnosis | Missing | None:
    """What the flows say of a state that is known already; while it is OK, maybe a profile to record."""
    if options.diagnose == 'never' and (options.baseline_every == float('inf') or not fine):
        return None
    a = resource.assessment
    wanted = options.diagnose == 'always' or (options.diagnose == 'auto' and not fine)
    due = fine and isinstance(a.snapshot.table, Table) and _profile_is_due(a, a.snapshot.table, options)
    if not (wanted or due) or not isinstance(a.snapshot.table, Table):
        return None
    from .. import diagnosis  # most runs look at no flow

    patience = min(1.0, deadline.left() / 4)
    netns_file = resource.netns_file()
    if wanted:
        return diagnosis.diagnose(resource.host, a, options.sample, deadline.budget, patience, fine, netns_file)
    if not resource.host.may_administer_network():
        return None
    return diagnosis.keep_baseline(resource.host, a, deadline.budget, patience, netns_file)


def _print(output: str) -> bool:
    """Writes to standard output whatever its encoding; False when it is closed or full."""
    if sys.stdout is None:
        return False
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(output.encode('utf-8', 'replace'))
        sys.stdout.buffer.flush()
    except (OSError, ValueError):  # OutOfTime is one
        _discard_output()
        return False
    return True


def _discard_output() -> None:
    from ..streams import discard  # nearly always the output is taken

    discard(1)


def _terminated(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise _Terminated


def _trace() -> str:
    import traceback  # only for -vv after an internal error

    return traceback.format_exc().replace('|', '?')
