"""What another user's history can make `tune` propose."""

from __future__ import annotations

from pathlib import Path

import hostile
import pytest

from check_conntrack_lib.analysis.sizing import Peak
from check_conntrack_lib.doctor.netns_target import INITIAL
from check_conntrack_lib.doctor.tune import plan, report, sysctl_file
from check_conntrack_lib.doctor.tune.plan import Recorded, TuneReadings
from check_conntrack_lib.host import Host
from check_conntrack_lib.model import Missing, Table
from check_conntrack_lib.readers import sysctl_files

AT = 1795188600.0


def readings(recorded: Recorded) -> TuneReadings:
    return TuneReadings(AT, 'gw1', '6.12.107+deb13-amd64', Table(180000, 262144, 262144), True, 4026531833, recorded,
                    Missing('needs root'), None, {}, 256.0, 12 << 30, (), '')


def drop_in(recorded: Recorded) -> str:
    return sysctl_file.text(plan.make(readings(recorded)), None)


def settings(text: str) -> set[str]:
    return {setting.key.rpartition('/')[2] for setting in sysctl_files.parse(text, '99-conntrack.conf')}


def recorded(entries: int, maximum: int) -> Recorded:
    return Recorded('/var/lib/check_conntrack/history.sqlite', Peak(entries, AT - 2e5, 12.4, 3100, maximum), 7)


@pytest.mark.parametrize('entries', [60_000_000, 400_000_000, 2**31 - 1])
def test_a_size_that_memory_cannot_hold_is_a_comment(entries: int) -> None:
    text = drop_in(recorded(entries, 0))
    assert not {'nf_conntrack_max', 'nf_conntrack_buckets'} & settings(text)
    assert text.count(' full table would take ') == 2, text
    assert '#net.netfilter.nf_conntrack_max = ' in text
    assert 'nf_conntrack_max' in settings(drop_in(recorded(300_000, 262144)))
    assert 'shorten timeouts' in report.text(plan.make(readings(recorded(entries, 0))))


def test_entries_that_no_table_had_are_no_peak(theirs: Path) -> None:
    path = hostile.write(theirs / 'history.sqlite', entries=400_000_000)
    theirs.chmod(0o700)
    found, profile = plan._recorded(str(path), Host(), INITIAL)
    assert isinstance(found, Missing)
    assert profile is None
