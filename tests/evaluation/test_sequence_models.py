"""The networks of GRU4Rec and SASRec as the stream scorer asks them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from chains import N_ITEMS, chain_log
from event_logs import make_log

from schemas.errors import DataError
from worker.evaluation.baselines.neural.catalogue import Catalogue
from worker.evaluation.baselines.neural.gru4rec import GRU4Rec, _Network
from worker.evaluation.baselines.neural.sasrec import SASRec, SASRecModel
from worker.evaluation.baselines.neural.seeding import seeded

KNOWN = 20


@pytest.fixture
def sasrec() -> SASRecModel:
    with seeded(0):
        model = SASRecModel(KNOWN, dim=8, blocks=2, heads=2, dropout=0.3, hide=0.1, longest=6)
    return model.eval()


@torch.no_grad()
def test_sasrec_sees_what_came_before_alone(sasrec):
    rows = torch.arange(12).reshape(2, 6)
    changed = rows.clone()
    changed[:, 3:] = 19
    first, second = sasrec.queries(rows), sasrec.queries(changed)
    torch.testing.assert_close(first[:, :4], second[:, :4])
    assert (first[:, 4:] - second[:, 4:]).abs().amax(dim=2).min() > 1e-4


@torch.no_grad()
def test_sasrec_scores_long_histories_in_windows_that_overlap_by_half(sasrec):
    rows = torch.from_numpy(np.random.default_rng(0).integers(0, KNOWN, (3, 14)))
    queries = sasrec.queries(rows)
    assert queries.shape == (3, 14, 9)
    torch.testing.assert_close(queries[:, :6], sasrec.queries(rows[:, :6]))
    torch.testing.assert_close(queries[:, 6:9], sasrec.queries(rows[:, 3:9])[:, 3:])
    torch.testing.assert_close(queries[:, 12:], sasrec.queries(rows[:, 9:])[:, 3:])


@torch.no_grad()
@pytest.mark.parametrize("length", range(1, 20))
def test_sasrec_gives_a_query_for_every_event(sasrec, length):
    assert sasrec.queries(torch.zeros(2, length, dtype=torch.long)).shape == (2, length, 9)


@torch.no_grad()
def test_sasrec_hides_items_and_drops_out_in_training_alone(sasrec):
    rows = torch.arange(6).unsqueeze(0)
    torch.testing.assert_close(sasrec.queries(rows), sasrec.queries(rows))
    sasrec.train()
    assert (sasrec.queries(rows) - sasrec.queries(rows)).abs().amax() > 1e-3


@torch.no_grad()
def test_gru4rec_side_by_side_scores_as_cornac_does_one_by_one():
    gru4rec = pytest.importorskip("cornac.models.gru4rec.gru4rec")
    train = chain_log(train_users=40, new_users=2).train
    catalogue = Catalogue(train, N_ITEMS)
    rival = GRU4Rec(dim=16, epochs=1, batch_size=8, negatives=32)
    with torch.enable_grad():
        cornac = rival._fit(catalogue, train, torch.device("cpu"))
    network = _Network(cornac, catalogue.known)
    rows = torch.from_numpy(np.random.default_rng(0).integers(0, catalogue.known, (3, 5)))

    scores = network.queries(rows) @ network.vectors(catalogue)[: catalogue.known].T

    for user in range(3):
        for t in range(5):
            # Cornac knows the start of a history by the item that stands for it.
            history = [catalogue.known, *rows[user, :t].tolist()]
            expected = gru4rec.score(cornac, cornac.layers, torch.device("cpu"), history)
            np.testing.assert_allclose(scores[user, t], expected[: catalogue.known], atol=1e-5)


@torch.no_grad()
def test_an_unknown_item_leaves_gru4recs_state_as_it_was():
    pytest.importorskip("cornac")
    train = chain_log(train_users=40, new_users=2).train
    catalogue = Catalogue(train, N_ITEMS + 5)
    with torch.enable_grad():
        cornac = GRU4Rec(dim=16, epochs=1, batch_size=8, negatives=32)._fit(
            catalogue, train, torch.device("cpu")
        )
    network = _Network(cornac, catalogue.known)
    unknown = len(catalogue) - 1

    queries = network.queries(torch.tensor([[3, unknown, 4, 5]]))[0]
    without = network.queries(torch.tensor([[3, 4, 5]]))[0]

    torch.testing.assert_close(queries[[0, 1, 3]], without)
    torch.testing.assert_close(queries[2], queries[1])


def test_there_must_be_events_to_train_on():
    nothing, stream = make_log([]), make_log([(0, 1)])
    with pytest.raises(DataError, match="no events before the cut"):
        SASRec().prequential_ranks(nothing, stream, np.ones(1, np.bool_), 3)


def test_training_leaves_the_global_generators_as_they_were():
    torch.manual_seed(5)
    np.random.seed(5)
    expected = torch.rand(1).item(), np.random.rand()
    torch.manual_seed(5)
    np.random.seed(5)
    with seeded(1):
        torch.rand(7)
        np.random.rand(7)
    assert (torch.rand(1).item(), np.random.rand()) == expected
