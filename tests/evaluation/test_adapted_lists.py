"""The inner loop's own lists: the order in which its ranks count places."""

from __future__ import annotations

import numpy as np
import pytest
from small_dataset import write_drawn_bundle, write_files

from worker.data import load_events, load_items
from worker.evaluation.adapted import AdaptedRecommender
from worker.evaluation.top_lists import NO_ITEM, TopLists
from worker.model.serving import ServingModel
from worker.ranking_quality import TOP
from worker.split import split_at


@pytest.fixture(scope="module", params=["without memory", "with memory"])
def shop(request, tmp_path_factory, text_encoder_folder):
    folder = tmp_path_factory.mktemp("shop")
    events, items, _ = write_files(folder)
    table = load_items(items)
    cut = split_at(load_events(events, table), 0.75)
    taught = cut.train if request.param == "with memory" else None
    bundle = write_drawn_bundle(folder / "bundle", text_encoder_folder, taught=taught)
    return ServingModel.load(bundle, "cpu", threads=1), table, cut


@pytest.mark.parametrize("exclude_seen", [False, True])
def test_the_item_of_an_event_stands_at_its_rank_in_the_events_list(shop, exclude_seen):
    model, items, cut = shop
    recommender = AdaptedRecommender(model, items, exclude_seen=exclude_seen)
    lists = TopLists(cut.scored)
    ranks = recommender.prequential_ranks(cut.train, cut.stream, cut.scored, len(items), lists)
    kept, ranked = lists.lists(), np.flatnonzero(ranks >= 0)
    assert len(kept) == len(ranked) > 100
    assert (ranks[ranked] < TOP).any()
    assert (ranks[ranked] >= TOP).any()
    for row, listed in zip(ranked, kept, strict=True):
        target = cut.stream.items[row]
        assert len(set(listed)) == TOP
        if ranks[row] < TOP:
            assert listed[ranks[row]] == target
        else:
            assert target not in listed
        if exclude_seen:
            user = cut.stream.users[:row] == cut.stream.users[row]
            assert not set(listed) & set(cut.stream.items[:row][user])


def test_a_catalogue_smaller_than_the_list_is_listed_whole(shop):
    model, items, cut = shop
    few = type(items)(items.item_ids[:12], items.texts[:12])
    train, scored = cut.train.where(cut.train.items < 12), cut.stream.items < 12
    stream = cut.stream.where(scored)
    new_users = cut.scored[scored]
    lists = TopLists(new_users)
    recommender = AdaptedRecommender(model, few, exclude_seen=True)
    recommender.prequential_ranks(train, stream, new_users, 12, lists)
    sizes = (lists.lists() != NO_ITEM).sum(axis=1)
    assert sizes.max() == 12  # of a user who has seen nothing yet
    assert sizes.min() < 12


def test_collecting_lists_changes_no_rank_and_tells_of_every_event(shop):
    model, items, cut = shop
    recommender = AdaptedRecommender(model, items)
    told = []
    lists = TopLists(cut.scored, sample=5, on_scored=told.append)
    ranks = recommender.prequential_ranks(cut.train, cut.stream, cut.scored, len(items), lists)
    alone = recommender.prequential_ranks(cut.train, cut.stream, cut.scored, len(items))
    assert ranks.tolist() == alone.tolist()
    assert len(lists.lists()) == 5
    assert sum(told) == cut.scored.sum()
