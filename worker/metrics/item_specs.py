"""Metrics of the catalogue, the item memory and what is trending."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from schemas.metric_spec import MetricSpec, values
from worker.metrics.buckets import LATENCY_SECONDS, RESTORE_SECONDS
from worker.metrics.labels import (
    CatalogueChange,
    ItemAvailability,
    TransitionDrop,
    TransitionRecord,
    TransitionSource,
)

ITEM_SPECS = (
    MetricSpec("innerloop_catalogue_items", Gauge, "Items.", {"state": values(ItemAvailability)}),
    MetricSpec(
        "innerloop_catalogue_records_total",
        Counter,
        "Records of `catalog`, by what they did.",
        {"change": values(CatalogueChange)},
    ),
    MetricSpec(
        "innerloop_item_transitions_total",
        Counter,
        "Transitions that the item memory learned: from this worker's own users, from other "
        "workers, or from before its start.",
        {"source": values(TransitionSource)},
    ),
    MetricSpec(
        "innerloop_item_transitions_dropped_total",
        Counter,
        "Transitions that the item memory did not learn: known already, as their event was "
        "processed again after a crash or a take-over; in the bundle's own memory; on an item "
        "not in the catalogue; or too far in the future.",
        {"reason": values(TransitionDrop)},
    ),
    MetricSpec(
        "innerloop_item_transition_records_total",
        Counter,
        "Records of `item-transitions` read, by what they brought. What this worker published "
        "itself it reads as known. Malformed, inconsistent ones and those of another layout "
        "are skipped.",
        {"result": values(TransitionRecord)},
    ),
    MetricSpec(
        "innerloop_item_transitions_published_bytes_total",
        Counter,
        "Bytes of keys and values put on `item-transitions`, before compression.",
    ),
    MetricSpec(
        "innerloop_item_transitions_lag_records",
        Gauge,
        "Offsets of `item-transitions` not yet read, as of the latest fetch.",
        {"partition": ()},
    ),
    MetricSpec(
        "innerloop_item_transitions_delay_seconds",
        Histogram,
        "From the timestamp of another worker's record to learning what is new in it.",
        {},
        LATENCY_SECONDS,
    ),
    MetricSpec(
        "innerloop_item_memory_restore_seconds",
        Histogram,
        "Duration of reading `item-transitions` back at the start.",
        {},
        RESTORE_SECONDS,
    ),
    MetricSpec(
        "innerloop_trending_prior_items",
        Gauge,
        "With worker.trending_prior: items that count as trending now, on any surface, whether "
        "the catalogue has them or not.",
    ),
    MetricSpec(
        "innerloop_trending_prior_age_seconds",
        Gauge,
        "Age of the newest message of `trending`, by its window_end; NaN where there is none, "
        "or worker.trending_prior is off.",
    ),
    MetricSpec(
        "innerloop_trending_records_invalid_total",
        Counter,
        "Records of `trending` that cannot be used.",
    ),
)
