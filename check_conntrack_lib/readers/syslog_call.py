"""syslog(2): the newest part of the kernel log in one call, and its size (kernel/printk/printk.c, do_syslog).

Neither moves anybody's position in the log.
"""

from __future__ import annotations

#: actions: the end of the log, as much as the buffer takes; the size of what no reader has taken
READ_ALL, SIZE_UNREAD = 3, 9


def read_tail(size: int) -> bytes:
    """The newest records as text, whole ones only, of so many bytes at most; empty where the call cannot be made."""
    # new and known to nobody else yet, so that the kernel may write into it
    buffer = bytes(size)
    return buffer[:_klogctl(READ_ALL, buffer)]


def size_unread() -> int:
    """Bytes of the log's text that no program has read by this call or from /proc/kmsg; 0 where it cannot be made.

    Where none does, as where systemd's journal reads /dev/kmsg, that is all of it: it grows with every record
    (kernel/printk/printk.c, do_syslog).
    """
    return _klogctl(SIZE_UNREAD, b'')


def _klogctl(action: int, buffer: bytes) -> int:
    """What the call returns; 0 where it fails or cannot be made."""
    try:
        import _ctypes  # 1 ms, ctypes itself 3: only where the log is long

        call = _ctypes.dlsym(_ctypes.dlopen(None, 0), 'klogctl')  # type: ignore[arg-type]  # None: this program itself
        result: int = _ctypes.call_cdeclfunction(call, (action, buffer, len(buffer)))
    except (ImportError, AttributeError, OSError):
        return 0  # another Python, another libc
    return max(0, result)
