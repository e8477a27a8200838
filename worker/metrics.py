"""Every metric of the worker: name, type, labels, buckets and meaning. The only place naming them.

Labels take few, known values, never a user, item or event id. docs/metrics.md is written from here
(`worker.metrics_endpoint.metrics_reference`).
"""

from __future__ import annotations

import enum
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from schemas.clickstream import EventType
from schemas.dead_letter import DeadLetterReason
from schemas.metric_spec import MetricSpec, touch
from schemas.metric_spec import values as _values
from schemas.privacy import PrivacyAction
from worker.batch_histogram import BatchHistogram
from worker.events_seen import EVENTS_SEEN_LABELS
from worker.health import Health

_MetricT = TypeVar("_MetricT", Counter, Gauge, Histogram)


class Stage(enum.StrEnum):
    """The stages of a micro-batch, in order."""

    POLL = "poll"
    DECODE = "decode"
    FOLD = "fold"
    ENCODE = "encode"
    ADAPT = "adapt"
    RANK = "rank"
    PUBLISH = "publish"
    COMMIT = "commit"


class Outcome(enum.StrEnum):
    """What became of a record of `clickstream`: exactly one of these."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    ALREADY_APPLIED = "already_applied"
    NO_CONSENT = "no_consent"
    """The event says so, or its user has withdrawn consent."""
    ERASED = "erased"
    """Of before its user's request to be erased."""
    DEAD_LETTER = "dead_letter"


class PrivacyResult(enum.StrEnum):
    """What became of a privacy request."""

    DONE = "done"
    INVALID = "invalid"
    """It cannot be read."""


UNKNOWN_ACTION = "unknown"
"""In place of the `PrivacyAction` of a request that cannot be read."""


class NoStep(enum.StrEnum):
    """Why an applied event took no inner-loop step."""

    UNKNOWN_ITEM = "unknown_item"
    NO_EVIDENCE = "no_evidence"
    NOT_FINITE = "not_finite"


class CatalogueChange(enum.StrEnum):
    """What a record of `catalog` did."""

    ADDED = "added"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    REMOVED = "removed"
    INVALID = "invalid"


class RestoredState(enum.StrEnum):
    """What became of a record of `user-state` read at start or take-over."""

    RESTORED = "restored"
    ADAPTED_AGAIN = "adapted_again"
    ERASED = "erased"
    INVALID = "invalid"


class RestoreSource(enum.StrEnum):
    """Whence the users of an assigned partition came."""

    CHANGELOG = "changelog"
    SNAPSHOT = "snapshot"


class UserMove(enum.StrEnum):
    """How a user's state moved between the arena and the store, or went away."""

    EVICTED = "evicted"
    RETURNED = "returned"
    FORGOTTEN = "forgotten"


class TransitionSource(enum.StrEnum):
    """Whence the item memory learned a transition."""

    OWN = "own"
    FOLLOWED = "followed"
    RESTORED = "restored"


class TransitionDrop(enum.StrEnum):
    """Why the item memory did not learn a transition."""

    KNOWN = "known"
    IN_BUNDLE = "in_bundle"
    UNKNOWN_ITEM = "unknown_item"
    TIME_OUT_OF_RANGE = "time_out_of_range"


class TransitionRecord(enum.StrEnum):
    """What a record of `item-transitions` brought."""

    NEW = "new"
    KNOWN = "known"
    MALFORMED = "malformed"
    OTHER_VERSION = "other_version"
    INCONSISTENT = "inconsistent"


class Rebalance(enum.StrEnum):
    """How partitions came or went."""

    ASSIGNED = "assigned"
    REVOKED = "revoked"
    LOST = "lost"


class TransactionEnd(enum.StrEnum):
    """How a transaction ended."""

    COMMITTED = "committed"
    ABORTED = "aborted"


class Variant(enum.StrEnum):
    """Which of two models."""

    PRIMARY = "primary"
    CANDIDATE = "candidate"


class RolloutResult(enum.StrEnum):
    """What became of a plan of which models to serve."""

    TAKEN = "taken"
    REFUSED = "refused"
    SUPERSEDED = "superseded"


class ItemAvailability(enum.StrEnum):
    """Whether items may be recommended."""

    AVAILABLE = "available"
    UNAVAILABLE = "unavailable"


_STAGE_SECONDS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10,
)  # fmt: skip
_LATENCY_SECONDS = (
    0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800,
)  # fmt: skip
_RESTORE_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_REQUEST_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600, 86_400)
_PREPARE_SECONDS = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 16384, 65536)
_LOSS_NATS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 15)

