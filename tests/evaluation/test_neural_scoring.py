"""The stream scorer of the neural rivals, against the rank rule of all others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from event_logs import N_ITEMS, N_USERS, all_of, make_log, pairs
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.evaluation.baselines.neural.catalogue import Catalogue, scored_histories
from worker.evaluation.baselines.neural.model import ItemTable, catalogue_vectors, with_one
from worker.evaluation.baselines.neural.scoring import StreamScorer
from worker.evaluation.baselines.ranking import CatalogueRanker
from worker.evaluation.baselines.replay import HistoryScorer, UserHistories, replay
from worker.evaluation.top_lists import TopLists

DIM = 3


def _table(known: int) -> torch.Tensor:
    # Small integers: products are exact in float32, and ties are frequent.
    rng = np.random.default_rng(known)
    return torch.from_numpy(rng.integers(-2, 3, (known, DIM + 1)).astype(np.float32))


def _query(history: list[int], table: np.ndarray) -> np.ndarray:
    """The sum of the vectors of the known items so far, and a one."""
    known = [row for row in history if row < len(table)]
    return np.r_[table[known, :DIM].sum(axis=0), 1.0]


@settings(deadline=None, max_examples=60)
@given(pairs(min_size=1), pairs(min_size=1), st.booleans(), st.integers(-2, 2))
def test_ranks_and_lists_are_those_of_the_replay_of_the_same_scores(
    before, after, exclude_seen, repeat
):
    train, stream = make_log(before), make_log(after)
    catalogue = Catalogue(train, N_ITEMS)
    row_of_item = np.argsort(catalogue.item_of_row)
    table = _table(catalogue.known)

    def queries(rows: torch.Tensor) -> torch.Tensor:
        inputs = torch.cat([table[:, :DIM], torch.zeros(N_ITEMS, DIM)])[rows]
        return with_one(inputs.cumsum(dim=1) - inputs)

    def scores(history: Sequence[int]) -> np.ndarray:
        result = np.full(N_ITEMS, -1e9)
        query = _query([int(row_of_item[item]) for item in history], table.numpy())
        result[catalogue.item_of_row[: catalogue.known]] = table.numpy() @ query
        if history and row_of_item[history[-1]] < catalogue.known:
            result[history[-1]] += repeat
        return result

    histories = UserHistories(len(before) + len(after))
    histories.follow(train)
    of_replay, of_scorer = TopLists(all_of(stream)), TopLists(all_of(stream))
    expected = replay(
        train,
        stream,
        all_of(stream),
        ranker=CatalogueRanker.from_training(train, N_ITEMS),
        scorer=HistoryScorer(histories, scores),
        exclude_seen=exclude_seen,
        lists=of_replay,
    )
    scorer = StreamScorer(
        queries,
        catalogue_vectors(table, catalogue),
        catalogue,
        repeat=repeat,
        exclude_seen=exclude_seen,
    )

    ranks = scorer.ranks(train, stream, all_of(stream), of_scorer)

    np.testing.assert_array_equal(ranks, expected)
    np.testing.assert_array_equal(of_scorer.lists(), of_replay.lists())


def test_histories_reach_back_over_the_cut_and_hold_scored_users_only():
    train, stream = make_log([(0, 1), (1, 1), (0, 2)]), make_log([(0, 3), (1, 4), (0, 1), (0, 5)])
    scored = np.array([False, False, True, False])
    catalogue = Catalogue(train, N_ITEMS)

    [batch] = scored_histories(catalogue, train, stream, scored, users_at_once=N_USERS)

    items = catalogue.item_of_row[batch.rows.numpy()]
    assert items.tolist() == [[1, 2, 3, 1]]
    assert batch.scored.tolist() == [[False, False, False, True]]
    assert batch.positions.tolist() == [2]


def test_rows_are_by_training_popularity():
    catalogue = Catalogue(make_log([(0, 4), (0, 2), (1, 4)]), N_ITEMS)
    assert catalogue.item_of_row.tolist() == [4, 2, 0, 1, 3, 5]
    assert (catalogue.known, len(catalogue)) == (2, N_ITEMS)


@pytest.mark.parametrize("row", [4, 5, 100])
def test_unknown_items_enter_alike(row):
    table = ItemTable(known=4, dim=DIM, spread=1.0)
    torch.testing.assert_close(table.inputs(torch.tensor(row)), table.inputs(torch.tensor(4)))
