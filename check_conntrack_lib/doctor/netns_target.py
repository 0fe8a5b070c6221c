"""--netns NAME of the live verbs: the network namespace that is looked into, what it is called, how to get there."""

from __future__ import annotations

import os

from ..formatting import clean
from ..host import Host
from ..model import Missing
from ..namedtuples import NamedTuple
from ..netns import discover, enter, enter_command, names
from ..netns.discover import Namespace
from ..netns.selection import select
from ..readers import sysctl_values
from . import DoctorError


class Target(NamedTuple):
    """The network namespace that is looked into."""

    #: what it is called; '' for the initial one of this host
    title: str = ''
    #: the name that it keeps over restarts; '' where it has none
    lasting: str = ''
    #: what runs a command of the administrator's shell in it; '' where that is there already
    enter: str = ''


#: the initial namespace of this host
INITIAL = Target(lasting=names.HOST)


def enter_target(host: Host, word: str | None) -> Target:
    """Enters the named namespace, for the rest of the process. Raises DoctorError."""
    if word in (None, 'current'):
        return _own(host)
    assert word is not None
    if not host.is_this_kernel():
        raise DoctorError('--netns: only a namespace of the running kernel can be entered')
    found = _found(host)
    means = select(host, found.namespaces, (word,))[word]
    if not means:
        shown = clean(word, 60)
        if word in found.stale:
            raise DoctorError(f'--netns: {shown} in /run/netns leads to no namespace from here')
        raise DoctorError(f"network namespace '{shown}' not found (check_conntrack --netns all -v names some)")
    if len(means) > 1:
        titles = ', '.join(names.name_of(host, one).title for one in means[:5])
        raise DoctorError(f'--netns: {clean(word, 60)} means more than one: {titles}')
    own = host.netns()
    before = enter_command.prefix(host, means[0])
    known = names.name_of(host, means[0])
    if means[0].inode == own and means[0].own_inode:
        return _own(host)
    _enter(host, means[0], word)
    if sysctl_values.is_initial_namespace(host):
        return Target('', names.HOST, before)
    return Target(known.title, known.lasting, before)


def _enter(host: Host, namespace: Namespace, word: str) -> None:
    paths = [namespace.path] if namespace.path else []
    paths += [host.path(f'{pid}/ns/net') for pid in namespace.pids]
    for path in paths:
        try:
            if os.stat(path).st_ino == namespace.inode:
                enter.enter_netns(path)
                return
        except PermissionError:
            raise DoctorError(f'--netns: entering {clean(word, 60)} needs root') from None
        except OSError:
            continue  # ended or removed meanwhile
    raise DoctorError(f'--netns: {clean(word, 60)} cannot be entered: it is gone, or needs root')


def _own(host: Host) -> Target:
    own = host.netns()
    if sysctl_values.is_initial_namespace(host) or isinstance(own, Missing):
        return INITIAL
    one = next((one for one in _found(host).namespaces if one.inode == own and one.own_inode), Namespace(own))
    known = names.name_of(host, one)
    # `nsenter` and `ip netns exec` come from a shell outside: what is printed is pasted there
    outside = _parent_netns(host) not in (own, None)
    return Target(known.title, known.lasting, enter_command.prefix(host, one) if outside else '')


def _parent_netns(host: Host) -> int | None:
    try:
        return discover.parse_link(os.readlink(host.path(f'{os.getppid()}/ns/net')))
    except (OSError, ValueError):
        return None


def _found(host: Host) -> discover.Found:
    try:
        return discover.find(host)
    except (OSError, ValueError) as error:
        raise DoctorError(f'network namespaces: {error}') from error
