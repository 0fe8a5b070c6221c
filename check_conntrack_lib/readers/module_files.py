"""Which modules are loaded at boot, and with what: modules-load.d, modprobe.d, firewalld (modules-load.d(5))."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from ..host import Host
from ..namedtuples import NamedTuple
from .root_files import inside, read_text
from .sysctl_files import MOST_FILES, number

LOAD = ('etc/modules-load.d', 'run/modules-load.d', 'usr/local/lib/modules-load.d', 'usr/lib/modules-load.d',
        'lib/modules-load.d')
#: Debian's older file for the same
OLD_LOAD = 'etc/modules'
PARAMETERS = ('etc/modprobe.d', 'run/modprobe.d', 'usr/local/lib/modprobe.d', 'usr/lib/modprobe.d', 'lib/modprobe.d')
#: the module's parameter, a number in any base of the kernel's
_SIZE = r'"?hashsize="?(\w{1,12})'
_OPTIONS = rf'^\s*options\s+nf_conntrack\b.*?\b{_SIZE}'
#: systemd-modules-load, and that of the initramfs
_LOADED = r'(?:^|\s)(?:rd\.)?modules[-_]load=(?:\S*,)?nf_conntrack(?:,|\s|$)'
FIREWALLD = 'etc/firewalld/firewalld.conf'


class ModuleSetup(NamedTuple):
    """How nf_conntrack comes into this host's kernel."""

    #: the file that loads it at boot; '' for none
    loaded_by: str = ''
    #: of `options nf_conntrack hashsize=N`
    hashsize: int | None = None
    #: firewalld, which unloads the module when it stops unless CleanupModulesOnExit=no
    unloaded_by_firewalld: bool = False


def read(host: Host) -> ModuleSetup:
    """What the readable files say; one that cannot be read is left out."""
    root = host.root()
    loaded_by = next((name for name, text in _texts(root, LOAD, OLD_LOAD)
                      if re.search(r'^\s*(?:nf|ip)_conntrack\b', text, re.MULTILINE)), '')
    command_line = host.read_line('cmdline')
    loaded_by = loaded_by or ('the kernel command line' if re.search(_LOADED, command_line) else '')
    # the command line wins over modprobe.d (modprobe(8))
    sizes = [size for _name, text in _texts(root, PARAMETERS) for size in re.findall(_OPTIONS, text, re.MULTILINE)]
    sizes += re.findall(rf'(?:^|\s)nf_conntrack\.{_SIZE}', command_line)
    firewalld = next((text for _name, text in _texts(root, (), FIREWALLD)), '')
    cleans = re.search(r'^\s*CleanupModulesOnExit\s*=\s*(?:no|false)', firewalld, re.MULTILINE | re.IGNORECASE)
    return ModuleSetup(loaded_by, number(sizes[-1]) if sizes else None, bool(firewalld) and not cleans)


def _texts(root: str, folders: tuple[str, ...], *files: str) -> Iterator[tuple[str, str]]:
    paths = list(files)
    for folder in folders:
        try:
            names = sorted(os.listdir(inside(root, folder)))
        except OSError:
            continue
        paths += [f'{folder}/{name}' for name in names[:MOST_FILES] if name.endswith('.conf')]
    for path in paths:
        try:
            text = read_text(root, path)
        except OSError:
            continue
        if text:
            yield f'/{path}', text
