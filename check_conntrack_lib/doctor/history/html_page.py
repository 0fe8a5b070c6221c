"""The history as one HTML file: readable on a telephone, on paper, and in light or dark. Its one small script sorts
the tables and adds the reader's own time; without it everything is still there.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from html import escape

from ... import __version__
from ...analysis.timeline import TimeBucket, condense
from ...defaults import CRITICAL, WARNING
from ...formatting import percent, rate
from ..state_shares import by_state, largest
from .facts import HistoryFacts, extent, facts, title, when
from .svg import svg
from .worst_incident import checklist, retrospective

#: the table has at most so many rows, each for one of these spans of time (seconds)
MOST_ROWS = 170
SPANS = (1, 10, 60, 300, 600, 1800, 3600, 7200, 14400, 21600, 43200, 86400)

STYLE = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1f2328;--soft:#59636e;--line:#d0d7de;--bad:#cf222e;--warn:#9a6700}
@media (prefers-color-scheme:dark){
:root{--paper:#0d1117;--ink:#e6edf3;--soft:#9198a1;--line:#30363d;--bad:#ff7b72;--warn:#d29922}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1rem;max-width:56rem;background:var(--paper);color:var(--ink);
font:1rem/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.4rem;margin:.2rem 0;text-wrap:balance}
h2{font-size:1.1rem;margin:2rem 0 .5rem}p{margin:.3rem 0;color:var(--soft)}
svg{display:block;width:100%;height:auto}svg text{font-family:system-ui,sans-serif!important}
dl{display:grid;grid-template-columns:minmax(6rem,max-content) 1fr;gap:.2rem 1rem;margin:0}
time{white-space:nowrap}dt{color:var(--soft)}dd{margin:0}
ul{list-style:none;padding:0;margin:0}li{margin:.4rem 0}label{display:flex;gap:.6rem;align-items:flex-start}
input{margin-top:.35rem}
figure{margin:0}figure,.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:.85rem;font-variant-numeric:tabular-nums;width:100%}
th,td{padding:.2rem .6rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th:first-child,td:first-child{text-align:left;padding-left:0}
.bad{color:var(--bad);font-weight:600}.warn{color:var(--warn);font-weight:600}
th{cursor:pointer;position:sticky;top:0;background:var(--paper)}th[aria-sort=ascending]::after{content:" \\2191"}
th[aria-sort=descending]::after{content:" \\2193"}
@media (max-width:30rem){dl{display:block}dd{margin:0 0 .5rem}body{padding:.6rem}
/* below this its text cannot be read: it scrolls */
svg{min-width:30rem}}
@media print{:root{--paper:#fff;--ink:#000;--soft:#444;--line:#bbb;--bad:#a00;--warn:#740}
body{max-width:none;font-size:10pt}
figure,.wide{overflow:visible}svg{min-width:0}
th{position:static}tr,li,svg{break-inside:avoid}thead{display:table-header-group}}
""".strip()


#: sorts a table by the column that is clicked, and adds the reader's own time where that is another
SCRIPT = """
document.querySelectorAll('th').forEach(function (th) { th.onclick = function () {
  var table = th.closest('table'), body = table.tBodies[0], k = th.cellIndex, up = th.ariaSort !== 'ascending';
  table.querySelectorAll('th').forEach(function (one) { one.removeAttribute('aria-sort'); });
  th.ariaSort = up ? 'ascending' : 'descending';
  function value(row) { var text = row.cells[k].textContent, n = parseFloat(text);
    return k && !isNaN(n) ? n : k ? -Infinity : text; }
  Array.from(body.rows).sort(function (a, b) { var x = value(a), y = value(b);
    return (x < y ? -1 : x > y ? 1 : 0) * (up ? 1 : -1); }).forEach(function (row) { body.appendChild(row); });
}; });
document.querySelectorAll('time').forEach(function (one) {
  var at = new Date(one.dateTime), sign = one.dateTime.slice(-6);
  var offset = (sign[0] === '-' ? 1 : -1) * (60 * parseInt(sign.slice(1, 3)) + parseInt(sign.slice(4)));
  if (at.getTimezoneOffset() !== offset) one.title = 'your time: ' + at.toLocaleString();
});
""".strip()


