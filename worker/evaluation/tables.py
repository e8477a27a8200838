"""An evaluation as tables for people."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from rich.console import Group, RenderableType
from rich.table import Table

from worker.evaluation.cells import Band, Bands, Difference
from worker.evaluation.grid import NONE, grid, number
from worker.evaluation.new_items import Chance
from worker.evaluation.report import Comparison, ModelReport, Report
from worker.evaluation.scenario_tables import scenario_tables
from worker.events_seen import EVENTS_SEEN_BUCKETS
from worker.ranking_quality import Quality

SIGNIFICANT = 0.01
"""p-values below this get a mark."""


def tables(report: Report) -> Group:
    """Return the report as tables: quality by events seen, what is recommended, comparisons."""
    protocol = report.protocol
    heading = (
        f"{protocol.scored_users:,} new users, {protocol.scored_events:,} events,"
        f" {protocol.items:,} items; columns: events of the user seen before"
    )
    if protocol.exclude_seen:
        heading += "; items already seen are left out"
    heading += f"; ± is half the {protocol.confidence:.0%} band"
    parts: list[RenderableType] = [
        heading,
        _quality(report, "HR@20", lambda cell: cell.hit_rate, lambda bands: bands.hit_rate),
        _quality(
            report, "MRR@20", lambda cell: cell.reciprocal_rank, lambda bands: bands.reciprocal_rank
        ),
        _recommended(report),
    ]
    if report.chance is not None:
        parts.append(_new_items(report, report.chance))
    if report.scenarios is not None:
        parts += scenario_tables(report.scenarios)
    if report.segments is not None:
        parts.append(_segments(report, report.segments.by, report.segments.users))
    if report.comparisons is not None:
        parts.append(_comparisons(report.comparisons.reference, report.comparisons.against))
    return Group(*parts)


def _new_items(report: Report, chance: Chance) -> Table:
    measured = {name: model.new_items for name, model in report.models.items() if model.new_items}
    n = next(((found.unseen.n, found.first_event.n) for found in measured.values()), (0, 0))
    columns = (f"unseen in training ({n[0]:,})", f"first event on it ({n[1]:,})")
    table = grid("New items, HR@20 / MRR@20 (events)", columns)
    for name, found in measured.items():
        cells = (found.unseen, found.first_event)
        table.add_row(
            name,
            *(f"{number(cell.hit_rate)} / {number(cell.reciprocal_rank)}" for cell in cells),
        )
    by_chance = f"{chance.hit_rate:.5f} / {chance.reciprocal_rank:.5f}"
    table.add_row("(chance)", by_chance, by_chance)
    return table


def _quality(
    report: Report,
    metric: str,
    value: Callable[[Quality], float | None],
    band: Callable[[Bands], Band | None],
) -> Table:
    labels = [label for label, _, _ in EVENTS_SEEN_BUCKETS]
    table = grid(metric, ("overall", *labels))
    for name, model in report.models.items():
        ends = None if model.confidence is None else band(model.confidence.overall)
        cells = (value(cell) for cell in model.by_events_seen.values())
        table.add_row(
            name,
            number(value(model.overall)) + ("" if ends is None else _half(ends)),
            *map(number, cells),
        )
    return table


def _recommended(report: Report) -> Table:
    columns = ("coverage", "novelty", "popularity", "tail", "Gini", "seconds")
    table = grid("What is recommended: coverage@20, novelty in bits, share of the tail", columns)
    for name, model in report.models.items():
        table.add_row(name, *_of_lists(model))
    if report.acted_on is not None:
        acted = report.acted_on
        figures = (number(acted.novelty, 2), number(acted.popularity, 1))
        table.add_row(
            "(acted on)", NONE, *figures, number(acted.tail_share), NONE, NONE, style="dim"
        )
    return table


def _of_lists(model: ModelReport) -> Iterable[str]:
    found = model.recommended
    seconds = number(model.seconds, 1)
    if found is None:
        return (*[NONE] * 5, seconds)
    return (
        number(found.coverage),
        number(found.novelty, 2),
        number(found.popularity, 1),
        number(found.tail_share),
        number(found.gini),
        seconds,
    )


def _segments(report: Report, by: str, users: dict[str, int]) -> Table:
    columns = [f"{label}\n({n:,})" for label, n in users.items()]
    table = grid(f"HR@20 by {by} (users)", (*columns, "gap"))
    for name, model in report.models.items():
        gap = model.fairness_gap
        table.add_row(
            name,
            *(number(model.segments[label].hit_rate) for label in users),
            NONE if gap is None else number(gap.hit_rate),
        )
    return table


def _comparisons(reference: str, against: dict[str, Comparison]) -> Table:
    columns = ("HR@20", "p", "McNemar", "MRR@20", "p", "HR by seen")
    table = grid(f"{reference} less each other model (* p < {SIGNIFICANT:g})", columns)
    for name, found in against.items():
        mcnemar = found.overall.mcnemar
        table.add_row(
            name,
            *_difference(found.overall.hit_rate),
            NONE if mcnemar is None else short_p(mcnemar.p),
            *_difference(found.overall.reciprocal_rank),
            _ahead(found),
        )
    return table


def _difference(found: Difference | None) -> tuple[str, str]:
    if found is None:
        return NONE, NONE
    return f"{found.difference:+.4f}", short_p(found.p)


def _ahead(found: Comparison) -> str:
    """Return + or − for HR@20 in each bucket, = where the band of the difference holds zero."""
    return " ".join(_sign(cell.hit_rate) for cell in found.by_events_seen.values())


def _sign(found: Difference | None) -> str:
    if found is None:
        return NONE
    if found.low <= 0 <= found.high:
        return "="
    return "+" if found.difference > 0 else "−"


def short_p(p: float) -> str:
    """Return a p-value in a few characters, with a * below `SIGNIFICANT`."""
    shown = f"{p:.3f}".removeprefix("0") if p >= 0.001 else "<.001"
    return f"{shown}*" if p < SIGNIFICANT else shown


def _half(band: Band) -> str:
    return f" ±{(band[1] - band[0]) / 2:.3f}".replace("±0.", "±.")
