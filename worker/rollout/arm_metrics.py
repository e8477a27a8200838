"""The metrics of one arm among several: what is published is counted once, quality by variant."""

from __future__ import annotations

from typing import cast

from prometheus_client import Counter

from worker.metrics import Variant, WorkerMetrics


class ArmMetrics(WorkerMetrics):
    """The worker's metrics as an arm is given them.

    Its live quality is counted by variant, too. A shadow's goes there alone, and all else of it
    nowhere, for it publishes nothing.

    Args:
        worker: the metrics of the worker.
        variant: of the arm.
        shadow: whether it is a shadow.
    """

    def __init__(self, worker: WorkerMetrics, variant: Variant, *, shadow: bool) -> None:
        if shadow:
            super().__init__()
        else:
            self.__dict__.update(worker.__dict__)
        self.variant = variant
        for name in ("events", "hits", "reciprocal_rank"):
            whole: Counter = getattr(self, f"prequential_{name}")
            by_variant: Counter = getattr(worker, f"rollout_prequential_{name}")
            both = cast(Counter, _Both(self, whole, by_variant))
            setattr(self, f"prequential_{name}", both)


class _Both:
    """A counter by events seen that counts by variant, too."""

    def __init__(self, arm: ArmMetrics, whole: Counter, by_variant: Counter) -> None:
        self._arm = arm
        self._whole = whole
        self._by_variant = by_variant
        self._events_seen = ""

    def labels(self, events_seen: str) -> _Both:
        self._events_seen = events_seen
        return self

    def inc(self, amount: float) -> None:
        self._whole.labels(self._events_seen).inc(amount)
        self._by_variant.labels(self._arm.variant.value, self._events_seen).inc(amount)
