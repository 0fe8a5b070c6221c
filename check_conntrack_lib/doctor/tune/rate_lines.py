"""The part of `tune` about rates: what the new connections of now need, and the ports of source NAT."""

from __future__ import annotations

from collections.abc import Iterator

from ...analysis.commands import within
from ...analysis.demand import demands, lasting
from ...analysis.nat_mitigations import improvements
from ...analysis.profile import Profile
from ...analysis.rates import about
from ...formatting import clean
from ...model import Missing
from ...readers.ctnetlink_events import NewConnections
from .plan import WORTH_REPORTING, Plan


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
        if use.share >= WORTH_REPORTING:
            held = f', {use.held_by("TIME_WAIT"):.0%} in TIME_WAIT' if use.held_by('TIME_WAIT') else ''
            yield f'{use}: {"" if use.exact else "about "}{use.share:.0%} used ({use.used} of {use.size}){held}'
    if not profile.nat_ports or profile.nat_ports[0].share < WORTH_REPORTING:
        return
    fullest = profile.nat_ports[0]
    yield (f'connections are refused from {"65%" if fullest.kept else "82%"} on, 1% of them at '
           f'{"67%" if fullest.kept else "93%"}; a larger table does not help')
    r = plan.readings
    rules = () if isinstance(r.nat_rules, Missing) else r.nat_rules
    if isinstance(r.nat_rules, Missing):
        yield f'the rules of source NAT were not read: {clean(r.nat_rules.why)}'
    seconds = {} if isinstance(r.timeouts, Missing) else r.timeouts
    for number, action in enumerate(improvements(fullest, rules, seconds), 1):
        yield f'{number}. {clean(action.title, 200)}'
        yield from (f'     {within(command, r.target.enter)}' for command in action.commands)
        if action.undo:
            yield f'     undo: {within(action.undo, r.target.enter)}'
        yield f'     risk: {action.risk}'


def _two_digits(number: float) -> int:
    digits = max(0, len(str(round(number))) - 2)
    return round(round(number), -digits)
