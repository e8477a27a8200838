"""Score a bundle and its rivals on the new users of an events file."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np

from worker.data import ItemTable, load_events, load_items
from worker.evaluation.adapted import AdaptedRecommender
from worker.evaluation.baselines import StreamRecommender, default_baselines
from worker.evaluation.metrics import ModelQuality, summarise
from worker.model.serving import ServingModel
from worker.split import TimeCut, split_at


class Protocol(msgspec.Struct, frozen=True, kw_only=True):
    """What was scored, and how."""

    events_file: str
    items_file: str
    cut: float
    cut_time: int
    """Milliseconds since the epoch."""
    items: int
    train_events: int
    stream_events: int
    scored_users: int
    scored_events: int
    exclude_seen: bool
    bundle_version: str
    seed: int
    """Of the bundle's training, and of the draw of users where only some are scored."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The result of an evaluation."""

    models: dict[str, ModelQuality]
    protocol: Protocol


@dataclass(frozen=True)
class EvaluationJob:
    """What to evaluate on what."""

    bundle: Path
    events: Path
    items: Path
    cut: float = 0.75
    users: int | None = None
    """Score this many new users, drawn at random; None scores all."""
    exclude_seen: bool = False
    device: str = "auto"


def evaluate(job: EvaluationJob, on_model: Callable[[str], None] = lambda name: None) -> Report:
    """Run the protocol.

    Args:
        job: what to evaluate.
        on_model: told the name of each model before it is scored.

    Raises:
        BundleError: the bundle cannot be used.
        DataError: the files cannot be used.
    """
    model = ServingModel.load(job.bundle, job.device)
    provenance = model.bundle.manifest.provenance
    items = load_items(job.items)
    cut = split_at(load_events(job.events, items), job.cut)
    if job.users is not None:
        cut = _only_some_users(cut, job.users, provenance.seed)
    scores: dict[str, ModelQuality] = {}
    for recommender in _recommenders(model, items, job.exclude_seen):
        on_model(recommender.name)
        scores[recommender.name] = _score(recommender, cut, len(items))
    return Report(
        models=scores,
        protocol=Protocol(
            events_file=job.events.name,
            items_file=job.items.name,
            cut=job.cut,
            cut_time=cut.time,
            items=len(items),
            train_events=len(cut.train),
            stream_events=len(cut.stream),
            scored_users=len(np.unique(cut.stream.users[cut.scored])),
            scored_events=int(cut.scored.sum()),
            exclude_seen=job.exclude_seen,
            bundle_version=model.version,
            seed=provenance.seed,
        ),
    )


def _recommenders(
    model: ServingModel, items: ItemTable, exclude_seen: bool
) -> Sequence[StreamRecommender]:
    return [
        AdaptedRecommender(model, items, exclude_seen=exclude_seen),
        AdaptedRecommender(model, items, inner_loop=False, exclude_seen=exclude_seen),
        *default_baselines(exclude_seen=exclude_seen),
    ]


def _score(recommender: StreamRecommender, cut: TimeCut, n_items: int) -> ModelQuality:
    started = time.perf_counter()
    ranks = recommender.prequential_ranks(cut.train, cut.stream, cut.scored, n_items)
    return summarise(ranks, cut.events_seen, seconds=round(time.perf_counter() - started, 3))


def _only_some_users(cut: TimeCut, n: int, seed: int) -> TimeCut:
    # The rest of the stream is still replayed: methods that learn online learn from everybody.
    new_users = np.unique(cut.stream.users[cut.scored])
    chosen = np.zeros(len(cut.stream.user_ids), np.bool_)
    rng = np.random.default_rng(seed)
    chosen[rng.choice(new_users, min(n, len(new_users)), replace=False)] = True
    return replace(cut, scored=cut.scored & chosen[cut.stream.users])
