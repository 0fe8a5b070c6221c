"""Flows as the arguments of conntrack(8)."""

from __future__ import annotations

from .profile import Key


def conntrack(action: str, key: Key) -> str:
    """The conntrack(8) command that lists (-L) or removes (-D) these flows."""
    words = [f'sudo conntrack {action}']
    if ':' in key.destination + key.source:
        words.append('-f ipv6')
    if key.protocol is not None:
        words.append(f'-p {Key(key.protocol)}' if not str(Key(key.protocol)).startswith('protocol') else
                     f'-p {key.protocol}')
    if key.source:
        words.append(f'-s {key.source}')
    if key.destination:
        words.append(f'-d {key.destination}')
    if key.port is not None and key.protocol is not None:
        words.append(f'--dport {key.port}')
    return ' '.join(words)
