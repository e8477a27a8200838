"""Sums behind the indicators, by day and variant, and the indicators made of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import msgspec

from worker.insights.intervals import Estimate, normal_mean, wilson

DAY_MS = 86_400_000

DayVariant = tuple[int, str]
"""UTC day since 1970-01-01 of the recommendation, and its variant."""


class Money(msgspec.Struct, array_like=True):
    """Revenue of recommendations in one currency."""

    total: float = 0.0
    squares: float = 0.0
    """Sum over recommendations of the square of what each brought."""

    def add(self, other: Money, sign: int = 1) -> None:
        """Add, or with a sign of -1 take away, other recommendations' revenue."""
        self.total += sign * other.total
        self.squares += sign * other.squares


class Sums(msgspec.Struct, array_like=True):
    """What became of some recommendations. Sums of sums are sums, so partitions can be added up."""

    recommendations: int = 0
    clicked: int = 0
    """With at least one click."""
    carted: int = 0
    purchased: int = 0
    next_events: int = 0
    """Events of liking an item whose user had a recommendation before."""
    hits: int = 0
    """Those of them whose item was in the user's last one."""
    revenue: dict[str, Money] = {}
    """By currency; "" for prices without one."""

    def add(self, other: Sums, sign: int = 1) -> None:
        """Add, or with a sign of -1 take away, what became of other recommendations."""
        self.recommendations += sign * other.recommendations
        self.clicked += sign * other.clicked
        self.carted += sign * other.carted
        self.purchased += sign * other.purchased
        self.next_events += sign * other.next_events
        self.hits += sign * other.hits
        for currency, money in other.revenue.items():
            self.revenue.setdefault(currency, Money()).add(money, sign)


class SumsTable:
    """Sums by day and variant."""

    def __init__(self, rows: Iterable[tuple[DayVariant, Sums]] = ()) -> None:
        self._rows: dict[DayVariant, Sums] = {}
        for key, sums in rows:
            self.add(key, sums)

    def __iter__(self) -> Iterator[tuple[DayVariant, Sums]]:
        return iter(self._rows.items())

    def add(self, key: DayVariant, sums: Sums, sign: int = 1) -> None:
        """Add sums to a row, or with a sign of -1 take them away."""
        self._rows.setdefault(key, Sums()).add(sums, sign)

    def by_variant(self, days: int) -> dict[str, Sums]:
        """Return the sums of the latest `days` days that there are, by variant in order."""
        if not self._rows:
            return {}
        latest = max(day for day, _ in self._rows)
        total: dict[str, Sums] = {}
        for (day, variant), sums in sorted(self._rows.items(), key=lambda row: row[0]):
            if day > latest - days:
                total.setdefault(variant, Sums()).add(sums)
        return dict(sorted(total.items()))


@dataclass(frozen=True)
class Indicators:
    """The indicators of one variant."""

    variant: str
    recommendations: float
    """Scaled up to all users."""
    click_through: Estimate
    """Share of recommendations with a click on one of their items."""
    add_to_cart: Estimate
    conversion: Estimate
    """Share with a purchase."""
    hit_rate: Estimate
    """Share of next events whose item was in the user's last recommendation."""
    revenue: dict[str, Estimate]
    """Per recommendation, by currency."""


def indicators(variant: str, sums: Sums, confidence: float, sample_rate: float = 1.0) -> Indicators:
    """Return the indicators of one variant.

    Args:
        variant: its label.
        sums: of the users looked at; the intervals go by their number.
        confidence: level of the intervals.
        sample_rate: share of the users that was looked at; rates and means need no scaling.
    """
    shown = sums.recommendations
    return Indicators(
        variant=variant,
        recommendations=shown / sample_rate,
        click_through=wilson(sums.clicked, shown, confidence),
        add_to_cart=wilson(sums.carted, shown, confidence),
        conversion=wilson(sums.purchased, shown, confidence),
        hit_rate=wilson(sums.hits, sums.next_events, confidence),
        revenue={
            currency: normal_mean(money.total, money.squares, shown, confidence)
            for currency, money in sorted(sums.revenue.items())
        },
    )


def utc_day(time_ms: int) -> int:
    """Return the UTC day of a time, in days since 1970-01-01."""
    return time_ms // DAY_MS
