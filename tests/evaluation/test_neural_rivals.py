"""What every neural rival must do: learn a structure that popularity cannot see."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from chains import FOLLOW, N_ITEMS, ChainLog, chain_log

from schemas.errors import EvaluationError
from worker.evaluation.baselines import Popularity, StreamRecommender
from worker.evaluation.baselines.neural import GRU4Rec, MetaLearned, SASRec
from worker.evaluation.baselines.prefixes import LastResult
from worker.evaluation.top_lists import TopLists
from worker.split import occurrence

SMALL_META = MetaLearned(
    dim=32, anchors=32, negatives=256, epochs=12, patience=12, batch_users=32, dropout=0.1
)
RIVALS: dict[str, StreamRecommender] = {
    "gru4rec": GRU4Rec(
        dim=32,
        epochs=15,
        batch_size=32,
        negatives=256,
        embedding_dropout=0.1,
        learning_rate=0.15,
    ),
    "gru4rec_bpr_max": GRU4Rec(
        dim=32,
        loss="bpr-max",
        epochs=15,
        batch_size=32,
        negatives=256,
        embedding_dropout=0.1,
        learning_rate=0.15,
        bpreg=0.5,
    ),
    "sasrec": SASRec(
        dim=32, blocks=1, negatives=256, epochs=20, patience=20, dropout=0.1, longest=8
    ),
    "maml": SMALL_META,
    "maml_first_order": replace(SMALL_META, second_order=False),
    "anil": replace(SMALL_META, variant="anil"),
    "reptile": replace(SMALL_META, variant="reptile"),
}

every_rival = pytest.mark.parametrize("name", RIVALS)


@pytest.fixture(scope="module")
def chain() -> ChainLog:
    return chain_log()


def _rival(name: str) -> StreamRecommender:
    if name.startswith("gru4rec"):
        pytest.importorskip("cornac")
    return RIVALS[name]


def _ranks(rival: StreamRecommender, chain: ChainLog) -> np.ndarray:
    return rival.prequential_ranks(chain.train, chain.stream, chain.scored, N_ITEMS)


@every_rival
def test_learns_what_follows_what(name, chain):
    ranks = _ranks(_rival(name), chain)
    popularity = _ranks(Popularity(half_life_ms=np.inf), chain)
    later = occurrence(chain.stream.users) > 0

    hits, by_chance = np.mean(ranks[later] == 0), np.mean(popularity[later] == 0)

    assert by_chance < 0.1
    assert hits > 0.75 * FOLLOW


@every_rival
def test_settings_are_those_of_a_report(name):
    settings = RIVALS[name].settings
    assert settings["seed"] == 0
    assert all(isinstance(value, str | int | float) for value in settings.values())
    assert RIVALS[name].name == name.split("_")[0]


@pytest.mark.parametrize("name", ["gru4rec", "sasrec", "maml", "reptile"])
def test_is_a_function_of_the_seed(name):
    chain = chain_log(train_users=60, new_users=10)

    def ranks(seed: int) -> np.ndarray:
        # Trained anew each time.
        return _ranks(replace(_rival(name), epochs=1, seed=seed, trained=LastResult()), chain)

    first = ranks(seed=0)

    assert (first >= 0).all()
    np.testing.assert_array_equal(first, ranks(seed=0))
    assert (first != ranks(seed=1)).any()


@pytest.mark.parametrize("name", ["gru4rec", "sasrec", "maml"])
def test_candidates_that_differ_in_the_order_alone_share_their_training(name):
    chain = chain_log(train_users=60, new_users=10)
    first = replace(_rival(name), epochs=1, skip_recent=0, trained=LastResult())
    later = replace(first, skip_recent=3)
    ranks, skipping = _ranks(first, chain), _ranks(later, chain)
    anew = _ranks(replace(later, trained=LastResult()), chain)

    np.testing.assert_array_equal(skipping, anew)
    assert (ranks != skipping).any()


@pytest.mark.parametrize("name", ["gru4rec", "sasrec", "anil"])
def test_the_listed_item_at_each_place_has_the_rank_of_that_place(name):
    chain = chain_log(train_users=60, new_users=20)
    rival = replace(_rival(name), epochs=2, exclude_seen=True)
    lists = TopLists(chain.scored, sample=len(chain.stream))

    ranks = rival.prequential_ranks(chain.train, chain.stream, chain.scored, N_ITEMS, lists)

    ranked = np.flatnonzero(ranks >= 0)
    assert len(ranked) < len(ranks), "the log should have repeats"
    for row, top in zip(ranked, lists.lists(), strict=True):
        place = np.flatnonzero(top == chain.stream.items[row])
        assert place.tolist() == ([ranks[row]] if ranks[row] < len(top) else [])


def test_gru4rec_says_what_to_install(monkeypatch, chain):
    monkeypatch.setitem(__import__("sys").modules, "cornac.models", None)
    with pytest.raises(EvaluationError, match=r"innerloop\[rivals\]"):
        _ranks(GRU4Rec(), chain)
