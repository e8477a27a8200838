"""Every metric of the worker: name, type, labels, buckets and meaning. The only place naming them.

Labels take few, known values (`labels`), never a user, item or event id. A metric is declared in
one of the modules `…_specs` and made in `recording`. docs/metrics.md is written from here
(`worker.metrics_endpoint.metrics_reference`).
"""

from __future__ import annotations

from worker.metrics.labels import (
    OPEN_LABELS,
    UNKNOWN_ACTION,
    CatalogueChange,
    ItemAvailability,
    NoStep,
    Outcome,
    PrivacyResult,
    Rebalance,
    RestoredState,
    RestoreSource,
    RolloutResult,
    SpanFate,
    Stage,
    TracedRecord,
    TransactionEnd,
    TransitionDrop,
    TransitionRecord,
    TransitionSource,
    UserMove,
    Variant,
)
from worker.metrics.recording import WorkerMetrics
from worker.metrics.specs import SPECS

__all__ = [
    "OPEN_LABELS",
    "SPECS",
    "UNKNOWN_ACTION",
    "CatalogueChange",
    "ItemAvailability",
    "NoStep",
    "Outcome",
    "PrivacyResult",
    "Rebalance",
    "RestoreSource",
    "RestoredState",
    "RolloutResult",
    "SpanFate",
    "Stage",
    "TracedRecord",
    "TransactionEnd",
    "TransitionDrop",
    "TransitionRecord",
    "TransitionSource",
    "UserMove",
    "Variant",
    "WorkerMetrics",
]
