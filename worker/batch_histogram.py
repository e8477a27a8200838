"""A Prometheus histogram that takes a batch of observations at once.

`prometheus_client.Histogram.observe` goes through Python's frames, a lock and the buckets for every
single observation.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from prometheus_client import CollectorRegistry, Histogram, Metric


class BatchHistogram:
    """A histogram without labels; what is scraped is what `prometheus_client.Histogram` shows.

    Safe to be scraped while another thread observes: a scrape shows whole batches.

    Args:
        name: as scraped.
        documentation: its help text.
        buckets: upper bounds, ascending; one of +∞ is added.
        registry: where it registers.
    """

    def __init__(
        self,
        name: str,
        documentation: str,
        buckets: Sequence[float],
        registry: CollectorRegistry,
    ) -> None:
        bounds = (*buckets, float("inf"))
        # Its own numbers stay 0. It says how a histogram is written: names, labels, whether and
        # when it was created.
        self._shown = Histogram(name, documentation, registry=None, buckets=bounds)
        self._bounds = np.array(bounds)
        self._counts: NDArray[np.int64] = np.zeros(len(bounds), np.int64)
        self._sum = 0.0
        self._lock = threading.Lock()
        registry.register(self)

    def observe(self, value: float) -> None:
        """Observe one value."""
        self.observe_many([value])

    def observe_many(self, values: ArrayLike) -> None:
        """Observe values, (n,). A NaN adds to the sum, making it NaN, and to no bucket."""
        observed = np.asarray(values, np.float64)
        # The first bound that is not below the value; past the last one for NaN.
        places = np.searchsorted(self._bounds, observed, side="left")
        counts = np.bincount(places, minlength=len(self._bounds) + 1)[: len(self._bounds)]
        total = float(observed.sum())
        with self._lock:
            self._counts += counts
            self._sum += total

    def describe(self) -> Iterator[Metric]:
        """Yield the metric without samples, as a registry asks for it."""
        yield from self._shown.describe()

    def collect(self) -> Iterator[Metric]:
        """Yield the metric as it is now."""
        with self._lock:
            cumulated, total = self._counts.cumsum(), self._sum
        for family in self._shown.collect():
            values = {f"{family.name}_count": float(cumulated[-1]), f"{family.name}_sum": total}
            buckets = iter(cumulated.tolist())
            family.samples = [
                sample._replace(
                    value=float(next(buckets))
                    if sample.name == f"{family.name}_bucket"
                    else values.get(sample.name, sample.value)
                )
                for sample in family.samples
            ]
            yield family
