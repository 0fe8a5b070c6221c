"""What the numbers mean: states in words, and flows as the arguments of conntrack(8)."""

from __future__ import annotations

from .profile import Key, Profile

TCP, UDP = 6, 17
#: what it means when entries of one state dominate
MEANING = {
    (TCP, 'SYN_SENT'): 'half-open, no answer: scan, flood or peer down',
    (TCP, 'SYN_RECV'): 'handshake not completed: SYN flood or broken return path',
    (TCP, 'ESTABLISHED'): 'open connections; idle ones stay for days',
    (TCP, 'FIN_WAIT'): 'half-closed: one side has sent FIN, the other has not',
    (TCP, 'CLOSE_WAIT'): 'half-closed: an application does not close its sockets after the peer did',
    (TCP, 'LAST_ACK'): 'closing, the last ACK is missing: packet loss or clients that are gone',
    (TCP, 'TIME_WAIT'): 'many short connections: use keep-alive or a connection pool',
    (TCP, 'CLOSE'): 'reset connections: a service refuses or aborts them',
    (UDP, ''): 'UDP entries stay until their timeout',
}


def meaning_of(profile: Profile, protocol: int, state: str) -> str:
    """What it means when entries of this state dominate; '' when that says nothing."""
    if protocol == UDP and profile.unreplied >= 0.8 * profile.states[protocol, state]:
        return 'most of it UNREPLIED: server down, scan, or one-way traffic such as syslog'
    return MEANING.get((protocol, state), '')


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
