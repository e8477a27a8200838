"""Scenarios of an evaluation: which are shown, which were held out, and quality on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.errors import EvaluationError
from worker.evaluation.cells import Cells
from worker.evaluation.metrics import bucket_masks
from worker.evaluation.runner import ModelRun
from worker.evaluation.scenario_report import (
    ScenarioBands,
    ScenarioComparison,
    ScenarioCounts,
    ScenarioModel,
    ScenarioQuality,
    ScenarioReport,
)
from worker.model.bundle import HeldOut
from worker.scenarios import NONE, ScenarioChoice, Scenarios
from worker.split import TimeCut, occurrence

Mask = NDArray[np.bool_]

SCENARIO_EVENTS_BUCKETS: tuple[tuple[str, int, int], ...] = (
    ("0-9", 0, 9),
    ("10-99", 10, 99),
    ("100-999", 100, 999),
    ("1000-9999", 1_000, 9_999),
    ("10000+", 10_000, np.iinfo(np.int32).max),
)
"""Label, first and last number of events that a scenario has had."""


@dataclass(frozen=True)
class StreamScenarios:
    """The scenarios that a report shows."""

    column: str
    labels: tuple[str, ...]
    of_event: NDArray[np.int16]
    """Place of each stream event's scenario in `labels`; `NONE` outside all, (len(stream),)."""
    items: tuple[int, ...]
    """Items with an event in each."""
    held_out: tuple[int, ...]
    """Events of each before the cut that were held out of training."""
    in_training: tuple[int, ...]
    """Events of each in training."""

    @classmethod
    def of(cls, found: Scenarios, in_train: Mask, held_out: Mask) -> StreamScenarios:
        """Return the scenarios of a log's stream.

        Args:
            found: of the log.
            in_train: which events of the log are before the cut, see `training_mask`.
            held_out: which are not to be trained on, (len(log),).
        """

        def counts(mask: Mask) -> tuple[int, ...]:
            return tuple(int((found.of_event[mask] == p).sum()) for p in range(len(found.labels)))

        return cls(
            found.column,
            found.labels,
            found.of_event[~in_train],
            found.items,
            held_out=counts(in_train & held_out),
            in_training=counts(in_train & ~held_out),
        )


def shown_choice(asked: ScenarioChoice | None, held: HeldOut | None) -> ScenarioChoice | None:
    """Return the scenarios to show: those asked for, else those held out; None for none.

    A column without values stands for the scenarios that were held out by it, if any were.
    """
    of_bundle = None if held is None else ScenarioChoice(held.column, tuple(held.values))
    if asked is None:
        return of_bundle
    if of_bundle is not None and not asked.values and asked.column == of_bundle.column:
        return of_bundle
    return asked


