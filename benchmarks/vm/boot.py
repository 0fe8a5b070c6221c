"""Boots an unpacked kernel with this host's / (9p, read-only, below a tmpfs) and runs one command in it as root."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from .packages import CACHE, Fetched, fetch_tools, kmod

HERE = Path(__file__).parent
#: what the first script needs before it has the host's files, in that order with all they depend on
EARLY_MODULES = ('virtio_pci', '9pnet_virtio', '9p', 'overlay')


class Ended(NamedTuple):
    """How a command in a guest ended."""

    #: None: it was stopped, or the guest did not come up
    status: int | None
    #: seconds in all, and until the command began
    seconds: float
    began: float | None
    output: str


def run(kernel: Fetched, command: Sequence[str], out: Path, timeout: float, arguments: Sequence[str] = (),
        memory: int = 1536, cpus: int = 2, by_instructions: bool = False) -> Ended:
    """Runs a command in the same directory as here; what it writes to /out comes to `out`.

    timeout: seconds; arguments: of the kernel; memory: MiB; by_instructions: each takes a nanosecond of the guest's
    time, however slow the host is. One guest at a time: emulation takes a whole core.
    """
    out.mkdir(parents=True, exist_ok=True)
    for left in ('status', 'output.log'):
        (out / left).unlink(missing_ok=True)
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch, _alone():
        settings = {'KERNEL': kernel.directory, 'RELEASE': kernel.release, 'TOOLS': fetch_tools(),
                    'COMMAND': shlex.join(command), 'DIRECTORY': os.getcwd()}
        initrd = _initrd(kernel, Path(scratch), settings)
        begin = time.monotonic()
        argv = ['nice', 'qemu-system-x86_64', '-accel', 'tcg,thread=single', '-cpu', 'max', '-m', f'{memory}',
                '-smp', f'{cpus}', '-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot',
                '-rtc', 'base=utc', *(('-icount', 'shift=0,sleep=off') if by_instructions else ()),
                '-kernel', f'{kernel.image}', '-initrd', f'{initrd}',
                '-serial', f'file:{out}/console.log', '-serial', f'file:{out}/output.log',
                '-virtfs', 'local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap',
                '-virtfs', f'local,path={out.resolve()},mount_tag=out,security_model=none,multidevs=remap',
                '-object', 'rng-random,id=rng,filename=/dev/urandom', '-device', 'virtio-rng-pci,rng=rng',
                '-append', ' '.join(['console=ttyS0 panic=-1 oops=panic mitigations=off random.trust_cpu=on quiet',
                                     *arguments])]
        with subprocess.Popen(argv, stdin=subprocess.DEVNULL) as guest:
            try:
                guest.wait(timeout)
            except subprocess.TimeoutExpired:
                guest.kill()
    took = time.monotonic() - begin
    status, began = (*(out / 'status').read_text().split(), '')[:2] if (out / 'status').exists() else ('', '')
    output = (out / 'output.log').read_text(errors='replace') if (out / 'output.log').exists() else ''
    return Ended(int(status) if status else None, took, float(began) if began else None, output.replace('\r\n', '\n'))


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    with open(CACHE / 'lock', 'a') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _initrd(kernel: Fetched, scratch: Path, settings: dict[str, object]) -> Path:
    """busybox, the early modules and the two scripts."""
    root = scratch / 'root'
    for part in ('bin', 'modules', 'proc', 'sys', 'dev', 'lower', 'upper', 'new'):
        (root / part).mkdir(parents=True)
    shutil.copy('/bin/busybox', root / 'bin')
    for number, path in enumerate(_early_modules(kernel)):
        unpack = {'.xz': ['xz', '-dc'], '.zst': ['zstd', '-dc'], '.gz': ['gzip', '-dc']}.get(path.suffix, ['cat'])
        data = subprocess.run([*unpack, path], check=True, stdout=subprocess.PIPE).stdout
        (root / f'modules/{number:02}-{path.name.split(".ko")[0]}.ko').write_bytes(data)
    for script in ('init', 'guest'):
        shutil.copy(HERE / script, root)
        (root / script).chmod(0o755)
    (root / 'settings').write_text(''.join(f'{name}={shlex.quote(str(value))}\n' for name, value in settings.items()))
    names = subprocess.run(['find', '.'], cwd=root, check=True, stdout=subprocess.PIPE).stdout
    with open(scratch / 'initrd', 'wb') as image:
        subprocess.run(['busybox', 'cpio', '-o', '-H', 'newc'], cwd=root, check=True, input=names, stdout=image,
                       stderr=subprocess.DEVNULL)
    return scratch / 'initrd'


def _early_modules(kernel: Fetched) -> list[Path]:
    order: dict[str, None] = {}
    for module in EARLY_MODULES:
        shown = kmod(fetch_tools(), 'modprobe', '-d', str(kernel.directory), '-S', kernel.release, '--show-depends',
                     module)
        order.update((line.split()[1], None) for line in shown.splitlines() if line.startswith('insmod '))
    return [Path(path) for path in order]
