"""The part of `tune` about rates: what the new connections of now need, and the ports of source NAT."""

from __future__ import annotations

from collections.abc import Iterator

from ...analysis.demand import demands, lasting
from ...analysis.profile import Profile
from ...analysis.rates import about
from ...formatting import clean
from ...model import Missing
from ...readers.ctnetlink_events import NewConnections
from .plan import Plan

#: of the ports that are used
WORTH_A_WORD = 0.3


def rates(plan: Plan) -> Iterator[str]:
    """New connections per second, and how many entries they keep at which timeouts."""
    r = plan.readings
    if isinstance(r.counted, NewConnections):
        yield f'now        {r.counted.rate:.0f} per second, counted in {r.counted.seconds:.1f} s'
    elif isinstance(r.counted, Missing) and not r.counted.chosen:
        remedy = f'; {clean(r.counted.remedy)}' if r.counted.remedy else ''
        yield f'now        not counted: {clean(r.counted.why)}{remedy}'
    if r.rate is None or isinstance(r.timeouts, Missing) or not isinstance(r.profile, Profile):
        return
    found = demands(r.rate, r.timeouts, plan.timeouts)
    if not found:
        return
    yield f'{"nf_conntrack_...":28}{"new/s":>12}{"timeout":>10}{"keeps":>10}{"proposed":>10}{"keeps":>10}'
    for one in found:
        yield (f'{one.name:28}{about(one.rate):>12}{one.now:>8} s{one.entries:>10.0f}{one.proposed:>8} s'
               f'{one.entries_then:>10.0f}')
    stay = lasting(r.profile, r.rate)
    now, then = (stay + sum(parts) for parts in zip(*((one.entries, one.entries_then) for one in found)))
    yield (f'with {stay} entries that their traffic keeps: about {_two_digits(now)} in the long run, '
           f'{_two_digits(then)} at the proposed timeouts; the peak above is {plan.peak.entries}')
    yield 'these rates are estimates by the time left of the entries; expired ones make them up to 20% too high'


def nat_ports(plan: Plan) -> Iterator[str]:
    """The pools that are used most."""
    profile = plan.readings.profile
    if isinstance(profile, Missing):
        return
    for use in profile.nat_ports:
        if use.share >= WORTH_A_WORD:
            held = f', {use.held_by("TIME_WAIT"):.0%} in TIME_WAIT' if use.held_by('TIME_WAIT') else ''
            yield f'{use}: {"" if use.exact else "about "}{use.share:.0%} used ({use.used} of {use.size}){held}'
    if profile.nat_ports and profile.nat_ports[0].share >= WORTH_A_WORD:
        kept = profile.nat_ports[0].kept
        yield (f'connections are refused from {"65%" if kept else "82%"} on, 1% of them at {"67%" if kept else "93%"}; '
               'a larger table does not help: more addresses (snat to FIRST-LAST)'
               f'{", fully-random" if kept else ""}, keep-alive at the clients, and a shorter time_wait do')


def _two_digits(number: float) -> int:
    digits = max(0, len(str(round(number))) - 2)
    return round(round(number), -digits)
