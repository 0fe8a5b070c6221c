"""FUSE file systems that never answer, in a user's own namespaces: what any user may make where /dev/fuse is for all.

    python3 fuse_mounts.py silent UID DIRECTORY PROGRAM...   runs the program where DIRECTORY is one without a server
    python3 fuse_mounts.py locked UID DIRECTORY              a process whose memory map stays locked, named conmon
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import sys
import threading
import time

LIBC = ctypes.CDLL(None, use_errno=True)
NEWNS, NEWUSER, NEWNET = 0x20000, 0x10000000, 0x40000000
# include/uapi/linux/fuse.h
LOOKUP, FORGET, GETATTR, SETATTR, OPEN, WRITE, INIT = 1, 2, 3, 4, 14, 16, 26
FILE, SIZE = 2, 65536
#: seconds that anything here may last
LONGEST = 40


def attributes(inode: int) -> bytes:
    mode, size = (0o40755, 0) if inode == 1 else (0o100666, SIZE)
    return struct.pack('=6Q10I', inode, size, 8, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def mount(directory: str, uid: int) -> int:
    """The handle of /dev/fuse, in new namespaces of that user."""
    place = os.path.join(os.path.dirname(directory), 'dev')
    os.makedirs(place, exist_ok=True)
    LIBC.unshare(NEWNS)
    LIBC.mount(b'none', b'/', None, 0x44000, None)  # MS_REC | MS_PRIVATE
    LIBC.mount(b'none', place.encode(), b'tmpfs', 0, b'mode=755')
    os.mknod(f'{place}/fuse', 0o20666, os.makedev(10, 229))
    os.chmod(f'{place}/fuse', 0o666)
    if uid:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
        LIBC.prctl(4, 1)  # PR_SET_DUMPABLE: its own /proc files are its own again
        if LIBC.unshare(NEWUSER | NEWNS | NEWNET):
            sys.exit('no user namespaces')
        for name, text in (('setgroups', 'deny'), ('uid_map', f'0 {uid} 1'), ('gid_map', f'0 {uid} 1')):
            with open(f'/proc/self/{name}', 'w', encoding='ascii') as file:
                file.write(text)
    try:
        handle = os.open(f'{place}/fuse', os.O_RDWR)
    except OSError:
        sys.exit('no FUSE in this kernel')
    os.set_inheritable(handle, True)
    options = f'fd={handle},rootmode=40000,user_id=0,group_id=0'.encode()
    if LIBC.mount(b'fuse', directory.encode(), b'fuse', 0, options):
        sys.exit('no FUSE here')
    return handle


def serve(handle: int) -> None:
    """One file that can be opened and mapped; what is written is never acknowledged."""
    signal.alarm(LONGEST)
    while True:
        request = os.read(handle, 1 << 20)
        _length, operation, unique, node = struct.unpack_from('=IIQQ', request)
        answer = {
            INIT: struct.pack('=IIIIHHIIHHI', 7, 31, SIZE, 0, 12, 9, SIZE, 1, 16, 0, 0) + bytes(28),
            LOOKUP: struct.pack('=4QII', FILE, 1, 1000, 1000, 0, 0) + attributes(FILE),
            GETATTR: struct.pack('=QII', 1000, 0, 0) + attributes(node),
            SETATTR: struct.pack('=QII', 1000, 0, 0) + attributes(node),
            OPEN: struct.pack('=QII', 1, 0, 0),
            15: bytes(SIZE),
        }.get(operation)
        if operation == WRITE:
            print('locked', flush=True)
        elif operation != FORGET:
            error = -38 if answer is None else 0
            os.write(handle, struct.pack('=IiQ', 16 + len(answer or b''), error, unique) + (answer or b''))


def lock_memory(handle: int, directory: str) -> None:
    """munmap of a page that was written waits for its write, with the map locked; who maps next locks readers out."""
    server = os.fork()
    if server == 0:
        LIBC.prctl(1, 9)  # it ends with this one, which ends the file system, and with it every wait
        serve(handle)
    os.close(handle)
    if os.fork() == 0:
        LIBC.prctl(1, 9)
        # a namespace whose processes have this one as parent, as conmon is that of a container's
        LIBC.unshare(NEWNET)
        time.sleep(LONGEST)
        os._exit(0)
    file = os.open(f'{directory}/x', os.O_RDWR)
    LIBC.mmap.restype = ctypes.c_void_p
    LIBC.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    LIBC.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    address = LIBC.mmap(None, SIZE, 3, 1, file, 0)
    ctypes.memset(address, 1, 4096)
    LIBC.prctl(15, b'conmon', 0, 0, 0)
    threading.Thread(target=lambda: LIBC.munmap(address, SIZE)).start()
    time.sleep(0.5)
    LIBC.mmap(None, 4096, 3, 0x22, -1, 0)


if __name__ == '__main__':
    kind, uid, directory = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    handle = mount(directory, uid)
    if kind == 'silent':
        # without a server only who waits holds the file system: what kills it lets it go
        os.execv(sys.argv[4], sys.argv[4:])
    lock_memory(handle, directory)
