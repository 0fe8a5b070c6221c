"""Ports of source NAT in words: how many are used, and whether inserts failed for want of them."""

from __future__ import annotations

from ..assessment import Assessment
from ..formatting import clean, rate
from ..model import Missing

#: nearly all ports: where the kernel looks for a free one makes no difference
ALL = 0.98


def used(a: Assessment) -> str:
    """'NAT ports to 203.0.113.9:443 tcp through 198.51.100.1: 91% used (58700 of 64512), 25 packets/s refused'."""
    use = a.ports
    if use is None:
        return ''
    how = f'{use.share:.0%} used ({use.used} of {use.size})' if use.exact else \
        f'at least {use.least_share:.0%} used (about {use.used} of {use.size})'
    if most_used(a) > max(use.share, use.least_share):
        how = f'{most_used(a):.0%} used, now {how.removesuffix(")").replace(" used", "")})'
    refused = ''
    if a.losses and are_refused(a):
        refused = f', {rate(a.losses.rate(a.losses.clashes)).removesuffix("/s")} packets/s refused'
    return f'NAT ports to {clean(str(use))}: {how}{refused}'


def most_used(a: Assessment) -> float:
    """The part of the ports that counts, 0 to 1: while they are refused the most that was seen, so that a few which are
    free for a moment are no end of it. Of a sample that could not be confirmed, what is certain.
    """
    least = a.ports.least_share if a.ports else 0.0
    return max(least, _peak(a)) if _peak(a) > least and are_refused(a) else least


def _peak(a: Assessment) -> float:
    return 0.0 if isinstance(a.history, Missing) else a.history.ports_peak


def why(a: Assessment) -> str:
    """Why ports run out, for the long output."""
    from ..analysis.nat_ports import WHOLE  # only in this alert

    if a.ports is not None and (a.ports.size <= WHOLE or a.ports.share > ALL):
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
    from ..analysis.nat_ports import PORTS, RACING

    return {RACING: 'clashes', PORTS: 'NAT ports'}.get(_cause(a), 'clash or NAT')


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

    return cause(a.losses, a.ports, _peak(a))
