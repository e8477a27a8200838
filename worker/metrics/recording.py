"""What the worker counts and measures with, in a registry of its own."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from schemas.metric_spec import MetricSpec, touch
from worker.batch_histogram import BatchHistogram
from worker.health import Health
from worker.metrics.labels import Stage
from worker.metrics.specs import SPECS

_MetricT = TypeVar("_MetricT", Counter, Gauge, Histogram)


class WorkerMetrics:
    """The worker's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.on_stage: Callable[[Stage, float, float], None] | None = None
        """Told of each stage, with the times that `took` is given."""
        self._make_events()
        self._make_batches()
        self._make_users()
        self._make_privacy()
        self._make_catalogue()
        self._make_item_memory()
        self._make_trending()
        self._make_progress()
        self._make_tracing()
        self._make_rollout()
        self._make_quality()

    @contextmanager
    def time(self, stage: Stage) -> Iterator[None]:
        """Time the block as one stage of one micro-batch."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.took(stage, begun, time.perf_counter())

    def took(self, stage: Stage, begun: float, ended: float) -> None:
        """Take note of one stage of one micro-batch.

        Args:
            stage: which.
            begun: when, by `time.perf_counter`.
            ended: likewise.
        """
        self.stage_seconds.labels(stage.value).observe(ended - begun)
        if self.on_stage is not None:
            self.on_stage(stage, begun, ended)

    def watch(self, health: Health) -> None:
        """Take from here at each scrape whether the worker is ready and when it came round."""

        def round_time() -> float:
            age_s = health.age_s()
            return 0.0 if age_s is None else time.time() - age_s

        self.ready.set_function(lambda: float(health.not_ready() is None))
        self.loop_round.set_function(round_time)

    def _make_events(self) -> None:
        self.records = self._counter("innerloop_records_total")
        self.events = self._counter("innerloop_events_total")
        self.events_without_step = self._counter("innerloop_events_without_step_total")
        self.events_coalesced = self._counter("innerloop_events_coalesced_total")
        self.recommendations_deferred = self._counter("innerloop_recommendations_deferred_total")
        self.users_owed = self._gauge("innerloop_users_owed")
        self.dead_letters = self._counter("innerloop_dead_letters_total")

    def _make_batches(self) -> None:
        self.stage_seconds = self._histogram("innerloop_stage_seconds")
        self.latency_seconds = self._batch_histogram("innerloop_event_to_recommendation_seconds")
        self.batch_records = self._histogram("innerloop_batch_records")
        self.batch_users = self._histogram("innerloop_batch_users")
        self.batch_rounds = self._histogram("innerloop_batch_rounds")
        self.support_loss_before = self._batch_histogram("innerloop_support_loss_before_nats")
        self.support_loss_after = self._batch_histogram("innerloop_support_loss_after_nats")

    def _make_users(self) -> None:
        self.users_resident = self._gauge("innerloop_users_resident")
        self.users_stored = self._gauge("innerloop_users_stored")
        self.user_moves = self._counter("innerloop_user_moves_total")
        self.restore_seconds = self._histogram("innerloop_restore_seconds")
        self.restore_left = self._gauge("innerloop_restore_left_records")
        self.restored_states = self._counter("innerloop_restored_states_total")
        self.restored_partitions = self._counter("innerloop_restored_partitions_total")

    def _make_privacy(self) -> None:
        self.privacy_requests = self._counter("innerloop_privacy_requests_total")
        self.privacy_seconds = self._histogram("innerloop_privacy_request_seconds")
        self.privacy_users_barred = self._gauge("innerloop_privacy_users_barred")

    def _make_catalogue(self) -> None:
        self.catalogue_items = self._gauge("innerloop_catalogue_items")
        self.catalogue_records = self._counter("innerloop_catalogue_records_total")

    def _make_item_memory(self) -> None:
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

    def _make_trending(self) -> None:
        self.trending_items = self._gauge("innerloop_trending_prior_items")
        self.trending_age = self._gauge("innerloop_trending_prior_age_seconds")
        self.trending_age.set(math.nan)
        self.trending_invalid = self._counter("innerloop_trending_records_invalid_total")

    def _make_progress(self) -> None:
        self.ready = self._gauge("innerloop_ready")
        self.loop_round = self._gauge("innerloop_loop_round_timestamp_seconds")
        self.consumer_lag = self._gauge("innerloop_consumer_lag_records")
        self.commit_failures = self._counter("innerloop_commit_failures_total")
        self.transactions = self._counter("innerloop_transactions_total")
        self.rebalanced_partitions = self._counter("innerloop_rebalanced_partitions_total")

    def _make_tracing(self) -> None:
        self.traced_records = self._counter("innerloop_traced_records_total")
        self.trace_spans = self._counter("innerloop_trace_spans_total")

    def _make_rollout(self) -> None:
        self.model_info = self._gauge("innerloop_model_info")
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

    def _make_quality(self) -> None:
        self.prequential_events = self._counter("innerloop_prequential_events_total")
        self.prequential_hits = self._counter("innerloop_prequential_hits_total")
        self.prequential_reciprocal_rank = self._counter(
            "innerloop_prequential_reciprocal_rank_total"
        )
        self.prequential_popularity_hits = self._counter(
            "innerloop_prequential_popularity_hits_total"
        )

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
