"""Actions that limit an incident now, the least disruptive first. They are printed, never run."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping

from ..flow import TCP, UDP
from ..formatting import count, duration, size_text
from ..model import Missing
from . import nat_mitigations, resources, sizing, source_limit
from .commands import within
from .hash_chains import BUCKET_BYTES, enough_buckets
from .incident import SOON, Action, IncidentFacts, chains_too_long, crowded, load_at, single_source, was_full
from .profile import Key, Profile
from .timeouts import leaks

SYSCTL = 'sudo sysctl -w net.netfilter.nf_conntrack_'
HASHSIZE = '/sys/module/nf_conntrack/parameters/hashsize'
#: shares of the table from which its connections should be reused: opened by local processes, TIME_WAIT, half-closed
LOCAL, WAITING, HALF_CLOSED = 0.3, 0.3, 0.2
#: a timeout is proposed when it frees this share of the table, and at most this many of them
WORTH, MOST_TIMEOUTS = 0.05, 2
#: a table that grows is not sized for more than this many times the entries of now
FURTHEST = 4
#: no more of the available memory is given to the table; below the smaller share a larger table costs nothing
MEMORY, CHEAP = 0.5, 0.05
#: programs that can move traffic to other hosts: title, commands, undo and risk of the action
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


def actions(facts: IncidentFacts) -> tuple[Action, ...]:
    """Those that fit the incident: what costs nothing and can be undone before what moves traffic."""
    worst, use = resources.worst(facts), resources.fullest(facts)
    if worst == resources.NAT and use is not None:
        return tuple(nat_mitigations.actions(facts, use))
    if worst in OTHERS:
        return (OTHERS[worst],)
    full, chains = crowded(facts), chains_too_long(facts)
    found: list[Action] = []
    if facts.unlisted:
        # no entry that a rule, a timeout or a larger table would act on
        return (_find_unlisted(facts),)
    if chains:
        found += _buckets(facts)
    if full and _is_cheap(facts):
        found += _raise(facts)
    if full or chains:
        found += source_limit.actions(facts)
    if full:
        found += _timeouts(facts)
        found += _reuse_connections(facts)
        if not _is_cheap(facts):
            found += _raise(facts)
    if not facts.table.unlimited and facts.table.entries >= facts.table.maximum:
        found += _drain(facts)
    return tuple(one._replace(commands=tuple(within(command, facts.enter) for command in one.commands),
                              undo=within(one.undo, facts.enter)) for one in found)


def _find_unlisted(facts: IncidentFacts) -> Action:
    return Action(facts.unlisted, ('sudo conntrack -L unconfirmed', 'sudo conntrack -L dying',
                               'cat /proc/net/netfilter/nfnetlink_queue'), '',
                  'none to look; where nothing shows them, a module leaks entries: only a reboot frees them, and a '
                  'larger table only puts it off')


def _drain(facts: IncidentFacts) -> Iterator[Action]:
    node = shlex.quote(facts.node)
    for program, (title, commands, undo, risk) in DRAINS.items():
        if program in facts.programs:
            yield Action(f'drain: {title} ({program} runs here)',
                       tuple(command.format(node=node) for command in commands), undo.format(node=node), risk)


def _reuse_connections(facts: IncidentFacts) -> Iterator[Action]:
    """How to find the program whose connections are not reused, at most one."""
    if facts.profile is None:
        return
    state, fault = _fault(facts, facts.profile)
    if not fault:
        return
    if state:
        target = facts.target_of_state.get(state)
    else:
        target = next((one.key for one in facts.growth if one.key.destination), None) \
            or next((key for key, _seen in facts.profile.targets if key.protocol in (TCP, UDP)), None)
    if target is None:
        yield Action(f'client connection reuse: {fault}', (f'sudo conntrack -L -p tcp --state {state}',), '',
                   'none; it lists the clients (no target has many of them)')
        return
    listing = f'sudo ss -{"u" if target.protocol == UDP else "t"}np dst {_end(target)}'
    if facts.owners and facts.local >= LOCAL:
        one = facts.owners[0]
        yield Action(f'connection reuse in {one.name} (pid {one.pid}): {fault}',
                     (f'systemctl status {one.pid}', listing), '',
                   'none; then use keep-alive or a connection pool with a limit; a restart closes sockets, not entries')
    else:
        found = single_source(facts)
        # a source is named only if its flows go to this target
        goes_there = found is not None and target.destination != '' \
            and (found[1].destination, found[1].port) == (target.destination, target.port)
        where = found[0] if found and goes_there and found[0] not in facts.own else f'a client of {_end(target)}'
        yield Action(f'client connection reuse: {target}: {fault}', (listing,), '',
                   f'none; run it on {where} to find the program, then use keep-alive or a connection pool there')


def _fault(facts: IncidentFacts, profile: Profile) -> tuple[str, str]:
    """What shows that connections are not reused: the TCP state, if it is one, and the text; '' without a sign."""
    for state, least in (('TIME_WAIT', WAITING), ('CLOSE_WAIT', HALF_CLOSED), ('FIN_WAIT', HALF_CLOSED)):
        share = profile.share(profile.states.get((TCP, state), 0))
        if share.low >= least:
            return state, f'{share.value:.0%} of the table is in {state}'
    for leak in leaks(facts.proposals):
        return 'ESTABLISHED', leak
    return '', f'this host opened {facts.local:.0%} of the table' if facts.owners and facts.local >= LOCAL else ''


def _timeouts(facts: IncidentFacts) -> Iterator[Action]:
    # existing entries keep their timeout: a longer one changes nothing within the incident
    worth = sorted((one for one in facts.proposals if one.share.value >= WORTH and one.now <= SOON),
                   key=lambda one: (one.risky, -one.freed))
    for one in worth[:MOST_TIMEOUTS]:
        commands = [f'{SYSCTL}{one.name}={one.proposed}']
        if one.name == 'tcp_timeout_time_wait':
            # existing entries keep their timeout; their connections are closed
            commands.append('sudo conntrack -D -p tcp --state TIME_WAIT')
        yield Action(f'{one.name} {one.now} -> {one.proposed} s frees {one.share.value:.0%} of the table '
                   f'{one.until_then}', tuple(commands), f'{SYSCTL}{one.name}={one.now}', one.risk)


def _buckets(facts: IncidentFacts) -> Iterator[Action]:
    now = 0 if isinstance(facts.table.buckets, Missing) else facts.table.buckets
    wanted = enough_buckets(max(facts.table.entries, facts.all_entries), facts.table.maximum)
    if wanted <= now:
        return
    yield Action(f'nf_conntrack_buckets {now or "?"} -> {wanted} stops drops due to long hash chains '
               f'({size_text(wanted * BUCKET_BYTES)} of RAM)',
               (_set_buckets(facts, wanted),), _set_buckets(facts, now) if now else '',
               'brief lookup stall (milliseconds) during the resize' + _elsewhere(facts))


def _larger(facts: IncidentFacts) -> sizing.Size:
    """The size for the entries that are to be expected within the next hour."""
    growth = facts.forecast.growth * SOON if facts.forecast and facts.forecast.growth > 0 else 0
    peak = round(min(facts.table.entries + growth, FURTHEST * facts.table.entries))
    if was_full(facts):
        # what it would have held then is unknown: this much is certain
        peak = max(peak, facts.table.maximum)
    return sizing.propose(max(peak, facts.table.entries), facts.table, facts.entry)


def _is_cheap(facts: IncidentFacts) -> bool:
    """Is a larger table next to nothing of the available memory?"""
    return not isinstance(facts.available, Missing) and _larger(facts).more < CHEAP * facts.available


def _raise(facts: IncidentFacts) -> Iterator[Action]:
    size = _larger(facts)
    if size.maximum <= facts.table.maximum:
        return
    what = f'raise nf_conntrack_max {facts.table.maximum} -> {size.maximum}'
    cost = f'{size_text(size.more)} more RAM when full'
    if isinstance(facts.available, Missing):
        cost += ', available: unknown'
    else:
        cost += f', {size_text(facts.available)} available'
        if size.more > MEMORY * facts.available:
            yield Action(f'not possible: {what} would take {cost}', (), '', 'add memory, or shorten timeouts')
            return
    commands = [f'{SYSCTL}max={size.maximum}']
    load, limit = load_at(facts.table, size.maximum), facts.limit.entries_per_bucket or 8.0
    undo = f'{SYSCTL}max={facts.table.maximum}'
    if load is not None and load > limit:
        commands.insert(0, _set_buckets(facts, size.buckets))
    risk = 'does not remove the cause' + (' (one source)' if single_source(facts) else '')
    if facts.setters:
        risk += f'; {", ".join(sorted(facts.setters))} resets it on start'
    yield Action(f'{what} ({cost})', tuple(commands), undo, risk + _elsewhere(facts))


def _set_buckets(facts: IncidentFacts, number: int) -> str:
    return f'{SYSCTL}buckets={number}' if facts.limit.by_sysctl else f'echo {number} | sudo tee {HASHSIZE}'


def _elsewhere(facts: IncidentFacts) -> str:
    """What a risk has more where the value is not this namespace's own."""
    return '' if facts.initial else '; applies to all namespaces; run it on the host'


def _end(key: Key) -> str:
    """'192.0.2.1:443' or '[2001:db8::1]:443': a target as ss(8) takes it."""
    host = f'[{key.destination}]' if ':' in key.destination else key.destination
    return host if key.port is None else f'{host}:{key.port}'


def why_none(facts: IncidentFacts) -> str:
    """Why there is no action."""
    if facts.losses and facts.losses.packets['drop'] > facts.losses.dropped:
        return (f'{count(facts.losses.clashes, "packet")} dropped in {duration(facts.losses.span)} without a full '
                'table: clashes (two queries from one port, or NAT out of ports); no size or timeout helps')
    if facts.logged or (facts.losses and facts.losses.lost):
        return ('packets were dropped, but the table has room now: it was briefly full, or out of memory; '
                'watch it: conntrack-doctor watch')
    if facts.losses is None:
        return 'no action needed: the table has room; drops are not known yet'
    return 'no action needed: the table has room and nothing is being dropped'
