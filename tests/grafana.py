"""The dashboards in icinga/grafana, as Grafana would ask for them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

GRAFANA = Path(__file__).parent.parent / 'icinga/grafana'
STORES = sorted(path.stem.split('-')[1] for path in GRAFANA.glob('*.json'))


def dashboard(store: str) -> dict[str, Any]:
    """The whole file."""
    loaded: dict[str, Any] = json.loads((GRAFANA / f'conntrack-{store}.json').read_text())
    return loaded


def panels(store: str) -> Iterator[dict[str, Any]]:
    """Every panel with queries, also those in rows that are closed at first."""
    for panel in dashboard(store)['panels']:
        yield from panel['panels'] if panel['type'] == 'row' else [panel]


def targets(store: str) -> list[str]:
    """Every query."""
    return [target.get('query') or target.get('target') or target['expr']
            for panel in panels(store) for target in panel['targets']]
