"""Boots an unpacked kernel with this host's / (read-only, below a tmpfs) and runs one command in it as root."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from . import emulation, user_mode
from .packages import CACHE, Fetched, fetch_tools

HERE = Path(__file__).parent


class Ended(NamedTuple):
    """How a command in a guest ended."""

    #: None: it was stopped, or the guest did not come up
    status: int | None
    #: seconds in all, and until the command began
    seconds: float
    began: float | None
    output: str


def run(kernel: Fetched, command: Sequence[str], out: Path, timeout: float, arguments: Sequence[str] = (),
        memory: int = 1536, by_instructions: bool = False) -> Ended:
    """Runs a command in the same directory as here; what it writes to /out comes to `out`.

    timeout: seconds; arguments: of the kernel; memory: MiB; by_instructions: each takes a nanosecond of the guest's
    time, however slow the host is (emulation only). One guest at a time: emulation takes a whole core.
    """
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    for left in ('status', 'output.log'):
        (out / left).unlink(missing_ok=True)
    settings = {'KERNEL': kernel.directory, 'RELEASE': kernel.release, 'TOOLS': fetch_tools(),
                'COMMAND': shlex.join(command), 'DIRECTORY': os.getcwd(),
                'OUTPUT': user_mode.OUTPUT if kernel.user_mode else emulation.OUTPUT}
    (out / 'settings').write_text(''.join(f'{name}={shlex.quote(str(value))}\n' for name, value in settings.items()))
    shutil.copy(HERE / 'guest', out)
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch, _alone():
        if kernel.user_mode:
            argv, env = user_mode.command(kernel, out, Path(scratch), memory, arguments)
        else:
            argv, env = emulation.command(kernel, out, Path(scratch), memory, arguments, by_instructions)
        begin = time.monotonic()
        with subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, start_new_session=True) as guest:
            try:
                guest.wait(timeout)
            except BaseException as error:
                # user-mode Linux has a process of the host for each of the guest's
                os.killpg(guest.pid, signal.SIGKILL)
                if not isinstance(error, subprocess.TimeoutExpired):
                    raise
    took = time.monotonic() - begin
    status, began = (*(out / 'status').read_text().split(), '')[:2] if (out / 'status').exists() else ('', '')
    output = (out / 'output.log').read_text(errors='replace') if (out / 'output.log').exists() else ''
    return Ended(int(status) if status else None, took, float(began) if began else None, output.replace('\r\n', '\n'))


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    with open(CACHE / 'lock', 'a') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