OPEN_LABELS = {
    "partition": "a partition of `clickstream`",
    "version": "the bundle's version",
    "device": "cpu or cuda",
    "variant": "setting worker.variant, or the label of a model that is tried",
}
"""Labels whose values are not an enumeration here, and what bounds them."""


_SEEN: dict[str, tuple[str, ...]] = {"events_seen": EVENTS_SEEN_LABELS}
_VARIANT: dict[str, tuple[str, ...]] = {"variant": _values(Variant)}

SPECS: dict[str, MetricSpec] = {
    spec.name: spec
    for spec in (
        MetricSpec(
            "innerloop_records_total",
            Counter,
            "Records of `clickstream` by what became of them; each counts once.",
            {"outcome": _values(Outcome)},
        ),
        MetricSpec(
            "innerloop_events_total",
            Counter,
            "Events applied, by type; each is named by one recommendation.",
            {"type": _values(EventType)},
        ),
        MetricSpec(
            "innerloop_events_without_step_total",
            Counter,
            "Events applied that took no inner-loop step: their item is not in the catalogue, "
            "their type is no evidence of liking (impression, remove_from_cart, blank search), or "
            "the step's result was not finite.",
            {"cause": _values(NoStep)},
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
            {"reason": _values(DeadLetterReason)},
        ),
        MetricSpec(
            "innerloop_stage_seconds",
            Histogram,
            "Duration of one stage for one micro-batch.",
            {"stage": _values(Stage)},
            _STAGE_SECONDS,
        ),
        MetricSpec(
            "innerloop_event_to_recommendation_seconds",
            Histogram,
            "From the timestamp of an event's record (CreateTime or LogAppendTime; not the event's "
            "own time, which a replay sets in the past) to the acknowledgement of its "
            "recommendation, be it one to a later event, too; of the transaction's commit, where "
            "worker.delivery is exactly_once.",
            buckets=_LATENCY_SECONDS,
        ),
        MetricSpec(
            "innerloop_batch_records", Histogram, "Records in a micro-batch.", {}, _BATCH_SIZES
        ),
        MetricSpec(
            "innerloop_batch_users",
            Histogram,
            "Users with an applied event in a micro-batch.",
            {},
            _BATCH_SIZES,
        ),
        MetricSpec(
            "innerloop_batch_rounds",
            Histogram,
            "Batched adapt calls of a micro-batch: the most events of one user in it.",
            {},
            _BATCH_SIZES,
        ),
        MetricSpec(
            "innerloop_support_loss_before_nats",
            Histogram,
            "Support loss on an event's own item before its inner-loop step.",
            {},
            _LOSS_NATS,
        ),
        MetricSpec(
            "innerloop_support_loss_after_nats",
            Histogram,
            "Support loss on an event's own item after its inner-loop step.",
            {},
            _LOSS_NATS,
        ),
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
            {"move": _values(UserMove)},
        ),
        MetricSpec(
            "innerloop_catalogue_items", Gauge, "Items.", {"state": _values(ItemAvailability)}
        ),
        MetricSpec(
            "innerloop_catalogue_records_total",
            Counter,
            "Records of `catalog`, by what they did.",
            {"change": _values(CatalogueChange)},
        ),
        MetricSpec(
            "innerloop_ready",
            Gauge,
            "1 if the worker processes all events that it should, as /ready says; 0 while it reads "
            "the catalogue or users' states, or is stuck.",
        ),
        MetricSpec(
            "innerloop_loop_round_timestamp_seconds",
            Gauge,
            "When the worker's loop last came round, Unix time; 0 while it starts. A healthy one "
            "comes round several times a second, with events or without.",
        ),
        MetricSpec(
            "innerloop_privacy_requests_total",
            Counter,
            "Requests read from `privacy`, by action and what became of them. One that is invalid "
            "is lost to its user: somebody has to look at it. Carried out again after a crash, a "
            "request counts again.",
            {"action": (*_values(PrivacyAction), UNKNOWN_ACTION), "result": _values(PrivacyResult)},
        ),
        MetricSpec(
            "innerloop_privacy_request_seconds",
            Histogram,
            "From a privacy request's time to when the worker carried it out; days where a worker "
            "takes up requests of long ago.",
            {},
            _REQUEST_SECONDS,
        ),
        MetricSpec(
            "innerloop_privacy_users_barred",
            Gauge,
            "Users of the worker's partitions who asked to be erased or withdrew consent, at any "
            "time.",
        ),
        MetricSpec(
            "innerloop_consumer_lag_records",
            Gauge,
            "Records of `clickstream` not yet processed, as of the latest fetch.",
            {"partition": ()},
        ),
        MetricSpec(
            "innerloop_commit_failures_total",
            Counter,
            "Commits that failed because the group is rebalancing. They are tried again, or the "
            "partition's next owner reads the records again and recognises them.",
        ),
        MetricSpec(
            "innerloop_transactions_total",
            Counter,
            "Transactions, where worker.delivery is exactly_once. What an aborted one held is "
            "produced again in another, by this worker or by the partitions' next owner.",
            {"end": _values(TransactionEnd)},
        ),
        MetricSpec(
            "innerloop_rebalanced_partitions_total",
            Counter,
            "Partitions that came or went.",
            {"how": _values(Rebalance)},
        ),
        MetricSpec(
            "innerloop_restore_seconds",
            Histogram,
            "From the assignment of partitions until their users' states are read back.",
            {},
            _RESTORE_SECONDS,
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
            {"result": _values(RestoredState)},
        ),
        MetricSpec(
            "innerloop_restored_partitions_total",
            Counter,
            "Partitions whose users are back, by whether all of them were read from `user-state` "
            "or only the changes since a snapshot in the state folder.",
            {"source": _values(RestoreSource)},
        ),
        MetricSpec(
            "innerloop_item_transitions_total",
            Counter,
            "Transitions that the item memory learned: from this worker's own users, from other "
            "workers, or from before its start.",
            {"source": _values(TransitionSource)},
        ),
        MetricSpec(
            "innerloop_item_transitions_dropped_total",
            Counter,
            "Transitions that the item memory did not learn: known already, as their event was "
            "processed again after a crash or a take-over; in the bundle's own memory; on an item "
            "not in the catalogue; or too far in the future.",
            {"reason": _values(TransitionDrop)},
        ),
        MetricSpec(
            "innerloop_item_transition_records_total",
            Counter,
            "Records of `item-transitions` read, by what they brought. What this worker published "
            "itself it reads as known. Malformed, inconsistent ones and those of another layout "
            "are skipped.",
            {"result": _values(TransitionRecord)},
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
            _LATENCY_SECONDS,
        ),
        MetricSpec(
            "innerloop_item_memory_restore_seconds",
            Histogram,
            "Duration of reading `item-transitions` back at the start.",
            {},
            _RESTORE_SECONDS,
        ),
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
            {"result": _values(RolloutResult)},
        ),
        MetricSpec(
            "innerloop_rollout_prepare_seconds",
            Histogram,
            "From reading a plan until its models are loaded, checked, and have the vectors of all "
            "items; events go on meanwhile.",
            {},
            _PREPARE_SECONDS,
        ),
        MetricSpec(
            "innerloop_rollout_switch_seconds",
            Histogram,
            "Time between two micro-batches that a switch of models took.",
            {},
            _STAGE_SECONDS,
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
            "Sum of 1/position of the item on that list, 0 where it is not on it. Over events: "
            "MRR@k.",
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
}
"""The metrics by name."""


