"""The same numbers from whole topics at once: what the stream is checked against.

Written apart from the stream's code on purpose: nothing here is incremental, knows of offsets or
partitions, or is bounded. All of both topics is held in memory.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from schemas.clickstream import SUPPORT_TYPES, ClickstreamEvent, EventType
from schemas.recommendations import Recommendation
from worker.insights.indicators import Money, Sums, utc_day


@dataclass
class Recomputed:
    """What a batch over both topics says."""

    credited: dict[str, tuple[str, float | None]] = field(default_factory=dict)
    """Event id → the id of the recommendation that it is credited to, and the revenue."""
    sums: dict[str, Sums] = field(default_factory=dict)
    """By variant, of the latest days."""
    trending: dict[str, dict[str, float]] = field(default_factory=dict)
    """Surface → item → decayed count at the time of the surface's latest event."""


def recompute(
    events: Iterable[ClickstreamEvent],
    recommendations: Iterable[Recommendation],
    *,
    window_ms: int,
    days: int,
    click_types: Collection[EventType],
    half_life_ms: float,
    all_surfaces: str,
) -> Recomputed:
    """Return the numbers of topics' records, given in the order of their offsets.

    Args:
        events: usable ones; copies by `event_id` count once, those without consent not at all.
        recommendations: copies by `recommendation_id` count once.
        window_ms: of attribution.
        days: how many UTC days are put together, up to the latest one.
        click_types: event types that are clicks.
        half_life_ms: of what is trending.
        all_surfaces: what to call all surfaces together.
    """
    unique = {event.event_id: event for event in reversed(list(events)) if event.consent}
    used = [e for e in reversed(unique.values()) if e.item_id is not None]
    lists: dict[str, list[Recommendation]] = defaultdict(list)
    for message in {r.recommendation_id: r for r in reversed(list(recommendations))}.values():
        lists[message.user_id].append(message)
    for listed in lists.values():
        listed.reverse()  # back in the order of offsets, which the sort keeps among equal times
        listed.sort(key=lambda r: r.event_time)
    result = Recomputed()
    led: dict[str, set[str]] = defaultdict(set)
    revenue: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    hits: dict[str, list[bool]] = defaultdict(list)
    for event in used:
        own = lists.get(event.user_id, [])
        earlier = [r for r in own if 0 < event.time - r.event_time <= window_ms]
        before = [r for r in own if r.event_time < event.time]
        if event.type in SUPPORT_TYPES and before and before[-1] in earlier:
            hits[before[-1].recommendation_id].append(_holds(before[-1], event))
        kind = _kind(event.type, click_types)
        cause = _cause(event, own, earlier, window_ms) if kind is not None else None
        if cause is None or kind is None:
            continue
        led[cause.recommendation_id].add(kind)
        paid = None
        if kind == "purchase" and event.price is not None:
            paid = event.price * (event.quantity if event.quantity is not None else 1)
            revenue[cause.recommendation_id][event.currency or ""] += paid
        result.credited[event.event_id] = (cause.recommendation_id, paid)
    every = [message for listed in lists.values() for message in listed]
    result.sums = _sums(every, led, revenue, hits, days)
    result.trending = _trending(used, half_life_ms, all_surfaces)
    return result


def _kind(event_type: EventType, click_types: Collection[EventType]) -> str | None:
    if event_type == EventType.PURCHASE:
        return "purchase"
    if event_type == EventType.ADD_TO_CART:
        return "cart"
    return "click" if event_type in click_types else None


def _holds(message: Recommendation, event: ClickstreamEvent) -> bool:
    return event.item_id in [item.item_id for item in message.items]


def _cause(
    event: ClickstreamEvent,
    own: list[Recommendation],
    earlier: list[Recommendation],
    window_ms: int,
) -> Recommendation | None:
    if event.recommendation_id is None:
        candidates = [message for message in earlier if _holds(message, event)]
    else:
        candidates = [
            message
            for message in own
            if message.recommendation_id == event.recommendation_id
            and event.time - message.event_time <= window_ms
            and _holds(message, event)
        ]
    return candidates[-1] if candidates else None


def _sums(
    messages: list[Recommendation],
    led: dict[str, set[str]],
    revenue: dict[str, dict[str, float]],
    hits: dict[str, list[bool]],
    days: int,
) -> dict[str, Sums]:
    sums: dict[str, Sums] = {}
    latest = max((utc_day(message.event_time) for message in messages), default=0)
    for message in messages:
        if utc_day(message.event_time) <= latest - days:
            continue
        row = sums.setdefault(message.variant, Sums())
        key = message.recommendation_id
        row.recommendations += 1
        row.clicked += "click" in led[key]
        row.carted += "cart" in led[key]
        row.purchased += "purchase" in led[key]
        row.next_events += len(hits[key])
        row.hits += sum(hits[key])
        for currency, amount in revenue[key].items():
            row.revenue.setdefault(currency, Money()).add(Money(amount, amount * amount))
    return dict(sorted(sums.items()))


def _trending(
    events: list[ClickstreamEvent], half_life_ms: float, all_surfaces: str
) -> dict[str, dict[str, float]]:
    by_surface: dict[str, list[ClickstreamEvent]] = defaultdict(list)
    for event in events:
        if event.type in SUPPORT_TYPES:
            by_surface[all_surfaces].append(event)
            if event.surface not in (None, all_surfaces):
                by_surface[event.surface or ""].append(event)
    trending: dict[str, dict[str, float]] = {}
    for surface, listed in by_surface.items():
        now = max(event.time for event in listed)
        counts: dict[str, float] = defaultdict(float)
        for event in listed:
            counts[event.item_id or ""] += 0.5 ** ((now - event.time) / half_life_ms)
        trending[surface] = dict(counts)
    return trending
