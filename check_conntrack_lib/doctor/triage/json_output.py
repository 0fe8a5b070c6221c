"""What `triage` says, for a machine: every number, and for what is missing the reason."""

from __future__ import annotations

import json
from typing import Any

from ... import __version__
from ...analysis import incident, mitigations, resources
from ...analysis.profile import Key, Profile
from ...analysis.rates import NewRate
from ...model import Missing
from ..common_options import SCHEMA_VERSION
from ..json_values import plain
from .reading import TriageReadings


def as_json(readings: TriageReadings) -> str:
    """One line of JSON. A reading that failed is {"missing": why, "remedy": what would help}."""
    a, facts, table = readings.assessment, readings.facts, readings.table
    profile = facts.profile
    return json.dumps(plain({
        'schema_version': SCHEMA_VERSION, 'version': __version__,
        'time': a.snapshot.at.wall, 'node': readings.node, 'kernel': readings.release,
        'netns': a.snapshot.netns, 'netns_name': readings.target.title, 'initial_netns': a.snapshot.initial,
        'table': {'entries': table.entries, 'limit': None if table.unlimited else table.maximum,
                  'usage_percent': table.usage, 'buckets': table.buckets,
                  'entries_per_bucket': incident.load_of(facts),
                  'entries_per_bucket_limit': facts.limit.entries_per_bucket},
        'crowded': incident.crowded(facts), 'chains_too_long': incident.chains_too_long(facts),
        'role': readings.roles if isinstance(readings.roles, Missing) else {
            'name': readings.roles.name, **readings.roles._asdict()},
        'forecast': a.forecast, 'losses': a.losses, 'log': a.log, 'now': readings.now,
        'profile': profile and _profile(profile),
        'addresses': {} if profile is None else profile.names,
        'changed': [{**_key(one.key), 'before': one.before, 'now': one.now, 'entries': one.entries,
                     'most_from': one.source} for one in facts.growth],
        'local': {'share': facts.local, 'processes': facts.owners},
        'softirqs': readings.softirqs,
        'new_connections': facts.rate and _new_connections(facts.rate),
        'resources': resources.levels(facts),
        'nat_ports': [{'pool': str(one), 'used': one.used, 'size': one.size, 'exact': one.exact,
                       'sources': dict(one.sources), 'states': dict(one.states)}
                      for one in (profile.nat_ports if profile else ())],
        'cloud': facts.cloud,
        'moves': mitigations.actions(facts),
        'lifeline': readings.lifeline,
        'missing': readings.missing(),
    }))


def _profile(profile: Profile) -> dict[str, Any]:
    totals = ('entries', 'seen', 'assured', 'unreplied', 'snat', 'dnat', 'nat', 'offloaded')
    return {
        **{name: getattr(profile, name) for name in totals},
        'states': [{'protocol': str(Key(protocol)), 'state': state, 'seen': seen}
                   for (protocol, state), seen in profile.states.items()],
        **{sort: [{**_key(key), 'seen': seen} for key, seen in getattr(profile, sort)]
           for sort in ('sources', 'destinations', 'services', 'targets', 'zones')},
        'traffic': profile.traffic and {
            **{name: getattr(profile.traffic, name) for name in ('counted', 'packets', 'bytes')},
            **{sort: [{**_key(one.key), 'packets': one.packets, 'bytes': one.bytes}
                      for one in getattr(profile.traffic, sort)]
               for sort in ('sources', 'targets', 'services')}}}


def _new_connections(new: NewRate) -> dict[str, Any]:
    return {'per_second': new.rate, 'refused_per_second': new.refused, 'counted': new.counted, 'seen': new.seen,
            'sources': [{**_key(one.key), 'source': one.source, 'seen': one.seen} for one in new.openers],
            'targets': [{**_key(key), 'seen': seen} for key, seen in new.targets]}


def _key(key: Key) -> dict[str, Any]:
    return {'name': str(key), **key._asdict()}
