"""One model through the protocol: tuned, trained, scored, and timed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from worker.evaluation.baselines.base import Setting, StreamRecommender
from worker.evaluation.baselines.selection import Trial
from worker.evaluation.report import Timing
from worker.evaluation.top_lists import TopLists
from worker.split import TimeCut

_REPORT_EVERY = 256
"""Events between two notes of progress: one note per event would cost more than ranking it."""


OnTrial = Callable[[int, int], None]
"""Told, while settings are chosen, how many of how many have been tried."""


@dataclass(frozen=True)
class Prepared:
    """A model that is ready to be scored."""

    recommender: StreamRecommender
    trials: list[Trial] = field(default_factory=list)
    """Settings that it was chosen of, if there was a choice."""
    tuning_seconds: float | None = None
    trained_seconds: float | None = None
    """How long it was trained before, for a model that comes trained; None if not known."""
    comes_trained: bool = False


@dataclass(frozen=True)
class Contestant:
    """A model to score. It is prepared, which may take long, only when its turn comes."""

    name: str
    prepare: Callable[[OnTrial], Prepared]
    trained_on_more: bool = False
    """Whether it was trained on events that the others' training held out."""


class Observer(Protocol):
    """Who is told how an evaluation gets on."""

    def start(self, name: str, total: int | None) -> None:
        """Begin a phase of `total` events; None if nobody knows how long it takes."""

    def advance(self, events: int) -> None:
        """Note that `events` more events are done."""


class Silent:
    """Tells nobody."""

    def start(self, name: str, total: int | None) -> None:
        """See `Observer.start`."""

    def advance(self, events: int) -> None:
        """See `Observer.advance`."""


@dataclass(frozen=True)
class ModelRun:
    """What a model did."""

    name: str
    settings: dict[str, Setting]
    ranks: NDArray[np.int32]
    """(len(stream),); −1 where not ranked."""
    lists: NDArray[np.int32]
    """Top lists of the sampled events, (n, TOP)."""
    timing: Timing
    trials: list[Trial]


@dataclass
class _Clock:
    """Tells training from scoring: scoring begins with the first word from `TopLists.advance`."""

    observer: Observer
    name: str
    total: int
    started: float = field(default_factory=time.perf_counter)
    scoring_from: float | None = None
    _waiting: int = 0

    def advance(self, events: int) -> None:
        if self.scoring_from is None:
            self.scoring_from = time.perf_counter()
            self.observer.start(f"scoring {self.name}", self.total)
        self._waiting += events
        if self._waiting >= _REPORT_EVERY:
            self.flush()

    def flush(self) -> None:
        self.observer.advance(self._waiting)
        self._waiting = 0


def run_contestant(
    contestant: Contestant,
    cut: TimeCut,
    n_items: int,
    *,
    seed: int,
    observer: Observer,
    position: str = "",
) -> ModelRun:
    """Prepare a model, score it, and say what it did.

    Args:
        contestant: the model.
        cut: the events.
        n_items: size of the catalogue.
        seed: of the sample of lists; the same for all models that are to be compared.
        observer: told of the progress.
        position: what to call it by in front of its name, such as "3/9".
    """
    title = f"{position} {contestant.name}".strip()
    observer.start(f"preparing {title}", None)

    def on_trial(done: int, of: int) -> None:
        if done == 1:
            observer.start(f"tuning {title}", of)
        observer.advance(1)

    prepared = contestant.prepare(on_trial)
    observer.start(f"training {title}", None)
    clock = _Clock(observer, title, int(cut.scored.sum()))
    lists = TopLists(cut.scored, seed=seed, on_scored=clock.advance)
    ranks = prepared.recommender.prequential_ranks(
        cut.train, cut.stream, cut.scored, n_items, lists
    )
    ended = time.perf_counter()
    clock.flush()
    scoring_from = clock.started if clock.scoring_from is None else clock.scoring_from
    training = prepared.trained_seconds if prepared.comes_trained else scoring_from - clock.started
    return ModelRun(
        name=contestant.name,
        settings=prepared.recommender.settings,
        ranks=ranks,
        lists=lists.lists(),
        timing=Timing(
            tuning=_rounded(prepared.tuning_seconds),
            training=_rounded(training),
            scoring=round(ended - scoring_from, 3),
        ),
        trials=prepared.trials,
    )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
