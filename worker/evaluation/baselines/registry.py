"""The rivals by name, each with the settings to choose from, and their tuning."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from worker.data import EventLog
from worker.evaluation.baselines.base import StreamRecommender
from worker.evaluation.baselines.selection import Trial, best, validate


class Candidates(Protocol):
    """Builds a rival at each of the settings to choose from."""

    def __call__(
        self, *, exclude_seen: bool, seed: int, device: str
    ) -> Sequence[StreamRecommender]:
        """Return at least one method, the default settings first.

        Args:
            exclude_seen: leave out what the user has already acted on.
            seed: of what the method draws; without effect on one that draws nothing.
            device: of torch, or "auto"; without effect on a method that does not use it.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Rival:
    """A method that the inner loop is compared with."""

    name: str
    """As `StreamRecommender.name` has it, at any of the settings."""
    group: str
    """"fast": tuned and scored on one CPU core in minutes; "neural": trained by gradient."""
    candidates: Candidates


class TuningRecord(msgspec.Struct, frozen=True, kw_only=True):
    """How a rival came to its settings."""

    trials: list[Trial]
    """What was tried, in order; empty where there was one candidate, or nothing to validate on."""
    seconds: float
    """How long that took."""


def registry(groups: Iterable[Sequence[Rival]]) -> Mapping[str, Rival]:
    """Return rivals by name, in the order given."""
    return {rival.name: rival for group in groups for rival in group}


def tuned(
    rival: Rival,
    train: EventLog,
    n_items: int,
    *,
    exclude_seen: bool = False,
    seed: int = 0,
    device: str = "auto",
    on_trial: Callable[[int, int], None] = lambda done, of: None,
) -> tuple[StreamRecommender, TuningRecord]:
    """Choose a rival's settings on the validation slice of the training events.

    Args:
        rival: the method.
        train: the events before the cut; see `selection.validation_slice`.
        n_items: size of the catalogue.
        exclude_seen: see `Candidates`.
        seed: see `Candidates`.
        device: see `Candidates`.
        on_trial: told after each candidate how many of how many are done.

    Returns:
        The method with the settings of the highest HR@20 + MRR@20 on the slice, the first among
        equals, and what was tried. With too few events for a slice it is the default settings.
    """
    started = time.perf_counter()
    candidates = rival.candidates(exclude_seen=exclude_seen, seed=seed, device=device)
    trials = validate(candidates, train, n_items, on_trial) if len(candidates) > 1 else []
    seconds = round(time.perf_counter() - started, 3)
    return candidates[best(trials)], TuningRecord(trials=trials, seconds=seconds)
