"""Which timeouts could be shorter, and how many entries that frees: those idle for longer, counted in the sample."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..formatting import duration
from ..namedtuples import NamedTuple
from .profile import Profile, TimeLeft
from .proportion import Proportion

#: nothing is proposed that frees a smaller share of the table
LEAST = 0.01
#: an ESTABLISHED entry with data that nobody has acknowledged lives by one of these instead
SHORT_LIVED = ('tcp_timeout_unacknowledged', 'tcp_timeout_max_retrans')
#: a TimeoutClass with this share of entries that have more time left than its timeout does not live by it
FOREIGN = 0.02
#: share of the table from which idle connections are called opened and not closed
LEAK = 0.3


class Shorter(NamedTuple):
    """A shorter timeout and what it breaks."""

    seconds: int
    risk: str


class TimeoutRule(NamedTuple):
    """One timeout that may be shortened, in steps, the mildest first."""

    #: the sysctl's name after nf_conntrack_
    name: str
    protocol: int
    #: '' for protocols without states
    state: str
    steps: tuple[Shorter, ...]
    #: udp and gre: only entries that are assured, or only those that are not; None: all
    assured: bool | None = None
    #: may cut connections that are in use: whoever applies it must know them
    risky: bool = False


#: To propose another timeout, add a line. RFC 5382: TCP at least 2 h 4 min behind NAT; RFC 4787: UDP at least 2 min.
RULES = (
    TimeoutRule('tcp_timeout_time_wait', 6, 'TIME_WAIT', (
        Shorter(30, 'a TCP segment arriving more than 30 s late is treated as invalid'),)),
    TimeoutRule('tcp_timeout_syn_sent', 6, 'SYN_SENT', (
        Shorter(60, 'a reply after more than a minute is not accepted'),
        Shorter(30, 'a reply after more than 30 s is not accepted until the client retries'))),
    TimeoutRule('tcp_timeout_syn_recv', 6, 'SYN_RECV', (
        Shorter(30, 'a client that takes more than 30 s to finish the handshake has to reconnect'),)),
    TimeoutRule('tcp_timeout_fin_wait', 6, 'FIN_WAIT', (
        Shorter(60, 'a connection that one side has closed is cut when the other is silent for more than a minute'),)),
    TimeoutRule('tcp_timeout_close_wait', 6, 'CLOSE_WAIT', (
        Shorter(600, 'an answer that pauses for more than 10 minutes after the request was closed is cut; kube-proxy '
                  'sets 1 h for such clients'),), risky=True),
    TimeoutRule('tcp_timeout_established', 6, 'ESTABLISHED', (
        Shorter(86400, 'connections idle for more than a day break: database pools, SSH and MQTT sessions without '
                    'keepalive'),
        Shorter(7440, 'connections idle for more than 2 h 4 min break, all without keepalive: database pools, '
                   'SSH, message queues, long polls (Linux keepalive, 2 h, is just enough)')), risky=True),
    TimeoutRule('udp_timeout', 17, '', (
        Shorter(30, "a reply after more than 30 s (the kernel's default) is not accepted"),),
        assured=False),
    TimeoutRule('udp_timeout_stream', 17, '', (
        Shorter(120, "calls, tunnels and QUIC that are silent for more than 2 minutes, the kernel's own default, lose "
                  'their way back'),), assured=True),
    TimeoutRule('generic_timeout', -1, '', (
        Shorter(120, 'tunnels of other protocols (ESP, IPIP) that are silent for 2 minutes need a packet from '
                     'inside'),)),
    TimeoutRule('icmp_timeout', 1, '', (Shorter(10, 'a ping answered after more than 10 s is lost'),)),
    TimeoutRule('icmpv6_timeout', 58, '', (Shorter(10, 'a ping answered after more than 10 s is lost'),)),
    TimeoutRule('sctp_timeout_established', 132, 'ESTABLISHED', (
        Shorter(210, "associations without heartbeat for more than 210 s, the kernel's own default since 6.1, die"),),
        risky=True),
)
#: protocols with a tracker of their own: all others live by generic_timeout
TRACKED = frozenset({1, 6, 17, 33, 47, 58, 132, 136})
#: protocols whose assured entries have a timeout of their own
STREAMS = frozenset({17, 47, 136})


class Proposal(NamedTuple):
    """One shorter timeout and its effect in the long run, when all entries have come to live by it."""

    #: the sysctl's name after nf_conntrack_
    name: str
    #: seconds
    now: int
    proposed: int
    #: entries of the table that would be gone, and their share of it
    freed: int
    share: Proportion
    risk: str
    risky: bool
    #: many entries have more time left than `now`: another timeout policy, or a value changed a short time ago
    foreign: bool = False

    @property
    def until_then(self) -> str:
        """Entries keep the time they were given with their last packet."""
        return f'within {duration(self.now)}'


def proposals(profile: Profile, timeouts: Mapping[str, int]) -> tuple[Proposal, ...]:
    """What is worth it, the largest effect first. timeouts: seconds, by the name after nf_conntrack_."""
    found = [proposal for rule in RULES if rule.name in timeouts
             for proposal in _proposal(rule, profile, timeouts[rule.name], timeouts)]
    return tuple(sorted(found, key=lambda proposal: -proposal.freed))


def total(profile: Profile, chosen: tuple[Proposal, ...]) -> Proportion:
    """All of them together: no entry lives by two timeouts."""
    return profile.share(round(sum(proposal.share.value for proposal in chosen) * profile.seen))


def leaks(chosen: tuple[Proposal, ...]) -> Iterator[str]:
    """Connections that nobody uses, if they make the table large."""
    for proposal in chosen:
        if proposal.name == 'tcp_timeout_established' and proposal.share.low >= LEAK:
            yield (f'{proposal.share.value:.0%} of the table are connections without a packet for '
                   f'{duration(proposal.proposed)}: opened and not closed')


def timeout_of(protocol: int, state: str, assured: bool) -> str:
    """The timeout that an entry lives by, as its sysctl is called after nf_conntrack_ (nf_conntrack_standalone.c)."""
    if protocol not in TRACKED:
        return 'generic_timeout'
    with_states = {6: 'tcp', 33: 'dccp', 132: 'sctp'}
    # the others have none: what a damaged line has there says nothing
    if state and protocol in with_states:
        return f'{with_states[protocol]}_timeout_{state.lower()}'
    name = {1: 'icmp', 6: 'tcp', 17: 'udp', 47: 'gre', 58: 'icmpv6', 136: 'udp'}.get(protocol, '')
    return f'{name}_timeout_stream' if assured and protocol in STREAMS else f'{name}_timeout'


def _proposal(rule: TimeoutRule, profile: Profile, now: int, timeouts: Mapping[str, int]) -> Iterator[Proposal]:
    """At most one: the mildest step that is worth it, or a harder one that frees twice as much."""
    kinds = list(_times_left(rule, profile))
    longer = sum(sum(left.steps.values()) - left.below(now + left.width) for left in kinds)
    foreign = longer > FOREIGN * sum(sum(left.steps.values()) for left in kinds)
    best: Proposal | None = None
    for step in rule.steps:
        if step.seconds >= now:
            continue
        idle = sum(left.idle_longer(step.seconds, now) for left in kinds)
        if rule.name == 'tcp_timeout_established':
            # with so little time left they live by another timeout, and will be gone soon with or without this one
            short = max((timeouts.get(name, 300) for name in SHORT_LIVED), default=300)
            idle -= sum(left.below(short) for left in kinds)
        share = profile.share(max(0, round(idle)))
        if share.value >= LEAST and (best is None or share.value >= 2 * best.share.value):
            best = Proposal(rule.name, now, step.seconds, profile.estimate(max(0, round(idle))), share, step.risk,
                            rule.risky, foreign)
    if best:
        yield best


def _times_left(rule: TimeoutRule, profile: Profile) -> Iterator[TimeLeft]:
    """Of each TimeoutClass that lives by the rule's timeout."""
    for kind, left in profile.time_left.items():
        mine = kind.protocol == rule.protocol if rule.protocol >= 0 else kind.protocol not in TRACKED
        if mine and kind.state == rule.state and rule.assured in (None, kind.assured):
            yield left
