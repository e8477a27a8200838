"""Lists that are spread out: the ranks are those of the lists, and it shows in what is listed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_dataset import write_drawn_bundle, write_files
from typer.testing import CliRunner

from worker.cli.app import app
from worker.data import load_events, load_items
from worker.evaluation.adapted import AdaptedRecommender
from worker.evaluation.diverse import DiverseRanking
from worker.evaluation.report import read_json
from worker.evaluation.top_lists import NO_ITEM, TopLists
from worker.model.serving import ServingModel
from worker.ranking import ranks_in
from worker.ranking_quality import TOP
from worker.split import split_at


@pytest.mark.parametrize("items", [15, 60, 300])
@pytest.mark.parametrize("left_out", [0, 4])
def test_every_item_has_a_rank_of_its_own(items, left_out):
    generator = torch.Generator().manual_seed(items)
    vectors = torch.randn(items, 8, generator=generator)
    scores = torch.randn(1, items, generator=generator).expand(items, -1).clone()
    targets = np.arange(items)
    excluded = torch.full((items, 6), -1)
    excluded[:, :left_out] = torch.arange(left_out)
    counted = targets >= left_out
    plain = ranks_in(scores.index_fill(1, torch.arange(left_out), -99.0), torch.from_numpy(targets))
    plain = np.where(counted, plain.numpy(), -1).astype(np.int32)
    for diversity in (0.0, 0.5):
        ranks, lists = DiverseRanking(diversity, vectors).rerank(
            scores.clone(), plain, targets, excluded
        )
        assert sorted(ranks[counted]) == list(range(items - left_out))
        assert (ranks[~counted] == -1).all()
        listed = lists[0][lists[0] != NO_ITEM]
        assert len(listed) == min(TOP, items - left_out)
        assert [int(ranks[row]) for row in listed] == list(range(len(listed)))
        if diversity == 0.0:
            np.testing.assert_array_equal(ranks, plain)
        else:
            assert (ranks != plain).any()
            rest = counted & (ranks >= len(listed))
            assert (np.argsort(ranks[rest]) == np.argsort(plain[rest])).all()


@pytest.fixture(scope="module")
def files(tmp_path_factory, text_encoder_folder):
    folder = tmp_path_factory.mktemp("shop")
    events, items, _ = write_files(folder)
    cut = split_at(load_events(events, load_items(items)), 0.75)
    bundle = write_drawn_bundle(folder / "bundle", text_encoder_folder, taught=cut.train)
    return bundle, events, items


@pytest.mark.parametrize("exclude_seen", [False, True])
def test_an_item_stands_at_its_rank_in_a_list_that_is_spread_out(files, exclude_seen):
    bundle, events, items = files
    model, table = ServingModel.load(bundle, "cpu", threads=1), load_items(items)
    cut = split_at(load_events(events, table), 0.75)

    def run(diversity: float):
        lists = TopLists(cut.scored)
        recommender = AdaptedRecommender(
            model, table, exclude_seen=exclude_seen, diversity=diversity
        )
        ranks = recommender.prequential_ranks(cut.train, cut.stream, cut.scored, len(table), lists)
        return ranks, lists.lists(), recommender.name

    (ranks, kept, name), (plain_ranks, plain, plain_name) = run(0.6), run(0.0)
    assert (plain_name, name) == ("innerloop", "innerloop_diversity_0.6")
    np.testing.assert_array_equal(ranks >= 0, plain_ranks >= 0)
    assert (kept != plain).any(axis=1).mean() > 0.5
    for row, listed in zip(np.flatnonzero(ranks >= 0), kept, strict=True):
        if ranks[row] < TOP:
            assert listed[ranks[row]] == cut.stream.items[row]
        else:
            assert cut.stream.items[row] not in listed


def test_the_command_scores_lists_that_are_spread_out(files, tmp_path):
    bundle, events, items = files
    out = tmp_path / "report.json"
    arguments = ["--bundle", bundle, "--events", events, "--items", items, "--rivals", "none"]
    arguments += ["--without-off", "--diversity", 0.3, "--diversity", 0.8, "--json", out]
    result = CliRunner().invoke(app, ["evaluate", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    models = read_json(out).models
    assert list(models) == ["innerloop", "innerloop_diversity_0.3", "innerloop_diversity_0.8"]
    assert [model.settings["diversity"] for model in models.values()] == [0.0, 0.3, 0.8]
    recommended = [model.recommended.gini for model in models.values()]
    assert len(set(recommended)) > 1
