"""Which recommendation an action is credited to, and what that adds to the user's sums.

The rule goes by the events' own times, so it says the same whatever order the two topics are read
in, as long as the recommendation was read before the event is decided on:

- An event that names a recommendation is credited to that one, if it is one of the same user, holds
  the item, and is at most the window older; otherwise to none.
- Any other is credited to the user's latest recommendation with an `event_time` before the event's,
  within the window, that holds the item ("last touch").
"""

from __future__ import annotations

import enum
from bisect import bisect_left, bisect_right
from collections.abc import Collection
from dataclasses import dataclass

from schemas.clickstream import SUPPORT_TYPES, ClickstreamEvent, EventType
from schemas.insights import RecommendationOutcome
from schemas.recommendations import Recommendation
from worker.insights.indicators import DAY_MS, Money, Sums, utc_day
from worker.insights.user_record import KeptRecommendation, Led, UserRecord, day_variant


class Credit(enum.StrEnum):
    """Whether an action was credited to a recommendation, or why not."""

    NAMED = "named"
    LAST_TOUCH = "last_touch"
    NONE = "none"
    """No recommendation of the user within the window holds the item."""
    UNKNOWN = "unknown_recommendation"
    """It names one that is not among the user's latest, or is older than the window."""
    OTHER_ITEM = "other_item"
    """It names one that does not hold the item."""


@dataclass(frozen=True)
class AttributionRule:
    """The settings of attribution."""

    window_ms: int
    recommendations_per_user: int
    click_types: Collection[EventType]
    days: int
    """Days of sums that a user keeps."""

    @property
    def retention_ms(self) -> int:
        """A user who was idle for longer has nothing that counts any more."""
        return max(2 * self.window_ms, (self.days + 1) * DAY_MS)

    def leads_to(self, kind: EventType) -> Led | None:
        """Return what an event of this type is of a recommendation; None if nothing."""
        if kind is EventType.PURCHASE:
            return Led.PURCHASE
        if kind is EventType.ADD_TO_CART:
            return Led.CART
        return Led.CLICK if kind in self.click_types else None


def apply_recommendation(user: UserRecord, message: Recommendation, rule: AttributionRule) -> bool:
    """Keep a recommendation and count it; return False if it is a copy of one that is kept."""
    kept = user.recommendations
    if any(other.id == message.recommendation_id for other in kept):
        return False
    place = bisect_right(kept, message.event_time, key=_time)
    kept.insert(
        place,
        KeptRecommendation(
            id=message.recommendation_id,
            time=message.event_time,
            variant=message.variant,
            items=[item.item_id for item in message.items],
        ),
    )
    user.sums(utc_day(message.event_time), message.variant).recommendations += 1
    del kept[: -rule.recommendations_per_user]
    return True


def apply_event(
    user: UserRecord, event: ClickstreamEvent, rule: AttributionRule
) -> tuple[RecommendationOutcome | None, Credit | None]:
    """Credit an event; return the outcome, if there is one, and what was decided.

    The decision is None for an event that is no click, cart or purchase of an item.
    """
    item = event.item_id
    if item is None:
        return None, None
    before = user.recommendations[: bisect_left(user.recommendations, event.time, key=_time)]
    if event.type in SUPPORT_TYPES and before and event.time - before[-1].time <= rule.window_ms:
        sums = _sums(user, before[-1])
        sums.next_events += 1
        sums.hits += item in before[-1].items
    led = rule.leads_to(event.type)
    if led is None:
        return None, None
    credited, credit = _credit(user, before, event, item, rule)
    _touch(user, event.time, rule)
    if credited is None:
        return None, credit
    return _count(user, credited, event, item, led), credit


def _credit(
    user: UserRecord,
    before: list[KeptRecommendation],
    event: ClickstreamEvent,
    item: str,
    rule: AttributionRule,
) -> tuple[KeptRecommendation | None, Credit]:
    if event.recommendation_id is not None:
        for kept in user.recommendations:
            if kept.id == event.recommendation_id and event.time - kept.time <= rule.window_ms:
                return (kept, Credit.NAMED) if item in kept.items else (None, Credit.OTHER_ITEM)
        return None, Credit.UNKNOWN
    for kept in reversed(before):
        if event.time - kept.time > rule.window_ms:
            break
        if item in kept.items:
            return kept, Credit.LAST_TOUCH
    return None, Credit.NONE


def _count(
    user: UserRecord, kept: KeptRecommendation, event: ClickstreamEvent, item: str, led: Led
) -> RecommendationOutcome:
    sums = _sums(user, kept)
    if not kept.led & led:
        kept.led |= led
        sums.clicked += led is Led.CLICK
        sums.carted += led is Led.CART
        sums.purchased += led is Led.PURCHASE
    revenue = revenue_of(event) if led is Led.PURCHASE else None
    if revenue is not None:
        currency = event.currency or ""
        already = kept.revenue.get(currency, 0.0)
        kept.revenue[currency] = already + revenue
        money = sums.revenue.setdefault(currency, Money())
        # The square of the recommendation's whole revenue in place of the one before.
        money.add(Money(revenue, (already + revenue) ** 2 - already**2))
    return RecommendationOutcome(
        recommendation_id=kept.id,
        user_id=event.user_id,
        item_id=item,
        event_id=event.event_id,
        type=event.type,
        position=kept.items.index(item),
        variant=kept.variant,
        time=event.time,
        revenue=revenue,
        currency=event.currency if revenue is not None else None,
    )


def revenue_of(event: ClickstreamEvent) -> float | None:
    """Return price times quantity (one piece if it names none); None without a price."""
    if event.price is None:
        return None
    return event.price * (1 if event.quantity is None else event.quantity)


def _sums(user: UserRecord, kept: KeptRecommendation) -> Sums:
    return user.sums(utc_day(kept.time), kept.variant)


def _time(kept: KeptRecommendation) -> int:
    return kept.time


def _touch(user: UserRecord, time_ms: int, rule: AttributionRule) -> None:
    """Note the time, and drop what hardly any event to come can be credited to."""
    user.latest = max(user.latest, time_ms)
    # Twice the window, for events that come out of the order of their times.
    old = bisect_left(user.recommendations, user.latest - 2 * rule.window_ms, key=_time)
    del user.recommendations[:old]
    first_day = utc_day(user.latest) - rule.days
    for key in [key for key in user.days if day_variant(key)[0] <= first_day]:
        del user.days[key]
