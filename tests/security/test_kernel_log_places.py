"""A file given as the kernel log, whose owner exchanges it: nothing but a log is ever opened."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from check_conntrack_lib.model import KernelLog, Missing
from check_conntrack_lib.readers import kernel_log

LINE = '4,7,100000000,-;nf_conntrack: nf_conntrack: table full, dropping packet\n'


class Exchanged:
    """A link that leads to a log, and from its so-manieth look at it on to something else."""

    def __init__(self, directory: Path, other: str, after: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.link, self.left, self.other = directory / 'link', after, other
        (directory / 'log').write_text(LINE)
        self.link.symlink_to(directory / 'log')
        #: what was opened to be read
        self.opened: list[str] = []
        self._open = os.open
        for module, name in ((os, 'stat'), (os, 'lstat'), (os, 'fstat'), (os.path, 'realpath')):
            monkeypatch.setattr(module, name, self._counted(getattr(module, name)))
        monkeypatch.setattr(os, 'open', self._counted(self._noted))

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **more: Any) -> Any:
            answer = call(*args, **more)
            self.left -= 1
            if self.left == 0:
                self.link.unlink()
                self.link.symlink_to(self.other)
            return answer
        return counted

    def _noted(self, path: str, how: int, *more: Any, **others: Any) -> int:
        if how & os.O_PATH:
            return self._open(path, how, *more, **others)
        self.opened.append(os.path.relpath(os.readlink(path) if os.path.islink(path) else path, self.link.parent))
        # never the other one itself: a terminal would become this process's own
        return self._open(self.link.parent / 'log', os.O_RDONLY)


@pytest.mark.parametrize('other', ['/proc/kmsg', '/dev/tty', '/dev/console', '/dev/zero', '/dev/watchdog'])
@pytest.mark.parametrize('after', range(1, 7))
def test_no_exchange_leads_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str, after: int) -> None:
    with monkeypatch.context() as patched:
        link = Exchanged(tmp_path, other, after, patched)
        log = kernel_log.read_records(str(link.link), 0.0)
    assert link.opened in ([], ['log'])
    assert isinstance(log, KernelLog if link.opened else Missing)


def test_the_file_that_takes_lines_away_is_never_read_under_another_name(tmp_path: Path) -> None:
    """In a mount namespace of its own; its first line would be missing in the system's log."""
    if os.geteuid() or not os.path.exists('/proc/kmsg'):
        pytest.skip('mounting needs root, and /proc/kmsg')
    (tmp_path / 'log').touch()
    look = 'import sys; from check_conntrack_lib.readers import kernel_log as k; print(k.read_records(sys.argv[1], 0))'
    run = subprocess.run(['unshare', '--mount', 'sh', '-c', 'mount --bind /proc/kmsg "$1" && exec "$2" -c "$3" "$1"',
                          'sh', tmp_path / 'log', sys.executable, look], capture_output=True, text=True)
    assert run.stderr == ''
    assert run.stdout == f"Missing(why='{tmp_path}/log is empty', remedy='', chosen=False)\n"
