"""One round of readings as JSON: every number, and for what is missing the reason."""

from __future__ import annotations

import json
from typing import Any

from ... import __version__
from ...model import Missing, NotLoaded, Table
from ..common_options import SCHEMA_VERSION
from ..readings import LiveReadings
from .all_namespaces import NamespaceReadings
from .metrics import collect
from .per_host import PerHost


def as_json(reading: LiveReadings) -> str:
    """One line of JSON. A reading that failed is {"missing": why, "remedy": what would help}."""
    return json.dumps(as_dict(reading))


def all_as_json(readings: NamespaceReadings) -> str:
    """The same of every namespace, each with its labels."""
    return json.dumps({
        'version': __version__,
        'namespaces': [{'labels': dict(labels), **as_dict(reading)} for labels, reading in readings.members],
        'others': {'namespaces': len(readings.others), 'entries': sum(readings.others)},
        'missing': {name: _or_missing(why) for name, why in readings.errors().items()}})


def as_dict(reading: LiveReadings) -> dict[str, Any]:
    """The same as plain values."""
    s = reading.snapshot
    return {
        'schema_version': SCHEMA_VERSION,
        'version': __version__,
        'time': s.at.wall,
        'uptime_seconds': s.at.uptime,
        'boot_id': _or_missing(s.boot_id),
        'netns': _or_missing(s.netns),
        'initial_netns': s.initial,
        'table': _table(s.table),
        'counters': _or_missing(s.counters) if isinstance(s.counters, Missing) else {
            'source': s.counters.source, 'total': reading.totals(), 'per_cpu': dict(s.counters.per_cpu)},
        'kernel_log': _log(reading),
        **({} if reading.per_host is None else {'per_host': _per_host(reading.per_host)}),
        'metrics': [{'name': metric.name, 'kind': metric.kind, 'samples': [
            {'labels': dict(labels), 'value': None if value == float('inf') else value}
            for labels, value in metric.samples]} for metric in collect(reading, 'conntrack')],
    }


def _table(table: Table | NotLoaded | Missing) -> Any:
    if isinstance(table, Missing):
        return _or_missing(table)
    if isinstance(table, NotLoaded):
        return {'loaded': False}
    return {'loaded': True, 'entries': table.entries, 'limit': None if table.unlimited else table.maximum,
            'usage_percent': table.usage, 'buckets': _or_missing(table.buckets)}


def _log(reading: LiveReadings) -> Any:
    s, evidence = reading.snapshot, reading.log
    if isinstance(evidence, Missing) or isinstance(s.kernel_log, Missing):
        return _or_missing(s.kernel_log)
    return {'source': s.kernel_log.source, 'span_seconds': evidence.span, 'table_full_lines': len(evidence.ages),
            'table_full_ages_seconds': evidence.ages, 'suppressed_messages': evidence.suppressed,
            'flooded': evidence.flooded,
            'lines_of_other_netns': {str(netns): lines for netns, lines in evidence.elsewhere.items()}}


def _per_host(per_host: PerHost | Missing) -> Any:
    if isinstance(per_host, Missing):
        return _or_missing(per_host)
    return {'sampled_ratio': per_host.share, 'connections': {host: dict(groups) for host, groups in per_host.hosts}}


def _or_missing(value: Any) -> Any:
    return {'missing': value.why, 'remedy': value.remedy} if isinstance(value, Missing) else value
