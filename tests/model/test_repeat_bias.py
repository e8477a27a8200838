"""The shift of repeats: applied once per item, and fitted to how often users repeat."""

import torch

from worker.model.config import ModelConfig
from worker.model.repeat_bias import RepeatBias
from worker.rows import NO_ITEM
from worker.training.repeat_fit import fit_repeat_bias, repeat_cases


def test_only_the_newest_occurrence_counts_and_padding_does_not() -> None:
    bias = RepeatBias(ModelConfig(recent=3))
    bias.shift.copy_(torch.tensor([-1.0, -10.0, -100.0]))
    scores = torch.zeros(2, 5)
    bias.apply_to(scores, torch.tensor([[4, 4, 2, 3], [1, NO_ITEM, NO_ITEM, NO_ITEM]]))
    assert scores.tolist() == [[0, 0, -100, 0, -1], [0, -1, 0, 0, 0]]


def test_the_fit_finds_the_shift_that_generated_the_repeats() -> None:
    generator = torch.Generator().manual_seed(0)
    items = torch.randn(50, 4, generator=generator)
    queries = torch.randn(4000, 4, generator=generator)
    recent = torch.randint(0, 50, (4000, 2), generator=generator)
    truth = RepeatBias(ModelConfig(recent=2))
    truth.shift.copy_(torch.tensor([-2.0, 1.5]))
    scores = queries @ items.T
    truth.apply_to(scores, recent)
    targets = torch.multinomial(scores.softmax(dim=1), 1, generator=generator).squeeze(1)

    fitted = RepeatBias(ModelConfig(recent=2))
    fit_repeat_bias(fitted, repeat_cases(queries, items, targets, recent))

    torch.testing.assert_close(fitted.shift, truth.shift, atol=0.2, rtol=0)


def test_a_repeat_that_never_happens_gets_a_large_but_finite_negative_shift() -> None:
    items, queries = torch.eye(6), torch.eye(6).repeat(50, 1) * 3
    recent = torch.arange(6).repeat(50).unsqueeze(1)
    targets = (recent.squeeze(1) + 1) % 6
    bias = RepeatBias(ModelConfig(recent=1))
    fit_repeat_bias(bias, repeat_cases(queries, items, targets, recent))
    assert -60 < bias.shift.item() < -3
