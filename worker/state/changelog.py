"""A user's state as a record of the compacted `user-state` topic, and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from schemas.codec import encode_state
from schemas.dead_letter import DeadLetterReason
from schemas.errors import DecodeError
from schemas.user_state import UserState
from worker.model.interface import AdaptationModel, UserArrays
from worker.state.arena import ResidentUser, UserArena

LAYOUT_VERSION = 1


def encode_states(
    users: Sequence[ResidentUser], arena: UserArena, model_version: str
) -> list[bytes]:
    """Return the values of `user-state` records that hold these users as they are now."""
    slots = np.array([user.slot for user in users], np.int64)
    arrays = arena.gather(arena.to_device(slots))
    hidden, bias, adapter = (
        tensor.cpu().numpy().astype("<f4", copy=False)
        for tensor in (arrays.hidden, arrays.bias, arrays.adapter)
    )
    return [
        encode_state(
            UserState(
                version=LAYOUT_VERSION,
                user_id=user.user_id,
                partition=user.partition,
                offset=user.offset,
                events_seen=user.events_seen,
                last_time=user.last_time,
                model_version=model_version,
                hidden=hidden[i].tobytes(),
                fast_bias=bias[i].tobytes(),
                fast_adapter=adapter[i].tobytes(),
                recent=list(user.recent.values()),
            )
        )
        for i, user in enumerate(users)
    ]


def check_state(state: UserState, model: AdaptationModel) -> None:
    """Check what the message type cannot say.

    Raises:
        DecodeError: the layout is unknown, or the arrays are not of the model's size.
    """
    if state.version != LAYOUT_VERSION:
        raise DecodeError(
            f"`version` is {state.version}; this worker reads {LAYOUT_VERSION}",
            DeadLetterReason.INVALID_FIELD,
        )
    if state.model_version != model.version:
        return  # its arrays are not used
    for name, array, size in (
        ("hidden", state.hidden, model.dim),
        ("fast_bias", state.fast_bias, model.dim),
        ("fast_adapter", state.fast_adapter, model.dim * model.rank),
    ):
        if len(array) != 4 * size:
            raise DecodeError(
                f"`{name}` has {len(array)} bytes; the model's has {4 * size}",
                DeadLetterReason.INVALID_FIELD,
            )


def decode_arrays(states: Sequence[UserState], model: AdaptationModel) -> UserArrays:
    """Return the arrays of checked states of the model's own version."""
    n, dim, rank = len(states), model.dim, model.rank
    hidden = _floats(b"".join(state.hidden for state in states))
    bias = _floats(b"".join(state.fast_bias for state in states))
    adapter = _floats(b"".join(state.fast_adapter for state in states))
    return UserArrays(
        torch.from_numpy(hidden.reshape(n, dim)).to(model.device),
        torch.from_numpy(bias.reshape(n, dim)).to(model.device),
        torch.from_numpy(adapter.reshape(n, dim, rank)).to(model.device),
    )


def _floats(array: bytes) -> NDArray[np.float32]:
    return np.frombuffer(array, "<f4").astype(np.float32)  # a copy: torch wants it writable
