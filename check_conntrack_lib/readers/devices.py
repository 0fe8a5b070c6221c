"""/proc/net/dev (net/core/net-procfs.c, dev_seq_show): the network devices of a namespace."""

from __future__ import annotations

from ..host import Host

#: devices that the kernel makes in every namespace, the tunnels where their module is loaded
#: (net.core.fb_tunnels_only_for_init_net)
IN_ALL = frozenset(('lo', 'sit0', 'tunl0', 'gre0', 'gretap0', 'erspan0', 'ip6tnl0', 'ip6gre0', 'ip_vti0', 'ip6_vti0'))


def parse(text: str) -> frozenset[str]:
    """The names: two lines of headings, then 'name: numbers'."""
    return frozenset(line.partition(':')[0].strip() for line in text.splitlines()[2:] if ':' in line)


def is_cut_off(host: Host) -> bool:
    """Does no device lead out of the namespace that host shows? False also where that cannot be told."""
    try:
        names = parse(host.read('net/dev'))
    except (OSError, ValueError):
        return False
    return 'lo' in names and names <= IN_ALL
