"""What it means when entries of one state dominate."""

from __future__ import annotations

from ..flow import TCP, UDP
from .profile import OFFLOADED, Profile

#: by protocol and state, '' where there is none
MEANING = {
    (TCP, 'SYN_SENT'): 'half-open, no answer: scan, flood or peer down',
    (TCP, 'SYN_RECV'): 'handshake not completed: SYN flood or broken return path',
    (TCP, 'ESTABLISHED'): 'open connections; idle ones stay for days',
    (TCP, 'FIN_WAIT'): 'half-closed: one side has sent FIN, the other has not',
    (TCP, 'CLOSE_WAIT'): 'half-closed: an application does not close its sockets after the peer did',
    (TCP, 'LAST_ACK'): 'closing, the last ACK is missing: packet loss or clients that are gone',
    (TCP, 'TIME_WAIT'): 'many short connections: use keep-alive or a connection pool',
    (TCP, 'CLOSE'): 'reset connections: a service refuses or aborts them',
    (TCP, OFFLOADED): 'open connections, forwarded by a flowtable',
    (UDP, OFFLOADED): 'forwarded by a flowtable',
    (UDP, ''): 'UDP entries stay until their timeout',
}


def meaning_of(profile: Profile, protocol: int, state: str) -> str:
    """What it means when entries of this state dominate; '' when that says nothing."""
    if (protocol, state) == (UDP, '') and profile.unreplied >= 0.8 * profile.states[protocol, state]:
        return 'most of it UNREPLIED: server down, scan, or one-way traffic such as syslog'
    return MEANING.get((protocol, state), '')
