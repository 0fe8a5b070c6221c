"""One look at the machine: which readers, in what order, each with its share of the time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from .host import Host
from .model import Counters, Missing, Snapshot, Table
from .readers import cpustats, kernlog, sysctls


def survey(host: Host, kernel_log: str, log_span: float, share: Callable[[], AbstractContextManager[None]]) -> Snapshot:
    """Reads everything, each source failing alone.

    kernel_log: the choice for `kernlog.read`; log_span: how far back a journal is asked, in seconds;
    share: bounds the time of one reading.
    """
    at = host.clock()
    with share():
        table = sysctls.read(host)
    counters: Counters | Missing = Missing('no connection tracking table', chosen=True)
    # ctnetlink would load the module: nothing is asked of a kernel that does not track
    if isinstance(table, Table):
        with share():
            counters = _counters(host)
    with share():
        log = kernlog.read(host, kernel_log, log_span)
    return Snapshot(at, host.boot_id(), host.netns(), sysctls.is_initial_namespace(host), table, counters, log)


def _counters(host: Host) -> Counters | Missing:
    counters = cpustats.read(host)
    if isinstance(counters, Counters) or not host.is_this_kernel():
        return counters
    from .readers import ctnetlink  # only where the kernel has no stat file: socket costs 2 ms of start-up

    answer = ctnetlink.read_cpu_stats()
    if isinstance(answer, Missing):
        return answer._replace(remedy=f'{counters.why}; {answer.remedy or answer.why}')
    return answer
