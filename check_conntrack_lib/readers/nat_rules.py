"""The rules of source NAT, as nft and iptables-save print them; needs root. Only programs of the system are run."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterator

from ..model import Missing
from ..namedtuples import NamedTuple
from . import iptables_save

NFT, IPTABLES = 'nft', 'iptables'
#: for one program
SECONDS = 2.0
#: bytes of its output
LARGEST = 8 << 20
#: rules that are offered for pasting: whoever is root in a container can give names and comments to its rules
_NAME = r'[A-Za-z0-9_.][A-Za-z0-9_.:@/+-]*'
#: for a word in quotes of the shell, and for one that the shell reads
_NFT_WORD = r'(?:[A-Za-z0-9_.:@/+,!=<>{}()&|*%^-]+|"[^"\\]*")'
_IPTABLES_WORD = r'(?:[A-Za-z0-9_.:@/+,=%-]+|!|"[^"\\$`!]*")'


class NatRule(NamedTuple):
    """One rule that translates sources."""

    tool: str
    #: of nft: family, table and chain; of iptables: the chain
    place: str
    #: of nft: the handle; of iptables: the number in its chain, from 1 on
    number: int
    #: the rule as the tool takes it
    text: str

    @property
    def random(self) -> bool:
        """Ports are chosen at random for all connections (fully-random)."""
        return 'fully-random' in self.text or '--random-fully' in self.text

    def replace(self, text: str) -> str:
        """The command that puts this text in the place of the rule."""
        if self.tool == NFT:
            return f'sudo nft {shlex.quote(f"replace rule {self.place} handle {self.number} {text}")}'
        return f'sudo iptables -t nat -R {self.place} {self.number} {text}'

    def fully_random(self) -> str:
        """The rule's text with ports chosen at random."""
        if self.tool == IPTABLES:
            return re.sub(r' --random\b', '', self.text) + ' --random-fully'
        if re.search(r'\brandom\b', self.text):
            return re.sub(r'\brandom\b', 'fully-random', self.text)
        head, comment, rest = self.text.partition(' comment ')
        return f'{head}{"," if head.endswith(" persistent") else " "}fully-random{comment}{rest}'

    def more_addresses(self) -> str:
        """The rule's text with a range FIRST-LAST of addresses."""
        if self.tool == IPTABLES:
            one = re.sub(r' --to-ports \S+', '', self.text)
            return re.sub(r'-j MASQUERADE', '-j SNAT --to-source FIRST-LAST',
                          re.sub(r'(--to-source )[\d.]+(?:-[\d.]+)?', r'\1FIRST-LAST', one))
        one = re.sub(r'\bmasquerade(?: to :\S+)?', 'snat to FIRST-LAST', self.text)
        return re.sub(r'(\bsnat (?:ip6? )?to )(?:[\da-f.]+)(?:-[\da-f.]+)?', r'\1FIRST-LAST', one)


def parse_nft(text: str) -> Iterator[NatRule]:
    """The rules in the output of `nft -a list ruleset`, without those that cannot be pasted."""
    table = chain = ''
    for line in text.splitlines():
        words = line.split()
        if line.startswith('table ') and len(words) >= 3:
            table = f'{words[1]} {words[2]}'
        elif words[:1] == ['chain'] and len(words) >= 2:
            chain = words[1]
        match = re.fullmatch(r'\s+(.*\b(?:masquerade|snat)\b.*?) # handle (\d{1,9})', line, re.ASCII)
        # xt: a rule of iptables-nft, which nft cannot set
        if match and ' xt target ' not in f' {match[1]} ' and not match[1].startswith(('chain ', 'type ')) \
                and re.fullmatch(f'[a-z0-9]+ {_NAME} {_NAME}', f'{table} {chain}') \
                and match[1].isprintable() and re.fullmatch(f'{_NFT_WORD}(?: {_NFT_WORD})*', match[1]):
            yield NatRule(NFT, f'{table} {chain}', int(match[2]),
                          re.sub(r'\bcounter packets \d+ bytes \d+', 'counter', match[1]))


def parse_iptables(text: str) -> Iterator[NatRule]:
    """The rules in the output of `iptables-save -t nat`, without those that cannot be pasted."""
    numbers: dict[str, int] = {}
    for line in text.splitlines():
        match = re.fullmatch(r'-A (\S+) (.*)', line)
        if match:
            chain, rule = match[1], match[2]
            numbers[chain] = numbers.get(chain, 0) + 1
            if re.search(r'-j (?:MASQUERADE|SNAT)\b', rule) and re.fullmatch(_NAME, chain) \
                    and rule.isprintable() and re.fullmatch(f'{_IPTABLES_WORD}(?: {_IPTABLES_WORD})*', rule):
                yield NatRule(IPTABLES, chain, numbers[chain], rule)


def read() -> tuple[NatRule, ...] | Missing:
    """All of this network namespace."""
    found: list[NatRule] = []
    why: Missing | None = None
    listings: list[tuple[str, tuple[str, ...], Callable[[str], Iterator[NatRule]]]] = [
        (iptables_save.find('nft'), ('-a', 'list', 'ruleset'), parse_nft)]
    listings += [(path, ('-t', 'nat'), parse_iptables) for path in iptables_save.nat_programs()]
    for path, arguments, parse in listings:
        printed = _run(path, *arguments) if path else Missing('no nft')
        if isinstance(printed, Missing):
            why = printed
        else:
            found += parse(printed)
    return why if why and not found else tuple(found)


def _run(path: str, *arguments: str) -> str | Missing:
    import subprocess  # only where NAT ports are used up

    program = os.path.basename(path)
    try:
        done = subprocess.run([path, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, timeout=SECONDS,
                              env={'PATH': ':'.join(iptables_save.DIRECTORIES)})
    except (OSError, subprocess.TimeoutExpired) as error:
        return Missing.because(error, program)
    if done.returncode or len(done.stdout) > LARGEST:
        return Missing(f'{program}: no rules could be read')
    return done.stdout.decode('utf-8', 'replace')
