"""The indicators as the topics tell them, for a table on the terminal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec
from confluent_kafka import Message

from schemas.clickstream import ClickstreamEvent
from schemas.codec import DECODE_ERRORS, Codec, build_codec
from schemas.insights import ALL_SURFACES, RecommendationOutcome
from schemas.recommendations import Recommendation
from schemas.settings import Settings
from schemas.topics import Topic
from worker.insights.attribution import AttributionRule
from worker.insights.indicators import DayVariant, Money, Sums, SumsTable, utc_day
from worker.insights.recompute import Recomputed, recompute
from worker.insights.sampling import UserSample
from worker.insights.user_record import Led
from worker.kafka_connection import connect
from worker.topic_span import TopicSpan

Phase = Callable[[str, int], None]
Step = Callable[[int], None]
MessageT = TypeVar("MessageT", bound=msgspec.Struct)


@dataclass
class Report:
    """What the topics hold."""

    sums: dict[str, Sums]
    """By variant. Without `recomputed` there are no next events: the outcomes do not tell them."""
    outcomes: dict[str, tuple[str, float | None]]
    """Event id → the recommendation that it is credited to, and the revenue."""
    copies: int
    """Records of `recommendation-outcomes` that say again what one before said."""
    unmatched: int
    """Outcomes whose recommendation the topic does not hold any more."""
    recomputed: Recomputed | None = None

    @property
    def differing(self) -> int:
        """Events that the outcomes and the recomputation do not agree on."""
        if self.recomputed is None:
            return 0
        batch = self.recomputed.credited
        keys = batch.keys() | self.outcomes.keys()
        return sum(self.outcomes.get(key) != batch.get(key) for key in keys)


@dataclass
class _Led:
    led: Led = Led.NOTHING
    revenue: dict[str, float] = field(default_factory=lambda: defaultdict(float))


def make_report(
    settings: Settings,
    *,
    again: bool = False,
    on_phase: Phase = lambda name, total: None,
    on_step: Step = lambda steps: None,
) -> Report:
    """Read the topics from their beginning to the ends that they have now; commit no offsets.

    Recommendations' ids and outcomes are held in memory; with `again` all of `clickstream` and
    `recommendations` is.

    Args:
        settings: all of them.
        again: attribute the events anew, all at once, too.
        on_phase: told of each topic and of how many offsets there are to read.
        on_step: told how many offsets more are read.

    Raises:
        BrokerError: the brokers cannot be reached, or a topic does not exist or cannot be read.
        SettingsError: librdkafka refuses a property, or the wire format's settings are wrong.
    """
    reader = _Reader(settings, on_phase, on_step)
    made: dict[str, DayVariant] = {}
    messages: list[Recommendation] = []

    def keep(message: Recommendation) -> None:
        key = utc_day(message.event_time), message.variant
        made.setdefault(message.recommendation_id, key)
        if again:
            messages.append(message)

    reader.read(Topic.RECOMMENDATIONS, Recommendation, keep)
    outcomes: dict[str, RecommendationOutcome] = {}
    read = 0

    def credit(outcome: RecommendationOutcome) -> None:
        nonlocal read
        read += 1
        outcomes.setdefault(outcome.event_id, outcome)

    reader.read(Topic.OUTCOMES, RecommendationOutcome, credit)
    rule = _rule(settings)
    table, unmatched = _sums(made, outcomes, rule)
    report = Report(
        sums=table.by_variant(settings.insights.indicator_days),
        outcomes={key: (o.recommendation_id, o.revenue) for key, o in outcomes.items()},
        copies=read - len(outcomes),
        unmatched=unmatched,
    )
    if again:
        report.recomputed = _again(settings, reader, messages, rule)
        report.sums = report.recomputed.sums
    return report


def _rule(settings: Settings) -> AttributionRule:
    insights = settings.insights
    return AttributionRule(
        window_ms=insights.window_seconds * 1000,
        recommendations_per_user=insights.recommendations_per_user,
        click_types=frozenset(insights.click_types),
        days=insights.indicator_days,
    )


def _again(
    settings: Settings, reader: _Reader, messages: list[Recommendation], rule: AttributionRule
) -> Recomputed:
    events: list[ClickstreamEvent] = []
    reader.read(Topic.CLICKSTREAM, ClickstreamEvent, events.append)
    return recompute(
        events,
        messages,
        window_ms=rule.window_ms,
        days=rule.days,
        click_types=rule.click_types,
        half_life_ms=settings.insights.trending_half_life_seconds * 1000,
        all_surfaces=ALL_SURFACES,
    )


def _sums(
    made: dict[str, DayVariant], outcomes: dict[str, RecommendationOutcome], rule: AttributionRule
) -> tuple[SumsTable, int]:
    """Return the sums, and how many outcomes are of recommendations that are not there."""
    led: dict[str, _Led] = defaultdict(_Led)
    unmatched = 0
    for outcome in outcomes.values():
        if outcome.recommendation_id not in made:
            unmatched += 1
            continue
        row = led[outcome.recommendation_id]
        row.led |= rule.leads_to(outcome.type) or Led.NOTHING
        if outcome.revenue is not None:
            row.revenue[outcome.currency or ""] += outcome.revenue
    table = SumsTable()
    for recommendation_id, key in made.items():
        sums = Sums(recommendations=1)
        row = led.get(recommendation_id, _Led())
        sums.clicked = int(Led.CLICK in row.led)
        sums.carted = int(Led.CART in row.led)
        sums.purchased = int(Led.PURCHASE in row.led)
        sums.revenue = {c: Money(paid, paid * paid) for c, paid in row.revenue.items()}
        table.add(key, sums)
    return table, unmatched


class _Reader:
    """Reads topics whole: the messages of the users in the sample that can be decoded."""

    def __init__(self, settings: Settings, on_phase: Phase, on_step: Step) -> None:
        self._settings = settings
        self._on_phase = on_phase
        self._on_step = on_step
        self._codec: Codec = build_codec(settings.wire)
        self._sample = UserSample(settings.insights.sample_rate)
        self._replicas = connect(settings.kafka).replicas

    def read(self, topic: Topic, kind: type[MessageT], take: Callable[[MessageT], None]) -> None:
        """Hand over the messages of a topic, each partition's in order."""
        decode = self._codec.decoder(kind)

        def take_all(records: list[Message]) -> None:
            for record in records:
                key = record.key()
                if not isinstance(key, bytes) or not self._sample.includes(key):
                    continue
                try:
                    take(decode(record.value() or b""))
                except DECODE_ERRORS:
                    continue  # the stream leaves it out, too

        span = TopicSpan(self._settings, topic, self._replicas)
        try:
            span.read(take_all, self._on_phase, self._on_step)
        finally:
            span.close()
