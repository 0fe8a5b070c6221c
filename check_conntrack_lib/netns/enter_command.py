"""The words before a command that run it in another network namespace, for a root shell of the host."""

from __future__ import annotations

from ..formatting import clean_name
from ..host import Host
from . import names
from .discover import NETNS_DIRECTORY, Namespace

#: in the place of a file whose name holds what a shell or a terminal could take for more than a name
UNSAFE, UNKNOWN = 'NAME-THAT-CANNOT-BE-PASTED', 'FILE-OF-THE-NAMESPACE'


def prefix(host: Host, namespace: Namespace) -> str:
    """'ip netns exec NAME ', 'nsenter -t PID -n ' or 'nsenter --net=FILE '.

    Only names of harmless characters are printed; where nothing else leads there, the command has a word that is no
    file: pasted it fails, and never acts on another namespace. `ip netns exec` also mounts the namespace's own /sys;
    the others leave the mounts alone.
    """
    # seen by the first process's mounts, which are those of the host's shells
    root, path = host.path('1/root/'), namespace.path
    path = path[len(root) - 1:] if path.startswith(root) else path
    directory, _, name = path.rpartition('/')
    if directory in (f'/{NETNS_DIRECTORY}', f'/var/{NETNS_DIRECTORY}') and name == namespace.name \
            and not name.startswith('-') and _is_harmless(name):
        return f'ip netns exec {name} '
    pid = names.steady_pid(host, namespace)
    if pid is not None:
        return f'nsenter -t {pid} -n '
    if not path:
        return f'nsenter --net={UNKNOWN} '
    return f'nsenter --net={path if _is_harmless(path) else UNSAFE} '


def _is_harmless(text: str) -> bool:
    return clean_name(text, len(text)) == text
