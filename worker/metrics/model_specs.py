"""Metrics of the models: which is served, and how good its lists are."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from schemas.metric_spec import MetricSpec, values
from worker.events_seen import EVENTS_SEEN_LABELS
from worker.metrics.buckets import PREPARE_SECONDS, STAGE_SECONDS
from worker.metrics.labels import RolloutResult, Variant

_SEEN: dict[str, tuple[str, ...]] = {"events_seen": EVENTS_SEEN_LABELS}
_VARIANT: dict[str, tuple[str, ...]] = {"variant": values(Variant)}

MODEL_SPECS = (
    MetricSpec(
        "innerloop_model_info",
        Gauge,
        "Always 1; its labels say which model runs where.",
        {"version": (), "device": (), "variant": ()},
    ),
    MetricSpec(
        "innerloop_rollout_desired_revision",
        Gauge,
        "Revision of the group's latest plan of which models to serve (topic `models`); 0 if "
        "there is none, or worker.follow_models is off.",
    ),
    MetricSpec(
        "innerloop_rollout_revision",
        Gauge,
        "Revision of the plan that is served; 0 for the bundle that the worker was started "
        "with. Other than the desired one: it is being prepared, or was refused.",
    ),
    MetricSpec(
        "innerloop_rollout_plans_total",
        Counter,
        "Plans by what became of them: taken, refused (the log says why; what was served is "
        "served on), or superseded by a later one while they were prepared.",
        {"result": values(RolloutResult)},
    ),
    MetricSpec(
        "innerloop_rollout_prepare_seconds",
        Histogram,
        "From reading a plan until its models are loaded, checked, and have the vectors of all "
        "items; events go on meanwhile.",
        {},
        PREPARE_SECONDS,
    ),
    MetricSpec(
        "innerloop_rollout_switch_seconds",
        Histogram,
        "Time between two micro-batches that a switch of models took.",
        {},
        STAGE_SECONDS,
    ),
    MetricSpec(
        "innerloop_rollout_retired_users",
        Gauge,
        "Users still in the arena of a model that serves no longer; they leave a few at a "
        "time, or with their next event.",
    ),
    MetricSpec(
        "innerloop_rollout_prequential_events_total",
        Counter,
        "As innerloop_prequential_events_total, by model, where worker.follow_models is on: "
        "the primary's users, and the candidate's. A shadow's events are the primary's, too.",
        {**_VARIANT, **_SEEN},
    ),
    MetricSpec(
        "innerloop_rollout_prequential_hits_total",
        Counter,
        "Of these, events on an item of the list that the model last had for the user, "
        "published or not.",
        {**_VARIANT, **_SEEN},
    ),
    MetricSpec(
        "innerloop_rollout_prequential_reciprocal_rank_total",
        Counter,
        "Sum of 1/position of the item on that list, 0 where it is not on it.",
        {**_VARIANT, **_SEEN},
    ),
    MetricSpec(
        "innerloop_prequential_events_total",
        Counter,
        "Events on a known item, of a type that is evidence of liking, by how many events of "
        "the user came before: the denominator of live hit-rate and MRR.",
        _SEEN,
    ),
    MetricSpec(
        "innerloop_prequential_hits_total",
        Counter,
        "Of these, events on an item of the list last published for the user (before the first "
        "event: of the list that a user without events would get). Over events: HR@k, "
        "k = worker.top_k.",
        _SEEN,
    ),
    MetricSpec(
        "innerloop_prequential_reciprocal_rank_total",
        Counter,
        "Sum of 1/position of the item on that list, 0 where it is not on it. Over events: MRR@k.",
        _SEEN,
    ),
    MetricSpec(
        "innerloop_prequential_popularity_hits_total",
        Counter,
        "Of the same events, those on one of the k items most popular in training: the "
        "baseline to hold the hits against. Stays 0 if the bundle names no popular items.",
        _SEEN,
    ),
)
