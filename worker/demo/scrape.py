"""What the worker says of itself on its Prometheus endpoint, as plain numbers."""

from __future__ import annotations

import math
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field

from prometheus_client import Metric, generate_latest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

from worker.batch_histogram import BatchHistogram
from worker.demo.quantile import histogram_quantile
from worker.events_seen import EVENTS_SEEN_LABELS
from worker.metrics import ItemAvailability, Rebalance, WorkerMetrics

_TIMEOUT_S = 5.0
_METRICS = WorkerMetrics()  # asked for names, which no one else may know
# Straight there: a proxy of the environment's knows nothing of this machine's loopback.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))

Families = Mapping[str, Metric]


@dataclass(frozen=True)
class HistogramSample:
    """A histogram without labels, at one moment."""

    bounds: tuple[float, ...]
    counts: tuple[float, ...]
    """Observations at or below each bound."""
    total: float
    """Sum of the observations."""

    @property
    def count(self) -> float:
        """How many observations."""
        return self.counts[-1]

    @property
    def mean(self) -> float:
        """Mean observation; NaN without any."""
        return self.total / self.count if self.count else math.nan

    def quantile(self, q: float) -> float:
        """Return an estimated quantile; NaN without observations."""
        return histogram_quantile(q, self.bounds, self.counts)

    def since(self, earlier: HistogramSample) -> HistogramSample:
        """Return what was observed after an earlier sample of the same histogram."""
        counts = zip(self.counts, earlier.counts, strict=True)
        rest = tuple(now - before for now, before in counts)
        return HistogramSample(self.bounds, rest, self.total - earlier.total)


@dataclass(frozen=True)
class LiveQuality:
    """Prequential hits over some events."""

    events: float = 0.0
    hits: float = 0.0
    """Of what the worker had published."""
    popularity_hits: float = 0.0
    """Of the items most popular in training."""

    def __add__(self, other: LiveQuality) -> LiveQuality:
        return LiveQuality(
            self.events + other.events,
            self.hits + other.hits,
            self.popularity_hits + other.popularity_hits,
        )

    @property
    def hit_rate(self) -> float:
        """HR@k of the worker; NaN without events."""
        return self.hits / self.events if self.events else math.nan

    @property
    def popularity_hit_rate(self) -> float:
        """HR@k of popularity; NaN without events."""
        return self.popularity_hits / self.events if self.events else math.nan


@dataclass(frozen=True)
class WorkerSample:
    """The worker's metrics at one moment."""

    applied: float
    """Events applied."""
    users: float
    """Users whose state is in memory."""
    items: float
    """Items that may be recommended."""
    partitions: float
    """Partitions that the worker was given, less those it gave back."""
    restored: float
    """How often the states of new partitions were read back to the end."""
    latency: HistogramSample
    """Event to recommendation, seconds."""
    loss_before: HistogramSample
    """Support loss before the inner-loop step, nats."""
    loss_after: HistogramSample
    quality: dict[str, LiveQuality] = field(default_factory=dict)
    """By events seen before."""

    @classmethod
    def nothing(cls) -> WorkerSample:
        """Return the metrics of a worker that has done nothing yet."""
        return parse(generate_latest(_METRICS.registry).decode())

    @property
    def overall(self) -> LiveQuality:
        """Quality over all events."""
        return sum(self.quality.values(), LiveQuality())


def fetch(url: str) -> str | None:
    """Return what the endpoint serves; None if nobody answers there."""
    try:
        with _OPENER.open(url, timeout=_TIMEOUT_S) as response:
            text: str = response.read().decode()
            return text
    except (urllib.error.URLError, OSError):
        return None


def parse(text: str) -> WorkerSample:
    """Read Prometheus' text format.

    Raises:
        ValueError: the text is not in that format, or lacks a metric of the worker.
    """
    families = {family.name: family for family in text_string_to_metric_families(text)}
    by_seen = zip(
        *(
            _by_label(families, metric, "events_seen", EVENTS_SEEN_LABELS)
            for metric in (
                _METRICS.prequential_events,
                _METRICS.prequential_hits,
                _METRICS.prequential_popularity_hits,
            )
        ),
        strict=True,
    )
    how = (Rebalance.ASSIGNED, Rebalance.REVOKED, Rebalance.LOST)
    assigned, *gone = _by_label(families, _METRICS.rebalanced_partitions, "how", how)
    available = (ItemAvailability.AVAILABLE,)
    return WorkerSample(
        applied=_total(families, _METRICS.events),
        users=_total(families, _METRICS.users_resident),
        items=_by_label(families, _METRICS.catalogue_items, "state", available)[0],
        partitions=assigned - sum(gone),
        restored=_histogram(families, _METRICS.restore_seconds).count,
        latency=_histogram(families, _METRICS.latency_seconds),
        loss_before=_histogram(families, _METRICS.support_loss_before),
        loss_after=_histogram(families, _METRICS.support_loss_after),
        quality={
            label: LiveQuality(*numbers)
            for label, numbers in zip(EVENTS_SEEN_LABELS, by_seen, strict=True)
        },
    )


def _family(families: Families, metric: MetricWrapperBase | BatchHistogram) -> Metric:
    (described,) = metric.describe()
    if described.name not in families:
        raise ValueError(f"the worker's metrics lack {described.name}")
    return families[described.name]


def _values(families: Families, metric: MetricWrapperBase) -> list[tuple[dict[str, str], float]]:
    return [(sample.labels, sample.value) for sample in _family(families, metric).samples]


def _total(families: Families, metric: MetricWrapperBase) -> float:
    return sum(value for _, value in _values(families, metric))


def _by_label(
    families: Families, metric: MetricWrapperBase, label: str, labels: tuple[str, ...]
) -> list[float]:
    found = {sample[label]: value for sample, value in _values(families, metric)}
    return [found.get(value, 0.0) for value in labels]


def _histogram(families: Families, metric: MetricWrapperBase | BatchHistogram) -> HistogramSample:
    family = _family(families, metric)
    samples = family.samples
    buckets = {
        float(sample.labels["le"]): sample.value
        for sample in samples
        if sample.name == f"{family.name}_bucket"
    }
    bounds = tuple(sorted(buckets))
    total = sum(sample.value for sample in samples if sample.name == f"{family.name}_sum")
    return HistogramSample(bounds, tuple(buckets[bound] for bound in bounds), total)
