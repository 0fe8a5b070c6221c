#!/usr/bin/env python3
"""packaging/grafana_dashboards.py: writes icinga/grafana/conntrack-STORE.json for each store, of packaging/dashboards.
Needs grafana-foundation-sdk and Python 3.11 (pip install '.[dashboards]').
"""

from __future__ import annotations

import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(CHECKOUT), str(CHECKOUT / 'packaging')]

from made_files import update  # noqa: E402

PLACE = CHECKOUT / 'icinga/grafana'


def made() -> dict[Path, str]:
    """The text of each file."""
    from dashboards.model import STORES
    from dashboards.render import text
    from dashboards.rows import ROWS

    return {PLACE / f'conntrack-{store}.json': text(store, ROWS) for store in STORES}


if __name__ == '__main__':
    sys.exit(update(made(), 'grafana_dashboards.py'))
