"""How a metric is declared: by the worker, by publishers, by every kind of process we have."""

from __future__ import annotations

import enum
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector


@dataclass(frozen=True)
class MetricSpec:
    """One metric."""

    name: str
    """As scraped, `_total` included; a histogram adds `_bucket`, `_sum` and `_count`."""
    kind: type[Counter] | type[Gauge] | type[Histogram]
    help: str
    labels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Label → its values; empty where they are no enumeration."""
    buckets: tuple[float, ...] = ()


def values(names: type[enum.StrEnum]) -> tuple[str, ...]:
    """Return the values of an enumeration, as a label's."""
    return tuple(name.value for name in names)


def build(spec: MetricSpec, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    """Register a metric and return it.

    Series whose labels are enumerations are there from the start: one that reads 0 is not "no
    data", and `rate` misses nothing.
    """
    metric: Counter | Gauge | Histogram
    arguments = (spec.name, spec.help, list(spec.labels))
    if spec.kind is Histogram:
        buckets = (*spec.buckets, float("inf"))
        metric = Histogram(*arguments, registry=registry, buckets=buckets)
    elif spec.kind is Counter:
        metric = Counter(*arguments, registry=registry)
    else:
        metric = Gauge(*arguments, registry=registry)
    touch(metric, spec)
    return metric


def touch(metric: Counter | Gauge | Histogram, spec: MetricSpec) -> None:
    """Make the series of a metric whose labels are enumerations; none, if a label is open."""
    if spec.labels:
        for known in itertools.product(*spec.labels.values()):
            metric.labels(*known)


def with_process(registry: CollectorRegistry) -> CollectorRegistry:
    """Return a registry that shows another's metrics, and the process's own: CPU, memory, start.

    Their names (`process_cpu_seconds_total`, …) are those that all Prometheus clients use.
    """
    served = CollectorRegistry(auto_describe=True)
    served.register(registry)
    ProcessCollector(registry=served)
    return served


def described(specs: Iterable[MetricSpec], open_labels: Mapping[str, str]) -> list[str]:
    """Return metrics as lines of Markdown, each under a heading.

    Args:
        specs: the metrics.
        open_labels: for labels whose values are no enumeration, what bounds them.
    """
    lines: list[str] = []
    for spec in specs:
        lines += ["", f"## `{spec.name}`", "", f"{spec.kind.__name__}. {spec.help}"]
        if spec.labels:
            lines.append("")
        for label, known in spec.labels.items():
            shown = ", ".join(f"`{value}`" for value in known) or open_labels[label]
            lines.append(f"- label `{label}`: {shown}")
        if spec.buckets:
            lines += ["", "Buckets: " + ", ".join(f"{bound:g}" for bound in spec.buckets) + "."]
    return lines
