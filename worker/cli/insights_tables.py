"""The tables of `innerloop insights report`."""

from __future__ import annotations

import math

from rich.table import Table

from schemas.settings import InsightsSettings
from worker.insights.indicators import indicators
from worker.insights.intervals import Estimate
from worker.insights.report import Report


def indicators_table(report: Report, settings: InsightsSettings) -> Table:
    """Return the indicators, a column for each variant."""
    shown = [
        indicators(variant, sums, settings.confidence, settings.sample_rate)
        for variant, sums in report.sums.items()
    ]
    table = Table(title=f"the latest {settings.indicator_days} days", title_justify="left")
    table.add_column("")
    for column in shown:
        table.add_column(column.variant, justify="right")
    table.add_row("recommendations", *(f"{column.recommendations:,.0f}" for column in shown))
    table.add_row("click-through rate", *(_rate(column.click_through) for column in shown))
    table.add_row("add-to-cart rate", *(_rate(column.add_to_cart) for column in shown))
    table.add_row("conversion rate", *(_rate(column.conversion) for column in shown))
    currencies = sorted({currency for column in shown for currency in column.revenue})
    for currency in currencies:
        table.add_row(
            f"revenue per recommendation, {currency or 'no currency'}",
            *(_amount(column.revenue.get(currency)) for column in shown),
        )
    if report.recomputed is not None:
        table.add_row("hit-rate of next events", *(_rate(column.hit_rate) for column in shown))
    return table


def notes(report: Report, settings: InsightsSettings) -> list[str]:
    """Return what is to be known of the table."""
    lines = [
        f"{len(report.outcomes):,} credited events; in brackets {settings.confidence:.0%} "
        "intervals, which take recommendations as independent"
    ]
    if settings.sample_rate < 1:
        lines.append(
            f"estimates from {settings.sample_rate:.1%} of the users; counts are scaled up"
        )
    if report.copies:
        lines.append(f"{report.copies:,} copies of outcomes, after crashes, counted once")
    if report.unmatched:
        lines.append(
            f"{report.unmatched:,} outcomes of recommendations that the topic does not hold any "
            "more were left out"
        )
    if report.recomputed is not None:
        lines.append(
            f"recomputed: {len(report.recomputed.credited):,} credited events, "
            f"{report.differing:,} on which recommendation-outcomes says otherwise"
        )
    return lines


def _rate(estimate: Estimate) -> str:
    if math.isnan(estimate.value):
        return "none yet"
    return f"{estimate.value:.2%} [{estimate.low:.2%}, {estimate.high:.2%}]"


def _amount(estimate: Estimate | None) -> str:
    if estimate is None:
        return "0"
    return f"{estimate.value:.4f} [{estimate.low:.4f}, {estimate.high:.4f}]"
