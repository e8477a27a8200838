"""Rounded arrays: how close they are, and that rounding twice is rounding once."""

import pytest
import torch

from worker.model.interface import UserArrays
from worker.state.compact import CompactLayout


def drawn(n: int, dim: int, rank: int, scale: float = 1.0) -> UserArrays:
    draw = torch.Generator().manual_seed(dim + rank)
    shapes = ((n, dim), (n, dim), (n, dim, rank))
    return UserArrays(*(scale * torch.randn(shape, generator=draw) for shape in shapes))


@pytest.mark.parametrize(("dim", "rank"), [(96, 8), (8, 2), (3, 3), (2, 1)])
def test_rounding_stays_within_half_a_step_and_is_stable(dim, rank):
    layout, users = CompactLayout(dim, rank), drawn(50, dim, rank)
    rows = layout.pack(users)
    assert rows.shape == (50, layout.row_bytes)
    assert layout.row_bytes % 2 == 0
    found = layout.unpack(rows)
    for name in ("hidden", "bias"):
        exact = getattr(users, name)
        assert torch.equal(getattr(found, name), exact.half().float())
    step = users.adapter.abs().amax(dim=1, keepdim=True) / 127
    assert ((found.adapter - users.adapter).abs() <= 0.501 * step + 1e-7).all()
    assert torch.equal(layout.pack(found), rows)


def test_the_default_size_takes_a_quarter_and_a_bit():
    assert CompactLayout(96, 8).row_bytes == 1168 < 4 * 96 * 10 / 3


@pytest.mark.parametrize("scale", [0.0, 1e-9, 1e-6, 1e6, 1e30])
def test_what_is_out_of_range_is_clamped_and_stays_finite(scale):
    layout = CompactLayout(8, 2)
    found = layout.unpack(layout.pack(drawn(5, 8, 2, scale)))
    for array in (found.hidden, found.bias, found.adapter):
        assert torch.isfinite(array).all()
    if scale == 0.0:
        assert not found.adapter.any()


def test_a_column_that_is_small_is_not_drowned_by_a_large_one():
    users = drawn(4, 96, 8)
    users.adapter[:, :, 3] *= 1e-3
    found = CompactLayout(96, 8).unpack(CompactLayout(96, 8).pack(users))
    column = users.adapter[:, :, 3]
    assert (found.adapter[:, :, 3] - column).abs().max() < 0.01 * column.abs().max()


def test_rows_do_not_depend_on_the_users_beside_them():
    layout, users = CompactLayout(16, 4), drawn(40, 16, 4)
    together = layout.pack(users)
    for i in (0, 7, 39):
        alone = UserArrays(users.hidden[[i]], users.bias[[i]], users.adapter[[i]])
        assert torch.equal(layout.pack(alone)[0], together[i])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_rounds_as_a_cpu_does():
    layout, users = CompactLayout(96, 8), drawn(300, 96, 8)
    there = UserArrays(users.hidden.cuda(), users.bias.cuda(), users.adapter.cuda())
    assert torch.equal(layout.pack(there).cpu(), layout.pack(users))
