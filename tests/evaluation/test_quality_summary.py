import msgspec
import numpy as np
import pytest

from worker.evaluation.metrics import summarise


def test_hit_rate_and_reciprocal_rank_by_events_seen() -> None:
    ranks = np.array([0, 1, 19, 20, -1], np.int32)
    seen = np.array([0, 3, 4, 20, 1], np.int32)
    result = summarise(ranks, seen)
    assert result.overall.n == 4
    assert result.overall.hit_rate == pytest.approx(0.75)
    assert result.overall.reciprocal_rank == pytest.approx((1 + 1 / 2 + 1 / 20) / 4)
    assert result.by_events_seen["3-4"].n == 2
    assert result.by_events_seen["10+"].hit_rate == 0.0
    assert result.by_events_seen["1"].hit_rate is None


def test_json_has_the_published_keys() -> None:
    result = msgspec.to_builtins(summarise(np.array([0], np.int32), np.array([0], np.int32)))
    assert list(result["overall"]) == ["hr@20", "mrr@20", "n"]
    assert list(result["by_events_seen"]) == ["0", "1", "2", "3-4", "5-9", "10+"]
