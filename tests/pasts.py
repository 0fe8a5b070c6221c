"""Pasts to look back on: samples as the recorder keeps them, written straight into its file."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable
from pathlib import Path

from check_conntrack_lib.analysis.profile import Key, Profile
from check_conntrack_lib.history import database as history_database
from check_conntrack_lib.history.codec import counters_to_text
from check_conntrack_lib.history.profile_json import to_json
from check_conntrack_lib.model import Counters, Instant, Sample

BEGIN = 1_795_000_000.0
INITIAL, CONTAINER = 4026531833, 4026532501


def write(path: Path, samples: Iterable[Sample], profiles: Iterable[tuple[Sample, Profile, bool]] = ()) -> Path:
    database = sqlite3.connect(path)
    database.execute('PRAGMA synchronous=OFF')
    database.executescript(history_database.SCHEMA)
    for sample in samples:
        database.execute('INSERT OR IGNORE INTO boot (boot_id) VALUES (?)', (sample.boot_id,))
        database.execute(
            'INSERT INTO sample SELECT ?, id, ?, ?, ?, ?, ?, ? FROM boot WHERE boot_id = ?',
            (sample.at.wall, sample.netns, sample.at.uptime, sample.entries, sample.maximum, sample.buckets,
             counters_to_text(sample.counters), sample.boot_id))
    for sample, profile, quiet in profiles:
        database.execute('INSERT INTO profile SELECT ?, id, ?, ?, ?, ? FROM boot WHERE boot_id = ?',
                         (sample.at.wall, sample.netns, sample.at.uptime, quiet, to_json(profile), sample.boot_id))
    database.commit()
    database.close()
    return path


def sample(second: float, entries: int, maximum: int = 262144, drop: int = 0, early_drop: int = 0,
           insert_failed: int = 0, chaintoolong: int = 0, boot: float = -1000.0, netns: int = INITIAL) -> Sample:
    """`second` counts from BEGIN; `boot` is when the host was booted, on the same scale, and names the boot."""
    counters = Counters({'drop': (drop, 0), 'early_drop': (early_drop, 0), 'insert_failed': (insert_failed, 0),
                         'chaintoolong': (chaintoolong, 0)})
    return Sample(Instant(BEGIN + second, second - boot, 0.0), f'{int(boot) & 0xffffffff:08x}-0000', netns, entries,
                  maximum, 262144, counters)


def incident() -> list[Sample]:
    """Three days, a sample in five minutes: an evening on which the table fills, is raised, and a reboot after it."""
    found = []
    drop = evicted = 0
    for k in range(864):
        second = k * 300.0
        hour = second / 3600
        entries = 60000 + 40000 * math.sin((hour - 8) / 24 * 2 * math.pi) + 1500 * math.sin(k * 1.7)
        maximum, boot = 262144, -1000.0
        if 40 <= hour < 44.6:
            entries += (hour - 40) * 52000
        if 43.5 <= hour < 44.5:
            drop += 1200 + k % 7 * 300
            evicted += 30
        if 44.5 <= hour < 60:
            maximum = 524288
        if hour >= 60:
            boot = 60 * 3600 - 100.0
            drop = evicted = 0
        found.append(sample(second, min(round(entries), 262144 if hour < 44.5 else 400000), maximum, drop, evicted,
                            boot=boot))
        if k % 2:
            found.append(sample(second, round(30000 + 9000 * math.sin(hour / 3)), maximum, boot=boot,
                                netns=CONTAINER))
    return found


def profiles() -> list[tuple[Sample, Profile, bool]]:
    """Those of the incident, each hour one: what grows is DNS to one server, from one client."""
    found = []
    for one in incident()[::18]:
        if one.netns != INITIAL:
            continue
        hour = (one.at.wall - BEGIN) / 3600
        grown = max(0.0, min(1.0, (hour - 40) / 4)) if hour < 44.6 else 0.0
        dns = round(2000 * (0.05 + 0.6 * grown))
        tcp = {'ESTABLISHED': 0.6, 'TIME_WAIT': 0.25, 'SYN_SENT': 0.05, 'CLOSE_WAIT': 0.04, 'FIN_WAIT': 0.03,
               'LAST_ACK': 0.02, 'CLOSE': 0.01}
        states = {(6, state): round((2000 - dns) * share) for state, share in tcp.items()}
        states[17, ''] = 2000 - sum(states.values())
        found.append((one, Profile(
            one.entries, 2000, states, assured=1200, unreplied=dns // 2, snat=0, dnat=0, nat=0, offloaded=0,
            sources=((Key(source='10.0.0.7'), round(dns * 0.9)),),
            destinations=((Key(destination='10.0.0.53'), dns),),
            services=((Key(17, port=53), dns),),
            targets=((Key(17, destination='10.0.0.53', port=53), dns),)), grown == 0))
    return found
