"""A whole machine in qemu, by emulation: any distribution's kernel as it is, the host's files by 9p."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .packages import Fetched, fetch_tools, kmod

HERE = Path(__file__).parent
#: where the guest's command writes to
OUTPUT = '/dev/ttyS1'
#: what the first script needs before it has the host's files, in that order with all they depend on
EARLY_MODULES = ('virtio_pci', '9pnet_virtio', '9p', 'overlay')


def command(kernel: Fetched, out: Path, scratch: Path, memory: int, arguments: Sequence[str],
            by_instructions: bool) -> tuple[list[str], dict[str, str]]:
    """qemu's command line and environment, after its initrd was made in `scratch`; boot.run's parameters."""
    initrd = _initrd(kernel, scratch)
    return ['nice', 'qemu-system-x86_64', '-accel', 'tcg,thread=single', '-cpu', 'max', '-m', f'{memory}',
            '-smp', '2', '-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot',
            '-rtc', 'base=utc', *(('-icount', 'shift=0,sleep=off') if by_instructions else ()),
            '-kernel', f'{kernel.image}', '-initrd', f'{initrd}',
            '-serial', f'file:{out}/console.log', '-serial', f'file:{out}/output.log',
            '-virtfs', 'local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap',
            '-virtfs', f'local,path={out},mount_tag=out,security_model=none,multidevs=remap',
            '-object', 'rng-random,id=rng,filename=/dev/urandom', '-device', 'virtio-rng-pci,rng=rng',
            '-append', ' '.join(['console=ttyS0 panic=-1 oops=panic mitigations=off random.trust_cpu=on quiet',
                                 *arguments])], dict(os.environ)


def _initrd(kernel: Fetched, scratch: Path) -> Path:
    """busybox, the early modules and the first script."""
    root = scratch / 'root'
    for part in ('bin', 'modules', 'proc', 'sys', 'dev', 'lower', 'upper', 'new'):
        (root / part).mkdir(parents=True)
    shutil.copy('/bin/busybox', root / 'bin')
    for number, path in enumerate(_early_modules(kernel)):
        unpack = {'.xz': ['xz', '-dc'], '.zst': ['zstd', '-dc'], '.gz': ['gzip', '-dc']}.get(path.suffix, ['cat'])
        data = subprocess.run([*unpack, path], check=True, stdout=subprocess.PIPE).stdout
        (root / f'modules/{number:02}-{path.name.split(".ko")[0]}.ko').write_bytes(data)
    shutil.copy(HERE / 'init', root)
    (root / 'init').chmod(0o755)
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
