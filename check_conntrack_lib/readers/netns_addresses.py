"""Addresses of the network namespace of a process, readable by all who may see the process.

/proc/<pid>/net/fib_trie (net/ipv4/fib_trie.c): '|-- 10.244.7.2' and below it '/32 host LOCAL'.
/proc/<pid>/net/if_inet6 (net/ipv6/addrconf.c): 'fd000000000000000000000000000002 02 40 00 80     eth0'.
"""

from __future__ import annotations

from contextlib import suppress

from ..host import GONE, Host


def parse_fib_trie(text: str) -> set[str]:
    """The namespace's own IPv4 addresses, without those of the loopback device."""
    found = set()
    address = ''
    for line in text.split('\n'):
        word = line.strip()
        if word.startswith('|-- '):
            address = word[4:]
        elif word == '/32 host LOCAL' and not address.startswith('127.'):
            found.add(address)
    return found


def parse_if_inet6(text: str) -> set[str]:
    """The namespace's own IPv6 addresses but ::1 and link-local ones, which are not unique. Raises ValueError."""
    import socket  # only where addresses are named

    found = set()
    for line in text.split('\n'):
        words = line.split()
        if len(words) == 6 and words[3] == '00':  # scope global
            found.add(socket.inet_ntop(socket.AF_INET6, bytes.fromhex(words[0])))
    return found


def read(host: Host, pid: int) -> set[str]:
    """Both as text. What cannot be read is left out, as is a fib_trie larger than Host.read takes: a router's."""
    found: set[str] = set()
    for file, parse in (('fib_trie', parse_fib_trie), ('if_inet6', parse_if_inet6)):
        with suppress(*GONE):
            found |= parse(host.read(f'{pid}/net/{file}'))
    return found
