"""The mixer's loss against the catalogue scored whole, and what fitting it brings."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from worker.data import EventLog
from worker.item_memory.config import MemoryConfig
from worker.item_memory.memory import ItemMemory
from worker.item_memory.occurrences import occurrences
from worker.model.mixer import Mixer, Pairs
from worker.model.mixing import mix, walk
from worker.training.memory_pass import mixer_cases
from worker.training.mixer_fit import MixerCases, cross_entropy, fit_mixer, joined

ITEMS, DIM = 40, 6
CONFIG = MemoryConfig(neighbours=6, recent=3, trending=3, dense=3)


def drawn_mixer(seed: int = 0, scale: float = 0.3) -> Mixer:
    torch.manual_seed(seed)
    mixer = Mixer(8, CONFIG.recent)
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.normal_(std=scale)
    return mixer


def walks(users: int = 60, length: int = 5, seed: int = 1) -> EventLog:
    """Users who go from each item to the one that follows it: what a memory learns fast."""
    draw = np.random.default_rng(seed)
    following = draw.permutation(ITEMS)
    rows = []
    for user in range(users):
        item = int(draw.integers(ITEMS))
        for step in range(length):
            rows.append((user, item, 1000 * (7 * user + 60 * step)))
            item = int(following[item]) if draw.random() < 0.9 else int(draw.integers(ITEMS))
    rows.sort(key=lambda row: row[2])
    of_users, items, times = (np.array(column) for column in zip(*rows, strict=True))
    return EventLog(
        of_users.astype(np.int32), items.astype(np.int32), np.zeros(len(rows), np.int8),
        times.astype(np.int64), [str(user) for user in range(users)],
    )  # fmt: skip


def drawn_cases(log: EventLog, seed: int = 2) -> tuple[MixerCases, torch.Tensor, torch.Tensor]:
    """Cases of a world whose inner products know nothing, with the queries and item vectors."""
    generator = torch.Generator().manual_seed(seed)
    wanted = np.random.default_rng(seed).random(len(log)) < 0.8
    queries = torch.randn(int(wanted.sum()), DIM, generator=generator)
    vectors = 0.5 * torch.randn(ITEMS, DIM, generator=generator)
    memory = ItemMemory(CONFIG, ITEMS)
    events = occurrences(log, wanted, CONFIG.recent)
    return mixer_cases(events, log.users[wanted], queries, vectors, memory), queries, vectors


def whole_catalogue(
    mixer: Mixer, log: EventLog, queries: torch.Tensor, vectors: torch.Tensor, seed: int = 2
) -> torch.Tensor:
    """Return each case's −log p with every item scored and normalised over."""
    wanted = np.random.default_rng(seed).random(len(log)) < 0.8
    events = occurrences(log, wanted, CONFIG.recent)
    targets = torch.from_numpy(log.items[wanted].astype(np.int64))
    losses = [
        torch.nn.functional.cross_entropy(mix(scored, mixer), targets[these], reduction="none")
        for these, scored in walk(events, queries, vectors, ItemMemory(CONFIG, ITEMS), at_once=13)
    ]
    return torch.cat(losses)


@pytest.mark.parametrize("scale", [0.0, 0.05, 0.3])
def test_the_loss_is_the_cross_entropy_over_the_whole_catalogue(scale):
    log, mixer = walks(), drawn_mixer(scale=scale)
    cases, queries, vectors = drawn_cases(log)
    expected = whole_catalogue(mixer, log, queries, vectors)
    assert len(cases) == len(expected) > 200
    assert 0 < int((cases.target_pair < 0).sum()) < len(cases)
    torch.testing.assert_close(cross_entropy(mixer, cases), expected.mean(), atol=1e-4, rtol=1e-4)
    for i in (0, 17, len(cases) - 1):
        one = cross_entropy(mixer, cases.take(torch.tensor([i])))
        torch.testing.assert_close(one, expected[i], atol=1e-3, rtol=1e-3)


def test_a_cases_target_is_the_candidate_that_is_the_item_acted_on():
    log = walks()
    cases, queries, vectors = drawn_cases(log)
    wanted = np.random.default_rng(2).random(len(log)) < 0.8
    targets = log.items[wanted]
    assert cases.users.tolist() == log.users[wanted].tolist()
    for i, target in enumerate(targets.tolist()):
        part = slice(int(cases.pointers[i]), int(cases.pointers[i + 1]))
        candidates = cases.pairs.items[part].tolist()
        at = int(cases.target_pair[i])
        assert at == (part.start + candidates.index(target) if target in candidates else -1)
    own = (queries * vectors[torch.from_numpy(targets.astype(np.int64))]).sum(dim=1)
    torch.testing.assert_close(cases.target_dense, own)


