"""Statistics of network interfaces as `ethtool -S` has them, by SIOCETHTOOL (net/ethtool/ioctl.c); no privileges.

Only interfaces of the thread's own network namespace are there. A driver without statistics says EOPNOTSUPP.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from array import array
from collections.abc import Callable
from contextlib import suppress

from ..formatting import clean_name
from ..host import ENA_DEVICES
from ..model import Missing

# include/uapi/linux/sockios.h, linux/ethtool.h
SIOCETHTOOL = 0x8946
ETHTOOL_GSTRINGS, ETHTOOL_GSTATS, ETHTOOL_GSSET_INFO = 0x1B, 0x1D, 0x37
ETH_SS_STATS = 1
ETH_GSTRING_LEN = 32
#: no driver has more; a larger number would only take memory
MOST_STATISTICS = 1 << 14
#: struct ifreq: a name, then a pointer in a union of 24 bytes
_IFREQ = struct.Struct('@16sP16x')
#: what answers one command on an interface in place: (name, structure)
Ioctl = Callable[[str, 'array[int]'], None]


def ioctl(name: str, structure: array[int]) -> None:
    """The kernel's own. Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as any_socket:
        request = _IFREQ.pack(name.encode('ascii', 'strict'), structure.buffer_info()[0])
        fcntl.ioctl(any_socket, SIOCETHTOOL, request)


def statistics(name: str, call: Ioctl = ioctl) -> dict[str, int]:
    """The counters of an interface by their names. Raises OSError, or ValueError for an answer that is none."""
    # struct ethtool_sset_info: cmd, reserved, mask, then a number for each set in the mask
    info = array('B', struct.pack('=IIQI', ETHTOOL_GSSET_INFO, 0, 1 << ETH_SS_STATS, 0))
    call(name, info)
    _cmd, _reserved, mask, number = struct.unpack('=IIQI', info)
    if not mask or not number:
        return {}
    if number > MOST_STATISTICS:
        raise ValueError(f'{number} statistics')
    # older kernels write as many as the driver has by then, whatever room is announced: twice as much as it said
    room = 2 * number
    strings = array('B', struct.pack('=III', ETHTOOL_GSTRINGS, ETH_SS_STATS, number) + bytes(room * ETH_GSTRING_LEN))
    call(name, strings)
    values = array('B', struct.pack('=II', ETHTOOL_GSTATS, number) + bytes(room * 8))
    call(name, values)
    named, = struct.unpack_from('=I', strings, 8)
    counted, = struct.unpack_from('=I', values, 4)
    if not named == counted == number:
        raise ValueError('the number of statistics changed while they were read')
    found = {}
    for place in range(number):
        text = bytes(strings[12 + place * ETH_GSTRING_LEN:12 + (place + 1) * ETH_GSTRING_LEN])
        found[text.split(b'\0')[0].decode('ascii', 'replace')], = struct.unpack_from('=Q', values, 8 + place * 8)
    return found


def ena_interfaces(sysfs: str = '/sys') -> list[str]:
    """Interfaces that the driver ena runs in this network namespace; one failed look-up on any other host."""
    try:
        devices = os.listdir(f'{sysfs}/{ENA_DEVICES}')
    except OSError:
        return []
    found = []
    for device in devices:
        with suppress(OSError):  # bind, module and the like; or all of its interfaces are in other namespaces
            found += os.listdir(f'{sysfs}/{ENA_DEVICES}/{device}/net')
    return sorted(found)


def read_ena(sysfs: str = '/sys', call: Ioctl = ioctl) -> dict[str, dict[str, int]] | Missing:
    """The counters of each ena interface by its name; {} where there is none."""
    found: dict[str, dict[str, int]] = {}
    for name in ena_interfaces(sysfs):
        # the kernel takes any byte but '/' and blanks in a name: metrics are text
        shown = clean_name(name)
        while shown in found:
            shown += '+'  # two names that are the same then: the counters of each stay
        try:
            found[shown] = statistics(name, call)
        except (OSError, ValueError) as error:
            # container networks detach interfaces all the time: this one was there a moment ago
            if isinstance(error, OSError) and error.errno == errno.ENODEV:
                continue
            return Missing.because(error, f'ethtool statistics of {shown}')
    return found
