"""User-mode Linux: a kernel that is a process of this host (x86-64), at nearly its speed.

Debian's has one CPU and no nf_tables for IP; nf_conntrack is a module.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .packages import Fetched

HERE = Path(__file__).parent
#: where the guest's command writes to
OUTPUT = '/out/output.log'
#: what its memory is a file in, where there is room
MEMORY = '/dev/shm'


def command(kernel: Fetched, out: Path, scratch: Path, memory: int,
            arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Its command line and environment; boot.run's parameters. Needs a C compiler."""
    library = scratch / 'registers.so'
    subprocess.run(['gcc', '-O1', '-shared', '-fPIC', HERE / 'registers.c', '-o', library], check=True)
    room = shutil.disk_usage(MEMORY).free >= memory << 20
    words = [f'mem={memory}M', f'uml_dir={scratch}', 'root=/dev/root', 'rootfstype=hostfs', 'rootflags=/', 'ro',
             f'init={HERE}/init-user-mode', 'con=null', 'con0=null,fd:1', *arguments, '--', str(out)]
    # its own output comes after what Popen would need a file object for
    line = f'exec {shlex.join([str(kernel.image), *words])} > {shlex.quote(str(out / "console.log"))} 2>&1'
    return ['sh', '-c', line], {
        **os.environ, 'LD_PRELOAD': str(library), 'TMPDIR': MEMORY if room else str(scratch)}