def same(left: MixerCases, right: MixerCases) -> None:
    for name in Pairs.__dataclass_fields__:
        torch.testing.assert_close(getattr(left.pairs, name), getattr(right.pairs, name))
    for name in ("pointers", "log_normaliser", "target_dense", "target_pair"):
        torch.testing.assert_close(getattr(left, name), getattr(right, name))
    assert left.users.tolist() == right.users.tolist()


def test_parts_of_the_cases_put_together_are_the_cases_again():
    cases, _, _ = drawn_cases(walks())
    numbers = torch.arange(len(cases))
    same(cases.take(numbers), cases)
    same(joined([cases.take(part) for part in numbers.split(37)]), cases)
    same(joined([cases]), cases)


def test_taken_cases_come_in_the_order_asked_for():
    cases, _, _ = drawn_cases(walks())
    order = torch.randperm(len(cases), generator=torch.Generator().manual_seed(0))[:50]
    same(cases.take(order), joined([cases.take(number.unsqueeze(0)) for number in order]))
    same(cases.take(order).take(torch.tensor([4, 2])), cases.take(order[[4, 2]]))


def test_the_fit_finds_what_the_memory_knows_and_holds_whole_users_out():
    cases, _, _ = drawn_cases(walks(users=300))
    torch.manual_seed(4)
    mixer, losses = Mixer(8, CONFIG.recent), []
    start = copy.deepcopy(mixer)
    held_out = fit_mixer(
        mixer, cases, np.random.default_rng(3), lambda epoch, loss: losses.append((epoch, loss))
    )
    assert [epoch for epoch, _ in losses] == list(range(14))
    after = cross_entropy(mixer, cases.take(held_out)).item()
    # The best epoch is the one kept.
    assert after == pytest.approx(min(loss for _, loss in losses), rel=1e-5)
    assert after < losses[0][1]
    with torch.no_grad():
        silent = drawn_mixer(scale=0.0)  # adds nothing to any inner product
        without = cross_entropy(silent, cases.take(held_out)).item()
        before = cross_entropy(start, cases.take(held_out)).item()
    assert after < before - 0.1
    assert after < without - 0.5
    users = set(cases.users[held_out].tolist())
    assert len(users) == round(0.2 * len(np.unique(cases.users)))
    assert held_out.tolist() == np.flatnonzero(np.isin(cases.users, list(users))).tolist()


def test_the_fit_is_a_function_of_the_seed():
    cases, _, _ = drawn_cases(walks(users=30))
    fitted = []
    for seed in (5, 5, 6):
        torch.manual_seed(1)
        mixer = Mixer(8, CONFIG.recent)
        held_out = fit_mixer(mixer, cases, np.random.default_rng(seed))
        fitted.append((mixer.state_dict(), held_out.tolist()))
    for name, value in fitted[0][0].items():
        assert torch.equal(value, fitted[1][0][name]), name
    assert fitted[0][1] == fitted[1][1] != fitted[2][1]


def test_the_only_user_is_both_fitted_on_and_held_out():
    cases, _, _ = drawn_cases(walks(users=1, length=8))
    held_out = fit_mixer(Mixer(8, CONFIG.recent), cases, np.random.default_rng(0))
    assert held_out.tolist() == list(range(len(cases)))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_memory_that_only_misleads_has_no_say(seed: int) -> None:
    # Nobody ever does what the memory or the trend would tell: everybody meets each item once.
    draw = np.random.default_rng(seed)
    users, length = 8, ITEMS // 8
    items = draw.permutation(ITEMS).astype(np.int32)
    log = EventLog(
        np.tile(np.arange(users, dtype=np.int32), length),
        items,
        np.zeros(len(items), np.int8),
        1000 * np.arange(len(items), dtype=np.int64),
        [str(user) for user in range(users)],
    )
    cases, _, _ = drawn_cases(log, seed)
    nothing = drawn_mixer()
    nothing.add_nothing()
    mixer = drawn_mixer()
    held_out = cases.take(fit_mixer(mixer, cases, np.random.default_rng(seed)))
    assert cross_entropy(mixer, held_out) <= cross_entropy(nothing, held_out) + 1e-6
    assert torch.equal(nothing(cases.pairs), torch.zeros(len(cases.pairs.items)))