class WorkerMetrics:
    """The worker's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.records = self._counter("innerloop_records_total")
        self.events = self._counter("innerloop_events_total")
        self.events_without_step = self._counter("innerloop_events_without_step_total")
        self.events_coalesced = self._counter("innerloop_events_coalesced_total")
        self.recommendations_deferred = self._counter("innerloop_recommendations_deferred_total")
        self.users_owed = self._gauge("innerloop_users_owed")
        self.dead_letters = self._counter("innerloop_dead_letters_total")
        self.stage_seconds = self._histogram("innerloop_stage_seconds")
        self.latency_seconds = self._batch_histogram("innerloop_event_to_recommendation_seconds")
        self.batch_records = self._histogram("innerloop_batch_records")
        self.batch_users = self._histogram("innerloop_batch_users")
        self.batch_rounds = self._histogram("innerloop_batch_rounds")
        self.support_loss_before = self._batch_histogram("innerloop_support_loss_before_nats")
        self.support_loss_after = self._batch_histogram("innerloop_support_loss_after_nats")
        self.users_resident = self._gauge("innerloop_users_resident")
        self.users_stored = self._gauge("innerloop_users_stored")
        self.user_moves = self._counter("innerloop_user_moves_total")
        self.restore_left = self._gauge("innerloop_restore_left_records")
        self.catalogue_items = self._gauge("innerloop_catalogue_items")
        self.catalogue_records = self._counter("innerloop_catalogue_records_total")
        self.ready = self._gauge("innerloop_ready")
        self.loop_round = self._gauge("innerloop_loop_round_timestamp_seconds")
        self._make_privacy()
        self._make_progress()
        self.rebalanced_partitions = self._counter("innerloop_rebalanced_partitions_total")
        self.restore_seconds = self._histogram("innerloop_restore_seconds")
        self.restored_states = self._counter("innerloop_restored_states_total")
        self.restored_partitions = self._counter("innerloop_restored_partitions_total")
        self.item_transitions = self._counter("innerloop_item_transitions_total")
        self.item_transitions_dropped = self._counter("innerloop_item_transitions_dropped_total")
        self.item_transition_records = self._counter("innerloop_item_transition_records_total")
        self.item_transitions_bytes = self._counter(
            "innerloop_item_transitions_published_bytes_total"
        )
        self.item_transitions_lag = self._gauge("innerloop_item_transitions_lag_records")
        self.item_transitions_delay_seconds = self._histogram(
            "innerloop_item_transitions_delay_seconds"
        )
        self.item_memory_restore_seconds = self._histogram("innerloop_item_memory_restore_seconds")
        self.model_info = self._gauge("innerloop_model_info")
        self._make_rollout()
        self._make_trending()
        self.prequential_events = self._counter("innerloop_prequential_events_total")
        self.prequential_hits = self._counter("innerloop_prequential_hits_total")
        self.prequential_reciprocal_rank = self._counter(
            "innerloop_prequential_reciprocal_rank_total"
        )
        self.prequential_popularity_hits = self._counter(
            "innerloop_prequential_popularity_hits_total"
        )

    @contextmanager
    def time(self, stage: Stage) -> Iterator[None]:
        """Time the block as one stage of one micro-batch."""
        with self.stage_seconds.labels(stage.value).time():
            yield

    def watch(self, health: Health) -> None:
        """Take from here at each scrape whether the worker is ready and when it came round."""

        def round_time() -> float:
            age_s = health.age_s()
            return 0.0 if age_s is None else time.time() - age_s

        self.ready.set_function(lambda: float(health.not_ready() is None))
        self.loop_round.set_function(round_time)

    def _make_rollout(self) -> None:
        self.rollout_desired_revision = self._gauge("innerloop_rollout_desired_revision")
        self.rollout_revision = self._gauge("innerloop_rollout_revision")
        self.rollout_plans = self._counter("innerloop_rollout_plans_total")
        self.rollout_prepare_seconds = self._histogram("innerloop_rollout_prepare_seconds")
        self.rollout_switch_seconds = self._histogram("innerloop_rollout_switch_seconds")
        self.rollout_retired_users = self._gauge("innerloop_rollout_retired_users")
        self.rollout_prequential_events = self._counter(
            "innerloop_rollout_prequential_events_total"
        )
        self.rollout_prequential_hits = self._counter("innerloop_rollout_prequential_hits_total")
        self.rollout_prequential_reciprocal_rank = self._counter(
            "innerloop_rollout_prequential_reciprocal_rank_total"
        )

    def _make_progress(self) -> None:
        self.consumer_lag = self._gauge("innerloop_consumer_lag_records")
        self.commit_failures = self._counter("innerloop_commit_failures_total")
        self.transactions = self._counter("innerloop_transactions_total")

    def _make_privacy(self) -> None:
        self.privacy_requests = self._counter("innerloop_privacy_requests_total")
        self.privacy_seconds = self._histogram("innerloop_privacy_request_seconds")
        self.privacy_users_barred = self._gauge("innerloop_privacy_users_barred")

    def _make_trending(self) -> None:
        self.trending_items = self._gauge("innerloop_trending_prior_items")
        self.trending_age = self._gauge("innerloop_trending_prior_age_seconds")
        self.trending_age.set(math.nan)
        self.trending_invalid = self._counter("innerloop_trending_records_invalid_total")

    def _counter(self, name: str) -> Counter:
        return self._touch(Counter(*self._arguments(SPECS[name]), registry=self.registry), name)

    def _gauge(self, name: str) -> Gauge:
        return self._touch(Gauge(*self._arguments(SPECS[name]), registry=self.registry), name)

    def _histogram(self, name: str) -> Histogram:
        spec = SPECS[name]
        histogram = Histogram(
            *self._arguments(spec), registry=self.registry, buckets=(*spec.buckets, float("inf"))
        )
        return self._touch(histogram, name)

    def _batch_histogram(self, name: str) -> BatchHistogram:
        spec = SPECS[name]
        return BatchHistogram(name, spec.help, spec.buckets, self.registry)

    @staticmethod
    def _arguments(spec: MetricSpec) -> tuple[str, str, list[str]]:
        return spec.name, spec.help, list(spec.labels)

    @staticmethod
    def _touch(metric: _MetricT, name: str) -> _MetricT:
        touch(metric, SPECS[name])
        return metric
