"""The detour over groups finds what torch.topk finds."""

import pytest
import torch

from worker.topk import topk


@pytest.mark.parametrize("items", [20, 1_000, 16 * 400, 16 * 400 + 7])
@pytest.mark.parametrize("k", [1, 20, 50])
def test_the_same_as_torch(items: int, k: int) -> None:
    scores = torch.randn(9, items, generator=torch.Generator().manual_seed(items + k))
    k = min(k, items)
    values, columns = topk(scores, k)
    assert torch.equal(values, scores.topk(k, dim=1).values)
    assert torch.equal(scores.gather(1, columns), values)


def test_minus_infinity_and_equal_scores() -> None:
    scores = torch.full((3, 16 * 200), -torch.inf)
    scores[:, [5, 700, 3199]] = 1.0
    values, columns = topk(scores, 20)
    assert (values[:, :3] == 1.0).all()
    assert (values[:, 3:] == -torch.inf).all()
    assert all(set(row[:3]) == {5, 700, 3199} for row in columns.tolist())
    assert all(len(set(row)) == 20 for row in columns.tolist())
