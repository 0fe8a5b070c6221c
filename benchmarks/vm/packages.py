"""Kernels from the archives of Debian and Ubuntu: fetched by apt with its own signatures, unpacked, never installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

CACHE = Path(os.environ.get('KERNELS_CACHE') or Path.home() / '.cache/check_conntrack-kernels')
DEBIAN_KEYS = '/usr/share/keyrings/debian-archive-keyring.gpg'
UBUNTU = 'http://archive.ubuntu.com/ubuntu'


class Kernel(NamedTuple):
    """Where a kernel comes from."""

    #: source line of apt without its first word; {debian} and {keys} are filled in
    source: str
    #: what the newest image package is called
    image: str
    #: what is unpacked; {v} is the image's version
    packages: tuple[str, ...]
    #: a process of this host, without emulation: user-mode Linux
    user_mode: bool = False


# Debian's cloud kernels have no 9p; Ubuntu's is in linux-modules-extra, later in linux-modules
_UBUNTU = ('linux-image-{v}', 'linux-modules-{v}', 'linux-modules-extra-{v}')
#: To try another kernel, add a line.
KERNELS = {
    'ubuntu2004-5.4': Kernel(f'{UBUNTU} focal main', r'5\.4\.0-[0-9]+-generic', _UBUNTU),
    'debian11-5.10': Kernel('{debian}-security bullseye-security main', r'5\.10\.0-[0-9]+-amd64', ('linux-image-{v}',)),
    # the first 5.15 and the current one differ: the chain limit
    'ubuntu2204-5.15': Kernel(f'{UBUNTU} jammy main', r'5\.15\.0-[0-9]+-generic', _UBUNTU),
    'ubuntu2204-updates': Kernel(f'{UBUNTU} jammy-updates main', r'5\.15\.0-[0-9]+-generic', _UBUNTU),
    'debian12-6.1': Kernel('{debian} bookworm main', r'6\.1\.0-[0-9]+-amd64', ('linux-image-{v}',)),
    'ubuntu2404-6.8': Kernel(f'{UBUNTU} noble main', r'6\.8\.0-[0-9]+-generic', _UBUNTU),
    'debian13-6.12': Kernel('{debian} trixie main', r'6\.12\.[0-9]+\+deb13-amd64', ('linux-image-{v}',)),
    'ubuntu2510-6.17': Kernel(f'{UBUNTU} questing main', r'6\.17\.0-[0-9]+-generic', _UBUNTU[:2]),
    'ubuntu2604-7.0': Kernel(f'{UBUNTU} resolute main', r'7\.0\.0-[0-9]+-generic', _UBUNTU[:2]),
    'sid': Kernel('{debian} sid main', r'[0-9.]+\+deb14-amd64',
                  ('linux-binary-{v}', 'linux-modules-{v}', 'linux-base-{v}')),
    'debian13-backports': Kernel('{debian} trixie-backports main', r'[0-9.]+\+deb13-amd64',
                                 ('linux-binary-{v}', 'linux-modules-{v}', 'linux-base-{v}')),
    'user-mode-6.1': Kernel('{debian} bookworm main', '', ('user-mode-linux',), user_mode=True),
}


class Fetched(NamedTuple):
    """An unpacked kernel."""

    directory: Path
    #: `uname -r`
    release: str
    user_mode: bool

    @property
    def image(self) -> Path:
        if self.user_mode:
            return self.directory / 'usr/bin/linux.uml'
        return next(iter([*self.directory.glob('boot/vmlinuz*'), *self.directory.glob('usr/lib/modules/*/vmlinuz')]))


def fetch(name: str) -> Fetched:
    """Downloads and unpacks a kernel into the cache, once. Raises CalledProcessError, LookupError: no package."""
    place = CACHE / 'k' / name
    if not (place / 'release').exists():
        kernel = KERNELS[name]
        tools = fetch_tools()
        env = _apt(kernel.source)
        release = '' if kernel.user_mode else _newest(kernel.image, env)
        shutil.rmtree(place, ignore_errors=True)
        _unpack([package.format(v=release) for package in kernel.packages], place, env)
        modules = 'usr/lib/uml/modules' if kernel.user_mode else 'usr/lib/modules'
        if not (place / 'lib/modules').exists():
            (place / 'lib').mkdir(exist_ok=True)
            (place / 'lib/modules').symlink_to(f'../{modules}')
        release = release or next((place / modules).iterdir()).name
        kmod(tools, 'depmod', '-b', str(place), release)
        (place / 'release').write_text(release)
    return Fetched(place, (place / 'release').read_text(), KERNELS[name].user_mode)


def _newest(image: str, env: dict[str, str]) -> str:
    shown = _run('apt-cache', 'search', '--names-only', f'^linux-image-{image}$', env=env)
    found = [line.split()[0].removeprefix('linux-image-') for line in shown.splitlines()]
    if not found:
        raise LookupError(f'no package linux-image-{image}')
    return max(found, key=lambda text: [int(number) for number in re.findall('[0-9]+', text)])


def fetch_tools() -> Path:
    """kmod for the guest, which the host need not have."""
    place = CACHE / 'tools'
    if not (place / 'done').exists():
        _unpack(['kmod', 'libkmod2'], place, _apt('{debian} bookworm main'))
        (place / 'done').touch()
    return place


def _ubuntu_keys() -> Path:
    place = CACHE / 'keyring'
    if not (place / 'usr').exists():
        _unpack(['ubuntu-keyring'], place, _apt('{debian} trixie main'))
    return place / 'usr/share/keyrings/ubuntu-archive-keyring.gpg'


def kmod(tools: Path, *argv: str) -> str:
    """Runs depmod or modprobe out of the unpacked package."""
    libraries = f'{tools}/lib/x86_64-linux-gnu:{tools}/usr/lib/x86_64-linux-gnu'
    return _run(*argv, executable=f'{tools}/bin/kmod', env={**os.environ, 'LD_LIBRARY_PATH': libraries})


def _mirror() -> str:
    """The archive of Debian that this machine's apt uses."""
    for place in (*sorted(Path('/etc/apt/sources.list.d').glob('*')), Path('/etc/apt/sources.list')):
        if place.is_file():
            found = re.search(r'^(?:URIs:\s*|deb\s(?:\[.*\]\s*)?)(https?://\S+?/debian)/?\s', place.read_text() + '\n',
                              re.MULTILINE)
            if found:
                return found[1]
    return 'http://deb.debian.org/debian'


