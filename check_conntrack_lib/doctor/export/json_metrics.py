"""One round of readings as JSON: every number, and for what is missing the reason."""

from __future__ import annotations

import json
from typing import Any

from ... import __version__
from ...analysis.losses import log_evidence
from ...model import KernelLog, Missing, NotLoaded, Table
from ..readings import LiveReadings
from .metrics import collect
from .per_host import PerHost


def as_json(reading: LiveReadings) -> str:
    """One line of JSON. A reading that failed is {"missing": why, "remedy": what would help}."""
    return json.dumps(as_dict(reading))


def as_dict(reading: LiveReadings) -> dict[str, Any]:
    """The same as plain values."""
    s = reading.snapshot
    return {
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
        **({} if reading.peers is None else {'per_host': _per_host(reading.peers)}),
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
    s = reading.snapshot
    if not isinstance(s.kernel_log, KernelLog):
        return _or_missing(s.kernel_log)
    evidence = log_evidence(s.kernel_log, s.at.monotonic, reading.log_span,
                            None if isinstance(s.netns, Missing) else s.netns, s.initial)
    return {'source': s.kernel_log.source, 'span_seconds': evidence.span, 'table_full_lines': len(evidence.ages),
            'table_full_ages_seconds': evidence.ages, 'suppressed_messages': evidence.suppressed,
            'flooded': evidence.flooded,
            'lines_of_other_netns': {str(netns): lines for netns, lines in evidence.elsewhere.items()}}


def _per_host(peers: PerHost | Missing) -> Any:
    if isinstance(peers, Missing):
        return _or_missing(peers)
    return {'sampled_ratio': peers.share, 'connections': {host: dict(groups) for host, groups in peers.hosts}}


def _or_missing(value: Any) -> Any:
    return {'missing': value.why, 'remedy': value.remedy} if isinstance(value, Missing) else value
