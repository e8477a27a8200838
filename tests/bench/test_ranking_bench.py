"""`innerloop bench ranking`: recall is measured against exact scores, methods can be added."""

import numpy as np
import pytest
import torch
from bench_command import bench

from schemas.errors import BenchError
from worker.bench.ranking import RankingPlan, recall, run_ranking
from worker.bench.ranking_case import made_up_case
from worker.bench.ranking_methods import METHODS, RankingMethod, brute_force


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranking") / "bundle"
    return made_up_case(500, 30, dim=16, k=10, device="cpu", folder=folder)


def test_exact_methods_have_full_recall(tmp_path):
    report = bench(tmp_path, "ranking", "--items", "300", "--items", "700", "--dim", "16")
    for items in (300, 700):
        for method in METHODS:
            result = report.one(method.name, items=items)
            assert result.case["users"] == 40 and result.case["dim"] == 16
            assert 0.0 <= result.figures["recall_at_20"].median <= 1.0
            rates = result.figures["users_per_s"].values
            bytes_per_s = [rate / 40 * 4 * items * 16 / 1e9 for rate in rates]
            assert result.figures["gbytes_per_s"].values == pytest.approx(bytes_per_s)
        for exact in ("brute_force", "brute_force_memory"):
            assert report.one(exact, items=items).figures["recall_at_20"].median == 1.0


def test_the_users_are_in_the_midst_of_a_session(case):
    assert len(case.queries) == len(case.recent_rows) <= 30
    assert (case.recent_rows[:, 0] >= 0).all()
    # Adapted to what they saw: their items score higher than others.
    scores = case.queries @ case.catalogue.vectors.T
    latest = torch.from_numpy(case.recent_rows[:, 0])
    own = scores.gather(1, latest.unsqueeze(1)).squeeze(1)
    assert (own > scores.mean(dim=1)).all()
    assert case.memory is not None and case.memory.trending.size


def test_recall_counts_what_belongs_there(case):
    method = METHODS[0]
    exact = brute_force(case)

    def half(part):
        return torch.cat([brute_force(part)[:, :5], torch.full((len(part.queries), 5), -1)], dim=1)

    def repeated(part):
        return brute_force(part)[:, :1].expand(-1, 10)

    worst = (case.queries @ case.catalogue.vectors.T).argsort(dim=1)[:, :10].numpy()
    assert recall(method, brute_force, case) == 1.0
    assert recall(method, half, case) == pytest.approx(0.5)
    assert recall(method, repeated, case) == pytest.approx(0.1)
    assert recall(method, lambda _: worst, case) == 0.0
    assert recall(method, lambda _: np.flip(exact.numpy(), axis=1).copy(), case) == 1.0


def test_a_method_can_be_added(tmp_path, monkeypatch):
    prepared = []

    def prepare(case):
        prepared.append(len(case.catalogue))
        return brute_force

    monkeypatch.setattr(
        "worker.bench.ranking.METHODS", [*METHODS, RankingMethod("mine", "dense", prepare)]
    )
    plan = RankingPlan(
        items=(200,), users=10, dim=8, repeats=1, at_least_s=0.001, quick=True, methods=("mine",)
    )
    report = run_ranking(plan, tmp_path)
    assert prepared == [200]
    assert report.one("mine", items=200).figures["recall_at_20"].median == 1.0
    with pytest.raises(BenchError, match=r"'yours' is unknown; there are: brute_force, .*mine"):
        run_ranking(RankingPlan(methods=("yours",)), tmp_path)
