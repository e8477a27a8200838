"""What a benchmark reads of a worker's Prometheus endpoint."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

from worker.demo.scrape import fetch, parse
from worker.metrics import Stage, WorkerMetrics

_METRICS = WorkerMetrics()  # asked for names, which no one else may know


@dataclass(frozen=True)
class BenchSample:
    """A worker's metrics at one moment."""

    applied: float
    """Events applied."""
    partitions: float
    restored: float
    batches: float
    """Micro-batches."""
    stage_seconds: dict[str, float]
    """Stage → seconds spent in it so far."""

    def since(self, earlier: BenchSample) -> BenchSample:
        """Return what happened after an earlier sample."""
        return BenchSample(
            self.applied - earlier.applied,
            self.partitions,
            self.restored,
            self.batches - earlier.batches,
            {
                stage: seconds - earlier.stage_seconds.get(stage, 0.0)
                for stage, seconds in self.stage_seconds.items()
            },
        )


def sample(url: str) -> BenchSample | None:
    """Read a worker's endpoint; None if nobody answers there."""
    text = fetch(url)
    if text is None:
        return None
    known = parse(text)
    families = {family.name: family for family in text_string_to_metric_families(text)}
    stages = _by_suffix(families, _METRICS.stage_seconds, "_sum")
    batches = _by_suffix(families, _METRICS.batch_records, "_count")
    return BenchSample(
        applied=known.applied,
        partitions=known.partitions,
        restored=known.restored,
        batches=sum(batches.values()),
        stage_seconds={stage.value: stages.get(stage.value, 0.0) for stage in Stage},
    )


def _by_suffix(
    families: dict[str, Metric], metric: MetricWrapperBase, suffix: str
) -> dict[str, float]:
    """Return the samples of a histogram with this suffix, by the value of its label, if any."""
    (described,) = metric.describe()
    return {
        next(iter(sample.labels.values()), ""): sample.value
        for sample in families[described.name].samples
        if sample.name == f"{described.name}{suffix}"
    }
