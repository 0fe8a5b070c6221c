"""Names that container runtimes gave, without their daemons: from a container's parent process and the runtime's files.

Every runtime has a process that starts the container's first process and stays its parent: a shim, conmon, a monitor.
Its command line, which all may read, has the name or leads to a file, which mostly only root may read.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator, Mapping

from ..deadline import suppress_unreadable
from ..host import GONE, Host
from ..namedtuples import TYPE_CHECKING, NamedTuple
from . import command_line, mounts
from .cgroup import Cgroup, is_id

if TYPE_CHECKING:
    from typing import Any

#: the runtime's process is looked for among so many ancestors of the container's (conmon, bwrap, firejail: one or two)
MOST_STEPS = 3
#: bytes: no configuration of a container is larger
LARGEST = 1 << 20
NOBODY = 65534
_FILE_NAME = r'[A-Za-z0-9_][A-Za-z0-9_.-]{0,200}'
_INFRA = r'([0-9a-f]{12})-infra'
_ID_DIRECTORY = r'(?P<above>/\S*?containers)/[0-9a-f]{64}/(?:hostname|hosts|resolv\.conf)$'


class Container(NamedTuple):
    """A container, or a program in namespaces of its own (firejail); '' for what is not known."""

    #: the id, 64 digits; '' where the name is the id
    id: str = ''
    name: str = ''
    #: docker, podman, containerd, lxc, nspawn ...
    runtime: str = ''
    #: of Kubernetes 'NAMESPACE/NAME'; of podman the pod's name
    pod: str = ''
    #: who runs it, if not root
    uid: int = 0
    #: inside another container, whose root chose the name
    nested: bool = False

    @property
    def who(self) -> str:
        """What runs it, where, and as whom."""
        return ' '.join(filter(None, (self.runtime, 'in a container' if self.nested else '',
                                      f'uid {self.uid}' if self.uid else '')))


def describe(host: Host, pid: int, cgroup: Cgroup) -> Container:
    """What can be known of the container of a process, which is mostly its first. Reads a few small files."""
    known = of_cgroup(cgroup)
    for parent, contained in _ancestors(host, pid):
        found = _of_parent(host, pid, parent, known)
        if found:
            return found._replace(nested=known.nested or contained)
    return known


def of_cgroup(cgroup: Cgroup) -> Container:
    """What is known without the parent process."""
    return Container(cgroup.container if is_id(cgroup.container) else '',
                     '' if is_id(cgroup.container) else cgroup.container, cgroup.runtime, nested=cgroup.nested)


def _of_parent(host: Host, pid: int, parent: int, known: Container) -> Container | None:
    """None: this ancestor of the process is no runtime's."""
    words = _command_line(host, parent)
    program = os.path.basename(words[0]) if words else ''
    if program.startswith('containerd-shim'):
        return _of_containerd(host, pid, parent, words, known)
    if program == 'conmon':
        return _of_conmon(host, parent, words, known)
    if words and words[0].startswith('[lxc monitor]'):
        place, _, name = words[0][len('[lxc monitor] '):].rpartition(' ')
        manager = next((one for one in ('incus', 'lxd') if f'/{one}/' in place + '/'), 'lxc')
        # where the cgroup of an earlier run is left, lxc appends a number to the new one's (lxc, cgfsng.c)
        if not known.name or re.fullmatch(rf'{re.escape(name)}-\d+', known.name):
            known = known._replace(name=name)
        return known._replace(runtime=manager, uid=_uid(host, parent))
    if program == 'systemd-nspawn':
        name = _value(words, '-M', '--machine') or os.path.basename(_value(words, '-D', '--directory'))
        return known._replace(name=known.name or name, runtime='nspawn', uid=_uid(host, parent))
    if program == 'firejail' and _value(words, '', '--name'):
        return known._replace(name=_value(words, '', '--name'), runtime='firejail', uid=_uid(host, parent))
    return None


def _of_containerd(host: Host, pid: int, shim: int, words: list[str], known: Container) -> Container:
    """The shim's working directory is its container's bundle; those of a pod's other containers lie beside it."""
    known = known._replace(uid=_uid(host, shim))
    container_id = known.id or known.name or _value(words, '-id')
    namespace = _value(words, '-namespace')
    if namespace == 'moby':
        readable = re.fullmatch(_FILE_NAME, container_id) and _is_trusted(host, shim, known.uid)
        name = _docker_name(host, pid, shim, container_id) if readable else ''
        return _kubernetes_name(known._replace(id=container_id, runtime='docker', name=name))
    annotations: Mapping[str, Any] = {}
    if re.fullmatch(_FILE_NAME, container_id) and _is_trusted(host, shim, known.uid):
        annotations = _json(host.path(f'{shim}/cwd/../{container_id}/config.json')).get('annotations') or {}
    if not isinstance(annotations, Mapping):
        annotations = {}
    pod = annotations.get('io.kubernetes.cri.sandbox-name')
    pod_namespace = annotations.get('io.kubernetes.cri.sandbox-namespace')
    if pod and pod_namespace:
        return known._replace(runtime='containerd', pod=f'{pod_namespace}/{pod}',
                              name=str(annotations.get('io.kubernetes.cri.container-name') or ''))
    name = str(annotations.get('nerdctl/name') or (known.name if known.id else container_id))
    return known._replace(id=known.id or (container_id if is_id(container_id) else ''), runtime='containerd',
                          name=name if namespace in ('', 'default') or is_id(name) else f'{namespace}/{name}')


