"""Every metric of `innerloop insights`: name, type, labels, buckets and meaning.

Labels take few, known values, never a user, item or event id; variants are those that the worker's
settings name.
"""

from __future__ import annotations

import enum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from schemas.metric_spec import MetricSpec, build, values
from schemas.privacy import PrivacyAction
from worker.insights.attribution import Credit
from worker.insights.partition import Fate, Work


class SourceTopic(enum.StrEnum):
    """Which of the two topics."""

    EVENTS = "clickstream"
    RECOMMENDATIONS = "recommendations"


class Indicator(enum.StrEnum):
    """A share of recommendations, or of events."""

    CLICK_THROUGH = "click_through_rate"
    ADD_TO_CART = "add_to_cart_rate"
    CONVERSION = "conversion_rate"
    HIT_RATE = "hit_rate"


class Bound(enum.StrEnum):
    """The estimate, or an end of its confidence interval."""

    ESTIMATE = "estimate"
    LOW = "low"
    HIGH = "high"


class PrivacyResult(enum.StrEnum):
    """What became of a privacy request."""

    DONE = "done"
    INVALID = "invalid"
    """It cannot be read, and so not carried out."""


UNKNOWN_ACTION = "unknown"
"""Of a request that cannot be read, and of a null value that names none."""


class Change(enum.StrEnum):
    """How the live hit-rate changed."""

    FELL = "fell"
    ROSE = "rose"


OPEN_LABELS = {
    "variant": "the variants that the recommendations name",
    "currency": "the currencies of credited purchases, empty for prices without one",
}
"""What bounds the values of labels that no list does."""


_VARIANT: dict[str, tuple[str, ...]] = {"variant": ()}
_BOUND: dict[str, tuple[str, ...]] = {"bound": values(Bound)}

SPECS: dict[str, MetricSpec] = {
    spec.name: spec
    for spec in (
        MetricSpec(
            "innerloop_insights_records_total",
            Counter,
            "Records by topic and what became of them; those of users that are not sampled count.",
            {"topic": values(SourceTopic), "fate": values(Fate)},
        ),
        MetricSpec(
            "innerloop_insights_credits_total",
            Counter,
            "Clicks, carts and purchases, by whether they were credited to a recommendation: one "
            "that they named or the user's latest with the item; or why not.",
            {"credit": values(Credit)},
        ),
        MetricSpec(
            "innerloop_insights_privacy_requests_total",
            Counter,
            "Privacy requests by what was asked for: users removed here as null values in "
            "recommendations told, and requests that cannot be read, which every process counts "
            "at every start.",
            {
                "action": (*values(PrivacyAction), UNKNOWN_ACTION),
                "result": values(PrivacyResult),
            },
        ),
        MetricSpec(
            "innerloop_insights_late_recommendations_total",
            Counter,
            "Recommendations read when events that they may have caused were already decided; "
            "raise insights.join_wait_seconds if it grows.",
        ),
        MetricSpec(
            "innerloop_insights_pending_events",
            Gauge,
            "Events that wait for recommendations made before them.",
        ),
        MetricSpec(
            "innerloop_insights_checkpoint_seconds",
            Histogram,
            "From the start of a round of work to its records' acknowledgement.",
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
        ),
        MetricSpec(
            "innerloop_insights_recommendations",
            Gauge,
            "Recommendations of the latest insights.indicator_days days, scaled up to all users. "
            "This and all below: only in the process that adds partitions up.",
            _VARIANT,
        ),
        MetricSpec(
            "innerloop_insights_rate",
            Gauge,
            "Share of recommendations with a click, an add-to-cart or a purchase, and share of "
            "next events whose item was in the user's last recommendation; with the score "
            "interval of insights.confidence.",
            {**_VARIANT, "rate": values(Indicator), **_BOUND},
        ),
        MetricSpec(
            "innerloop_insights_revenue_per_recommendation",
            Gauge,
            "Revenue of credited purchases per recommendation, with its confidence interval.",
            {**_VARIANT, "currency": (), **_BOUND},
        ),
        MetricSpec(
            "innerloop_insights_drift_hit_rate",
            Gauge,
            "Hit-rate since the last change that was found.",
            _VARIANT,
        ),
        MetricSpec(
            "innerloop_insights_drift_changes",
            Gauge,
            "Changes of the hit-rate found so far; an alarm wants to know of those that fell. "
            "It is kept over restarts, and only grows.",
            {**_VARIANT, "change": values(Change)},
        ),
        MetricSpec(
            "innerloop_insights_trending_missing",
            Gauge,
            "The most that a trending item's score may be too low by, as counters are bounded.",
        ),
        MetricSpec(
            "innerloop_insights_trending_total",
            Counter,
            "Messages published to `trending`.",
        ),
    )
}
"""All metrics, by name."""


class InsightsMetrics:
    """The metrics of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.records = self._counter("records_total")
        self.credits = self._counter("credits_total")
        self.privacy_requests = self._counter("privacy_requests_total")
        self.late = self._counter("late_recommendations_total")
        self.pending = self._gauge("pending_events")
        self.checkpoint_seconds = self._histogram("checkpoint_seconds")
        self.recommendations = self._gauge("recommendations")
        self.rate = self._gauge("rate")
        self.revenue = self._gauge("revenue_per_recommendation")
        self.drift_hit_rate = self._gauge("drift_hit_rate")
        self.drift_changes = self._gauge("drift_changes")
        self.trending_missing = self._gauge("trending_missing")
        self.trending = self._counter("trending_total")

    def count(self, work: Work, late: int) -> None:
        """Count what was done in a round of work.

        Args:
            work: done.
            late: recommendations in it that came late.
        """
        for topic, fates in (
            (SourceTopic.EVENTS, work.events),
            (SourceTopic.RECOMMENDATIONS, work.recommendations),
        ):
            for fate, number in fates.items():
                self.records.labels(topic.value, fate.value).inc(number)
        for credit, number in work.credits.items():
            self.credits.labels(credit.value).inc(number)
        for erasure in work.erasures:
            action = UNKNOWN_ACTION if erasure.request is None else erasure.request.action.value
            self.privacy_requests.labels(action, PrivacyResult.DONE.value).inc()
        self.late.inc(late)

    def _counter(self, name: str) -> Counter:
        metric = build(SPECS[f"innerloop_insights_{name}"], self.registry)
        assert isinstance(metric, Counter)
        return metric

    def _gauge(self, name: str) -> Gauge:
        metric = build(SPECS[f"innerloop_insights_{name}"], self.registry)
        assert isinstance(metric, Gauge)
        return metric

    def _histogram(self, name: str) -> Histogram:
        metric = build(SPECS[f"innerloop_insights_{name}"], self.registry)
        assert isinstance(metric, Histogram)
        return metric
