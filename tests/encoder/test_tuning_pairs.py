"""Which texts are pairs, how they are drawn, and the loss on them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from worker.data import EventLog
from worker.tuning.contrastive import contrastive_loss, draw_batch, log_inclusion
from worker.tuning.held_out import HeldOutTexts
from worker.tuning.text_pairs import TextPairs, co_acted_pairs, distinct_texts


def log_of(users: list[int], items: list[int]) -> EventLog:
    n = len(users)
    return EventLog(
        users=np.array(users, np.int32),
        items=np.array(items, np.int32),
        types=np.zeros(n, np.int8),
        times=np.arange(n, dtype=np.int64),
        user_ids=[f"u{user}" for user in range(max(users) + 1)],
    )


def as_dict(pairs: TextPairs) -> dict[tuple[int, int], float]:
    return {
        (int(one), int(other)): float(weight)
        for one, other, weight in zip(pairs.left, pairs.right, pairs.weights, strict=True)
    }


def test_pairs_are_those_of_a_walk_through_each_users_events():
    rng = np.random.default_rng(3)
    users, items = rng.integers(0, 20, 300), rng.integers(0, 30, 300)
    text_of_item = rng.integers(-1, 12, 30).astype(np.int32)
    expected: Counter[tuple[int, int]] = Counter()
    for user in range(20):
        texts = text_of_item[items[users == user]]
        for at in range(len(texts)):
            for distance in range(1, 4):
                if at + distance < len(texts):
                    one, other = sorted((int(texts[at]), int(texts[at + distance])))
                    if one >= 0 and one != other:
                        expected[one, other] += 1 / distance
    pairs = co_acted_pairs(log_of(users.tolist(), items.tolist()), text_of_item, window=3)
    assert as_dict(pairs) == pytest.approx(dict(expected))
    assert (pairs.left < pairs.right).all()


def test_items_of_one_text_and_items_without_are_no_pairs():
    log = log_of([0, 0, 0, 1, 1], [0, 1, 2, 2, 3])
    text_of_item = np.array([0, 0, -1, 1], np.int32)
    assert len(co_acted_pairs(log, text_of_item, window=1)) == 0
    assert as_dict(co_acted_pairs(log_of([0, 1, 0], [0, 3, 3]), text_of_item, 1)) == {(0, 1): 1.0}


def test_a_single_event_makes_no_pair():
    assert len(co_acted_pairs(log_of([0], [0]), np.array([0], np.int32), window=5)) == 0


def test_distinct_texts_keep_their_order():
    texts, codes = distinct_texts(["b", "a", "b", "", "a"])
    assert texts == ["b", "a", ""]
    assert codes.tolist() == [0, 1, 0, 2, 1]


PAIRS = TextPairs(
    np.array([0, 0, 1, 3], np.int32), np.array([1, 2, 2, 4], np.int32), np.array([4.0, 2, 1, 1])
)


def test_pairs_are_drawn_by_weight():
    drawn = np.bincount(PAIRS.draw(80_000, np.random.default_rng(0)), minlength=4)
    np.testing.assert_allclose(drawn / 80_000, PAIRS.weights / 8, atol=0.01)


def test_a_batch_counts_what_was_drawn_both_ways_and_holds_each_text_once():
    batch = draw_batch(PAIRS, 50, np.random.default_rng(1))
    drawn = PAIRS.draw(50, np.random.default_rng(1))
    assert batch.texts.tolist() == [0, 1, 2, 3, 4]
    expected = np.zeros((5, 5))
    for place in drawn:
        one, other = PAIRS.left[place], PAIRS.right[place]
        expected[one, other] += 1
        expected[other, one] += 1
    np.testing.assert_array_equal(batch.counts.numpy(), expected)


def test_the_chance_to_be_in_a_batch_is_the_share_of_batches_that_have_the_text():
    rng = np.random.default_rng(2)
    present = np.zeros(5)
    for _ in range(4000):
        present[draw_batch(PAIRS, 3, rng).texts] += 1
    np.testing.assert_allclose(log_inclusion(PAIRS, 5, 3).exp(), present / 4000, atol=0.03)


def unit_vectors(n: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(n, 8, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_the_loss_is_its_formula_pair_by_pair():
    vectors, included = unit_vectors(5), log_inclusion(PAIRS, 5, 3)
    batch = draw_batch(PAIRS, 50, np.random.default_rng(1))
    total = 0.0
    for i in range(5):
        for j in range(5):
            logits = {
                k: float(vectors[i] @ vectors[k]) / 0.1 - float(included[k])
                for k in range(5)
                if k != i
            }
            if i != j:
                rest = np.log(sum(np.exp(value) for value in logits.values()))
                total += float(batch.counts[i, j]) * (rest - logits[j])
    loss = contrastive_loss(vectors, batch.counts, 0.1, included)
    assert loss.item() == pytest.approx(total / 100, rel=1e-5)


def test_correcting_for_popularity_spares_popular_texts():
    """The text 0 is in nearly every batch, so as a negative it counts for less."""
    vectors = unit_vectors(5).requires_grad_()
    counts = torch.zeros(5, 5)
    counts[3, 4] = counts[4, 3] = 1
    (plain,) = torch.autograd.grad(contrastive_loss(vectors, counts, 0.1), vectors)
    corrected_loss = contrastive_loss(vectors, counts, 0.1, log_inclusion(PAIRS, 5, 3))
    (corrected,) = torch.autograd.grad(corrected_loss, vectors)
    assert corrected[0].norm() < plain[0].norm()


class FixedTower:
    """Stands in for `TextTower`: the vector of text i is row i."""

    def __init__(self, rows: torch.Tensor) -> None:
        self._rows = rows

    def vectors(self, codes: np.ndarray) -> torch.Tensor:
        return self._rows[torch.from_numpy(codes).long()]


def test_held_out_texts_are_sought_among_held_out_texts_only():
    rng = np.random.default_rng(0)
    n, held_out = 200, np.arange(200) >= 100
    one = rng.integers(0, 100, 400).astype(np.int32)
    other = rng.integers(100, 200, 400).astype(np.int32)
    one[:40] = 100 + (other[:40] - 99) % 100  # of these both are held out
    measured = HeldOutTexts(TextPairs(one, other, np.ones(400)), held_out, rng)
    assert measured.texts.tolist() == list(range(100, 200))
    assert held_out[measured.targets].all()
    rows = unit_vectors(n)
    found = measured.measure(FixedTower(rows), 0.1)  # type: ignore[arg-type]
    hits, losses = [], []
    for query, target in zip(measured.queries, measured.targets, strict=True):
        others = [text for text in measured.texts if text != query]
        scores = {text: float(rows[query] @ rows[text]) for text in others}
        hits.append(sum(value > scores[target] for value in scores.values()) < 20)
        losses.append(
            np.log(sum(np.exp(value / 0.1) for value in scores.values())) - scores[target] / 0.1
        )
    assert found.recall == pytest.approx(np.mean(hits))
    assert found.loss == pytest.approx(np.mean(losses), rel=1e-4)
    assert 0.05 < found.recall < 0.5
