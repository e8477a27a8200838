"""Sizes of the model: part of every bundle's manifest."""

from __future__ import annotations

from typing import Annotated

import msgspec

from worker.item_memory.config import MemoryConfig

Size = Annotated[int, msgspec.Meta(ge=1)]


class ModelConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes of the adaptation model."""

    dim: Size = 96
    """Width d of item vectors, session state and queries."""
    rank: Size = 8
    """Columns r of the fast weight A (d, r)."""
    anchors: Size = 256
    """Items M against which the inner loop's softmax is taken."""
    text_dim: Size = 384
    """Width of the text encoder's vectors."""
    recent: Size = 10
    """A user's latest items whose scores are shifted by a learned amount."""
    gap_buckets: Size = 24
    """Buckets of the time since the user's previous event, on a log2 scale of seconds."""
    memory: MemoryConfig | None = None
    """Of the item memory; None for a model without one."""
    mixer: Size = 32
    """Width of the hidden layer that weighs what the item memory knows."""
    inner_steps: Size = 1
    """Gradient steps that the inner loop takes on each event."""
    type_steps: bool = False
    """Whether each event type has a learned factor on the step sizes."""
    timed_forgetting: bool = False
    """Whether the fast weights' decay depends on the time since the user's previous event."""
    inner_temperature: bool = False
    """Whether the inner loop's softmax has a learned temperature of its own."""
