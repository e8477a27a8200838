"""Several reports of one protocol, such as of three training seeds, as means and spreads."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

import msgspec

from schemas.errors import EvaluationError
from worker.evaluation.cells import ComparedCell, Difference
from worker.evaluation.report import ModelReport, Report
from worker.ranking_quality import Quality

SAME = (
    "events_file",
    "items_file",
    "cut_time",
    "items",
    "train_events",
    "stream_events",
    "scored_users",
    "scored_events",
    "exclude_seen",
)
"""What reports must have in common to be of one protocol."""


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """A figure over several reports."""

    mean: float
    deviation: float
    """Sample standard deviation (n − 1)."""
    values: list[float]
    """In the order of the reports."""


class CellSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A cell over several reports; None where it has no events."""

    hit_rate: Spread | None = msgspec.field(name="hr@20")
    reciprocal_rank: Spread | None = msgspec.field(name="mrr@20")
    n: int


class ModelSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A model over several reports."""

    overall: CellSummary
    by_events_seen: dict[str, CellSummary]


class DifferenceSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The reference less another model, over several reports."""

    difference: Spread
    worst_p: float
    """The largest p-value of any report."""


class ComparisonSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The reference against another model, over several reports; None over no events."""

    hit_rate: DifferenceSummary | None = msgspec.field(name="hr@20")
    reciprocal_rank: DifferenceSummary | None = msgspec.field(name="mrr@20")
    worst_mcnemar_p: float | None


class AgainstSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The reference against another model: overall, and by events seen."""

    overall: ComparisonSummary
    by_events_seen: dict[str, ComparisonSummary]


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """Several reports of one protocol."""

    reports: list[str]
    """Names of the files."""
    seeds: list[int | None]
    """Of the training of each report's reference."""
    models: dict[str, ModelSummary]
    reference: str | None
    """None if the reports have no comparison, or of different models."""
    against: dict[str, AgainstSummary]
    left_out: list[str]
    """Models that are not in every report."""


def combine(reports: Mapping[str, Report]) -> Summary:
    """Combine reports, by the names of their files.

    Raises:
        EvaluationError: fewer than two reports, they are not of one protocol, two are of the same
            bundle and seed, or no model is in all of them.
    """
    _check(reports)
    found = list(reports.values())
    every = list(dict.fromkeys(name for report in found for name in report.models))
    common = [name for name in every if all(name in report.models for report in found)]
    if not common:
        raise EvaluationError("no model is in all of the reports; compare their models' names")
    references = {
        None if report.comparisons is None else report.comparisons.reference for report in found
    }
    reference = references.pop() if len(references) == 1 else None
    return Summary(
        reports=list(reports),
        seeds=[report.protocol.seed for report in found],
        models={name: _model([report.models[name] for report in found]) for name in common},
        reference=reference,
        against={name: _against(found, name) for name in common if reference and name != reference},
        left_out=[name for name in every if name not in common],
    )


def _check(reports: Mapping[str, Report]) -> None:
    if len(reports) < 2:
        raise EvaluationError("a summary takes two or more different reports")
    (first_name, first), *others = reports.items()
    for name, report in others:
        for field in SAME:
            ours, theirs = getattr(first.protocol, field), getattr(report.protocol, field)
            if ours != theirs:
                raise EvaluationError(
                    f"{first_name} and {name} are not of one protocol: {field} is {ours!r} in the"
                    f" one and {theirs!r} in the other"
                )
    runs: dict[tuple[str | None, int], str] = {}
    for name, report in reports.items():
        run = report.protocol.bundle_version, report.protocol.evaluation_seed
        if run in runs:
            raise EvaluationError(
                f"{runs[run]} and {name} are of the same bundle and the same --seed; a spread over"
                " them would say nothing"
            )
        runs[run] = name


def _model(models: Sequence[ModelReport]) -> ModelSummary:
    return ModelSummary(
        overall=_cell([model.overall for model in models]),
        by_events_seen={
            label: _cell([model.by_events_seen[label] for model in models])
            for label in models[0].by_events_seen
        },
    )


def _cell(cells: Sequence[Quality]) -> CellSummary:
    return CellSummary(
        hit_rate=_spread([cell.hit_rate for cell in cells]),
        reciprocal_rank=_spread([cell.reciprocal_rank for cell in cells]),
        n=cells[0].n,
    )


def _against(reports: Sequence[Report], name: str) -> AgainstSummary:
    found = [report.comparisons.against[name] for report in reports if report.comparisons]
    return AgainstSummary(
        overall=_comparison([comparison.overall for comparison in found]),
        by_events_seen={
            label: _comparison([comparison.by_events_seen[label] for comparison in found])
            for label in found[0].by_events_seen
        },
    )


def _comparison(cells: Sequence[ComparedCell]) -> ComparisonSummary:
    tests = [cell.mcnemar.p for cell in cells if cell.mcnemar is not None]
    return ComparisonSummary(
        hit_rate=_difference([cell.hit_rate for cell in cells]),
        reciprocal_rank=_difference([cell.reciprocal_rank for cell in cells]),
        worst_mcnemar_p=max(tests, default=None),
    )


def _difference(found: Sequence[Difference | None]) -> DifferenceSummary | None:
    present = [difference for difference in found if difference is not None]
    spread = _spread([difference.difference for difference in present])
    if spread is None:
        return None
    return DifferenceSummary(difference=spread, worst_p=max(difference.p for difference in present))


def _spread(values: Sequence[float | None]) -> Spread | None:
    present = [value for value in values if value is not None]
    if len(present) < 2:
        return None
    return Spread(
        mean=statistics.fmean(present), deviation=statistics.stdev(present), values=present
    )
