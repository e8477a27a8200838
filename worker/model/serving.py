"""A bundle, loaded to serve: the same modules that were trained, one event at a time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from schemas.errors import BundleError
from worker.encoder.text_encoder import TextEncoder
from worker.item_memory.memory import ItemMemory
from worker.model.bundle import Bundle
from worker.model.compiled_loop import FEWEST_ROWS, CompiledLoop
from worker.model.fast_weights import FastWeights, Support
from worker.model.interface import UserArrays
from worker.model.meta_model import MetaRecommender
from worker.model.mixer import Mixer
from worker.model.mixer_kernel import MixerArrays, mixer_arrays
from worker.model.mixing import Scored, mix

ANCHORS = "anchors"
"""Name of the anchor vectors (M, d) among a bundle's tensors."""

POPULAR_ITEMS = 100


class ServingModel:
    """`worker.model.interface.AdaptationModel`, from a bundle.

    Args:
        bundle: a verified bundle.
        text_encoder: the encoder of item texts and search queries.
        device: where arrays live.

    Raises:
        BundleError: the bundle's tensors do not fit its own configuration.
    """

    def __init__(self, bundle: Bundle, text_encoder: TextEncoder, device: torch.device) -> None:
        self.bundle = bundle
        self.text_encoder = text_encoder
        self.device = device
        known = bundle.items()
        config = bundle.manifest.model
        self._rows = {item_id: row for row, item_id in enumerate(known.item_ids)}
        by_count = sorted(range(len(known.counts)), key=lambda row: -known.counts[row])
        self.popular_items: Sequence[str] = tuple(
            known.item_ids[row] for row in by_count[:POPULAR_ITEMS]
        )
        weights = bundle.weights(str(device))
        self._anchors = weights.pop(ANCHORS, torch.empty(0))
        if self._anchors.shape != (config.anchors, config.dim):
            raise BundleError(f"{bundle.folder}: the tensor {ANCHORS} is missing or of wrong shape")
        self._model = MetaRecommender(config, len(known.item_ids)).to(device).eval()
        try:
            self._model.load_state_dict(weights)
        except RuntimeError as error:
            raise BundleError(f"{bundle.folder}: the tensors do not fit: {error}") from error
        self._model.requires_grad_(False)

    @classmethod
    def load(cls, folder: Path, device: str = "auto", threads: int | None = None) -> ServingModel:
        """Verify and load a bundle.

        Args:
            folder: the bundle.
            device: "cpu", "cuda", or "auto" for cuda where there is one.
            threads: CPU threads of the text encoder; None leaves its default.

        Raises:
            BundleError: the bundle is incomplete, altered, or of another format.
            EncoderError: its text encoder cannot be loaded.
        """
        bundle = Bundle(folder)
        chosen = pick_device(device)
        encoder = TextEncoder.load(
            bundle.text_encoder,
            device="cuda" if chosen.type == "cuda" else "cpu",
            threads=threads,
        )
        if encoder.dimension != bundle.manifest.model.text_dim:
            raise BundleError(
                f"{folder}: the text encoder gives {encoder.dimension} numbers, the model takes"
                f" {bundle.manifest.model.text_dim}"
            )
        return cls(bundle, encoder, chosen)

    @property
    def dim(self) -> int:
        """Width d of hidden state, item vectors and queries."""
        return self._model.config.dim

    @property
    def rank(self) -> int:
        """Columns r of the fast weight A."""
        return self._model.config.rank

    @property
    def version(self) -> str:
        """The bundle's version."""
        return self.bundle.manifest.version

    @torch.inference_mode()
    def start(self, n: int) -> UserArrays:
        """Return the meta-learned starting point of `n` users, in memory of their own."""
        weights = self._model.inner_loop.start(n)
        hidden = self._model.session.start_hidden.expand(n, -1)
        return UserArrays(hidden.clone(), weights.bias.clone(), weights.adapter.clone())

    @torch.inference_mode()
    def item_vectors(self, item_ids: Sequence[str], texts: Sequence[str]) -> Tensor:
        """Return v = W·text + E, (n, dim); an item unseen in training has no E."""
        rows = torch.tensor([self._rows.get(item_id, -1) for item_id in item_ids])
        known = (rows >= 0).float().to(self.device)
        encoded = self._encode(texts)
        vectors: Tensor = self._model.items(encoded, rows.clamp(min=0).to(self.device), known)
        return vectors

    @torch.inference_mode()
    def query_vectors(self, texts: Sequence[str]) -> Tensor:
        """Return the vectors of search queries, (n, dim): those of items with such a text."""
        return self._model.items.text_only(self._encode(texts))

    @torch.inference_mode()
    def adapt(
        self,
        users: UserArrays,
        targets: Tensor,
        types: Tensor,
        gaps: Tensor,
        *,
        inner_loop: bool = True,
    ) -> tuple[UserArrays, Tensor, Tensor]:
        """Take one inner-loop step for each user, then let the session encoder consume the event.

        Args:
            users: states before the event, n rows; not altered.
            targets: vector of what each user acted on, (n, dim).
            types: rows of `schemas.clickstream.EVENT_TYPE_INDEX`, int64 (n,).
            gaps: seconds since the user's previous event, float32 (n,); negative if none.
            inner_loop: False leaves the fast weights as they are, to measure what they add.

        Returns:
            The states after the event, and the support losses before and after the step, (n,), in
            nats.
        """
        n = len(targets)
        if 0 < n < FEWEST_ROWS:
            enough = torch.arange(FEWEST_ROWS, device=targets.device) % n
            users = UserArrays(users.hidden[enough], users.bias[enough], users.adapter[enough])
            targets, types, gaps = targets[enough], types[enough], gaps[enough]
        session, loop = self._model.session, self._model.inner_loop
        weights = FastWeights(users.bias, users.adapter)
        keys = loop.keys(users.hidden)
        query = loop.query(users.hidden, keys, weights)
        if inner_loop:
            support = Support(targets, types, gaps)
            weights, before = loop.step(query, keys, weights, support, self._anchors)
            query = loop.query(users.hidden, keys, weights)
            after = loop.support_loss(query, targets, self._anchors)
        else:
            before = after = loop.support_loss(query, targets, self._anchors)
        hidden = session.step(users.hidden, session.inputs(targets, types, gaps))
        adapted = UserArrays(hidden[:n], weights.bias[:n], weights.adapter[:n])
        return adapted, before[:n], after[:n]

    @torch.inference_mode()
    def queries(self, users: UserArrays) -> Tensor:
        """Return the queries of users, (n, dim): an item's score is its inner product with one."""
        loop = self._model.inner_loop
        weights = FastWeights(users.bias, users.adapter)
        return loop.query(users.hidden, loop.keys(users.hidden), weights)

    @cached_property
    def compiled_loop(self) -> CompiledLoop | None:
        """What `adapt` and `queries` do on users in 8 bits; None off the CPU."""
        if self.device.type != "cpu":
            return None
        return CompiledLoop(self._model.inner_loop, self._model.session, self._anchors)

    @property
    def known_items(self) -> Collection[str]:
        """Ids of the items that training saw."""
        return self._rows.keys()

    @property
    def has_memory(self) -> bool:
        """Whether the bundle has an item memory to rank with."""
        return self._model.mixer is not None

    def memory(self, row_of: Callable[[str], int]) -> ItemMemory:
        """Return an item memory that knows what the training events taught.

        Args:
            row_of: gives every item id a row of its own.

        Raises:
            BundleError: the bundle has no memory.
        """
        rows = [row_of(item_id) for item_id in self.bundle.memory_items()]
        return self.bundle.memory(np.array(rows, np.int64))

    @torch.inference_mode()
    def mix(self, scored: Scored) -> Tensor:
        """Return the scores with the item memory mixed in, (n, items); changes them in place."""
        return mix(scored, self._mixer)

    @cached_property
    def mixer_arrays(self) -> MixerArrays:
        """The weights that `mix` uses, for `worker.model.mixer_kernel`."""
        return mixer_arrays(self._mixer)

    @property
    def _mixer(self) -> Mixer:
        if self._model.mixer is None:
            raise BundleError(f"{self.bundle.folder}: its model was trained without an item memory")
        return self._model.mixer

    @torch.inference_mode()
    def shift_repeats(self, scores: Tensor, recent: Tensor) -> None:
        """Shift, in place, the scores of users' latest items by how likely a repeat is.

        Args:
            scores: (n, items).
            recent: columns of the users' latest items, newest first, (n, r); −1 pads.
        """
        self._model.repeat.apply_to(scores, recent)

    def _encode(self, texts: Sequence[str]) -> Tensor:
        return torch.from_numpy(self.text_encoder.encode(texts)).to(self.device)


def pick_device(name: str) -> torch.device:
    """Return the torch device called `name`; "auto" is cuda where there is one, else cpu.

    Raises:
        BundleError: cuda is asked for and there is none.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise BundleError("device is cuda, but torch finds no CUDA device; use auto or cpu")
    return torch.device(name)
