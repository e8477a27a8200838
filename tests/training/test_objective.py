"""The options of the outer loop's loss."""

import numpy as np
import pytest
import torch

from schemas.clickstream import EVENT_TYPE_INDEX, EventType
from schemas.errors import DataError
from schemas.settings import TrainingSettings
from worker.model.config import ModelConfig
from worker.model.meta_model import MetaRecommender
from worker.training.objective import Drawn, Objective
from worker.training.sequences import NO_GAP, StreamBatch
from worker.training.tasks import (
    NO_CATEGORY,
    SESSION_GAP_S,
    FurtherTasks,
    category_codes,
    purchase_ahead,
)

ITEMS, DIM = 30, 8


@pytest.fixture
def drawn() -> Drawn:
    torch.manual_seed(1)
    mask = torch.arange(6) < torch.tensor([6, 4, 2]).unsqueeze(1)
    gaps = torch.full((3, 6), 10.0)
    gaps[:, 0] = NO_GAP
    batch = StreamBatch(
        torch.randint(ITEMS, (3, 6)), torch.zeros(3, 6, dtype=torch.long), gaps, mask
    )
    return Drawn(batch, torch.randint(ITEMS, (40,)), torch.randint(ITEMS, (5,)))


def loss_of(drawn: Drawn, **options: float | bool | str) -> torch.Tensor:
    torch.manual_seed(0)
    settings = TrainingSettings(dim=DIM, rank=2, anchors=5, **options)
    model = MetaRecommender(ModelConfig(dim=DIM, rank=2, anchors=5, text_dim=3), ITEMS)
    unique, inverse = drawn.codes()
    vectors = model.items(torch.randn(ITEMS, 3)[unique], unique, torch.ones(len(unique)))
    log_probability = torch.full((ITEMS,), -float(np.log(ITEMS)))
    return Objective(model, settings, log_probability).loss(drawn, vectors, inverse)


def test_alpha_mixes_the_losses_with_and_without_adaptation(drawn: Drawn) -> None:
    meta, task = loss_of(drawn), loss_of(drawn, meta_weight=0)
    assert meta != task
    torch.testing.assert_close(loss_of(drawn, meta_weight=0.3), 0.3 * meta + 0.7 * task)


def test_an_adversarial_shift_makes_the_loss_worse(drawn: Drawn) -> None:
    assert loss_of(drawn, adversarial=0.1) > loss_of(drawn)


def test_first_order_changes_no_value(drawn: Drawn) -> None:
    assert torch.equal(loss_of(drawn, first_order=True), loss_of(drawn))


def test_mixed_precision_is_near(drawn: Drawn) -> None:
    torch.testing.assert_close(
        loss_of(drawn, precision="bfloat16").float(), loss_of(drawn), rtol=0.02, atol=0
    )


def test_the_commonest_categories_get_codes_and_blank_ones_none() -> None:
    codes = category_codes(["b", "a", "", "b"], 4)
    assert codes.tolist() == [0, 1, NO_CATEGORY, 0]
    assert category_codes(None, 2).tolist() == [NO_CATEGORY] * 2


def test_a_purchase_is_ahead_until_it_happens_and_within_its_session() -> None:
    buy, view = EVENT_TYPE_INDEX[EventType.PURCHASE], EVENT_TYPE_INDEX[EventType.VIEW]
    types = torch.tensor([[view, view, buy, view, view, buy], [view, buy, buy, buy, view, view]])
    gaps = torch.full((2, 6), 5.0)
    gaps[:, 0] = NO_GAP
    gaps[0, 1] = SESSION_GAP_S + 1
    mask = torch.ones(2, 6, dtype=torch.bool)
    mask[1, 1:] = False
    batch = StreamBatch(torch.zeros(2, 6, dtype=torch.long), types, gaps, mask)
    expected = [[False, True, True, True, True, True], [False] * 6]
    assert purchase_ahead(batch).tolist() == expected


def test_each_further_task_adds_its_weight_times_its_cross_entropy(drawn: Drawn) -> None:
    codes = np.array([0, 1, NO_CATEGORY] * 10)
    queries = torch.randn(3, 6, DIM)

    def of(**weights: float) -> torch.Tensor:
        torch.manual_seed(0)
        return FurtherTasks(TrainingSettings(dim=DIM, **weights), codes)(queries, drawn.batch)

    torch.manual_seed(0)
    heads = FurtherTasks(TrainingSettings(dim=DIM, type_weight=1), codes)
    at = drawn.batch.mask
    category = torch.from_numpy(codes)[drawn.batch.items[at]]
    known = category >= 0
    expected = torch.nn.functional.cross_entropy(
        heads.category_head(queries[at][known]), category[known]
    )
    torch.testing.assert_close(of(category_weight=0.5), 0.5 * expected)
    parts = of(category_weight=0.5) + of(type_weight=2) + of(purchase_weight=1)
    torch.testing.assert_close(of(category_weight=0.5, type_weight=2, purchase_weight=1), parts)
    assert not FurtherTasks.wanted(TrainingSettings())


def test_categories_cannot_be_predicted_where_there_are_none() -> None:
    none = category_codes(["", ""], 2)
    with pytest.raises(DataError, match="category_weight"):
        FurtherTasks(TrainingSettings(dim=DIM, category_weight=1), none)
    FurtherTasks(TrainingSettings(dim=DIM, type_weight=1), none)
