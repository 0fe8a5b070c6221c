# ruff: noqa: E501  # rows of a table
"""Where the check may find itself, and what it says there: the table in docs/troubleshooting.md.

Each row is run: with the mounts, ids and capabilities of that environment on the running kernel, or on a tree of /proc.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import isolation
import proctree
import pytest

DOCS = proctree.ROOT / 'docs/troubleshooting.md'
PLUGIN = [sys.executable, str(proctree.ROOT / 'check_conntrack.py')]
NO_JOURNAL = 'test ! -e /usr/bin/journalctl || mount --bind /bin/false /usr/bin/journalctl; '
NO_SYSLOG = ['setpriv', '--bounding-set=-syslog', '--inh-caps=-syslog']
KUBE = 'net.netfilter.nf_conntrack_max = 524288\n'


class Environment(NamedTuple):
    """One row."""

    name: str
    checked: str
    not_checked: str
    #: in the output, without the long path of a test
    says: str
    status: int = 0
    #: of the shell, in a mount namespace of its own
    prepare: str = ''
    #: other namespaces of unshare
    namespaces: str = ''
    #: what starts the plugin
    by: tuple[str, ...] = ()
    argv: tuple[str, ...] = ()
    #: files of a tree of /proc, in the place of the running kernel's; None: removed; an arrow: a link
    tree: dict[str, str | None] | None = None


ENVIRONMENTS = (
    Environment('a host, as root', 'everything', '-', '% used (', prepare='true'),
    Environment('a host, as another user (`kernel.dmesg_restrict=1`, not in systemd-journal)', 'usage, losses, settings',
                'kernel log, the cause', 'not checked: kernel log (needs root)', prepare=NO_JOURNAL + 'true',
                by=('setpriv', '--reuid=65534', '--regid=65534', '--clear-groups')),
    Environment('a unit with `ProtectKernelLogs=` or without CAP_SYSLOG, as root', 'usage, losses, settings',
                'kernel log', 'not checked: kernel log (needs CAP_SYSLOG)', prepare=NO_JOURNAL + 'true',
                by=tuple(NO_SYSLOG)),
    Environment('a unit with `ProcSubset=pid`', 'nothing', 'everything', 'cannot read usage: no /proc/sys (ProcSubset=pid?)', 3,
                'mount -t proc -o subset=pid proc /proc', argv=('--not-loaded', 'ok')),
    Environment('`/proc/sys` covered by another file system', 'nothing', 'everything',
                'cannot read usage: no /proc/sys/net: something else is mounted there', 3, 'mount -t tmpfs none /proc/sys',
                argv=('--not-loaded', 'ok')),
    Environment('a unit with `ProtectKernelTunables=` (read-only `/proc/sys`)', 'everything', '-', '% used (',
                prepare='mount --bind /proc/sys /proc/sys; mount -o remount,bind,ro /proc/sys'),
    Environment('a unit with `PrivateDevices=`', 'usage, losses, settings; the kernel log where there is a journal',
                'else the kernel log', 'not checked: kernel log (/dev/kmsg: No such file or directory)',
                prepare=NO_JOURNAL + 'mount -t tmpfs none /dev; mknod /dev/null c 1 3'),
    Environment('LXC, kind, k3s in docker: `/dev/kmsg` is `/dev/null`', 'usage, losses', 'kernel log',
                "not checked: kernel log (/dev/kmsg is not the kernel's log)",
                prepare=NO_JOURNAL + 'mount --bind /dev/null /dev/kmsg'),
    Environment('the same with `--require kernel-log`', 'usage, losses', 'kernel log',
                "kernel log not readable (--require kernel-log): /dev/kmsg is not the kernel's log", 3,
                NO_JOURNAL + 'mount --bind /dev/null /dev/kmsg', argv=('--require', 'kernel-log')),
    Environment('usernetes, some LXC guests: `/dev/kmsg` is a file', 'usage, losses', 'kernel log',
                "not checked: kernel log (/dev/kmsg is not the kernel's log)",
                prepare=NO_JOURNAL + 'f=$(mktemp); echo log >$f; mount --bind $f /dev/kmsg; rm $f'),
    Environment("a container with a network of its own and the host's `/proc` as `--procfs`", 'nothing', 'everything',
                'shows the network of this container only', 3,
                'mkdir -p $ROOM/p; mount --rbind /proc $ROOM/p', 'n', argv=('--procfs', '{room}/p')),
    Environment("a container in the host's network with the host's `/proc`", 'everything', '-', '% used (',
                prepare='mkdir -p $ROOM/p; mount --rbind /proc $ROOM/p', argv=('--procfs', '{room}/p')),
    Environment('a unit with `PrivateNetwork=yes`', 'its own empty table', 'the table of the host',
                'not checked: network (only lo here: PrivateNetwork=yes?)', namespaces='n'),
    Environment('a unit with `PrivateUsers=yes`', 'usage, losses, settings', 'kernel log',
                'not checked: kernel log (needs CAP_SYSLOG)', prepare=NO_JOURNAL + 'true', namespaces='Ur'),
    Environment('a unit with `ProtectProc=invisible`, `--netns all`, as another user', 'this namespace',
                'other namespaces', 'others are hidden (hidepid): needs root', 3,
                prepare='mount -t proc -o hidepid=invisible proc /proc',
                by=('setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'), argv=('--netns', 'all', '--kernel-log', 'off',
                      '--require', 'namespaces')),
    Environment('the same with `ProtectProc=noaccess`', 'this namespace', 'other namespaces',
                'others are hidden (hidepid): needs root', 3, 'mount -t proc -o hidepid=noaccess proc /proc',
                by=('setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'), argv=('--netns', 'all', '--kernel-log', 'off',
                      '--require', 'namespaces')),
    Environment('a unit with `InaccessiblePaths=/proc/sys/net`', 'nothing', 'everything',
                'cannot read usage: no /proc/sys/net: something else is mounted there', 3,
                'mkdir -m 0 $ROOM/none; mount --bind $ROOM/none /proc/sys/net', argv=('--not-loaded', 'ok')),
    Environment('rootless: namespaces of a user', 'usage and losses of its own table',
                'settings of the host; kernel log', '% used (', prepare=NO_JOURNAL + 'true', namespaces='Urn',
                argv=('--kernel-log', 'off')),
    Environment('a read-only or full disk for the history', 'usage, kernel log, settings; losses for two windows more',
                'then the losses; the trend', 'not checked: history (', prepare='mount -t tmpfs -o mode=0700 none $ROOM; '
                'mount -o remount,ro $ROOM', argv=('--history', '{room}/h.sqlite')),
    Environment('a kernel without `CONFIG_NF_CONNTRACK_PROCFS` (Ubuntu, WSL 2), without CAP_NET_ADMIN',
                'usage, kernel log, settings', 'losses', 'not checked: counters',
                tree={'net/stat/nf_conntrack': None}),
    Environment('a container before Linux 5.10 with a user namespace (vesta, RHEL 7 and 8)', 'losses, kernel log', 'usage',
                'though connection tracking is loaded', 3, tree={'sys/net/netfilter': None, 'sys/net/core/somaxconn': '4096\n'}, argv=('--not-loaded', 'ok')),
    Environment('a host that tracks nothing', 'that it does not', '-', 'nf_conntrack is not loaded', 3,
                tree={'sys/net/netfilter': None, 'sys/net/nf_conntrack_max': None, 'net/stat': None,
                      'sys/net/core/somaxconn': '4096\n'}),
    Environment('a busy container host: the log ring is one minute old', 'the last minute of the log; all of it from the '
                'second run on (the history remembers)', 'the log before', 'not checked: kernel log (goes back 60 s only)',
                tree={'kmsg': '6,1249,{minute},-;br0: port 1(veth0) entered disabled state\n'},
                argv=('--kernel-log', '{proc}/kmsg')),
    Environment('a file of syslog, dmesg or journalctl as `--kernel-log`', 'as far as the file goes back', '-', '% used (',
                tree={'kmsg': '[    0.000000] Linux version 6.12\n'}, argv=('--kernel-log', '{proc}/kmsg')),
    Environment('a file with no kernel line as `--kernel-log`', 'usage, losses', 'kernel log',
                'not checked: kernel log', tree={'kmsg': 'nothing\n'}, argv=('--kernel-log', '{proc}/kmsg')),
    Environment('NixOS: sysctl.d is links to /etc/static', 'settings, below the root of that host', '-',
                'nf_conntrack_max is 262144, but 60-nixos.conf sets 524288', 1,
                tree={'1/root/etc/static': '-> /nix/store/x', '1/root/nix/store/x/60.conf': KUBE,
                      '1/root/etc/sysctl.d/60-nixos.conf': '-> /etc/static/60.conf'}),
    Environment('RHEL 7: `ip_conntrack_max` is one more name', 'settings by either name', '-', '% used (',
                tree={'1/root/etc/sysctl.d/9.conf': 'net.ipv4.netfilter.ip_conntrack_max = 262144\n',
                      'sys/net/ipv4/netfilter/ip_conntrack_max': '262144\n'}),
    Environment('the same line on a newer kernel', 'settings', '-', 'a name that this kernel does not have', 1,
                tree={'1/root/etc/sysctl.d/9.conf': 'net.ipv4.netfilter.ip_conntrack_max = 655350\n'}),
    Environment('a Kubernetes node: kube-proxy sets its own', 'settings', '-',
                'was set later: kube-proxy (pid 812) sets it', 1,
                tree={'1/root/etc/sysctl.d/9.conf': KUBE, '812/comm': 'kube-proxy\n', '812/cmdline': 'kube-proxy\0',
                      '812/status': 'Uid:\t0\t0\t0\t0\nNSpid:\t812\n', '812/cgroup': '0::/system.slice/kube-proxy.service\n',
                      **{f'{pid}/ns/{kind}': f'-> {kind}:[1]' for pid in (1, 812) for kind in ('pid', 'mnt', 'user')}}),
    Environment('sysctl.d that the check may not read', 'everything else', 'settings (silently: somebody chose so)', '% used (',
                tree={'1/root/etc/sysctl.d/9.conf': KUBE}, by=('setpriv', '--reuid=65534', '--regid=65534',
                                                              '--clear-groups'), prepare='chmod 700 $TREE/1/root/etc'),
)


def row(one: Environment) -> str:
    says = re.sub(r'\{proc\}', '/proc', one.says)
    state = ('OK', 'WARNING', 'CRITICAL', 'UNKNOWN')[one.status]
    what = f'{state}: `{says}`' if says != '% used (' else f'{state}'
    return f'| {one.name} | {one.checked} | {one.not_checked} | {what} |'


def test_the_guide_has_every_row(request: pytest.FixtureRequest) -> None:
    head = '| environment | checked | not checked | what it says |\n|---|---|---|---|\n'
    table = head + ''.join(f'{row(one)}\n' for one in ENVIRONMENTS)
    text = DOCS.read_text()
    if request.config.getoption('--update-golden'):
        begin = text.index(head)
        end = text.index('\n\n', begin)
        DOCS.write_text(text[:begin] + table.rstrip('\n') + text[end:])
    assert table.rstrip('\n') in DOCS.read_text()


@pytest.mark.kernel
@pytest.mark.parametrize('one', ENVIRONMENTS, ids=lambda one: one.name)
def test_what_it_says(one: Environment, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if os.geteuid() != 0 or not shutil.which('setpriv'):
        pytest.skip('needs root and setpriv')
    # a short path: of a long one the first line has the end only
    tmp_path.rmdir()
    tmp_path = Path(tempfile.mkdtemp(prefix='e', dir='/tmp'))
    request.addfinalizer(lambda: shutil.rmtree(tmp_path))
    tmp_path.chmod(0o755)
    room, tree = tmp_path / 'r', tmp_path / 't'
    room.mkdir(mode=0o700)
    argv = ['--diagnose', 'never', *one.argv]
    if one.tree is not None:
        make_tree(tree, one.tree)
        argv = ['--procfs', '{proc}', *argv] if '--kernel-log' in argv else \
            ['--procfs', '{proc}', '--kernel-log', 'off', *argv]
    if '--history' not in argv:
        argv += ['--history', 'off']
    argv = [word.format(proc=tree, room=room) for word in argv]
    command = ['unshare', f'-m{one.namespaces}', '--propagation', 'private', 'sh', '-c',
               f'mount --bind $KMSG /dev/kmsg; {one.prepare or "true"}; exec "$@"', 'sh', *one.by, *python_for(one), *argv]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd='/',
                          env={'PATH': os.environ['PATH'], 'ROOM': str(room), 'TREE': str(tree),
                               'KMSG': isolation.true_path('kmsg')})
    # a busy machine looks later
    seen = re.sub(r'goes back \d+ s', 'goes back 60 s', done.stdout)
    assert (done.returncode, one.says.format(proc=tree) in seen) == (one.status, True), done.stdout + done.stderr


def python_for(one: Environment) -> list[str]:
    """Another user may not read root's Python and this checkout's."""
    if '--reuid=65534' not in one.by:
        return PLUGIN
    if subprocess.run(['/usr/bin/python3', '-c', 'import nagiosplugin'], capture_output=True, check=False).returncode:
        pytest.skip('python3-nagiosplugin is not installed')
    return ['/usr/bin/python3', PLUGIN[1]]


def make_tree(tree: Path, files: dict[str, str | None]) -> None:
    import time

    proctree.make(tree, entries=1000, stat=f'{proctree.HEADER}\n000003e8' + ' 00000001' * 16 + '\n')
    for name in ('net/netfilter/nf_conntrack_buckets',):
        (tree / 'sys' / name).write_text('262144\n')
    for name, text in files.items():
        path = tree / name
        if text is None:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if text.startswith('-> '):
            path.symlink_to(text[3:])
        else:
            path.write_text(text.replace('{minute}', f'{(time.clock_gettime(time.CLOCK_MONOTONIC) - 60) * 1e6:.0f}'))
