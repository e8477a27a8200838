"""A model at work in miniature, before it meets users: shows what loading does not; compiles."""

from __future__ import annotations

import numpy as np
import torch

from schemas.catalog import CatalogItem
from schemas.clickstream import EventType
from schemas.codec import build_codec
from schemas.errors import BundleError
from schemas.settings import Settings
from worker.arm import Arm, ArmAnswers, ArmParts
from worker.catalogue import Catalogue, ItemChange
from worker.item_memory.memory import ItemMemory
from worker.item_sharing.interface import MemorySource
from worker.item_sharing.learning import ItemLearning
from worker.item_sharing.log import TransitionLog
from worker.metrics import WorkerMetrics
from worker.rollout.loading import LoadedModel
from worker.rows import NO_ITEM
from worker.stages.decode import EventColumns
from worker.state.store import MemoryStore

_ITEMS = 64
_USERS = 8
_EVENTS = 32
_TIME_MS = 1_600_000_000_000
_KINDS = (EventType.VIEW, EventType.CLICK, EventType.ADD_TO_CART, EventType.SEARCH)


def rehearse(loaded: LoadedModel, settings: Settings) -> None:
    """Have a model adapt to made-up users and rank made-up items for them.

    Raises:
        BundleError: its vectors, scores or lists are not what they must be.
    """
    model = loaded.model
    catalogue = Catalogue(model, capacity=_ITEMS)
    items = [CatalogItem(item_id=f"item-{n}", title=f"item number {n}") for n in range(_ITEMS)]
    catalogue.apply([ItemChange(item.item_id, item) for item in items])
    if not bool(torch.isfinite(catalogue.vectors).all()):
        raise BundleError(f"model {model.version} gives items vectors that are not finite")
    wire = settings.wire.model_copy(update={"format": "json"})
    # The made-up items have no categories, and their users have seen many of them.
    policy = settings.policy.model_copy(update={"leave_out": "nothing", "restrictions": ()})
    parts = ArmParts(
        settings=settings.model_copy(update={"policy": policy}),
        codec=build_codec(wire),
        metrics=WorkerMetrics(),
        store=MemoryStore(),
        item_learning=_learning(loaded, catalogue),
        now_ms=lambda: _TIME_MS,
    )
    arm = Arm(model, catalogue, parts, "rehearsal")
    _check(arm.process(_events()), min(_ITEMS, settings.worker.top_k))


def _check(answers: ArmAnswers, length: int) -> None:
    ranked, model = answers.answers.ranked, answers.arm.model
    if len(answers.recommendations()) != _EVENTS or len(answers.states()) != _USERS:
        raise BundleError(f"model {model.version} does not answer every event in a rehearsal")
    if (ranked.rows[:, :length] == NO_ITEM).any():
        raise BundleError(f"model {model.version} ranks fewer items than there are in a rehearsal")
    if not np.isfinite(ranked.scores[:, :length]).all():
        raise BundleError(f"model {model.version} gives scores that are not finite in a rehearsal")


def _events() -> EventColumns:
    numbers = range(_EVENTS)
    kinds = [_KINDS[n // _USERS % len(_KINDS)] for n in numbers]
    return EventColumns(
        event_ids=[f"event-{n}" for n in numbers],
        user_ids=[f"user-{n % _USERS}" for n in numbers],
        types=kinds,
        times=[_TIME_MS + 1000 * n for n in numbers],
        item_ids=[None if kind is EventType.SEARCH else f"item-{7 * n % _ITEMS}"
                  for n, kind in zip(numbers, kinds, strict=True)],
        queries=["item number 5" if kind is EventType.SEARCH else None for kind in kinds],
        partitions=[0] * _EVENTS,
        offsets=list(numbers),
        record_times=[_TIME_MS] * _EVENTS,
    )  # fmt: skip


def _learning(loaded: LoadedModel, catalogue: Catalogue) -> ItemLearning | None:
    """Return the learning of an empty memory: what it takes to rank by one is compiled."""
    config = None if loaded.memory is None else loaded.memory.config
    if config is None:
        return None
    learning = ItemLearning(
        MemorySource(lambda _: ItemMemory(config)),
        catalogue,
        TransitionLog("rehearsal", 1, 64),
        WorkerMetrics(),
        max_future_ms=0,
        now_ms=lambda: _TIME_MS + 1000 * _EVENTS,
    )
    learning.open()
    return learning
