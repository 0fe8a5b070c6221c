"""Names of pods, from the directories of their logs that kubelet makes in /var/log/pods, which all may list."""

from __future__ import annotations

import os

from ..deadline import suppress_unreadable
from ..host import Host

PODS = 'var/log/pods'


def pod_of_uid(host: Host, uid: str) -> str:
    """'NAMESPACE/NAME' of the pod with this UID; '' if it is not there. Its logs lie in NAMESPACE_NAME_UID."""
    # in a container with the host's processes, the host's files are those of its first process
    for root in dict.fromkeys((host.root(), host.path('1/root'))):
        names: list[str] = []
        with suppress_unreadable():
            names = os.listdir(os.path.join(root, PODS))
        for name in names:
            parts = name.split('_')
            if len(parts) == 3 and parts[2] == uid:
                return f'{parts[0]}/{parts[1]}'
    return ''
