"""What it means when entries of one state dominate."""

from __future__ import annotations

from ..flow import TCP, UDP
from .profile import Profile

#: what it means when entries of one state dominate
MEANING = {
    (TCP, 'SYN_SENT'): 'half-open, nobody answers: a scan, a flood or a dead peer',
    (TCP, 'SYN_RECV'): 'half-open, the client does not go on: a SYN flood or a broken way back',
    (TCP, 'ESTABLISHED'): 'open connections: they are never evicted, and idle ones stay for days',
    (TCP, 'FIN_WAIT'): 'half-closed: one side has finished, the other has not',
    (TCP, 'CLOSE_WAIT'): 'half-closed: an application does not close what its peer has closed',
    (TCP, 'LAST_ACK'): 'closing, the last answer is missing: lost packets or vanished clients',
    (TCP, 'TIME_WAIT'): 'short connections without reuse: keep-alive or a pool would save most of them',
    (TCP, 'CLOSE'): 'reset connections: a service refuses or aborts them',
    (UDP, ''): 'UDP has no end: an entry stays until its timeout',
}


def meaning_of(profile: Profile, protocol: int, state: str) -> str:
    """What it means when entries of this state dominate; '' when that says nothing."""
    if protocol == UDP and profile.unreplied >= 0.8 * profile.states[protocol, state]:
        return 'most of it never answered: a dead server, a scan, or one-way traffic such as syslog'
    return MEANING.get((protocol, state), '')
