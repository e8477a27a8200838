"""Metrics of users: where their states are, whence they came, and what users asked for."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from schemas.metric_spec import MetricSpec, values
from schemas.privacy import PrivacyAction
from worker.metrics.buckets import REQUEST_SECONDS, RESTORE_SECONDS
from worker.metrics.labels import (
    UNKNOWN_ACTION,
    PrivacyResult,
    RestoredState,
    RestoreSource,
    UserMove,
)

USER_SPECS = (
    MetricSpec("innerloop_users_resident", Gauge, "Users whose state is in the arena."),
    MetricSpec(
        "innerloop_users_stored",
        Gauge,
        "Users of the worker's partitions who are not in the arena: read back and without an "
        "event since, or evicted.",
    ),
    MetricSpec(
        "innerloop_user_moves_total",
        Counter,
        "Users who left the arena for the store, as more came than `worker.resident_users` or "
        "another model serves them; "
        "users who came back from it; and users forgotten because they were idle for longer "
        "than `worker.user_ttl_days`.",
        {"move": values(UserMove)},
    ),
    MetricSpec(
        "innerloop_privacy_requests_total",
        Counter,
        "Requests read from `privacy`, by action and what became of them. One that is invalid "
        "is lost to its user: somebody has to look at it. Carried out again after a crash, a "
        "request counts again.",
        {"action": (*values(PrivacyAction), UNKNOWN_ACTION), "result": values(PrivacyResult)},
    ),
    MetricSpec(
        "innerloop_privacy_request_seconds",
        Histogram,
        "From a privacy request's time to when the worker carried it out; days where a worker "
        "takes up requests of long ago.",
        {},
        REQUEST_SECONDS,
    ),
    MetricSpec(
        "innerloop_privacy_users_barred",
        Gauge,
        "Users of the worker's partitions who asked to be erased or withdrew consent, at any time.",
    ),
    MetricSpec(
        "innerloop_restore_seconds",
        Histogram,
        "From the assignment of partitions until their users' states are read back.",
        {},
        RESTORE_SECONDS,
    ),
    MetricSpec(
        "innerloop_restore_left_records",
        Gauge,
        "Offsets of `user-state` still to be read before the events of newly assigned "
        "partitions are processed, as of the latest fetch.",
    ),
    MetricSpec(
        "innerloop_restored_states_total",
        Counter,
        "Records of `user-state` read back, by what became of them. Users are adapted again "
        "(their state is of another bundle) when they have an event.",
        {"result": values(RestoredState)},
    ),
    MetricSpec(
        "innerloop_restored_partitions_total",
        Counter,
        "Partitions whose users are back, by whether all of them were read from `user-state` "
        "or only the changes since a snapshot in the state folder.",
        {"source": values(RestoreSource)},
    ),
)
