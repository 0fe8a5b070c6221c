"""The kernel log for programs that keep running: after the first reading only new records are read."""

from __future__ import annotations

import os

from ..host import Host
from ..model import KernelLog, Missing
from . import kernel_log


class FollowedLog:
    """Reads as `kernel_log.read` does. It keeps /dev/kmsg open: a descriptor has a position of its own in the log."""

    def __init__(self) -> None:
        self._handle: int | None = None
        self._log: KernelLog | None = None
        #: when records were missed, on CLOCK_MONOTONIC
        self._overrun = float('-inf')

    def read(self, host: Host, choice: str, span: float) -> KernelLog | Missing:
        """The log of the last `span` seconds; the same choice each time (see `kernel_log.read`)."""
        now = host.clock().monotonic
        if self._handle is None or self._log is None:
            return self._begin(host, choice, span, now)
        try:
            new, overrun = kernel_log.read_new(self._handle, kernel_log.DEVICE)
        except OSError as error:
            self.close()
            return Missing.because(error, kernel_log.DEVICE)
        self._add(new, overrun, now, span)
        return self._log

    def close(self) -> None:
        """Closes the descriptor; the next reading begins again with the whole log."""
        if self._handle is not None:
            os.close(self._handle)
        self._handle = self._log = None

    def _begin(self, host: Host, choice: str, span: float, now: float) -> KernelLog | Missing:
        # opened at the end before all is read: what comes meanwhile is seen twice rather than not at all
        handle = _open_at_end(kernel_log.DEVICE) if choice in ('auto', 'kmsg') else None
        log = kernel_log.read(host, choice, span)
        if handle is not None:
            if isinstance(log, KernelLog) and log.source == kernel_log.DEVICE:
                self._handle, self._log = handle, log
                self._overrun = now if log.overrun else float('-inf')
            else:
                os.close(handle)
        return log

    def _add(self, new: KernelLog, overrun: bool, now: float, span: float) -> None:
        assert self._log is not None
        since = now - span
        if overrun:
            self._overrun = now
        full = dict.fromkeys((*self._log.table_full, *new.table_full))
        suppressed = dict.fromkeys((*self._log.suppressed, *new.suppressed))
        self._log = self._log._replace(
            table_full=tuple(line for line in full if line.stamp >= since),
            suppressed=tuple(line for line in suppressed if line.stamp >= since),
            overrun=self._overrun >= since,
            names_namespaces=self._log.names_namespaces or new.names_namespaces)


def _open_at_end(path: str) -> int | None:
    """A descriptor that gives what comes from now on; None where the device cannot be had."""
    try:
        opened = kernel_log.open_log(path)
    except OSError:
        return None
    if isinstance(opened, Missing):
        return None
    handle, _ = opened
    try:
        os.lseek(handle, 0, os.SEEK_END)
    except OSError:
        os.close(handle)
        return None
    return handle
