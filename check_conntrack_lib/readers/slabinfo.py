"""/proc/slabinfo: how much memory one entry takes (mm/slab_common.c); mode 0400, for root."""

from __future__ import annotations

import os

from ..formatting import is_number
from ..host import Host
from ..model import Missing

FILE = 'slabinfo'
#: struct nf_conn; RHEL 7 and 3.10 have one a namespace, with an address behind the name
CACHE = 'nf_conntrack'


def parse(text: str, page: int) -> float:
    """Bytes of memory that one struct nf_conn takes, with what is lost between objects. Raises ValueError."""
    for line in text.splitlines():
        words = line.split()
        # name, active_objs, num_objs, objsize, objperslab, pagesperslab
        if len(words) > 5 and _is_cache(words[0]) and is_number(words[4], 9) and is_number(words[5], 9) \
                and words[4][0] != '0':
            return int(words[5]) * page / int(words[4])
    raise ValueError(f'no line {CACHE}: the kernel has merged it with another cache')


def _is_cache(name: str) -> bool:
    address = name.removeprefix(CACHE + '_')
    return name == CACHE or (address not in (name, '') and not address.strip('0123456789abcdef'))


def parse_entries(text: str) -> int:
    """Objects of struct nf_conn in use, of all network namespaces: entries, and a few free ones that the kernel counts
    among them for each CPU. Raises ValueError."""
    # a few of two hundred lines
    lines = [line.split() for line in text.splitlines() if line.startswith(CACHE)]
    found = [int(words[1]) for words in lines if _is_cache(words[0]) and len(words) > 2 and is_number(words[1], 12)]
    if not found:
        raise ValueError(f'no line {CACHE}')
    return sum(found)


def read_entries(host: Host) -> int | Missing:
    """Entries of all network namespaces together, about."""
    try:
        return parse_entries(host.read(FILE))
    except (OSError, ValueError) as error:
        return Missing.because(error, host.path(FILE), 'only root reads it')


def read(host: Host) -> float | Missing:
    """Bytes an entry, without its extensions."""
    try:
        return parse(host.read(FILE), os.sysconf('SC_PAGESIZE'))
    except (OSError, ValueError) as error:
        return Missing.because(error, host.path(FILE), 'only root reads it')
