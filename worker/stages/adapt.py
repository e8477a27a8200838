"""Adapt: inner-loop steps on the users' arrays, batched over users, in order within each user."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.model.compiled_loop import CompiledLoop
from worker.model.interface import AdaptationModel, UserArrays
from worker.state.arena import UserArena


@dataclass(frozen=True)
class Steps:
    """What to adapt on, an entry an event."""

    slots: NDArray[np.int64]
    rounds: NDArray[np.int64]
    """How many events of the same user come before: one round holds each user at most once."""
    learns: NDArray[np.bool_]
    """Whether to take a step; the others only get their query."""
    targets: Tensor
    """(n, dim)."""
    types: NDArray[np.int64]
    gaps: NDArray[np.float32]
    anew: NDArray[np.bool_] | None = None
    """Whether the user is at the starting point before the event, whatever came before, (n,)."""


@dataclass(frozen=True)
class Adapted:
    """What came of it."""

    queries: Tensor
    """Query of the user right after the event, (n, dim), on the model's device."""
    stepped: NDArray[np.bool_]
    """Whether a step was taken, (n,)."""
    loss_before: NDArray[np.float32]
    loss_after: NDArray[np.float32]
    """Support losses in nats, (n,); NaN where no step was taken."""


def adapt(steps: Steps, arena: UserArena, model: AdaptationModel) -> Adapted:
    """Take the steps round by round, leave the users' new state in the arena, return the queries.

    The k-th events of all users make one call of the model, so the outcome for a user is that of
    taking the events one by one. A step whose result is not finite is undone: one bad event must
    not cost a user the state for good.
    """
    n = len(steps.slots)
    queries = torch.zeros(n, model.dim, device=model.device)
    losses = torch.full((2, n), torch.nan, device=model.device)
    with torch.inference_mode():
        for positions in _rounds(steps.rounds):
            if steps.anew is not None and (anew := positions[steps.anew[positions]]).size:
                arena.start_anew(arena.to_device(steps.slots[anew]))
            learning = positions[steps.learns[positions]]
            if learning.size:
                here = arena.to_device(learning)
                losses[:, here] = _step(steps, learning, arena, model)
            queries[arena.to_device(positions)] = queries_of(arena, steps.slots[positions], model)
    before, after = losses.cpu().numpy()
    return Adapted(queries, np.isfinite(after), before, after)


def queries_of(arena: UserArena, slots: NDArray[np.int64], model: AdaptationModel) -> Tensor:
    """Return the queries of the users of these slots as they are now, (n, dim)."""
    here = arena.to_device(slots)
    loop = model.compiled_loop
    if loop is not None:
        return loop.queries(arena.gather_coded(here))
    return model.queries(arena.gather(here))


def _rounds(rounds: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Yield the positions of each round, in order."""
    order = np.argsort(rounds, kind="stable")
    starts = np.flatnonzero(np.diff(rounds[order], prepend=-1))
    yield from np.split(order, starts[1:]) if order.size else ()


def _step(
    steps: Steps, positions: NDArray[np.int64], arena: UserArena, model: AdaptationModel
) -> Tensor:
    """Adapt one round of users and return their losses before and after, (2, n)."""
    if model.compiled_loop is not None:
        return _compiled_step(steps, positions, arena, model.compiled_loop)
    device = model.device
    slots = arena.to_device(steps.slots[positions])
    users = arena.gather(slots)
    adapted, before, after = model.adapt(
        users,
        steps.targets[arena.to_device(positions)],
        torch.from_numpy(steps.types[positions]).to(device),
        torch.from_numpy(steps.gaps[positions]).to(device),
    )
    losses = torch.stack([before, after])
    finite = torch.isfinite(model.queries(adapted)).all(dim=1) & torch.isfinite(losses).all(dim=0)
    if not bool(finite.all()):
        adapted = UserArrays(
            torch.where(finite[:, None], adapted.hidden, users.hidden),
            torch.where(finite[:, None], adapted.bias, users.bias),
            torch.where(finite[:, None, None], adapted.adapter, users.adapter),
        )
        losses = torch.where(finite, losses, torch.nan)
    arena.scatter(slots, adapted)
    return losses


def _compiled_step(
    steps: Steps, positions: NDArray[np.int64], arena: UserArena, loop: CompiledLoop
) -> Tensor:
    slots = torch.from_numpy(steps.slots[positions])
    after = loop.adapt(
        arena.gather_coded(slots),
        steps.targets[torch.from_numpy(positions)],
        torch.from_numpy(steps.types[positions]),
        torch.from_numpy(steps.gaps[positions]),
    )
    users = UserArrays(after.hidden, after.bias, after.adapter)
    losses = torch.stack([after.loss_before, after.loss_after])
    if bool(after.finite.all()):
        arena.scatter(slots, users)
        return losses
    chosen = torch.nonzero(after.finite).squeeze(1)
    kept = UserArrays(users.hidden[chosen], users.bias[chosen], users.adapter[chosen])
    arena.scatter(slots[chosen], kept)
    return torch.where(after.finite, losses, torch.nan)
