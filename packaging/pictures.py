#!/usr/bin/env python3
"""Draws the pictures of README and docs into docs/img: incident.svg as `conntrack-doctor history --svg` draws it of the
tests' recorded incident, triage.svg as the terminal shows the tests' golden screen. Needs matplotlib.

packaging/pictures.py dashboard: draws dashboard.svg, the Prometheus dashboard over some minutes of a real table that is
filled on purpose. Needs root and prometheus.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from html import escape
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
PICTURES = CHECKOUT / 'docs/img'
SCREEN = CHECKOUT / 'tests/golden/doctor/triage-why-one-client.txt'
#: pixels of one character and of one line
ACROSS, DOWN = 8.4, 18


def terminal(text: str) -> str:
    """A screen of text as SVG."""
    rows = text.rstrip('\n').split('\n')
    width, height = round(max(map(len, rows)) * ACROSS + 24), len(rows) * DOWN + 24
    lines = ''.join(f'<text x="12" y="{DOWN * (number + 1) + 6}" xml:space="preserve">{escape(row)}</text>\n'
                    for number, row in enumerate(rows))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-size="14" fill="#e6edf3" '
            'font-family="ui-monospace,Menlo,Consolas,monospace">\n'
            f'<rect width="{width}" height="{height}" rx="6" fill="#0d1117"/>\n{lines}</svg>\n')


def dashboard() -> None:
    """Some minutes; the tables are in namespaces of their own."""
    import dashboard_picture
    import laboratory
    import real_prometheus

    if why_not := laboratory.why_not():
        sys.exit(why_not)
    with real_prometheus.watched() as networks:
        begin, end = real_prometheus.incident(networks)
        with networks[2].in_netns():
            empty = dashboard_picture.draw(
                dashboard_picture.asker(f'http://127.0.0.1:{real_prometheus.PORT}'), begin, end,
                'Connection tracking (Prometheus)', PICTURES / 'dashboard.svg')
    print('no data for: ' + ', '.join(empty))


def main() -> None:
    sys.path[:0] = [str(CHECKOUT), str(CHECKOUT / 'tests')]
    if sys.argv[1:] == ['dashboard']:
        dashboard()
        return
    import pasts  # the tests' recorded incident

    PICTURES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        history = pasts.write(Path(directory) / 'history.sqlite', pasts.incident(), pasts.profiles())
        subprocess.run([sys.executable, '-m', 'check_conntrack_lib', 'history', '--history', str(history),
                        '--host', 'gw1', '--from', '2026-11-19 18:00', '--to', '2026-11-20 18:00',
                        '--svg', str(PICTURES / 'incident.svg')], check=True, cwd=CHECKOUT,
                       env={**os.environ, 'TZ': 'UTC'})
    (PICTURES / 'triage.svg').write_text(terminal(SCREEN.read_text()))


if __name__ == '__main__':
    main()
