"""Users' arrays rounded to a quarter of float32, as they lie in the arena and in the changelog.

Hidden state and fast weight b are float16. Of the fast weight A each column c is int8: the column's
largest magnitude is 127 steps of s_c, and s_c is float16. A user is one row of bytes,

    hidden (2·dim) | b (2·dim) | s (2·rank) | A, row-major (dim·rank) | 0 or 1 byte of padding,

little-endian. What it costs in ranking: docs/decisions/0011-state-encoding.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from worker.model.inner_loop_kernel import Coded
from worker.model.interface import AdaptationModel, UserArrays
from worker.state import kernels

_LEVELS = 127
_LARGEST = 65504.0
"""Of float16."""


@dataclass(frozen=True)
class CompactLayout:
    """Where everything is in a row."""

    dim: int
    rank: int

    @classmethod
    def of(cls, model: AdaptationModel) -> CompactLayout:
        """Return the layout for a model's users."""
        return cls(model.dim, model.rank)

    @property
    def row_bytes(self) -> int:
        """Bytes of a user, an even number."""
        halves = 2 * (2 * self.dim + self.rank)
        return halves + self.dim * self.rank + (self.dim * self.rank) % 2

    def pack(self, users: UserArrays) -> Tensor:
        """Round n users: uint8 (n, row_bytes), on the device of the arrays."""
        adapter = users.adapter.contiguous()
        rows = torch.empty(len(adapter), self.row_bytes, dtype=torch.uint8, device=adapter.device)
        rows[:, -1] = 0  # padding, if it is not the last entry of A
        hidden, bias, steps, entries = self._parts(rows)
        hidden.copy_(users.hidden.clamp(-_LARGEST, _LARGEST))
        bias.copy_(users.bias.clamp(-_LARGEST, _LARGEST))
        steps.copy_((_column_maxima(adapter) / _LEVELS).clamp(max=_LARGEST))
        # By the step as it will be read back: then each entry is the nearest that there is.
        step = steps.float()
        _round_entries(adapter, torch.where(step > 0, 1.0 / step, 0.0), entries)
        return rows

    def unpack(self, rows: Tensor) -> UserArrays:
        """Return the float32 arrays of rows, uint8 (n, row_bytes)."""
        hidden, bias, scales, entries = self._parts(rows)
        adapter = entries.float().view(len(rows), self.dim, self.rank)
        return UserArrays(hidden.float(), bias.float(), adapter.mul_(scales.float().unsqueeze(1)))

    def coded(self, rows: Tensor) -> Coded:
        """Return rows, uint8 (n, row_bytes) on the CPU, with A as it is."""
        hidden, bias, scales, entries = self._parts(rows)
        return Coded(
            hidden.float().numpy(), bias.float().numpy(), scales.float().numpy(), entries.numpy()
        )

    def _parts(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return hidden, b, s and A as views into the rows."""
        wide, scales = 2 * self.dim, 2 * self.rank
        ends = (wide, 2 * wide, 2 * wide + scales)
        return (
            rows[:, : ends[0]].view(torch.float16),
            rows[:, ends[0] : ends[1]].view(torch.float16),
            rows[:, ends[1] : ends[2]].view(torch.float16),
            rows[:, ends[2] : ends[2] + self.dim * self.rank].view(torch.int8),
        )


def _column_maxima(adapter: Tensor) -> Tensor:
    if adapter.device.type == "cpu":
        return torch.from_numpy(kernels.column_maxima(adapter.numpy()))
    return adapter.abs().amax(dim=1)


def _round_entries(adapter: Tensor, per_step: Tensor, out: Tensor) -> None:
    if adapter.device.type == "cpu":
        kernels.round_entries(adapter.numpy(), per_step.numpy(), out.numpy())
        return
    steps = (adapter * per_step.unsqueeze(1)).clamp_(-_LEVELS, _LEVELS).round_()
    out.copy_(steps.flatten(1))
