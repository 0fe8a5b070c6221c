"""Actions that limit an incident now, the least disruptive first. They are printed, never run."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping

from ..flow import TCP, UDP
from ..formatting import count, duration, size_text
from ..model import Missing
from . import nat_mitigations, resources, sizing, source_limit
from .commands import within
from .hash_chains import enough_buckets
from .incident import SOON, Action, IncidentFacts, chains_too_long, crowded, load_at, single_source, was_full
from .profile import Key, Profile
from .timeouts import leaks

SYSCTL = 'sudo sysctl -w net.netfilter.nf_conntrack_'
HASHSIZE = '/sys/module/nf_conntrack/parameters/hashsize'
#: local processes, connections that wait for their end, half-closed ones: shares that speak for a missing pool
LOCAL, WAITING, HALF_CLOSED = 0.3, 0.3, 0.2
#: a timeout is proposed when it frees this share of the table, and at most this many of them
WORTH, MOST_TIMEOUTS = 0.05, 2
#: a table that grows is not sized for more than this many times the entries of now
FURTHEST = 4
#: no more of the available memory is given to the table; below the smaller share a larger table costs nothing
MEMORY, CHEAP = 0.5, 0.05
#: programs that can move traffic to other hosts: what, how, how back, and what it costs
DRAINS: Mapping[str, tuple[str, tuple[str, ...], str, str]] = {
    'keepalived': ('let the VRRP peer take over', ('sudo systemctl stop keepalived',),
                   'sudo systemctl start keepalived',
                   'all NAT sessions break unless conntrackd replicates them; the peer receives the same load'),
    'kubelet': ('move the pods to other nodes',
                ('kubectl cordon {node}', 'kubectl drain {node} --ignore-daemonsets --delete-emptydir-data'),
                'kubectl uncordon {node}',
                'pods restart on other nodes, which receive the same load; emptyDir data is lost'),
}
#: what helps where it is not the table: of each resource
OTHERS: Mapping[str, Action] = {
    resources.CLOUD: Action(
        'AWS: use security-group rules that need no tracking (all traffic in and out), a larger instance, or shorter '
        'idle timeouts of the interface',
        ('aws ec2 modify-network-interface-attribute --network-interface-id ENI \\\n'
         '  --connection-tracking-specification TcpEstablishedTimeout=7440,UdpStreamTimeout=60,UdpTimeout=30',),
        'aws ec2 modify-network-interface-attribute --network-interface-id ENI \\\n'
        '       --connection-tracking-specification TcpEstablishedTimeout=432000,UdpStreamTimeout=180,UdpTimeout=30',
        'connections that are silent for longer are cut; nf_conntrack_max changes nothing here'),
    resources.SOFTIRQ: Action(
        'spread the work over more CPUs: more receive queues, or RPS (ff: CPUs 0 to 7)',
        ('ethtool -l DEVICE', 'echo ff | sudo tee /sys/class/net/DEVICE/queues/rx-0/rps_cpus'),
        'echo 0 | sudo tee /sys/class/net/DEVICE/queues/rx-0/rps_cpus',
        'the other CPUs get that work; a table or timeout of another size changes nothing here'),
    resources.MEMORY: Action(
        'a full table needs more memory than is available: find what takes it, or add some',
        ('ps -eo rss,pid,comm --sort -rss | head', 'sudo slabtop -o -s c | head -20'), '',
        'none; a smaller nf_conntrack_max would drop connections earlier instead'),
}


def actions(p: IncidentFacts) -> tuple[Action, ...]:
    """Those that fit: what costs nothing and can be undone before what moves traffic."""
    worst, use = resources.worst(p), resources.fullest(p)
    if worst == resources.NAT and use is not None:
        return tuple(nat_mitigations.actions(p, use))
    if worst in OTHERS:
        return (OTHERS[worst],)
    full, chains = crowded(p), chains_too_long(p)
    found: list[Action] = []
    if p.unlisted:
        # no entry that a rule, a timeout or a larger table would act on
        return (_find_unlisted(p),)
    if chains:
        found += _buckets(p)
    if full and _is_cheap(p):
        found += _raise(p)
    if full or chains:
        found += source_limit.actions(p)
    if full:
        found += _timeouts(p)
        found += _pool(p)
        if not _is_cheap(p):
            found += _raise(p)
    if not p.table.unlimited and p.table.entries >= p.table.maximum:
        found += _drain(p)
    return tuple(one._replace(commands=tuple(within(command, p.enter) for command in one.commands),
                              undo=within(one.undo, p.enter)) for one in found)


def _find_unlisted(p: IncidentFacts) -> Action:
    return Action(p.unlisted, ('sudo conntrack -L unconfirmed', 'sudo conntrack -L dying',
                               'cat /proc/net/netfilter/nfnetlink_queue'), '',
                  'none to look; where nothing shows them, a module leaks entries: only a reboot frees them, and a '
                  'larger table only puts it off')


def _drain(p: IncidentFacts) -> Iterator[Action]:
    node = shlex.quote(p.node)
    for program, (title, commands, undo, risk) in DRAINS.items():
        if program in p.programs:
            yield Action(f'drain: {title} ({program} runs here)',
                       tuple(command.format(node=node) for command in commands), undo.format(node=node), risk)


def _pool(p: IncidentFacts) -> Iterator[Action]:
    if p.profile is None:
        return
    state, fault = _fault(p, p.profile)
    if not fault:
        return
    target = p.targets.get(state) if state else next((one.key for one in p.growth if one.key.destination), None) \
        or next((key for key, _seen in p.profile.targets if key.protocol in (TCP, UDP)), None)
    if target is None:
        yield Action(f'client connection reuse: {fault}', (f'sudo conntrack -L -p tcp --state {state}',), '',
                   'none; it lists the clients (no target has many of them)')
        return
    listing = f'sudo ss -{"u" if target.protocol == UDP else "t"}np dst {_end(target)}'
    if p.owners and p.local >= LOCAL:
        one = p.owners[0]
        yield Action(f'connection reuse in {one.name} (pid {one.pid}): {fault}',
                     (f'systemctl status {one.pid}', listing), '',
                   'none; then use keep-alive or a connection pool with a limit; a restart closes sockets, not entries')
    else:
        found = single_source(p)
        # a source is named only if its flows go to this target
        goes_there = found is not None and target.destination != '' \
            and (found[1].destination, found[1].port) == (target.destination, target.port)
        where = found[0] if found and goes_there and found[0] not in p.own else f'a client of {_end(target)}'
        yield Action(f'client connection reuse: {target}: {fault}', (listing,), '',
                   f'none; run it on {where} to find the program, then use keep-alive or a connection pool there')


def _fault(p: IncidentFacts, profile: Profile) -> tuple[str, str]:
    """The sign of connections that are not reused, with the TCP state it is about, if any; '' without a sign."""
    for state, least in (('TIME_WAIT', WAITING), ('CLOSE_WAIT', HALF_CLOSED), ('FIN_WAIT', HALF_CLOSED)):
        share = profile.share(profile.states.get((TCP, state), 0))
        if share.low >= least:
            return state, f'{share.value:.0%} of the table is in {state}'
    for leak in leaks(p.proposals):
        return 'ESTABLISHED', leak
    return '', f'this host opened {p.local:.0%} of the table' if p.owners and p.local >= LOCAL else ''


def _timeouts(p: IncidentFacts) -> Iterator[Action]:
    # existing entries keep their timeout: a longer one changes nothing within the incident
    worth = sorted((one for one in p.proposals if one.share.value >= WORTH and one.now <= SOON),
                   key=lambda one: (one.risky, -one.freed))
    for one in worth[:MOST_TIMEOUTS]:
        commands = [f'{SYSCTL}{one.name}={one.proposed}']
        if one.name == 'tcp_timeout_time_wait':
            # existing entries keep their timeout; their connections are closed
            commands.append('sudo conntrack -D -p tcp --state TIME_WAIT')
        yield Action(f'{one.name} {one.now} -> {one.proposed} s frees {one.share.value:.0%} of the table '
                   f'{one.until_then}', tuple(commands), f'{SYSCTL}{one.name}={one.now}', one.risk)


def _buckets(p: IncidentFacts) -> Iterator[Action]:
    now = 0 if isinstance(p.table.buckets, Missing) else p.table.buckets
    wanted = enough_buckets(max(p.table.entries, p.all_entries), p.table.maximum)
    if wanted <= now:
        return
    yield Action(f'nf_conntrack_buckets {now or "?"} -> {wanted} stops drops due to long hash chains '
               f'({size_text(wanted * sizing.BUCKET)} of RAM)',
               (_set_buckets(p, wanted),), _set_buckets(p, now) if now else '',
               'brief lookup stall (milliseconds) during the resize' + _elsewhere(p))


def _larger(p: IncidentFacts) -> sizing.Size:
    """The size for the entries that are to be expected within the next hour."""
    growth = p.forecast.growth * SOON if p.forecast and p.forecast.growth > 0 else 0
    peak = round(min(p.table.entries + growth, FURTHEST * p.table.entries))
    if was_full(p):
        # what it would have held then is unknown: this much is certain
        peak = max(peak, p.table.maximum)
    return sizing.propose(max(peak, p.table.entries), p.table, p.entry)


def _is_cheap(p: IncidentFacts) -> bool:
    """Is a larger table next to nothing of the available memory?"""
    return not isinstance(p.available, Missing) and _larger(p).more < CHEAP * p.available


def _raise(p: IncidentFacts) -> Iterator[Action]:
    size = _larger(p)
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
    load, limit = load_at(p.table, size.maximum), p.limit.entries_per_bucket or 8.0
    undo = f'{SYSCTL}max={p.table.maximum}'
    if load is not None and load > limit:
        commands.insert(0, _set_buckets(p, size.buckets))
    risk = 'does not remove the cause' + (' (one source)' if single_source(p) else '')
    if p.setters:
        risk += f'; {", ".join(sorted(p.setters))} resets it on start'
    yield Action(f'{what} ({cost})', tuple(commands), undo, risk + _elsewhere(p))


def _set_buckets(p: IncidentFacts, number: int) -> str:
    return f'{SYSCTL}buckets={number}' if p.limit.by_sysctl else f'echo {number} | sudo tee {HASHSIZE}'


def _elsewhere(p: IncidentFacts) -> str:
    return '' if p.initial else '; applies to all namespaces; run it on the host'


def _end(key: Key) -> str:
    host = f'[{key.destination}]' if ':' in key.destination else key.destination
    return host if key.port is None else f'{host}:{key.port}'


def why_none(p: IncidentFacts) -> str:
    """Why there is no action."""
    if p.losses and p.losses.packets['drop'] > p.losses.dropped:
        return (f'{count(p.losses.clashes, "packet")} dropped in {duration(p.losses.span)} without a full table: '
                'clashes (two queries from one port, or NAT out of ports); no size or timeout helps')
    if p.logged or (p.losses and p.losses.lost):
        return ('packets were dropped, but the table has room now: it was briefly full, or out of memory; '
                'watch it: conntrack-doctor watch')
    if p.losses is None:
        return 'no action needed: the table has room; drops are not known yet'
    return 'no action needed: the table has room and nothing is being dropped'
