"""Names of addresses that this host knows: its own, those of containers, pods and Kubernetes services.

Only for the few addresses that are printed. Sources: the addresses of each namespace, which all may read who may see a
process of it; the files in which CNI plugins keep the addresses that they assigned; kube-proxy's rules.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from ipaddress import ip_address

from ..deadline import suppress_unreadable
from ..formatting import clean_name
from ..host import Host
from ..readers import kube_services, netns_addresses, sysctl_values
from . import discover, names, owner
from .discover import Namespace

THIS_HOST = 'this host'
#: namespaces, and files of CNI, that are read at most
MOST_NAMESPACES, MOST_RESULTS = 2000, 2000
RESULTS = 'var/lib/cni/results'
#: directories that only a Kubernetes node has
KUBERNETES = ('var/lib/kubelet', 'var/log/pods', 'etc/kubernetes')


def resolve(host: Host, wanted: Collection[str]) -> dict[str, str]:
    """Names by address, as text, of those that are known. Raises OutOfTime."""
    left = {one for one in wanted if one and not ip_address(one).is_loopback}
    found: dict[str, str] = {}
    if not left:
        return found
    namespaces: tuple[Namespace, ...] = ()
    with suppress_unreadable():
        namespaces = discover.find(host).namespaces
    # any user may give any address to a namespace of his own: no other host or namespace sees it there
    namespaces = tuple(one for one in namespaces if owner.uid_of(host, one) in (None, 0, os.geteuid()))
    own, own_is_host = host.netns(), sysctl_values.is_initial_namespace(host)
    for one in namespaces[:MOST_NAMESPACES]:
        if not left:
            break
        pid = one.pids[0] if one.pids else None
        if pid is None:
            continue
        mine = netns_addresses.read(host, pid) & left
        if mine:
            title = THIS_HOST if one.initial or (own_is_host and one.inode == own) else names.name_of(host, one).title
            found.update(dict.fromkeys(mine, title))
            left -= mine
    found.update(_of_cni(host, left))
    left -= found.keys()
    if left and host.procfs == '/proc' and os.geteuid() == 0 and any(
            os.path.isdir(os.path.join(host.root(), place)) for place in KUBERNETES):
        found.update({address: f'service {clean_name(name, 120)}'
                      for address, name in kube_services.read(left).items()})
    return found


def _of_cni(host: Host, wanted: Collection[str]) -> dict[str, str]:
    """Pods by their addresses, from the files of CNI plugins."""
    found: dict[str, str] = {}
    place = os.path.join(host.root(), RESULTS)
    files: list[str] = []
    with suppress_unreadable():
        files = os.listdir(place) if wanted else []
    for file in files[:MOST_RESULTS]:
        # whatever is wrong with one file
        with suppress_unreadable(LookupError, TypeError):
            with open(os.path.join(place, file), encoding='utf-8') as opened:
                result = json.loads(opened.read(1 << 20))
            arguments = dict(result['cniArgs'])
            pod = f'{arguments["K8S_POD_NAMESPACE"]}/{arguments["K8S_POD_NAME"]}'
            for address in result['result']['ips']:
                bare = str(address['address']).partition('/')[0]
                if bare in wanted:
                    found[bare] = f'pod {clean_name(pod, 120)}'
    return found
