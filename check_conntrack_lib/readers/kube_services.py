"""Names of Kubernetes services by cluster IP, from the rules that kube-proxy made: comments of iptables, keys of nft.

'-A KUBE-SERVICES -d 10.96.0.10/32 -p udp -m comment --comment "kube-system/kube-dns:dns cluster IP" ...' or
'10.96.0.10 . udp . 53 : goto service-ULMVA6XW-kube-system/kube-dns/udp/dns' in the map service-ips. Needs root.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterable

from . import iptables_save

#: of kube-proxy that uses nft
MAPS = (('list', 'map', 'ip', 'kube-proxy', 'service-ips'), ('list', 'map', 'ip6', 'kube-proxy', 'service-ips'))
#: seconds for all programs together: a node with thousands of services takes a good part of one
LONGEST = 2.0
_IPTABLES = re.compile(r'-A KUBE-SERVICES .*?-d ([0-9a-f.:]+)/(?:32|128) .*?--comment "?([a-z0-9./-]+/[a-z0-9.-]+)')
_NFT = re.compile(r'([0-9a-f.:]+) \. \w+ \. \d+ : goto service-[A-Z0-9]+-([a-z0-9.-]+/[a-z0-9.-]+)/')


def parse(lines: Iterable[str], wanted: Collection[str]) -> dict[str, str]:
    """'NAMESPACE/NAME' by address, of those that are wanted."""
    found: dict[str, str] = {}
    for line in lines:
        if 'KUBE-SERVICES' in line or ' goto service-' in line:
            for address, name in [*_IPTABLES.findall(line), *_NFT.findall(line)]:
                if address in wanted:
                    found.setdefault(address, name)
    return found


def read(wanted: Collection[str]) -> dict[str, str]:
    """Those of the wanted addresses that are services of the network namespace of this thread; empty without root."""
    import subprocess  # only where a diagnosis names a cluster IP

    found: dict[str, str] = {}
    until = time.monotonic() + LONGEST
    for command in _commands():
        left = until - time.monotonic()
        if left <= 0 or len(found) == len(wanted):
            break
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                  timeout=left, check=False, env={'PATH': '/usr/sbin:/usr/bin:/sbin:/bin'})
        except (OSError, subprocess.TimeoutExpired):
            continue
        found.update(parse(done.stdout.decode('ascii', 'replace').split('\n'), wanted))
    return found


def _commands() -> list[tuple[str, ...]]:
    saves = (*iptables_save.nat_programs(), *iptables_save.nat_programs6())
    nft = iptables_save.find('nft')
    return [(path, '-t', 'nat') for path in saves] + [(nft, *words) for words in MAPS if nft]
