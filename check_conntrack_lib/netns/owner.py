"""The user that owns a network namespace: the owner of the user namespace it was made in (fs/nsfs.c, ioctl_ns(2))."""

from __future__ import annotations

import fcntl
import os
import struct

from ..deadline import suppress_unreadable
from ..host import Host
from .discover import Namespace

# include/uapi/linux/nsfs.h
NS_GET_USERNS, NS_GET_OWNER_UID = 0xB701, 0xB704
#: processes that are tried: one that ends meanwhile is rare
MOST_PATHS = 5


def is_of_another_user(host: Host, namespace: Namespace) -> bool:
    """Was it made by somebody who is not root: in a user namespace of his own, which needs no rights?

    False also where that cannot be told.
    """
    uid = uid_of(host, namespace)
    if uid is not None or not host.is_this_kernel():
        return bool(uid)
    # without root's rights: whose the processes are that keep it
    for pid in namespace.pids:
        try:
            return os.stat(host.path(str(pid))).st_uid != 0
        except OSError:
            continue
    return False


def uid_of(host: Host, namespace: Namespace) -> int | None:
    """The user who made its user namespace, 0 for the initial one; None where that cannot be told."""
    if not host.is_this_kernel():
        return None
    for path in filter(None, (namespace.path, *(host.path(f'{pid}/ns/net') for pid in namespace.pids[:MOST_PATHS]))):
        with suppress_unreadable():
            return _owner(path)
    return None


def _owner(path: str) -> int:
    """The user who made its user namespace, 0 for the initial one. Raises OSError."""
    there = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        user_namespace = fcntl.ioctl(there, NS_GET_USERNS)
        try:
            return int(struct.unpack('=I', fcntl.ioctl(user_namespace, NS_GET_OWNER_UID, bytes(4)))[0])
        finally:
            os.close(user_namespace)
    finally:
        os.close(there)