def html(history: HistoryFacts) -> str:
    """The whole document. Raises DoctorError without matplotlib."""
    return '\n'.join([
        '<!doctype html>', '<html lang="en">', '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        '<meta name="robots" content="noindex">',
        f'<title>{escape(title(history))}</title>', f'<style>{STYLE}</style>',
        f'<h1>{_dated(title(history))}</h1>',
        f'<p>{escape(extent(history))}. Dashed lines: {WARNING:g}% and {CRITICAL:g}%.</p>', _picture(history),
        '<h2>Facts</h2>', *_definitions(facts(history)), *_episode(history), *_numbers(history), *_states(history),
        f'<p>From {escape(history.path)}, network namespace '
        f'{escape(history.called.of(history.intervals[-1].sample))}; '
        f'check_conntrack {__version__}.</p>', f'<script>{SCRIPT}</script>', '</html>', ''])


def _picture(history: HistoryFacts) -> str:
    document = svg(history)
    return f"<figure>{document[document.index('<svg'):]}</figure>"


def _definitions(pairs: Iterator[tuple[str, str]]) -> Iterator[str]:
    yield '<dl>'
    for name, words in pairs:
        yield f'<dt>{escape(name)}</dt><dd>{_dated(words)}</dd>'
    yield '</dl>'


def _dated(words: str) -> str:
    """Escaped, its times marked up: they are not broken at the end of a line."""
    return re.sub(r'\d{4}-\d\d-\d\d \d\d:\d\d(?::\d\d)?', lambda found: _time(found[0]), escape(words))


def _time(stamp: str) -> str:
    """A local time of this host, marked up with its offset, so that the reader's browser can show its own."""
    try:
        at = datetime.datetime.fromisoformat(stamp).astimezone()
    except (ValueError, OverflowError):
        return stamp  # a name that looks like a time, or a zone of a day and more
    return f'<time datetime="{at.isoformat()}">{stamp}</time>'


def _episode(history: HistoryFacts) -> Iterator[str]:
    episode = history.worst
    if episode is None:
        return
    yield '<h2>Worst incident</h2>'
    yield from _definitions(retrospective(episode, history))
    yield '<h2>Follow-up</h2>'
    yield '<ul>'
    for who, words in checklist(episode, history):
        yield f'<li><label><input type="checkbox"> <span><b>{escape(who)}</b>: {escape(words)}</span></label></li>'
    yield '</ul>'


def _numbers(history: HistoryFacts) -> Iterator[str]:
    span = next((span for span in SPANS if (history.end - history.begin) / span <= MOST_ROWS),
                (history.end - history.begin) / MOST_ROWS)
    begin = history.begin - history.begin % span
    yield '<h2>Samples</h2>'
    yield '<p>Each row shows the peak of its interval and the counters of that interval. Click a heading to sort.</p>'
    yield '<div class="wide"><table>'
    yield ('<thead><tr><th>from<th>used<th>entries<th>maximum<th>growth/min<th>dropped<th>dropped/s<th>evicted'
           '<th>insert_failed</tr></thead><tbody>')
    for number, bucket in condense(history.intervals, begin, span).items():
        yield _row(when(begin + number * span, span < 60), bucket)
    yield '</tbody></table></div>'


def _states(history: HistoryFacts) -> Iterator[str]:
    known = [(past.at, by_state(past.profile)) for past in history.profiles]
    if not known:
        return
    names = largest([profile for _, profile in known], 8)
    # at most MOST_ROWS, the fullest of each interval
    share = -(-len(known) // MOST_ROWS)
    yield '<h2>Entries by state</h2>'
    yield '<div class="wide"><table>'
    yield f'<thead><tr><th>at{"".join(f"<th>{escape(name)}" for name in names)}</tr></thead><tbody>'
    for k in range(0, len(known), share):
        at, profile = max(known[k:k + share], key=lambda one: sum(one[1].values()))
        yield f'<tr><td>{_time(when(at))}{"".join(f"<td>{profile.get(name, 0)}" for name in names)}</tr>'
    yield '</tbody></table></div>'


def _row(time: str, bucket: TimeBucket) -> str:
    s, usage = bucket.peak.sample, bucket.peak.usage
    tone = ' class="bad"' if usage > CRITICAL else ' class="warn"' if usage > WARNING else ''
    grown = '' if bucket.growth is None else f'{bucket.growth * 60:+.0f}'
    cells = [f'<td>{_time(time)}', f'<td{tone}>{percent(usage) if s.maximum > 0 else ""}', f'<td>{s.entries}',
             f'<td>{s.maximum}', f'<td>{grown}']
    if bucket.losses is None:
        cells.append('<td><td><td><td>')
    else:
        lost, packets = bucket.losses.lost, bucket.losses.packets
        tone = ' class="bad"' if lost else ''
        cells += [f'<td{tone}>{lost}', f'<td{tone}>{rate(bucket.losses.rate(lost))}',
                  f'<td>{packets.get("early_drop", "")}', f'<td>{packets.get("insert_failed", "")}']
    return f'<tr>{"".join(cells)}</tr>'
