"""From what every model did to what the report says of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from worker.evaluation.cells import Cells
from worker.evaluation.metrics import bucket_masks, summarise
from worker.evaluation.new_items import NewItemEvents
from worker.evaluation.recommended import ItemPopularity, describe
from worker.evaluation.report import (
    Comparison,
    Comparisons,
    Confidence,
    Gap,
    ModelReport,
    SegmentInfo,
)
from worker.evaluation.runner import ModelRun
from worker.evaluation.segments import FEWEST_USERS, Segments
from worker.ranking_quality import Quality, quality
from worker.split import TimeCut


class Measurement:
    """The quality of every model of an evaluation, and how sure it is.

    Args:
        runs: what the models did, the reference first; all on the same events.
        cut: the events.
        segments: of the users.
        popularity: of the items.
        seed: of the bootstrap.

    Raises:
        ValueError: a model ranked other events than the first one.
    """

    def __init__(
        self,
        runs: Sequence[ModelRun],
        cut: TimeCut,
        segments: Segments,
        popularity: ItemPopularity,
        seed: int,
    ) -> None:
        counted = runs[0].ranks >= 0
        for run in runs:
            if not np.array_equal(run.ranks >= 0, counted):
                raise ValueError(f"{run.name} ranks other events than {runs[0].name}")
        self._runs = runs
        self._events_seen = cut.events_seen[counted]
        self._users = cut.stream.users[counted]
        self._ranks = np.stack([run.ranks[counted] for run in runs])
        self._new_items = NewItemEvents(cut, counted)
        self._popularity = popularity
        self._segments = segments
        buckets = bucket_masks(self._events_seen)
        segment = segments.of_user[self._users]
        self._by_segment = {
            label: segment == place
            for place, label in enumerate(segments.labels)
            if (segment == place).any()
        }
        self._buckets = list(buckets)
        overall = np.ones(len(self._users), np.bool_)
        masks = np.stack([overall, *buckets.values(), *self._by_segment.values()])
        self._cells = Cells(self._ranks, self._users, masks, seed)
        self._users_of = {
            label: len(np.unique(self._users[mask])) for label, mask in self._by_segment.items()
        }

    def models(self) -> dict[str, ModelReport]:
        """Return the report of each model."""
        return {run.name: self._model(place, run) for place, run in enumerate(self._runs)}

    def comparisons(self) -> Comparisons | None:
        """Return the first model against each other one; None if there is no other."""
        if len(self._runs) < 2:
            return None
        against = {run.name: self._comparison(place) for place, run in enumerate(self._runs)}
        reference = self._runs[0].name
        return Comparisons(
            reference=reference,
            against={name: found for name, found in against.items() if name != reference},
        )

    def segment_info(self) -> SegmentInfo:
        """Return how the scored users fall into segments."""
        return SegmentInfo(by=self._segments.by, users=self._users_of, fewest_users=FEWEST_USERS)

    def _model(self, place: int, run: ModelRun) -> ModelReport:
        ranks = self._ranks[place]
        timing = run.timing
        seconds = (timing.tuning or 0.0) + (timing.training or 0.0) + timing.scoring
        summary = summarise(ranks, self._events_seen)
        bands = [self._cells.bands(place, cell) for cell in range(len(self._cells))]
        by_segment = {label: quality(ranks[mask]) for label, mask in self._by_segment.items()}
        first_segment = 1 + len(self._buckets)
        return ModelReport(
            overall=summary.overall,
            by_events_seen=summary.by_events_seen,
            seconds=round(seconds, 3),
            confidence=Confidence(
                overall=bands[0],
                by_events_seen=dict(zip(self._buckets, bands[1:first_segment], strict=True)),
                segments=dict(zip(by_segment, bands[first_segment:], strict=True)),
            ),
            settings=run.settings,
            trials=run.trials,
            timing=timing,
            recommended=describe(run.lists, self._popularity),
            segments=by_segment,
            fairness_gap=self._gap(by_segment),
            new_items=self._new_items.quality(ranks),
        )

    def _gap(self, by_segment: dict[str, Quality]) -> Gap | None:
        counted = [
            cell for label, cell in by_segment.items() if self._users_of[label] >= FEWEST_USERS
        ]
        if len(counted) < 2:
            return None
        return Gap(
            hit_rate=_spread([cell.hit_rate for cell in counted]),
            reciprocal_rank=_spread([cell.reciprocal_rank for cell in counted]),
        )

    def _comparison(self, place: int) -> Comparison:
        cells = [self._cells.compared(place, cell) for cell in range(1 + len(self._buckets))]
        return Comparison(
            overall=cells[0], by_events_seen=dict(zip(self._buckets, cells[1:], strict=True))
        )


def _spread(values: Sequence[float | None]) -> float:
    present = [value for value in values if value is not None]
    return max(present) - min(present)
