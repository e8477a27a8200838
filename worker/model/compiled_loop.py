"""Adaptation on a CPU: what `ServingModel.adapt` does, with A in 8 bits and compiled loops."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.model.fast_weights import InnerLoop
from worker.model.inner_loop_kernel import (
    Changed,
    Coded,
    Events,
    Prepared,
    change,
    prepare,
    queries,
)
from worker.model.session_encoder import SessionEncoder

FEWEST_ROWS = 16
"""A matrix product of up to four rows takes another path on CPUs and rounds differently. With more
rows than that, what becomes of a user is the same to the bit whoever else is in the call; measured
in docs/decisions/0011-state-encoding.md."""


@dataclass(frozen=True)
class CodedStep:
    """n users after an event."""

    hidden: Tensor
    """(n, d)."""
    bias: Tensor
    """(n, d)."""
    adapter: Tensor
    """(n, d, r)."""
    loss_before: Tensor
    loss_after: Tensor
    """Support losses, (n,), in nats."""
    finite: Tensor
    """Whether all of the above are, (n,)."""


class CompiledLoop:
    """The inner loop and the session encoder of a trained model, on a CPU.

    Args:
        loop: the inner loop.
        session: the session encoder.
        anchors: anchor item vectors, (M, d).
    """

    def __init__(self, loop: InnerLoop, session: SessionEncoder, anchors: Tensor) -> None:
        self._loop = loop
        self._session = session
        self._anchors = anchors.contiguous()
        self._keys = loop.key_projection.weight.detach().T.contiguous()
        self._rates = loop.rates()
        self._temperature = loop.temperature()

    @torch.inference_mode()
    def queries(self, users: Coded) -> Tensor:
        """Return the queries of users, (n, d)."""
        n = len(users.hidden)
        out = np.empty_like(users.hidden)
        queries(users, self._key(users, n), out)
        return torch.from_numpy(out)

    @torch.inference_mode()
    def adapt(self, users: Coded, targets: Tensor, types: Tensor, gaps: Tensor) -> CodedStep:
        """Take the inner loop's step for each user, then have the session encoder take the event.

        Args: as `worker.model.interface.AdaptationModel.adapt` has them.
        """
        n = len(targets)
        if 0 < n < FEWEST_ROWS:
            enough = np.arange(FEWEST_ROWS) % n
            users = Coded(
                users.hidden[enough],
                users.bias[enough],
                users.scales[enough],
                users.entries[enough],
            )
            here = torch.from_numpy(enough)
            targets, types, gaps = targets[here], types[here], gaps[here]
        step = self._adapt(users, targets, types, gaps)
        return step if n >= FEWEST_ROWS else CodedStep(*(part[:n] for part in vars(step).values()))

    def _adapt(self, users: Coded, targets: Tensor, types: Tensor, gaps: Tensor) -> CodedStep:
        n, dim = users.hidden.shape
        events = Events(self._key(users, n), self._loop.decay_rows(gaps).numpy())
        prepared = Prepared(*(np.empty((n, dim), np.float32) for _ in Prepared._fields))
        prepare(users, events, self._rates, prepared)
        query, base, slope = (torch.from_numpy(part) for part in prepared)
        factor = self._loop.factors(types)
        total = torch.zeros_like(query)
        loss_before = None
        for _ in range(self._loop.steps):
            gradient, loss = self._gradient(query, targets)
            total += gradient if factor is None else factor.unsqueeze(1) * gradient
            query = base - slope * total
            loss_before = loss if loss_before is None else loss_before
        assert loss_before is not None  # there is a step at least
        loss_after = self._gradient(query, targets, wanted=False)[1]
        changed = _room(n, dim, events.keys.shape[1])
        change(users, events, self._rates, total.numpy(), changed)
        bias, adapter, size = (torch.from_numpy(part) for part in changed)
        hidden = self._session.step(
            torch.from_numpy(users.hidden), self._session.inputs(targets, types, gaps)
        )
        finite = torch.isfinite(size + loss_before + loss_after)
        finite &= torch.isfinite(hidden).all(dim=1) & torch.isfinite(bias).all(dim=1)
        return CodedStep(hidden, bias, adapter, loss_before, loss_after, finite)

    def _key(self, users: Coded, n: int) -> NDArray[np.float32]:
        hidden = torch.from_numpy(users.hidden)
        if 0 < n < FEWEST_ROWS:
            hidden = hidden[torch.arange(FEWEST_ROWS) % n]
        keys: NDArray[np.float32] = torch.tanh(hidden @ self._keys)[:n].numpy()
        return keys

    def _gradient(
        self, query: Tensor, targets: Tensor, *, wanted: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Return ∂L/∂q (n, d), if wanted, and L (n,): `support_gradient` in fewer passes."""
        scaled = query if self._temperature is None else self._temperature * query
        logits = scaled @ self._anchors.T
        target = (scaled * targets).sum(dim=1)
        largest = torch.maximum(logits.amax(dim=1), target)
        shares = logits.sub_(largest.unsqueeze(1)).exp_()
        of_target = torch.exp(target - largest)
        total = shares.sum(dim=1) + of_target
        loss = total.log() + largest - target
        if not wanted:
            return query, loss
        gradient = torch.addcmul(shares @ self._anchors, of_target.unsqueeze(1), targets)
        gradient = gradient.div_(total.unsqueeze(1)).sub_(targets)
        return (gradient if self._temperature is None else gradient.mul_(self._temperature)), loss


def _room(n: int, dim: int, rank: int) -> Changed:
    return Changed(
        np.empty((n, dim), np.float32),
        np.empty((n, dim, rank), np.float32),
        np.empty(n, np.float32),
    )
