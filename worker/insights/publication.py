"""Adding partitions up, and telling the world: `trending`, indicators and drift."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import faust
from faust.types import TP

from schemas.codec import Codec
from schemas.settings import InsightsSettings
from worker.insights.faust_parts import DurableTable, Event, InsightsApp, in_partition
from worker.insights.indicators import Indicators, indicators
from worker.insights.intervals import Estimate
from worker.insights.metrics import Bound, Change, Indicator, InsightsMetrics
from worker.insights.parts import PartKey, decode_key
from worker.insights.topics import InsightsTopics
from worker.insights.totals import Totals, decode_drift, encode_drift
from worker.insights.trends import Decay

_DRIFT = b"drift/"


class Publication:
    """The one process that has the partition of `insights-parts` adds up and publishes."""

    def __init__(
        self,
        app: InsightsApp,
        topics: InsightsTopics,
        decay: Decay,
        settings: InsightsSettings,
        *,
        table: DurableTable,
        trending: faust.TopicT,
        codec: Codec,
        metrics: InsightsMetrics,
    ) -> None:
        self._app = app
        self._topics = topics
        self._decay = decay
        self._settings = settings
        self._table = table
        self._trending = trending
        self._codec = codec
        self._metrics = metrics
        self._generation: int | None = None
        self._totals = self._new_totals()
        self._anchor: Event | None = None
        self._unpublished: set[str] = set()

    async def round(self, take: Callable[[], list[Event]]) -> None:
        """Take in new parts, and publish what follows from them."""
        if not self._app.tables.actives_ready or self._app.rebalancing:
            return
        if TP(self._topics.parts, 0) not in self._app.consumer.assignment():
            self._generation = None
            return
        if self._generation != self._app.consumer_generation_id:
            self._begin()
        current = [e for e in take() if e.message.generation_id == self._generation]
        for event in current:
            self._replace(event)
        changed = self._totals.look_for_drift()
        if self._anchor is not None:
            with in_partition(self._anchor):
                for variant in changed:
                    key = _DRIFT + variant.encode()
                    self._table[key] = encode_drift(self._totals.drift[variant])
        await self._table.durable()
        if self._app.consumer_generation_id != self._generation or self._app.rebalancing:
            return
        for event in current:
            event.ack()
        await self._publish()
        self._show()

    def _new_totals(self) -> Totals:
        return Totals(
            self._decay,
            sample_rate=self._settings.sample_rate,
            drift_delta=self._settings.drift_delta,
            days=self._settings.indicator_days,
        )

    def _begin(self) -> None:
        self._totals = self._new_totals()
        self._anchor = None
        for raw, value in list(self._table.items()):
            if raw.startswith(_DRIFT):
                self._totals.drift[raw.removeprefix(_DRIFT).decode()] = decode_drift(value)
            else:
                self._take(decode_key(raw), value)
        self._generation = self._app.consumer_generation_id

    def _replace(self, event: Event) -> None:
        raw, value = event.message.key, event.message.value
        if not raw or not value:
            return
        self._take(decode_key(raw), value)
        self._anchor = event
        with in_partition(event):
            self._table[raw] = value

    def _take(self, key: PartKey, value: bytes) -> None:
        self._totals.replace(key, value)
        if key.surface is not None:
            self._unpublished.add(key.surface)

    async def _publish(self) -> None:
        surfaces, self._unpublished = self._unpublished, set()
        messages = self._totals.trending(self._settings.trending_items, surfaces)
        await asyncio.gather(
            *(
                self._trending.send_soon(
                    key=message.surface.encode(),
                    value=self._codec.encode(self._topics.trending, message),
                )
                for message in messages
            )
        )
        self._metrics.trending.inc(len(messages))

    def _show(self) -> None:
        for variant, sums in self._totals.by_variant().items():
            self._show_indicators(
                indicators(variant, sums, self._settings.confidence, self._settings.sample_rate)
            )
        for variant, drift in self._totals.drift.items():
            self._metrics.drift_hit_rate.labels(variant).set(drift.window.rate)
            changes = {Change.FELL: drift.window.falls, Change.ROSE: drift.window.rises}
            for change, count in changes.items():
                self._metrics.drift_changes.labels(variant, change.value).set(count)
        self._metrics.trending_missing.set(self._totals.missing())

    def _show_indicators(self, shown: Indicators) -> None:
        metrics = self._metrics
        metrics.recommendations.labels(shown.variant).set(shown.recommendations)
        for indicator, estimate in (
            (Indicator.CLICK_THROUGH, shown.click_through),
            (Indicator.ADD_TO_CART, shown.add_to_cart),
            (Indicator.CONVERSION, shown.conversion),
            (Indicator.HIT_RATE, shown.hit_rate),
        ):
            for bound, value in _bounds(estimate):
                metrics.rate.labels(shown.variant, indicator.value, bound).set(value)
        for currency, estimate in shown.revenue.items():
            for bound, value in _bounds(estimate):
                metrics.revenue.labels(shown.variant, currency, bound).set(value)


def _bounds(estimate: Estimate) -> list[tuple[str, float]]:
    return [
        (Bound.ESTIMATE.value, estimate.value),
        (Bound.LOW.value, estimate.low),
        (Bound.HIGH.value, estimate.high),
    ]
