"""What the streaming worker needs of a model: batched adaptation of users, vectors, queries.

A user's adapted state is a row of `UserArrays`; the worker keeps the rows, the model changes them.
`worker.model.serving.ServingModel` is the implementation that a bundle loads into.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from worker.model.compiled_loop import CompiledLoop
from worker.model.mixer_kernel import MixerArrays
from worker.model.mixing import Scored


@dataclass(frozen=True)
class UserArrays:
    """The adapted state of n users as a structure of arrays: float32, on the model's device."""

    hidden: Tensor
    """Session encoder state h, (n, dim)."""
    bias: Tensor
    """Fast weight b, (n, dim)."""
    adapter: Tensor
    """Fast weight A, (n, dim, rank)."""


class AdaptationModel(Protocol):
    """A model that adapts to users one event at a time.

    Rows are independent: what becomes of a user does not depend on the other users of a call,
    beyond rounding.
    """

    @property
    def dim(self) -> int:
        """Width of hidden state, item vectors and queries."""

    @property
    def rank(self) -> int:
        """Columns of the fast weight A."""

    @property
    def version(self) -> str:
        """The bundle's version: states of another one cannot be used with this model."""

    @property
    def device(self) -> torch.device:
        """Where all arrays live."""

    @property
    def popular_items(self) -> Sequence[str]:
        """Item ids by popularity in training, most popular first; may be empty."""

    def start(self, n: int) -> UserArrays:
        """Return the meta-learned starting point of `n` users, in memory of their own."""

    def item_vectors(self, item_ids: Sequence[str], texts: Sequence[str]) -> Tensor:
        """Return the vectors of items, (n, dim); an item unseen in training has its text alone."""

    def query_vectors(self, texts: Sequence[str]) -> Tensor:
        """Return the vectors of search queries, (n, dim)."""

    def adapt(
        self, users: UserArrays, targets: Tensor, types: Tensor, gaps: Tensor
    ) -> tuple[UserArrays, Tensor, Tensor]:
        """Take one inner-loop step for each user, then let the session encoder consume the event.

        Args:
            users: states before the event, n rows; not altered.
            targets: vector of what each user acted on, (n, dim).
            types: rows of `schemas.clickstream.EVENT_TYPE_INDEX`, int64 (n,).
            gaps: seconds since the user's previous event, float32 (n,); −1 if there is none.

        Returns:
            The states after the event, and the support losses before and after the step, both (n,)
            in nats.
        """

    @property
    def compiled_loop(self) -> CompiledLoop | None:
        """What `adapt` and `queries` do on users in 8 bits, faster; None if there is no such."""

    def shift_repeats(self, scores: Tensor, recent: Tensor) -> None:
        """Shift, in place, the scores of users' latest items by how likely a repeat is.

        Args:
            scores: (n, items).
            recent: columns of the users' latest items, newest first, (n, r); −1 pads.
        """

    def mix(self, scored: Scored) -> Tensor:
        """Return scores with the item memory mixed in, (n, items); see `worker.model.mixing`."""

    @property
    def mixer_arrays(self) -> MixerArrays:
        """The weights that `mix` uses, for `worker.model.mixer_kernel`."""

    def queries(self, users: UserArrays) -> Tensor:
        """Return the queries of users, (n, dim): an item's score is its inner product with one."""
