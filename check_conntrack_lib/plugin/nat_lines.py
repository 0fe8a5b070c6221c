"""Ports of source NAT in words: how many are used, and whether inserts failed for want of them."""

from __future__ import annotations

from ..assessment import Assessment
from ..formatting import clean, rate
from ..model import Missing


def used(a: Assessment) -> str:
    """'NAT ports to 203.0.113.9:443 tcp through 198.51.100.1: 91% used (58700 of 64512), 25 packets/s refused'."""
    use = a.ports
    if use is None:
        return ''
    how = f'{use.share:.0%} used ({use.used} of {use.size})' if use.exact else \
        f'at least {use.least_share:.0%} used (about {use.used} of {use.size})'
    refused = ''
    if a.losses and are_refused(a):
        refused = f', {rate(a.losses.rate(a.losses.clashes)).removesuffix("/s")} packets/s refused'
    return f'NAT ports to {clean(str(use))}: {how}{refused}'


def why(a: Assessment) -> str:
    """Why ports run out, for the long output."""
    from ..analysis.nat_ports import WHOLE  # only in this alert

    if a.ports is not None and a.ports.size <= WHOLE:
        return f'source NAT has only {a.ports.size} ports for this server: nf_conntrack_max does not help'
    return 'source NAT looks for a free port in a part of its range only: nf_conntrack_max does not help'


def are_refused(a: Assessment) -> bool:
    """Did inserts fail because NAT found no free port?"""
    from ..analysis.nat_ports import PORTS  # only where inserts failed

    return _cause(a) == PORTS


def cause_text(a: Assessment) -> str:
    """Why inserts failed, for a line of details."""
    from ..analysis.nat_ports import CAUSE_TEXT, EITHER

    return CAUSE_TEXT[_cause(a) or EITHER]


def short_cause(a: Assessment) -> str:
    """The same in two or three words, for the first line."""
    from ..analysis.nat_ports import RACING

    return 'clashes' if _cause(a) == RACING else 'clash or NAT'


def details(a: Assessment) -> str:
    """One line about the pool that is used most; '' where none is used much."""
    from ..analysis.nat_ports import REFUSES

    use = a.ports
    if use is None:
        return ''
    text = used(a).replace('NAT ports to', 'NAT ports: to')
    held = [f'{part / use.seen:.0%} {state}' for state, part in use.states[:2] if state]
    text += f'; held by {", ".join(held)}' if held else ''
    if use.sources and use.sources[0][1] >= 0.1 * use.seen:
        text += f', {use.sources[0][1] / use.seen:.0%} of {use.sources[0][0]}'
    if use.share >= REFUSES:
        text += '; nf_conntrack_max does not help'
    return text


def _cause(a: Assessment) -> str:
    if a.losses is None or not a.losses.clashes:
        return ''
    from ..analysis.nat_ports import cause

    return cause(a.losses, a.ports, 0.0 if isinstance(a.history, Missing) else a.history.ports_used)