def _apt(source: str) -> dict[str, str]:
    """An apt of its own below the cache for this source, whose lists are there; the environment for its commands."""
    base = CACHE / 'apt' / re.sub(r'\W+', '-', source.partition('/ubuntu')[2] or source).strip('-')
    for part in ('lists/partial', 'cache/archives/partial', 'parts'):
        (base / part).mkdir(parents=True, exist_ok=True)
    keys = _ubuntu_keys() if UBUNTU in source else DEBIAN_KEYS
    (base / 'sources.list').write_text(f'deb [signed-by={keys}] {source.format(debian=_mirror())}\n')
    (base / 'apt.conf').write_text(
        f'Dir::Etc::sourcelist "{base}/sources.list";\nDir::Etc::sourceparts "{base}/parts";\n'
        f'Dir::State::Lists "{base}/lists";\nDir::Cache "{base}/cache";\n'
        'Acquire::Languages "none";\nAPT::Sandbox::User "root";\n')
    env = {**os.environ, 'APT_CONFIG': f'{base}/apt.conf'}
    if not list((base / 'lists').glob('*Packages*')):
        _run('apt-get', '-q', 'update', env=env)
    return env


def _unpack(packages: list[str], into: Path, env: dict[str, str]) -> None:
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as place:
        _run('apt-get', '-q', 'download', *packages, cwd=place, env=env)
        for package in sorted(Path(place).glob('*.deb')):
            _run('dpkg', '-x', str(package), str(into))


def _run(*argv: str, **more: object) -> str:
    done = subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True, **more)  # type: ignore[call-overload]
    text: str = done.stdout
    return text
