"""Commands that are printed: flows as the arguments of conntrack(8), and what makes a command run elsewhere."""

from __future__ import annotations

from ..flow import PROTOCOLS
from ..namedtuples import TYPE_CHECKING

if TYPE_CHECKING:
    from .profile import Key

#: one value for all namespaces, or nothing of the network: such commands are for the host
_OF_THE_HOST = ('nf_conntrack_max', 'nf_conntrack_buckets', 'parameters/hashsize', 'systemctl ', 'kubectl ')


def within(command: str, enter: str) -> str:
    """A command made to run in a network namespace; enter: see `netns.enter_command.prefix`."""
    if not enter or not command.startswith('sudo ') or any(part in command for part in _OF_THE_HOST):
        return command
    return f'sudo {enter}{command[len("sudo "):]}'


def conntrack(action: str, key: Key) -> str:
    """The conntrack(8) command that lists (-L) or removes (-D) these flows."""
    words = [f'sudo conntrack {action}']
    if ':' in key.destination + key.source:
        words.append('-f ipv6')
    if key.protocol is not None:
        words.append(f'-p {PROTOCOLS.get(key.protocol, key.protocol)}')
    if key.source:
        words.append(f'-s {key.source}')
    if key.destination:
        words.append(f'-d {key.destination}')
    if key.port is not None and key.protocol is not None:
        words.append(f'--dport {key.port}')
    if key.zone is not None:
        words.append(f'-w {key.zone}')
    return ' '.join(words)
