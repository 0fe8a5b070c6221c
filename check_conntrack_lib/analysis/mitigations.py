"""What contains an incident now: the moves that fit one picture, the safest first. They are printed, never made."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping

from ..flow import TCP, UDP
from ..formatting import count, duration, size_text
from ..model import Missing
from . import rate_limit, sizing
from .commands import conntrack
from .incident import SOON, Action, IncidentFacts, chains_too_long, crowded, culprit, load_of, was_full
from .profile import Key, Profile
from .timeouts import leaks

SYSCTL = 'sudo sysctl -w net.netfilter.nf_conntrack_'
HASHSIZE = '/sys/module/nf_conntrack/parameters/hashsize'
#: local processes, connections that wait for their end, half-closed ones: shares that speak for a missing pool
LOCAL, WAITING, HALF_CLOSED = 0.3, 0.3, 0.2
#: a timeout is a move when it frees so much of the table, and so many of them are told
WORTH, MOST_TIMEOUTS = 0.05, 2
#: a table that grows is not sized for more than so many times the entries of now
FURTHEST = 4
#: no more of the available memory is given to the table
MEMORY = 0.5
#: programs that move traffic to other hosts when they are told to: what, how, how back, and what it costs
DRAINS: Mapping[str, tuple[str, tuple[str, ...], str, str]] = {
    'keepalived': ('let the VRRP peer take over', ('sudo systemctl stop keepalived',),
                   'sudo systemctl start keepalived',
                   'the peer needs room in its own table; connections without state sync there begin anew'),
    'kubelet': ('move the pods to other nodes',
                ('kubectl cordon {node}', 'kubectl drain {node} --ignore-daemonsets --delete-emptydir-data'),
                'kubectl uncordon {node}', 'pods start anew elsewhere, what they keep in an emptyDir is lost'),
}


def actions(p: IncidentFacts) -> tuple[Action, ...]:
    """Those that fit, the safest first."""
    full, chains = crowded(p), chains_too_long(p)
    found: list[Action] = []
    if full or chains:
        found += _drain(p)
        found += _rate_limit_source(p)
    if full:
        found += _pool(p)
        found += _timeouts(p)
    if chains:
        found += _buckets(p)
    if full:
        found += _raise(p)
    return tuple(found)


def _drain(p: IncidentFacts) -> Iterator[Action]:
    node = shlex.quote(p.node)
    for program, (title, commands, undo, risk) in DRAINS.items():
        if program in p.programs:
            yield Action(f'drain: {title} ({program} runs here)',
                       tuple(command.format(node=node) for command in commands), undo.format(node=node), risk)


def _rate_limit_source(p: IncidentFacts) -> Iterator[Action]:
    found = culprit(p)
    if found is None or p.profile is None or found[0] in p.own:
        return
    source, key, seen = found
    room = p.table.entries if p.table.unlimited else p.table.maximum
    rate = rate_limit.rate(room, p.profile, key, p.timeouts)
    made, undo = rate_limit.nft(key, rate) if p.nft else rate_limit.iptables(key, rate)
    commands = [made]
    # what was never answered is no connection that could be cut; what else the source does is left alone
    if key.protocol is not None and seen and p.profile.unreplied >= 0.5 * seen:
        commands.append(conntrack('-D', key))
    share = f'opened {p.profile.share(seen).value:.0%} of the table' if seen else 'opens what grew'
    yield Action(f'rate-limit {source}, which {share}, to {rate} new connections a second', tuple(commands), undo,
               'where a proxy or NAT speaks for many clients from this address, all of them are limited')


def _pool(p: IncidentFacts) -> Iterator[Action]:
    if p.profile is None:
        return
    state, fault = _fault(p, p.profile)
    if not fault:
        return
    target = p.targets.get(state) if state else next((one.key for one in p.growth if one.key.destination), None) \
        or next((key for key, _seen in p.profile.targets if key.protocol in (TCP, UDP)), None)
    if target is None:
        yield Action(f'fix the pool of the clients: {fault}', (f'sudo conntrack -L -p tcp --state {state}',), '',
                   'it lists who they are: no target has many of them')
        return
    listing = f'sudo ss -{"u" if target.protocol == UDP else "t"}np dst {_end(target)}'
    if p.owners and p.local >= LOCAL:
        one = p.owners[0]
        yield Action(f'fix the pool of {one.name} (pid {one.pid}): {fault}',
                     (f'systemctl status {one.pid}', listing), '',
                   'reuse connections (keep-alive, a pool with a limit); a restart closes its sockets, not its entries')
    else:
        found = culprit(p)
        where = found[0] if found and found[0] not in p.own else 'the clients'
        yield Action(f'fix the pool of the clients of {target}: {fault}', (listing,), '',
                   f'none; run it on {where} to see which program it is, then let that reuse its connections')


def _fault(p: IncidentFacts, profile: Profile) -> tuple[str, str]:
    """What speaks for a missing pool, with the TCP state it is about, if it is about one; '' for nothing."""
    for state, least in (('TIME_WAIT', WAITING), ('CLOSE_WAIT', HALF_CLOSED), ('FIN_WAIT', HALF_CLOSED)):
        share = profile.share(profile.states.get((TCP, state), 0))
        if share.low >= least:
            return state, f'{share.value:.0%} of the table is in {state}'
    for leak in leaks(p.proposals):
        return 'ESTABLISHED', leak
    return '', f'its host opened {p.local:.0%} of the table' if p.owners and p.local >= LOCAL else ''


def _timeouts(p: IncidentFacts) -> Iterator[Action]:
    # entries keep the time they were given: what takes longer contains nothing
    worth = sorted((one for one in p.proposals if one.share.value >= WORTH and one.now <= SOON),
                   key=lambda one: (one.risky, -one.freed))
    for one in worth[:MOST_TIMEOUTS]:
        commands = [f'{SYSCTL}{one.name}={one.proposed}']
        if one.name == 'tcp_timeout_time_wait':
            # those that are there keep their time: their connections are over
            commands.append('sudo conntrack -D -p tcp --state TIME_WAIT')
        yield Action(f'{one.name} {one.now} -> {one.proposed} s frees {one.share.value:.0%} of the table '
                   f'{one.until_then}', tuple(commands), f'{SYSCTL}{one.name}={one.now}', one.risk)


def _buckets(p: IncidentFacts) -> Iterator[Action]:
    now = 0 if isinstance(p.table.buckets, Missing) else p.table.buckets
    wanted = -(-max(p.table.entries, p.table.maximum, 1024) // 512) * 512
    if wanted <= now:
        return
    yield Action(f'nf_conntrack_buckets {now or "?"} -> {wanted} ends the refusals by long chains '
               f'({size_text(wanted * sizing.BUCKET)} of RAM)',
               (_set_buckets(p, wanted),), _set_buckets(p, now) if now else '',
               'lookups wait for some milliseconds while all entries move' + _elsewhere(p))


def _raise(p: IncidentFacts) -> Iterator[Action]:
    growth = p.forecast.growth * SOON if p.forecast and p.forecast.growth > 0 else 0
    peak = round(min(p.table.entries + growth, FURTHEST * p.table.entries))
    if was_full(p):
        # what it would have held then is unknown: this much is certain
        peak = max(peak, p.table.maximum)
    size = sizing.propose(max(peak, p.table.entries), p.table, p.entry)
    if size.maximum <= p.table.maximum:
        return
    what = f'raise nf_conntrack_max {p.table.maximum} -> {size.maximum}'
    cost = f'{size_text(size.more)} more RAM when full'
    if isinstance(p.available, Missing):
        cost += ', available: unknown'
    else:
        cost += f', {size_text(p.available)} available'
        if size.more > MEMORY * p.available:
            yield Action(f'not possible: {what} would take {cost}', (), '', 'add memory, or shorten timeouts')
            return
    commands = [f'{SYSCTL}max={size.maximum}']
    load, limit = load_of(p.table._replace(entries=size.maximum)), p.limit.entries_per_bucket or 8.0
    undo = f'{SYSCTL}max={p.table.maximum}'
    if load is not None and load > limit:
        commands.insert(0, _set_buckets(p, size.buckets))
    risk = 'it only buys time' + (': one source makes the peak' if culprit(p) else '')
    if p.keepers:
        risk += f'; {", ".join(sorted(p.keepers))} sets it again when it starts'
    yield Action(f'{what} ({cost})', tuple(commands), undo, risk + _elsewhere(p))


def _set_buckets(p: IncidentFacts, number: int) -> str:
    return f'{SYSCTL}buckets={number}' if p.limit.by_sysctl else f'echo {number} | sudo tee {HASHSIZE}'


def _elsewhere(p: IncidentFacts) -> str:
    return '' if p.initial else '; one value for all namespaces: run it in the initial one of this host'


def _end(key: Key) -> str:
    host = f'[{key.destination}]' if ':' in key.destination else key.destination
    return host if key.port is None else f'{host}:{key.port}'


def why_none(p: IncidentFacts) -> str:
    """What is said in the place of moves."""
    if p.losses and p.losses.packets['drop'] > p.losses.dropped:
        return (f'{count(p.losses.clashes, "packet")} lost in {duration(p.losses.span)} without a full table: '
                'connections clashed (two queries from one port, or NAT out of ports); no size or timeout helps')
    if p.logged or (p.losses and p.losses.lost):
        return ('packets were lost, but the table has room now: it was full for a moment, memory was short, or '
                'another cause; watch it: conntrack-doctor watch')
    if p.losses is None:
        return 'nothing to contain: the table has room; whether packets are lost is not known yet'
    return 'nothing to contain: the table has room, and nothing is lost'
