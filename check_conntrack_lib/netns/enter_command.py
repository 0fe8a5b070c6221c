"""The words before a command that run it in another network namespace, for a root shell of the host."""

from __future__ import annotations

import shlex

from ..host import Host
from . import names
from .discover import NAMED, Namespace


def prefix(host: Host, namespace: Namespace) -> str:
    """'ip netns exec NAME ', 'nsenter -t PID -n ' or 'nsenter --net=FILE '; '' where nothing leads there.

    `ip netns exec` also mounts the namespace's own /sys; the others leave the mounts alone.
    """
    # seen by the first process's mounts, which are those of the host's shells
    root, path = host.path('1/root/'), namespace.path
    path = path[len(root) - 1:] if path.startswith(root) else path
    directory, _, name = path.rpartition('/')
    if directory in (f'/{NAMED}', f'/var/{NAMED}') and name == namespace.name and not name.startswith('-'):
        return f'ip netns exec {shlex.quote(name)} '
    pid = names.steady_pid(host, namespace)
    if pid is not None:
        return f'nsenter -t {pid} -n '
    if path:
        return f'nsenter --net={shlex.quote(path)} '
    return ''
