"""The compiled cosine is the plain one."""

import torch

from worker.model.similarity import similarity_to_latest
from worker.rows import NO_ITEM


def test_cosine_with_the_latest_item() -> None:
    generator = torch.Generator().manual_seed(4)
    vectors = torch.randn(30, 8, generator=generator)
    vectors[7] = 0.0  # an item without text, unseen in training
    users = torch.tensor([0, 0, 0, 2, 2, 3])
    items = torch.tensor([4, 7, 9, 4, 29, 11])
    latest = torch.tensor([9, 3, NO_ITEM, 7])
    expected = torch.zeros(6)
    expected[0] = torch.nn.functional.cosine_similarity(vectors[4], vectors[9], dim=0)
    expected[2] = 1.0
    found = similarity_to_latest(vectors, items, users, latest)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
