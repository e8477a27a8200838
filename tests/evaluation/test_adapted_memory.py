"""The inner loop with an item memory, ranked as the worker would: event by event."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from small_dataset import write_drawn_bundle, write_files

import worker.item_memory.memory as memory_module
from worker.data import EventLog, ItemTable, load_events, load_items
from worker.evaluation.adapted import Ablation, AdaptedRecommender
from worker.item_memory.config import WINDOW
from worker.item_memory.memory import ItemMemory, Occurrences
from worker.model.interface import UserArrays
from worker.model.mixing import score
from worker.model.serving import ServingModel
from worker.split import TimeCut, split_at


@pytest.fixture(autouse=True, scope="module")
def _what_trends_changes_often() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory_module, "_REFRESH", 16)
        yield


@dataclass
class Shop:
    model: ServingModel
    items: ItemTable
    cut: TimeCut

    def ranks(self, ablation: Ablation | None = None, **arguments: bool) -> np.ndarray:
        recommender = AdaptedRecommender(self.model, self.items, ablation=ablation, **arguments)
        return self.ranks_of(recommender, self.cut.stream, self.cut.scored)

    def ranks_of(
        self, recommender: AdaptedRecommender, stream: EventLog, scored: np.ndarray
    ) -> np.ndarray:
        return recommender.prequential_ranks(self.cut.train, stream, scored, len(self.items))


@pytest.fixture(scope="module")
def shop(tmp_path_factory, text_encoder_folder) -> Shop:
    folder = tmp_path_factory.mktemp("shop")
    events, items, _ = write_files(folder, pause=307)
    table = load_items(items)
    cut = split_at(load_events(events, table), 0.75)
    bundle = write_drawn_bundle(folder / "bundle", text_encoder_folder, taught=cut.train)
    return Shop(ServingModel.load(bundle, "cpu", threads=1), table, cut)


def padded(rows: list[int], width: int) -> np.ndarray:
    return np.array([(rows + [-1] * width)[:width]], np.int32)


class OneByOne:
    """Test, then learn, a single event at a time: nothing is done for many events at once."""

    def __init__(self, shop: Shop, *, memory: bool, inner_loop: bool, exclude_seen: bool) -> None:
        self.model, self.cut = shop.model, shop.cut
        self.uses_memory, self.inner_loop, self.exclude_seen = memory, inner_loop, exclude_seen
        n = len(shop.items)
        counts = np.bincount(self.cut.train.items, minlength=n)
        # Rows go by popularity, as ties do.
        self.order = sorted(range(n), key=lambda code: (-counts[code], code))
        self.row = {code: row for row, code in enumerate(self.order)}
        rows = {shop.items.item_ids[code]: row for row, code in enumerate(self.order)}
        self.memory: ItemMemory = self.model.memory(rows.__getitem__)
        self.vectors = self.model.item_vectors(
            [shop.items.item_ids[code] for code in self.order],
            [shop.items.texts[code] for code in self.order],
        )
        self.history: dict[int, list[int]] = defaultdict(list)
        self.states: dict[int, UserArrays] = {}
        self.last_time: dict[int, int] = {}
        for user, item in zip(self.cut.train.users, self.cut.train.items, strict=True):
            self.history[int(user)].insert(0, self.row[int(item)])

    def ranks(self) -> list[int]:
        stream, found = self.cut.stream, []
        for i in range(len(stream)):
            user, row = int(stream.users[i]), self.row[int(stream.items[i])]
            found.append(self.rank(user, row) if self.cut.scored[i] else -1)
            self.learn(user, row, int(stream.types[i]), int(stream.times[i]))
        return found

    def rank(self, user: int, row: int) -> int:
        scores = self.scores(user)[0].tolist()
        own = scores.pop(row)
        seen = set(self.history[user]) if self.exclude_seen else set()
        if row in seen:
            return -1
        others = [r for r in range(len(scores) + 1) if r != row]
        margin = 1e-6 * abs(own)
        return sum(
            other not in seen and (s > own + margin or (s >= own - margin and other < row))
            for other, s in zip(others, scores, strict=True)
        )

    def scores(self, user: int) -> torch.Tensor:
        query = self.model.queries(self.states.get(user, self.model.start(1)))
        recent = self.history[user]
        if not self.uses_memory:
            scores = query @ self.vectors.T
            shifted = torch.from_numpy(padded(recent, 21).astype(np.int64))
            self.model.shift_repeats(scores, shifted)
            return scores
        asked = Occurrences(
            items=np.zeros(1, np.int32),
            before=padded([], WINDOW),
            times=np.zeros(1, np.int64),
            learns=np.zeros(1, np.bool_),
            recent=padded(recent, self.memory.config.recent),
            wanted=np.ones(1, np.bool_),
        )
        return self.model.mix(score(query, self.vectors, self.memory, asked))

    def learn(self, user: int, row: int, kind: int, time: int) -> None:
        gap = (time - self.last_time[user]) / 1000 if user in self.last_time else -1.0
        self.states[user], _, _ = self.model.adapt(
            self.states.get(user, self.model.start(1)),
            self.vectors[row : row + 1],
            torch.tensor([kind]),
            torch.tensor([gap]),
            inner_loop=self.inner_loop,
        )
        self.last_time[user] = time
        self.memory.learn(
            np.array([row], np.int32),
            padded(self.history[user], WINDOW),
            np.zeros(1, np.int64),
            np.array([time]),
        )
        self.history[user].insert(0, row)


@pytest.mark.parametrize("exclude_seen", [False, True])
@pytest.mark.parametrize("inner_loop", [True, False])
@pytest.mark.parametrize("memory", [True, False])
def test_ranks_are_those_of_one_event_at_a_time(shop, memory, inner_loop, exclude_seen):
    slow = OneByOne(shop, memory=memory, inner_loop=inner_loop, exclude_seen=exclude_seen)
    ablation = Ablation(inner_loop=inner_loop, memory=memory)
    ranks = shop.ranks(ablation, exclude_seen=exclude_seen)
    assert ranks.tolist() == slow.ranks()
    assert (ranks >= 0).sum() > 100
    # Old users go on after the cut: they are not ranked for, but the memory learns from them.
    assert (~shop.cut.scored).any()
    assert slow.memory.revision > 5


def test_the_memory_changes_ranks_and_the_name_tells_of_what_is_off(shop):
    with_memory, without = shop.ranks(), shop.ranks(Ablation(memory=False))
    assert (with_memory != without).sum() > 50
    named = {
        ablation: AdaptedRecommender(shop.model, shop.items, ablation=ablation)
        for ablation in (Ablation(), Ablation(memory=False), Ablation(inner_loop=False))
    }
    assert [r.name for r in named.values()] == [
        "innerloop",
        "innerloop_no_memory",
        "innerloop_off",
    ]
    assert [r.settings["item_memory"] for r in named.values()] == [True, False, True]


@pytest.mark.parametrize("seed", range(3))
def test_no_rank_depends_on_what_comes_later(shop, seed):
    draw = np.random.default_rng(seed)
    stream, scored = shop.cut.stream, shop.cut.scored
    recommender = AdaptedRecommender(shop.model, shop.items)
    ranks = shop.ranks_of(recommender, stream, scored)
    now = int(draw.integers(10, len(stream) - 10))
    items = stream.items.copy()
    items[now:] = draw.permutation(items[now:])
    later = EventLog(stream.users, items, stream.types, stream.times, stream.user_ids)
    permuted = shop.ranks_of(recommender, later, scored)
    assert permuted[:now].tolist() == ranks[:now].tolist()
    assert permuted[now:].tolist() != ranks[now:].tolist()
    # Of the event at `now` only the item looked for is another: its list is the same.
    until = np.arange(len(stream)) < now
    cut_off = shop.ranks_of(recommender, stream.where(until), scored[until])
    assert cut_off.tolist() == ranks[:now].tolist()


def test_the_bundles_memory_is_not_taught_by_an_evaluation(shop):
    assert shop.ranks().tolist() == shop.ranks().tolist()


def test_what_was_learned_before_the_cut_counts(shop):
    class Forgetful(AdaptedRecommender):
        def _memory(self, order):
            return ItemMemory(super()._memory(order).config, len(order))

    empty = Forgetful(shop.model, shop.items)
    ranks = shop.ranks_of(empty, shop.cut.stream, shop.cut.scored)
    assert ranks.tolist() != shop.ranks().tolist()
