"""Fit the mixer on held-out users, against the softmax over the whole catalogue."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.model.mixer import Mixer, Pairs
from worker.training.batch_size import batch_size

_EPOCHS = 14
_LARGEST_BATCH = 256
_SMALLEST_BATCH = 16
_LEARNING_RATE = 5e-3
_WEIGHT_DECAY = 1e-3
_HELD_OUT = 0.2
_MIN_REST = 1e-4
"""Least share of the softmax that is left to items that are no candidates: guards the logarithm."""
_MAX_LOGIT = 30.0


@dataclass(frozen=True)
class MixerCases:
    """Events of users whom the dense model did not see: all that is constant in the fit."""

    pairs: Pairs
    pointers: Tensor
    """Candidates of case i are `pointers[i]:pointers[i + 1]`, (n + 1,)."""
    log_normaliser: Tensor
    """Log-sum-exp of the inner products with all items, (n,)."""
    target_dense: Tensor
    """Inner product with the item acted on, (n,)."""
    target_pair: Tensor
    """Candidate that is the item acted on, −1 if none is, (n,)."""
    users: NDArray[np.int32]
    """User code of each case, (n,)."""

    def __len__(self) -> int:
        return len(self.target_dense)

    def take(self, cases: Tensor) -> MixerCases:
        """Return some of the cases."""
        sizes = self.pointers[cases + 1] - self.pointers[cases]
        pointers = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
        local = torch.repeat_interleave(torch.arange(len(cases), device=sizes.device), sizes)
        at = torch.arange(len(local), device=sizes.device)
        at = at - pointers[local] + self.pointers[cases][local]
        inside = self.target_pair[cases] - self.pointers[cases] + pointers[:-1]
        return MixerCases(
            pairs=Pairs(
                users=local,
                items=self.pairs.items[at],
                numbers=self.pairs.numbers[at],
                recency=self.pairs.recency[at],
                link=self.pairs.link[at],
                context=self.pairs.context[cases],
                dense=self.pairs.dense[at],
            ),
            pointers=pointers,
            log_normaliser=self.log_normaliser[cases],
            target_dense=self.target_dense[cases],
            target_pair=torch.where(self.target_pair[cases] < 0, -1, inside),
            users=self.users[cases.cpu().numpy()],
        )


def cross_entropy(mixer: Mixer, cases: MixerCases) -> Tensor:
    """Return the mean −log p(item acted on) under the mixed scores, in nats.

    Only candidates change, so the normaliser is that of the inner products, less the candidates'
    share of it, plus the candidates' mixed scores: the catalogue is not scored again.
    """
    pairs = cases.pairs
    mixed = pairs.dense + mixer(pairs)
    normaliser = cases.log_normaliser

    def share(scores: Tensor) -> Tensor:
        odds = torch.exp((scores - normaliser[pairs.users]).clamp(max=_MAX_LOGIT))
        return torch.zeros_like(normaliser).index_add_(0, pairs.users, odds)

    rest = (1.0 - share(pairs.dense)).clamp(min=_MIN_REST)
    # `index_select` and not indexing: its gradient adds up in a fixed order, whatever the threads.
    candidate = mixed.index_select(0, cases.target_pair.clamp(min=0))
    target = torch.where(cases.target_pair >= 0, candidate, cases.target_dense)
    return (normaliser + torch.log(rest + share(mixed)) - target).mean()


def fit_mixer(
    mixer: Mixer,
    cases: MixerCases,
    rng: np.random.Generator,
    on_epoch: Callable[[int, float], None] = lambda epoch, loss: None,
) -> Tensor:
    """Fit by AdamW, keep the epoch of least loss on a fifth of the users, or no mix at all.

    Args:
        mixer: to be fitted, in place.
        cases: at least one.
        rng: of the split and of the order of cases.
        on_epoch: told the epoch and the loss on the held-out users, nats.

    Returns:
        The held-out cases, by number.
    """
    train, held_out = _split(cases.users, rng)
    size = batch_size(len(train), _LARGEST_BATCH, _SMALLEST_BATCH)
    mixer.standardise(cases.pairs.numbers, cases.pairs.context)
    optimizer = torch.optim.AdamW(mixer.parameters(), lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    steps = _EPOCHS * max(1, -(-len(train) // size))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, total_steps=steps)
    best, best_state = _without_mix(mixer, cases, held_out)
    for epoch in range(_EPOCHS):
        for part in _batches(rng.permutation(train), size):
            loss = cross_entropy(mixer, cases.take(part))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        mean = _loss(mixer, cases, held_out)
        on_epoch(epoch, mean)
        if mean < best:
            best, best_state = mean, copy.deepcopy(mixer.state_dict())
    mixer.load_state_dict(best_state)
    return torch.from_numpy(held_out)


def _split(
    users: NDArray[np.int32], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    distinct = np.unique(users)
    chosen = rng.choice(distinct, max(1, round(len(distinct) * _HELD_OUT)), replace=False)
    held_out = np.isin(users, chosen)
    train = np.flatnonzero(~held_out)
    return (train if len(train) else np.flatnonzero(held_out)), np.flatnonzero(held_out)


@torch.no_grad()
def _loss(mixer: Mixer, cases: MixerCases, which: NDArray[np.int64]) -> float:
    parts = list(_batches(which, _LARGEST_BATCH))
    losses = [cross_entropy(mixer, cases.take(part)) * len(part) for part in parts]
    return float(torch.stack(losses).sum()) / len(which)


def _without_mix(
    mixer: Mixer, cases: MixerCases, which: NDArray[np.int64]
) -> tuple[float, dict[str, Tensor]]:
    """Return the loss and the state of a mixer that adds nothing."""
    nothing = copy.deepcopy(mixer)
    nothing.add_nothing()
    return _loss(nothing, cases, which), nothing.state_dict()


def _batches(cases: NDArray[np.int64], size: int) -> Iterator[Tensor]:
    for start in range(0, len(cases), size):
        yield torch.from_numpy(cases[start : start + size])


def joined(parts: list[MixerCases]) -> MixerCases:
    """Put parts together, in order."""
    offsets = np.cumsum([0, *(len(part.pairs.items) for part in parts)])
    first = np.cumsum([0, *(len(part) for part in parts)])
    pairs = [
        replace(part.pairs, users=part.pairs.users + int(start))
        for part, start in zip(parts, first, strict=False)
    ]
    return MixerCases(
        pairs=Pairs(
            **{
                name: torch.cat([getattr(part, name) for part in pairs])
                for name in Pairs.__dataclass_fields__
            }
        ),
        pointers=torch.cat(
            [torch.zeros(1, dtype=torch.long, device=parts[0].pointers.device)]
            + [p.pointers[1:] + int(o) for p, o in zip(parts, offsets, strict=False)]
        ),
        log_normaliser=torch.cat([part.log_normaliser for part in parts]),
        target_dense=torch.cat([part.target_dense for part in parts]),
        target_pair=torch.cat(
            [
                torch.where(p.target_pair < 0, -1, p.target_pair + int(o))
                for p, o in zip(parts, offsets, strict=False)
            ]
        ),
        users=np.concatenate([part.users for part in parts]),
    )
