"""`innerloop bench kernel`: the ways to take the step agree, and are all there."""

import importlib.util

import pytest
import torch
from bench_command import bench

from schemas.errors import BenchError
from worker.bench.fold_in import als_fold_in, ridge_fold_in
from worker.bench.kernel import KernelPlan, Problem, step_bytes, step_flops
from worker.model.fast_weights import FastWeights


def test_every_way_is_measured_in_every_case(tmp_path):
    report = bench(tmp_path, "kernel", "--users", "3", "--users", "70", "--dim", "12")
    for users in (3, 70):
        for rank in (2, 4):
            for method in ("closed_form", "vmap_grad", "autograd_loop"):
                figures = report.one(method, users=users, dim=12, rank=rank).figures
                assert 0 <= figures["largest_difference"].max < 1e-4
                rates = figures["users_per_s"].values
                assert len(rates) == report.settings["repeats"]
                expected = [rate * step_flops(12, rank, 256) / 1e9 for rate in rates]
                assert figures["gflops_per_s"].values == pytest.approx(expected)
        fold_ins = {"ridge_fold_in", "als_fold_in"} - report.skipped.keys()
        for method in fold_ins:
            assert report.one(method, users=users, dim=12).figures["users_per_s"].min > 0
    ceiling = report.one("ceiling").figures
    assert ceiling["gflops_per_s"].min > 0 and ceiling["gbytes_per_s"].min > 0


def test_the_step_is_not_timed_where_the_ways_differ(monkeypatch):
    problem = Problem(KernelPlan(anchors=8), users=5, dim=6, rank=2)
    assert problem.check(5) < 1e-5
    right = problem.vmap_grad()
    wrong = FastWeights(right.bias, right.adapter + 0.01)
    monkeypatch.setattr(problem, "vmap_grad", lambda: wrong)
    with pytest.raises(BenchError, match=r"differ by 0\.01"):
        problem.check(5)


def test_the_loop_takes_the_step_of_the_first_users():
    problem = Problem(KernelPlan(anchors=8), users=9, dim=6, rank=2)
    looped, expected = problem.autograd_loop(4), problem.closed_form()
    assert len(looped.bias) == 4
    for one, other in zip(looped, expected, strict=True):
        torch.testing.assert_close(one, other[:4])


def test_without_implicit_the_report_says_so(tmp_path, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "implicit" else found(name)
    )
    report = bench(tmp_path, "kernel", "--users", "3", "--dim", "8", "--rank", "2")
    assert "innerloop[rivals]" in report.skipped["als_fold_in"]
    assert "als_fold_in" not in {result.method for result in report.results}


def test_fold_ins_give_a_vector_for_each_user():
    pytest.importorskip("implicit")
    for fold_in in (als_fold_in, ridge_fold_in):
        vectors = torch.as_tensor(fold_in(7, 16, 5)())
        assert vectors.shape == (7, 16)
        assert torch.isfinite(vectors).all() and (vectors.norm(dim=1) > 0).all()


def test_counts_of_a_step():
    assert step_bytes(2, 3) == 4 * (2 + 2 + 2 + 6 + 2 + 6)
    assert step_flops(1, 1, 1) == 4 + 4 + 4 + 4 + 3 + 4
