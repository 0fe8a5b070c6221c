"""The list of metrics in the text format of Prometheus, or in OpenMetrics for who asks for that."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, UnknownMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.exposition import choose_encoder, gzip_accepted
from prometheus_client.registry import Collector

from .metrics import Metric

#: scrapers that come within this time, in seconds, get the same page
FRESH = 1.0
OPENMETRICS = 'application/openmetrics-text; version=1.0.0'
FAMILIES = {'gauge': GaugeMetricFamily, 'counter': CounterMetricFamily, 'unknown': UnknownMetricFamily}


class _Metrics(Collector):
    """Hands a list of metrics to prometheus_client."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self.metrics = metrics

    def collect(self) -> Iterator[Family]:
        for metric in self.metrics:
            labels = list(metric.samples[0][0]) if metric.samples else []
            family = FAMILIES[metric.kind](metric.name, metric.help, labels=labels)
            for values, value in metric.samples:
                family.add_metric([values[label] for label in labels], value)
            yield family


def page(metrics: Iterable[Metric]) -> bytes:
    """The text of one reading, in Prometheus' format 0.0.4."""
    text: bytes = generate_latest(_registry(metrics))
    return text


class Scrapes:
    """Answers scrapes. Those of one second get the same readings, which are rendered once in each form."""

    def __init__(self, collect: Callable[[], Sequence[Metric]]) -> None:
        """collect: takes the readings; what it raises, `answer` raises."""
        self._collect = collect
        self._taken = float('-inf')
        self._metrics: Sequence[Metric] = ()
        self._rendered: dict[tuple[str, bool], bytes] = {}

    def answer(self, accept: str, encodings: str) -> tuple[list[tuple[str, str]], bytes]:
        """Headers and body for a request's Accept and Accept-Encoding."""
        if time.monotonic() - self._taken > FRESH:
            self._metrics = self._collect()
            self._rendered.clear()
            self._taken = time.monotonic()
        # newer versions and other names of metrics are not asked for: two formats, so that little is kept
        render, kind = choose_encoder(OPENMETRICS if OPENMETRICS.partition(';')[0] in accept.lower() else '')
        compressed = gzip_accepted(encodings)
        if (kind, False) not in self._rendered:
            self._rendered[kind, False] = render(_registry(self._metrics))
        if compressed and (kind, True) not in self._rendered:
            self._rendered[kind, True] = gzip.compress(self._rendered[kind, False], 6)
        return ([('Content-Type', kind), ('Vary', 'Accept, Accept-Encoding'),
                 *([('Content-Encoding', 'gzip')] if compressed else [])], self._rendered[kind, compressed])


def _registry(metrics: Iterable[Metric]) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(_Metrics(metrics))
    return registry
