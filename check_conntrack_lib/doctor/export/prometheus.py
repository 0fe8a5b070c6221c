"""The list of metrics in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, UnknownMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from .metrics import Metric

#: what `generate_latest` writes; its own constant names another version in each of its releases
CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8'
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
    """The whole text of one scrape, in CONTENT_TYPE."""
    registry = CollectorRegistry()
    registry.register(_Metrics(list(metrics)))
    text: bytes = generate_latest(registry)
    return text
