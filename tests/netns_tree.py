"""A /proc tree of several network namespaces, made here."""

from __future__ import annotations

import os
from pathlib import Path

from check_conntrack_lib.host import Host
from check_conntrack_lib.model import Instant

STAT = """entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop icmp_error\
  expect_new expect_create expect_delete search_restart
{0:08x}  {z} {z} {z} {z} {z} {z} {z} {z} {z} {1:08x} {z} {z}  {z} {z} {z} {z}
"""


class Proc:
    """A /proc tree: the host's namespace is 1, its tables are what `process` says."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name, value in (('count', 10), ('max', 1000), ('buckets', 64)):
            self.write(f'sys/net/netfilter/nf_conntrack_{name}', f'{value}\n')
        self.write('sys/net/nf_conntrack_max', '1000\n')
        self.write('net/stat/nf_conntrack', STAT.format(10, 0, z='0' * 8))
        self.write('sys/kernel/random/boot_id', '11111111-2222-3333-4444-555555555555\n')
        self.link('self', 1)

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def link(self, pid: int | str, inode: int) -> None:
        (self.root / f'{pid}/ns').mkdir(parents=True, exist_ok=True)
        os.symlink(f'net:[{inode}]', self.root / f'{pid}/ns/net')

    def process(self, pid: int, inode: int, comm: str = 'sleep', cgroup: str = '0::/', entries: int = 0,
                drop: int = 0) -> None:
        self.link(pid, inode)
        self.write(f'{pid}/comm', comm + '\n')
        self.write(f'{pid}/cgroup', cgroup + '\n')
        self.write(f'{pid}/net/stat/nf_conntrack', STAT.format(entries, drop, z='0' * 8))

    @property
    def host(self) -> Host:
        return Host(str(self.root), lambda: Instant(1e9, 5000.0, 5000.0))
