"""Captures one ctnetlink message of every kind of flow, for tests/samples/KERNEL/ctnetlink.txt; needs root.

Each line is a name and the payload in hexadecimal. The flows are created through ctnetlink in a namespace of its own.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import laboratory
from laboratory import Flow

from check_conntrack_lib.readers import ctnetlink, netlink

FLOWS = {
    'tcp4': Flow('tcp', '10.0.0.1', '10.0.0.2', 40000, 443, timeout=432000),
    'tcp4-time-wait': Flow('tcp', '10.0.0.1', '10.0.0.2', 40001, 443, 'TIME_WAIT', timeout=120),
    'tcp4-syn-sent': Flow('tcp', '10.0.0.1', '10.0.0.2', 40002, 443, 'SYN_SENT', 120, False, False),
    'tcp6': Flow('tcp', 'fd00::1', 'fd00::2', 40000, 443),
    'udp4': Flow('udp', '10.0.0.1', '10.0.0.53', 40000, 53, timeout=30, assured=False, seen_reply=False),
    'udp6': Flow('udp', 'fd00::1', 'fd00::53', 40000, 53, timeout=120),
    'icmp': Flow('icmp', '10.0.0.1', '10.0.0.2', 4660, timeout=30, assured=False),
    'icmpv6': Flow('icmpv6', 'fd00::1', 'fd00::2', 4660, timeout=30, assured=False),
    'gre': Flow('gre', '10.0.0.1', '10.0.0.2', 16, 32, timeout=180),
    'sctp': Flow('sctp', '10.0.0.1', '10.0.0.2', 1000, 2000, 'COOKIE_WAIT', 3, False),
    'udplite': Flow('udplite', '10.0.0.1', '10.0.0.2', 1000, 2000, timeout=180),
    'esp': Flow(50, '10.0.0.1', '10.0.0.2', timeout=600, assured=False, seen_reply=False),
    'zone': Flow('udp', '10.0.0.1', '10.0.0.53', 40000, 53, timeout=30, zone=7),
    'snat': Flow('tcp', '10.0.0.3', '10.0.0.2', 40000, 443, snat='192.0.2.1'),
    'dnat': Flow('tcp', '10.0.0.4', '192.0.2.2', 40000, 443, dnat='10.0.0.2'),
}
#: attributes that the decoder skips: counters and times
ACCOUNTING = ('net.netfilter.nf_conntrack_acct=1', 'net.netfilter.nf_conntrack_timestamp=1')


def capture(name: str, flow: Flow, *settings: str) -> None:
    with laboratory.namespace() as made:
        if settings:
            made.run(['sysctl', '-w', *settings], check=True)
        made.fill([flow])
        with made.in_netns():
            payload, = netlink.dump(ctnetlink.IPCTNL_MSG_CT_GET, ctnetlink.IPCTNL_MSG_CT_NEW)
    print(name, payload.hex())


if __name__ == '__main__':
    for name, flow in FLOWS.items():
        capture(name, flow)
    capture('tcp4-accounting', FLOWS['tcp4'], *ACCOUNTING)
