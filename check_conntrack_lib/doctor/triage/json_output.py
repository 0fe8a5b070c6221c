"""What `triage` says, for a machine: every number, and for what is missing the reason."""

from __future__ import annotations

import json
from typing import Any

from ... import __version__
from ...analysis import incident, mitigations
from ...analysis.profile import Key
from ...model import Missing
from ..json_values import plain
from .reading import TriageReadings


def as_json(scene: TriageReadings) -> str:
    """One line of JSON. A reading that failed is {"missing": why, "remedy": what would help}."""
    a, p, table = scene.assessment, scene.picture, scene.table
    profile = p.profile
    return json.dumps(plain({
        'version': __version__, 'time': a.snapshot.at.wall, 'node': scene.node, 'kernel': scene.release,
        'netns': a.snapshot.netns, 'initial_netns': a.snapshot.initial,
        'table': {'entries': table.entries, 'limit': None if table.unlimited else table.maximum,
                  'usage_percent': table.usage, 'buckets': table.buckets,
                  'entries_per_bucket': incident.load_of(table),
                  'entries_per_bucket_limit': p.limit.entries_per_bucket},
        'crowded': incident.crowded(p), 'chains_too_long': incident.chains_too_long(p),
        'role': scene.roles if isinstance(scene.roles, Missing) else {'name': scene.roles.name,
                                                                      **scene.roles._asdict()},
        'forecast': a.forecast, 'losses': a.losses, 'log': a.log, 'now': scene.now,
        'profile': None if profile is None else {
            **{name: getattr(profile, name) for name in ('entries', 'seen', 'assured', 'unreplied', 'snat', 'dnat',
                                                         'nat', 'offloaded')},
            'states': [{'protocol': str(Key(protocol)), 'state': state, 'seen': seen}
                       for (protocol, state), seen in profile.states.items()],
            **{sort: [{**_key(key), 'seen': seen} for key, seen in getattr(profile, sort)]
               for sort in ('sources', 'destinations', 'services', 'targets')}},
        'changed': [{**_key(one.key), 'before': one.before, 'now': one.now, 'entries': one.entries,
                     'most_from': one.source} for one in p.growth],
        'local': {'share': p.local, 'processes': p.owners},
        'softirqs': scene.softirqs,
        'moves': mitigations.actions(p),
        'missing': scene.missing(),
    }))


def _key(key: Key) -> dict[str, Any]:
    return {'name': str(key), **key._asdict()}
