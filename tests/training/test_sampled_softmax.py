import numpy as np
import torch

from worker.training.sampled_softmax import Items, ItemSampler, sampled_softmax_loss


def test_items_are_drawn_by_count_to_the_power() -> None:
    sampler = ItemSampler(np.array([0, 1, 16]), power=0.5)
    codes = sampler.draw(50_000, np.random.default_rng(0))
    share = np.bincount(codes.numpy(), minlength=3) / 50_000
    np.testing.assert_allclose(share, [0, 0.2, 0.8], atol=0.01)
    np.testing.assert_allclose(sampler.log_probability[1:].exp(), [0.2, 0.8], rtol=1e-5)


def test_the_sampled_loss_estimates_the_softmax_over_all_items() -> None:
    generator = torch.Generator().manual_seed(0)
    items = torch.randn(200, 6, generator=generator)
    queries = torch.randn(8, 6, generator=generator)
    targets = torch.arange(8)
    sampler = ItemSampler(np.arange(1, 201), power=0.75)
    drawn = sampler.draw(200_000, np.random.default_rng(1))

    loss = sampled_softmax_loss(
        queries, Items(items[targets], targets), Items(items[drawn], drawn), sampler.log_probability
    )

    # With many draws the negatives' part becomes the sum over all other items; the target itself
    # enters once, with its logit corrected like the others.
    correction = sampler.log_probability + np.log(len(drawn))
    logits = queries @ items.T
    positive = logits.diagonal() - correction[targets]
    others = logits.masked_fill(torch.eye(8, 200, dtype=torch.bool), -torch.inf)
    expected = torch.logaddexp(others.logsumexp(dim=1), positive) - positive
    torch.testing.assert_close(loss, expected.mean(), rtol=0.01, atol=0.01)
