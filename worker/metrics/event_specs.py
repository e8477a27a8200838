"""Metrics of what becomes of events, and of the micro-batches that they come in."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from schemas.clickstream import EventType
from schemas.dead_letter import DeadLetterReason
from schemas.metric_spec import MetricSpec, values
from worker.metrics.buckets import BATCH_SIZES, LATENCY_SECONDS, LOSS_NATS, STAGE_SECONDS
from worker.metrics.labels import NoStep, Outcome, Stage

EVENT_SPECS = (
    MetricSpec(
        "innerloop_records_total",
        Counter,
        "Records of `clickstream` by what became of them; each counts once.",
        {"outcome": values(Outcome)},
    ),
    MetricSpec(
        "innerloop_events_total",
        Counter,
        "Events applied, by type; each is named by one recommendation.",
        {"type": values(EventType)},
    ),
    MetricSpec(
        "innerloop_events_without_step_total",
        Counter,
        "Events applied that took no inner-loop step: their item is not in the catalogue, "
        "their type is no evidence of liking (impression, remove_from_cart, blank search), or "
        "the step's result was not finite.",
        {"cause": values(NoStep)},
    ),
    MetricSpec(
        "innerloop_events_coalesced_total",
        Counter,
        "Events that were answered together with a later one of the user, where "
        "worker.coalesce is on or worker.min_interval_ms is not 0: each is a ranking spared.",
    ),
    MetricSpec(
        "innerloop_recommendations_deferred_total",
        Counter,
        "Recommendations put off, as their user had one less than worker.min_interval_ms ago.",
    ),
    MetricSpec(
        "innerloop_users_owed",
        Gauge,
        "Users with events whose recommendation is put off. Offsets are not committed beyond "
        "the first of these events.",
    ),
    MetricSpec(
        "innerloop_dead_letters_total",
        Counter,
        "Records put on `clickstream.dlq`, by reason.",
        {"reason": values(DeadLetterReason)},
    ),
    MetricSpec(
        "innerloop_stage_seconds",
        Histogram,
        "Duration of one stage for one micro-batch.",
        {"stage": values(Stage)},
        STAGE_SECONDS,
    ),
    MetricSpec(
        "innerloop_event_to_recommendation_seconds",
        Histogram,
        "From the timestamp of an event's record (CreateTime or LogAppendTime; not the event's "
        "own time, which a replay sets in the past) to the acknowledgement of its "
        "recommendation, be it one to a later event, too; of the transaction's commit, where "
        "worker.delivery is exactly_once.",
        buckets=LATENCY_SECONDS,
    ),
    MetricSpec("innerloop_batch_records", Histogram, "Records in a micro-batch.", {}, BATCH_SIZES),
    MetricSpec(
        "innerloop_batch_users",
        Histogram,
        "Users with an applied event in a micro-batch.",
        {},
        BATCH_SIZES,
    ),
    MetricSpec(
        "innerloop_batch_rounds",
        Histogram,
        "Batched adapt calls of a micro-batch: the most events of one user in it.",
        {},
        BATCH_SIZES,
    ),
    MetricSpec(
        "innerloop_support_loss_before_nats",
        Histogram,
        "Support loss on an event's own item before its inner-loop step.",
        {},
        LOSS_NATS,
    ),
    MetricSpec(
        "innerloop_support_loss_after_nats",
        Histogram,
        "Support loss on an event's own item after its inner-loop step.",
        {},
        LOSS_NATS,
    ),
)
