"""The check as a process of the system's Python, and its answer taken apart."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / 'check_conntrack.py'
PYTHON = '/usr/bin/python3'
#: nf_conntrack_max of a small table
SIZE = 2000


class Checked:
    """The check's answer, taken apart as a monitoring system does."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        assert done.stderr == ''
        assert 'Traceback' not in done.stdout
        self.status = done.returncode
        self.text, _, perfdata = done.stdout.partition('\n')[0].partition(' | ')
        self.long = done.stdout.partition('\n')[2]
        self.values = {label: float(value) for label, value in re.findall(r'(\w+)=([-0-9.]+)', perfdata)}
