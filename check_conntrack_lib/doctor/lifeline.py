"""The rules of `analysis.lifeline` for this host: what of the monitoring is in use, and where accept rules belong."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence

from ..analysis import lifeline
from ..analysis.lifeline import COMMENT, TABLE, FilterChain
from ..defaults import CRITICAL
from ..formatting import clean
from ..host import Host
from ..model import Missing, Table
from ..namedtuples import NamedTuple
from ..readers import monitoring_sockets
from ..readers.monitoring_sockets import MonitoringWays
from . import DoctorError

KINDS = ('auto', 'nft', 'iptables', 'ip6tables')
#: where programs of the administrator are, whatever the PATH of this user
SYSTEM_PATH = os.pathsep.join((os.environ.get('PATH', ''), '/usr/sbin', '/sbin'))
LONGEST = 5.0
#: of tables and chains, as nft's own grammar has it: a container's root could give others
NAME = r'[A-Za-z][A-Za-z0-9_./\-]{0,127}'


class Firewall(NamedTuple):
    """What this network namespace filters by."""

    #: base chains of nftables on input and output, without those of iptables; None: not known
    chains: tuple[FilterChain, ...] | None
    #: are the filter rules those of iptables?
    iptables: bool


def addresses(text: str) -> tuple[str, ...]:
    """Addresses or networks of the monitoring, separated by commas. Raises ArgumentTypeError."""
    found = tuple(dict.fromkeys(word.strip() for word in text.split(',')))
    wrong = next((word for word in found if not monitoring_sockets.is_address(word)), None)
    if wrong is not None:
        raise argparse.ArgumentTypeError(f"'{wrong}' is not an address, such as 192.0.2.1 or 2001:db8::1")
    return found


def parse_chains(text: str) -> Firewall:
    """The output of `nft -j list chains`. Raises ValueError for what is none."""
    try:
        chains = [item['chain'] for item in json.loads(text)['nftables'] if 'chain' in item]
        base = [(FilterChain(one['family'], one['table'], one['name'], one['hook']), one.get('policy'))
                for one in chains if one.get('type') == 'filter' and one.get('hook') in ('input', 'output')
                and one.get('prio', 0) > -200 and one['family'] in ('inet', 'ip', 'ip6')]
        harmless = all(re.fullmatch(NAME, name) for chain, _policy in base for name in (chain.table, chain.name))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError('not a list of chains') from error
    if not harmless:
        raise ValueError('a chain whose name cannot be pasted')
    # iptables-nft keeps its chains there, in upper case, and reads no rule that it did not make
    theirs = [(chain, policy) for chain, policy in base if chain.table == 'filter' and chain.name.isupper()]
    own = tuple(chain for chain, _policy in base if chain not in [one for one, _policy in theirs])
    return Firewall(own, any(policy == 'drop' for _chain, policy in theirs) or (bool(theirs) and not own))


def read_firewall(host: Host) -> Firewall:
    """Asks nft; what it does not tell is not known."""
    try:
        legacy = 'filter' in host.read('net/ip_tables_names').split()
    except (OSError, ValueError):
        legacy = False
    program = shutil.which('nft', path=SYSTEM_PATH)
    if program is None:
        return Firewall(None, legacy or bool(shutil.which('iptables', path=SYSTEM_PATH)))
    try:
        done = subprocess.run([program, '-j', 'list', 'chains'], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=LONGEST, env={'LC_ALL': 'C', 'PATH': SYSTEM_PATH}, check=False)
        found = parse_chains(done.stdout) if done.returncode == 0 else Firewall(None, False)
    except (OSError, ValueError, subprocess.SubprocessError):
        found = Firewall(None, False)
    return found._replace(iptables=found.iptables or (legacy and not found.chains))


def make(host: Host, named: Sequence[str], kind: str) -> str:
    """The file: what to know before, then the rules. Raises DoctorError where it cannot be made."""
    if not host.is_this_kernel():
        raise DoctorError('--lifeline is for the running host: leave out --procfs')
    found = monitoring_sockets.read(host)
    if isinstance(found, Missing):
        raise DoctorError(f'--lifeline: {found.why}')
    if not found.ways:
        raise DoctorError('--lifeline: neither SSH nor an agent of a monitoring system listens here')
    whom = tuple(named) or found.addresses
    if not whom:
        connected = f' (connected now: {", ".join(found.connected[:5])})' if found.connected else ''
        raise DoctorError('--lifeline: name the addresses of your monitoring and of those who log in by SSH: '
                          f'--monitoring ADDRESS[,ADDRESS...]{connected}')
    firewall = read_firewall(host)
    if kind == 'auto':
        kind = 'nft' if not firewall.iptables else 'iptables' if any(':' not in one for one in whom) else 'ip6tables'
    chains = lifeline.USUAL_CHAINS if firewall.chains is None else firewall.chains
    rules = lifeline.nft(found.ways, whom, chains) if kind == 'nft' \
        else lifeline.iptables(found.ways, whom, 4 if kind == 'iptables' else 6)
    if not rules:
        raise DoctorError(f'--lifeline: no address for {kind}')
    return ''.join(f'# {line}\n' for line in _head(found, whom, kind, firewall)) + rules


def command(named: Sequence[str] = ()) -> str:
    """The command that prints the rules; named: addresses of the monitoring."""
    whom = ','.join(named) if named else 'ADDRESS'
    return f'sudo conntrack-doctor tune --lifeline --monitoring {shlex.quote(whom)} >lifeline'


def _head(found: MonitoringWays, whom: Sequence[str], kind: str, firewall: Firewall) -> Iterator[str]:
    ways = ', '.join(f'{clean(way.name)} ({"to " if way.outgoing else ""}{lifeline.NAMES[way.protocol]} {way.port})'
                     for way in found.ways)
    yield f'conntrack-doctor: keeps {ways} and ping out of the table, from and to {", ".join(whom)}'
    if kind == 'nft':
        yield 'check: nft -c -f FILE    load: nft -f FILE    (one step: without the accept rules it cuts what works)'
        undo = [f'nft delete table inet {TABLE}']
        for chain in firewall.chains or ():
            place = f'{chain.family} {chain.table} {chain.name}'
            undo.append(f"nft -a list chain {place} | sed -n 's/.*\"{COMMENT}\" # handle \\([0-9]*\\)$/"
                        f"delete rule {place} handle \\1/p' | nft -f -")
        yield from (f'undo: {line}' for line in undo)
        if firewall.chains is None:
            yield "'inet filter input' and 'output' are a guess: put in the names of your own base chains"
        elif not firewall.chains:
            yield 'no base chain of nftables filters here: no accept rule is needed'
        if firewall.iptables:
            yield 'the filter rules of this host are those of iptables: --lifeline iptables fits them'
    else:
        tool = 'iptables' if kind == 'iptables' else 'ip6tables'
        yield f'check: {tool}-restore --test --noflush FILE    load: {tool}-restore --noflush FILE'
        yield f"undo: {tool}-save | grep -v '{COMMENT}' | {tool}-restore"
        other = ':' in ''.join(whom) if kind == 'iptables' else any(':' not in one for one in whom)
        if other:
            yield f'the same for the other addresses: --lifeline {"ip6tables" if kind == "iptables" else "iptables"}'
    yield from lifeline.CAVEATS


def for_full_table(host: Host, table: Table) -> str | Missing | None:
    """The rules for this host where the monitoring is about to be cut off, or why there are none; None: it is not."""
    if table.unlimited or table.usage < CRITICAL or not host.is_this_kernel():
        return None
    try:
        return make(host, (), 'auto')
    except DoctorError as error:
        return Missing(str(error), command())