class ScenarioMeasurement:
    """The quality of every model on scenarios.

    Args:
        runs: what the models did, the reference first; all on the same events.
        cut: the events.
        scenarios: of them.
        seed: of the bootstrap.

    Raises:
        EvaluationError: no scored event is of any of the scenarios.
    """

    def __init__(
        self, runs: Sequence[ModelRun], cut: TimeCut, scenarios: StreamScenarios, seed: int
    ) -> None:
        counted = runs[0].ranks >= 0
        place = scenarios.of_event[counted]
        if (place == NONE).all():
            raise EvaluationError(
                f"no scored event is of the scenarios {scenarios.column}="
                f"{','.join(scenarios.labels)}; score more users, or take others"
            )
        self._scenarios = scenarios
        self._names = [run.name for run in runs]
        self._place, self._users = place, cut.stream.users[counted]
        by_scenario = _masks(_scenario_events(scenarios.of_event)[counted])
        by_user = bucket_masks(_user_events(cut.stream.users, scenarios.of_event)[counted])
        self._by_scenario, self._by_user = list(by_scenario), list(by_user)
        rows: list[Mask] = []
        for of_these in (place != NONE, *(place == p for p in range(len(scenarios.labels)))):
            rows += [of_these, *(of_these & mask for mask in by_scenario.values())]
            rows += [of_these & mask for mask in by_user.values()]
        rows.append(place == NONE)
        ranks = np.stack([run.ranks[counted] for run in runs])
        self._cells = Cells(ranks, self._users, np.stack(rows), seed)
        self._width = 1 + len(by_scenario) + len(by_user)

    def report(self, trained_on_them: Sequence[str]) -> ScenarioReport:
        """Return the section of the report.

        Args:
            trained_on_them: see `ScenarioReport`.
        """
        reference, *others = self._names
        return ScenarioReport(
            column=self._scenarios.column,
            scenarios=dict(zip(self._scenarios.labels, self._counts(), strict=True)),
            models={name: self._model(place) for place, name in enumerate(self._names)},
            reference=reference,
            against={name: self._comparison(place) for place, name in enumerate(others, start=1)},
            trained_on_them=list(trained_on_them),
        )

    def _counts(self) -> list[ScenarioCounts]:
        found = self._scenarios
        return [
            ScenarioCounts(
                items=found.items[p],
                held_out_events=found.held_out[p],
                training_events=found.in_training[p],
                stream_events=int((found.of_event == p).sum()),
                scored_events=int((self._place == p).sum()),
                scored_users=len(np.unique(self._users[self._place == p])),
            )
            for p in range(len(found.labels))
        ]

    def _model(self, model: int) -> ScenarioModel:
        each = {
            label: self._quality(model, first)
            for label, first in zip(self._scenarios.labels, self._firsts(), strict=True)
        }
        elsewhere = self._cells.quality(model, len(self._cells) - 1)
        return ScenarioModel(together=self._quality(model, 0), each=each, elsewhere=elsewhere)

    def _firsts(self) -> range:
        """Return the first cell of each scenario."""
        return range(self._width, len(self._cells) - 1, self._width)

    def _quality(self, model: int, first: int) -> ScenarioQuality:
        cells = range(first, first + self._width)
        overall, *curves = (self._cells.quality(model, cell) for cell in cells)
        band, *bands = (self._cells.bands(model, cell) for cell in cells)
        middle = len(self._by_scenario)
        return ScenarioQuality(
            overall=overall,
            by_scenario_events=dict(zip(self._by_scenario, curves[:middle], strict=True)),
            by_user_events=dict(zip(self._by_user, curves[middle:], strict=True)),
            confidence=ScenarioBands(
                overall=band,
                by_scenario_events=dict(zip(self._by_scenario, bands[:middle], strict=True)),
                by_user_events=dict(zip(self._by_user, bands[middle:], strict=True)),
            ),
        )

    def _comparison(self, model: int) -> ScenarioComparison:
        together, *curves = (self._cells.compared(model, cell) for cell in range(self._width))
        middle = len(self._by_scenario)
        return ScenarioComparison(
            together=together,
            by_scenario_events=dict(zip(self._by_scenario, curves[:middle], strict=True)),
            by_user_events=dict(zip(self._by_user, curves[middle:], strict=True)),
            each={
                label: self._cells.compared(model, first)
                for label, first in zip(self._scenarios.labels, self._firsts(), strict=True)
            },
            elsewhere=self._cells.compared(model, len(self._cells) - 1),
        )


def _scenario_events(of_event: NDArray[np.int16]) -> NDArray[np.int32]:
    """Return how many events of the same scenario come before each in the stream, (n,)."""
    return occurrence(of_event.astype(np.int32))


def _user_events(users: NDArray[np.int32], of_event: NDArray[np.int16]) -> NDArray[np.int32]:
    """Return how many events of the same scenario and user come before each, (n,)."""
    pairs = users.astype(np.int64) * (int(of_event.max(initial=0)) + 2) + of_event
    return occurrence(np.unique(pairs, return_inverse=True)[1].astype(np.int32))


def _masks(events: NDArray[np.int32]) -> dict[str, Mask]:
    return {
        label: (events >= first) & (events <= last)
        for label, first, last in SCENARIO_EVENTS_BUCKETS
    }