def _of_conmon(host: Host, conmon: int, words: list[str], known: Container) -> Container:
    name, container_id = _value(words, '-n'), _value(words, '-c') or known.id
    manager = 'cri-o' if name.startswith('k8s_') else 'podman'
    known = known._replace(id=container_id, name=name, runtime=manager, uid=_uid(host, conmon))
    infra = re.fullmatch(_INFRA, name)
    if infra:
        # podman gives a pod's name to its first container as host name
        config = _json(host.path(os.path.join(f'{conmon}/root', _value(words, '-b').lstrip('/'), 'config.json'))) \
            if _is_trusted(host, conmon, known.uid) else {}
        return known._replace(pod=str(config.get('hostname') or infra[1]))
    return _kubernetes_name(known)


def _kubernetes_name(known: Container) -> Container:
    """Of 'k8s_CONTAINER_POD_NAMESPACE_UID_ATTEMPT', as kubelet names them with CRI-O and with docker."""
    parts = known.name.split('_')
    if len(parts) < 6 or parts[0] != 'k8s':
        return known
    return known._replace(name='' if parts[1] == 'POD' else parts[1], pod=f'{parts[3]}/{parts[2]}')


def _docker_name(host: Host, pid: int, shim: int, container_id: str) -> str:
    """From docker's own file, in the directory whose files the container has as /etc/hostname and so on."""
    table = mounts.parse(mounts.read(host, pid))
    places = ['/var/lib/docker/containers']
    for mount in table:
        match = re.match(_ID_DIRECTORY, mount.root)
        if match and mount.point in ('/etc/hostname', '/etc/hosts', '/etc/resolv.conf'):
            whole = mounts.parse(mounts.read(host, shim))
            place = mounts.outside(whole, mount.device, match['above'])
            places[:0] = [place] if place else []
            break
    for place in places:
        file = os.path.join(f'{shim}/root', place.lstrip('/'), container_id, 'config.v2.json')
        name = _json(host.path(file)).get('Name')
        if isinstance(name, str):
            return name.lstrip('/')
    return ''


def _ancestors(host: Host, pid: int) -> Iterator[tuple[int, bool]]:
    """The nearest first; each with whether it is in a container itself, as one in a process namespace below is."""
    for step in range(MOST_STEPS + 1):
        try:
            text = host.read(f'{pid}/status')
        except GONE:
            break
        if step:
            yield pid, bool(re.search(r'^NSpid:\s*\d+\s+\d', text, re.MULTILINE))
        match = re.search(r'^PPid:\s*(\d+)$', text, re.MULTILINE)
        if not match or int(match[1]) <= 1:
            break
        pid = int(match[1])


def _command_line(host: Host, pid: int) -> list[str]:
    try:
        text = host.read(f'{pid}/cmdline') if _uid(host, pid) in (0, os.geteuid()) \
            else command_line.read_of_another_user(host, pid)
    except GONE:
        return []
    return text.rstrip('\0').split('\0')


def _value(words: list[str], short: str, long: str = '') -> str:
    """The value of an option of a command line; '' without it."""
    for place, word in enumerate(words):
        if long and word.startswith(long + '='):
            return word[len(long) + 1:]
        if word and word in (short, long) and place + 1 < len(words):
            return words[place + 1]
    return ''


def _uid(host: Host, pid: int) -> int:
    """Who runs a process. The owner of /proc/<pid> is root also for one that has made itself undumpable."""
    try:
        match = re.search(r'^Uid:\s*(\d+)', host.read(f'{pid}/status'), re.MULTILINE)
    except GONE:
        return NOBODY
    return int(match[1]) if match else NOBODY


def _is_trusted(host: Host, pid: int, uid: int) -> bool:
    """May files that this runtime leads to be opened? Of root's only those of the host: a container has a root, too."""
    if uid:
        return uid == os.geteuid()
    from ..readers import processes  # most namespaces of most hosts need no runtime's files

    try:
        # a runtime may have a mount namespace of its own
        return processes.is_hosts_own(host, pid, ('pid', 'user'), monitor=True)
    except (OSError, ValueError):
        return False


def _json(path: str) -> Mapping[str, Any]:
    """A JSON object of a file; empty when it cannot be had."""
    value: object = None
    with suppress_unreadable(RecursionError):
        # to open a device may do something, to follow a link may lead to one
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return {}
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        try:
            text = os.read(handle, LARGEST)
        finally:
            os.close(handle)
        value = json.loads(text)
    return value if isinstance(value, dict) else {}
