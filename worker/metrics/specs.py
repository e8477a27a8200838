"""All metrics of the worker, by name."""

from __future__ import annotations

from schemas.metric_spec import MetricSpec
from worker.metrics.event_specs import EVENT_SPECS
from worker.metrics.item_specs import ITEM_SPECS
from worker.metrics.model_specs import MODEL_SPECS
from worker.metrics.process_specs import PROCESS_SPECS
from worker.metrics.user_specs import USER_SPECS

SPECS: dict[str, MetricSpec] = {
    spec.name: spec
    for spec in (*EVENT_SPECS, *USER_SPECS, *ITEM_SPECS, *PROCESS_SPECS, *MODEL_SPECS)
}
"""The metrics by name, in the order of their documentation."""
