"""`innerloop bench policy`: every policy is measured, and held against none."""

import pytest
from bench_command import bench

from worker.bench.policy import POLICIES


def test_every_policy_is_held_against_none(tmp_path):
    report = bench(tmp_path, "policy")
    for memory in (False, True):
        plain = report.one("none", item_memory=memory).figures["us_per_event"].values
        for name in POLICIES:
            figures = report.one(name, item_memory=memory).figures
            taken = figures["us_per_event"].values
            assert all(value > 0 for value in taken)
            assert figures["ratio"].values == pytest.approx(
                [t / p for t, p in zip(taken, plain, strict=True)], rel=1e-3
            )
