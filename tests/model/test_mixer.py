"""The mix of inner products with the item memory: what it takes in, and what it may change."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from worker.item_memory.config import WINDOW, MemoryConfig
from worker.item_memory.kernels import CONTEXT, FEATURES
from worker.item_memory.memory import Candidates, ItemMemory, Occurrences
from worker.model.mixer import Mixer, pairs_of
from worker.model.mixing import Scored, mix, score, walk

ITEMS, DIM, USERS = 12, 4, 3
CONFIG = MemoryConfig(neighbours=8, recent=3, trending=2, dense=2)


def drawn_mixer(seed: int = 0) -> Mixer:
    """A mixer in which every input counts."""
    torch.manual_seed(seed)
    mixer = Mixer(6, CONFIG.recent)
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.normal_()
    return mixer.requires_grad_(False)


def drawn_world(seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(USERS, DIM, generator=generator),
        torch.randn(ITEMS, DIM, generator=generator),
    )


def asked(recent: list[list[int]], *, wanted: list[bool] | None = None) -> Occurrences:
    """Users who are answered; nothing is learned."""
    n = len(recent)
    return Occurrences(
        items=np.zeros(n, np.int32),
        before=np.full((n, WINDOW), -1, np.int32),
        times=np.zeros(n, np.int64),
        learns=np.zeros(n, np.bool_),
        recent=np.array(recent, np.int32),
        wanted=np.array(wanted if wanted is not None else [True] * n),
    )


def taught(pairs: list[tuple[int, int]], rows: int = ITEMS) -> ItemMemory:
    """A memory in which users went from one item to another."""
    memory = ItemMemory(CONFIG, rows)
    before = np.full((len(pairs), WINDOW), -1, np.int32)
    before[:, 0] = [source for source, _ in pairs]
    memory.learn(
        np.array([item for _, item in pairs], np.int32),
        before,
        np.zeros(len(pairs), np.int64),
        1000 * np.arange(len(pairs), dtype=np.int64),
    )
    return memory


RECENT = [[3, 1, -1], [-1, -1, -1], [5, 3, 5]]


def test_pairs_tell_of_each_candidate_what_the_memory_and_the_vectors_say():
    queries, vectors = drawn_world()
    draw = np.random.default_rng(2)
    candidates = Candidates(
        pointers=np.array([0, 2, 2, 5]),
        rows=np.array([3, 7, 0, 5, 11], np.int32),
        features=draw.random((5, len(FEATURES)), np.float32),
        recency=np.array([0, -1, -1, 0, 2], np.int32),
        link=np.array([-1, 1, 0, -1, -1], np.int32),
        context=draw.random((USERS, len(CONTEXT)), np.float32),
    )
    scores = queries @ vectors.T
    reference = torch.tensor([0.5, 1.0, -2.0])
    latest = torch.tensor([3, -1, -1])
    pairs = pairs_of(candidates, scores, reference, vectors, latest)
    assert pairs.users.tolist() == [0, 0, 2, 2, 2]
    assert pairs.items.tolist() == [3, 7, 0, 5, 11]
    assert pairs.recency.tolist() == [1, 0, 0, 1, 3]
    assert pairs.link.tolist() == [0, 2, 1, 0, 0]
    torch.testing.assert_close(pairs.context, torch.from_numpy(candidates.context))
    torch.testing.assert_close(pairs.numbers[:, : len(FEATURES)], torch.tensor(candidates.features))
    for p, (user, item) in enumerate(zip(pairs.users, pairs.items, strict=True)):
        dense = float(queries[user] @ vectors[item])
        assert float(pairs.dense[p]) == pytest.approx(dense, rel=1e-5)
        odds, similarity = pairs.numbers[p, len(FEATURES) :].tolist()
        assert odds == pytest.approx(dense - float(reference[user]), rel=1e-5)
        cosine = torch.cosine_similarity(vectors[item], vectors[3], dim=0) if user == 0 else 0.0
        assert similarity == pytest.approx(float(cosine), abs=1e-5)


def test_scoring_takes_the_reference_from_the_strongest_items_and_names_them():
    queries, vectors = drawn_world()
    scored = score(queries, vectors, taught([(3, 4)]), asked(RECENT))
    scores = queries @ vectors.T
    is_dense = scored.pairs.numbers[:, FEATURES.index("is_dense")] == 1
    for user in range(USERS):
        best = scores[user].topk(CONFIG.dense)
        mine = scored.pairs.users == user
        assert set(scored.pairs.items[mine & is_dense].tolist()) == set(best.indices.tolist())
        odds = scored.pairs.dense[mine] - best.values.logsumexp(0)
        torch.testing.assert_close(scored.pairs.numbers[mine, len(FEATURES)], odds)
    assert scored.pointers.tolist() == [0, *np.cumsum(np.bincount(scored.pairs.users)).tolist()]


def test_mixing_changes_the_candidates_and_no_other_item():
    queries, vectors = drawn_world()
    mixer = drawn_mixer()
    scored = score(queries, vectors, taught([(3, 4), (1, 6), (5, 2)]), asked(RECENT))
    plain = scored.scores.clone()
    added = mixer(scored.pairs)
    mixed = mix(scored, mixer)
    change = torch.zeros_like(plain)
    change[scored.pairs.users, scored.pairs.items] = added
    torch.testing.assert_close(mixed, plain + change)
    assert (added.abs() > 1e-3).all()
    candidates = {
        (int(u), int(i)) for u, i in zip(scored.pairs.users, scored.pairs.items, strict=True)
    }
    assert {(0, 3), (0, 1), (0, 4), (0, 6), (2, 5), (2, 2)} <= candidates
    assert len(candidates) < USERS * ITEMS


def test_before_it_is_fitted_the_mix_follows_the_share_alone():
    queries, vectors = drawn_world()
    scored = score(queries, vectors, taught([(3, 4), (3, 4)]), asked([[3, -1, -1]] * USERS))
    plain = scored.scores.clone()
    change = mix(scored, Mixer(6, CONFIG.recent).requires_grad_(False)) - plain
    share = np.log1p(500 * 2 / 3)
    assert change[:, 4].tolist() == pytest.approx([0.7 * share] * USERS, rel=1e-4)
    change[:, 4] = 0.0
    torch.testing.assert_close(change, torch.zeros_like(change))


def unavailable(*rows: int) -> torch.Tensor:
    mask = torch.zeros(ITEMS, dtype=torch.bool)
    mask[list(rows)] = True
    return mask


@pytest.mark.parametrize("rows", [(4,), (3, 4, 5), tuple(range(ITEMS - 1)), tuple(range(ITEMS))])
def test_what_may_not_be_recommended_stays_at_minus_infinity_and_nothing_becomes_nan(rows):
    queries, vectors = drawn_world()
    memory = taught([(3, 4), (5, 4), (1, 6)])
    gone = unavailable(*rows)
    scored = score(queries, vectors, memory, asked(RECENT), unavailable=gone)
    assert any(row in scored.pairs.items.tolist() for row in rows)
    mixed = mix(scored, drawn_mixer())
    assert not mixed.isnan().any()
    assert (mixed[:, gone] == -torch.inf).all()
    assert mixed[:, ~gone].isfinite().all()


def test_an_unavailable_item_is_not_named_by_its_inner_product():
    queries, vectors = drawn_world()
    best = (queries @ vectors.T).argmax(dim=1)
    gone = unavailable(*best.tolist())
    scored = score(queries, vectors, ItemMemory(CONFIG), asked(RECENT), unavailable=gone)
    named = scored.pairs.numbers[:, FEATURES.index("is_dense")] == 1
    assert not set(scored.pairs.items[named].tolist()) & set(best.tolist())


def test_candidates_that_the_catalogue_does_not_hold_are_dropped_and_change_no_other():
    queries, vectors = drawn_world()
    known = [(3, 4), (1, 6), (5, 2), (3, 2)]
    mixer = drawn_mixer()
    memory = taught([*known, (3, ITEMS + 2), (ITEMS + 2, 3), (1, ITEMS + 5)], rows=2 * ITEMS)
    scored = score(queries, vectors, memory, asked(RECENT))
    assert int(scored.pairs.items.max()) < ITEMS
    assert len(scored.pairs.items) == int(scored.pointers[-1])
    larger = torch.cat([vectors, torch.zeros(ITEMS, DIM)])
    gone = torch.arange(2 * ITEMS) >= ITEMS
    with_all = score(queries, larger, memory, asked(RECENT), unavailable=gone)
    assert int(with_all.pairs.items.max()) >= ITEMS
    torch.testing.assert_close(mix(scored, mixer), mix(with_all, mixer)[:, :ITEMS])


def test_only_the_wanted_events_are_scored():
    queries, vectors = drawn_world()
    memory, mixer = taught([(3, 4), (5, 2)]), drawn_mixer()
    every = mix(score(queries, vectors, memory, asked(RECENT)), mixer)
    some = asked([[7, 7, 7], *RECENT, [8, -1, -1]], wanted=[False, True, True, True, False])
    torch.testing.assert_close(mix(score(queries, vectors, memory, some), mixer), every)


@pytest.mark.parametrize("at_once", [1, 7, 1000])
def test_a_walk_in_steps_scores_as_one_in_single_events(at_once):
    draw = np.random.default_rng(3)
    n = 40
    events = Occurrences(
        items=draw.integers(0, ITEMS, n, np.int32),
        before=draw.integers(0, ITEMS, (n, WINDOW), np.int32),
        times=1000 * np.arange(n, dtype=np.int64),
        learns=np.ones(n, np.bool_),
        recent=draw.integers(0, ITEMS, (n, 3), np.int32),
        wanted=draw.random(n) < 0.6,
    )
    m = int(events.wanted.sum())
    queries = torch.randn(m, DIM, generator=torch.Generator().manual_seed(4))
    vectors, mixer = drawn_world()[1], drawn_mixer()
    mixed = torch.full((m, ITEMS), torch.nan)
    for these, scored in walk(events, queries, vectors, ItemMemory(CONFIG), at_once=at_once):
        assert these.stop - these.start <= at_once
        mixed[these] = mix(scored, mixer)
    memory, at = ItemMemory(CONFIG), 0
    for i in range(n):
        part = events.part(slice(i, i + 1))
        if events.wanted[i]:
            one = Occurrences(part.items, part.before, part.times, np.zeros(1, np.bool_),
                              part.recent, part.wanted)  # fmt: skip
            expected = mix(score(queries[at : at + 1], vectors, memory, one), mixer)
            torch.testing.assert_close(mixed[at : at + 1], expected)
            at += 1
        nobody = torch.empty(0, DIM)
        learning = Occurrences(part.items, part.before, part.times, part.learns,
                               part.recent, np.zeros(1, np.bool_))  # fmt: skip
        assert isinstance(score(nobody, vectors, memory, learning), Scored)
    assert at == m
