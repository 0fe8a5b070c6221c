"""What another user's history can make `tune` propose."""

from __future__ import annotations

from pathlib import Path

import hostile
import pytest
from test_doctor_tune import AT, drop_in, readings, settings

from check_conntrack_lib.analysis.sizing import Peak
from check_conntrack_lib.doctor.tune import plan, report
from check_conntrack_lib.doctor.tune.plan import Recorded
from check_conntrack_lib.model import Missing


def recorded(entries: int, maximum: int) -> Recorded:
    return Recorded('/var/lib/check_conntrack/history.sqlite', Peak(entries, AT - 2e5, 12.4, 3100, maximum), 7)


@pytest.mark.parametrize('entries', [60_000_000, 400_000_000, 2**31 - 1])
def test_a_size_that_memory_cannot_hold_is_a_comment(entries: int) -> None:
    text = drop_in(recorded=recorded(entries, 0))
    assert not {'nf_conntrack_max', 'nf_conntrack_buckets'} & settings(text).keys()
    assert text.count('# Not set as long as it is a comment: a full table would take ') == 2
    assert '#net.netfilter.nf_conntrack_max = ' in text
    assert 'nf_conntrack_max' in settings(drop_in(recorded=recorded(300_000, 262144)))
    assert 'shorten timeouts' in report.text(plan.make(readings(recorded=recorded(entries, 0))))


def test_entries_that_no_table_had_are_no_peak(theirs: Path) -> None:
    path = hostile.write(theirs / 'history.sqlite', entries=400_000_000)
    theirs.chmod(0o700)
    found, profile = plan._recorded(str(path))
    assert isinstance(found, Missing)
    assert profile is None
