"""Checking and reading a record of the compacted `user-state` topic."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from schemas.dead_letter import DeadLetterReason
from schemas.errors import DecodeError
from schemas.user_state import FIRST_LAYOUT, LAYOUT_VERSION, UserState
from worker.model.interface import AdaptationModel, UserArrays
from worker.state.compact import CompactLayout


def check_state(state: UserState, model: AdaptationModel) -> None:
    """Check what the message type cannot say.

    Raises:
        DecodeError: the layout is unknown, or the arrays are not of the model's size.
    """
    if state.version not in (FIRST_LAYOUT, LAYOUT_VERSION):
        raise DecodeError(
            f"`version` is {state.version}; this worker reads {FIRST_LAYOUT} and {LAYOUT_VERSION}",
            DeadLetterReason.INVALID_FIELD,
        )
    if state.model_version != model.version:
        return  # its arrays are not used
    size = 4 * _numbers(model) if _is_first(state) else CompactLayout.of(model).row_bytes
    if len(state.arrays) != size:
        raise DecodeError(
            f"the arrays have {len(state.arrays)} bytes; the model's have {size}",
            DeadLetterReason.INVALID_FIELD,
        )


def decode_rows(states: Sequence[UserState], model: AdaptationModel) -> Tensor:
    """Return the arrays of checked states of the model's own version, as `UserArena` holds them.

    Returns:
        uint8 (n, bytes), on the model's device.
    """
    layout = CompactLayout.of(model)
    first = np.array([_is_first(state) for state in states], np.bool_)
    rows = np.empty((len(states), layout.row_bytes), np.uint8)
    compact = b"".join(state.arrays for state in states if not _is_first(state))
    rows[~first] = np.frombuffer(compact, np.uint8).reshape(-1, layout.row_bytes)
    if first.any():
        floats = b"".join(state.arrays for state in states if _is_first(state))
        rows[first] = layout.pack(_split(floats, model)).numpy()
    return torch.from_numpy(rows).to(model.device)


def _is_first(state: UserState) -> bool:
    return state.version == FIRST_LAYOUT


def _numbers(model: AdaptationModel) -> int:
    return model.dim * (2 + model.rank)


def _split(floats: bytes, model: AdaptationModel) -> UserArrays:
    values: NDArray[np.float32] = np.frombuffer(floats, "<f4").astype(np.float32)
    whole = torch.from_numpy(values.reshape(-1, _numbers(model)))
    dim = model.dim
    adapter = whole[:, 2 * dim :].reshape(-1, dim, model.rank)
    return UserArrays(whole[:, :dim], whole[:, dim : 2 * dim], adapter)
