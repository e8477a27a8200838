"""What a report says of hand-made runs."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from worker.data import EventLog
from worker.evaluation import measure
from worker.evaluation.baselines.selection import Trial
from worker.evaluation.measure import Measurement
from worker.evaluation.recommended import ItemPopularity
from worker.evaluation.report import Timing
from worker.evaluation.runner import ModelRun
from worker.evaluation.segments import Segments
from worker.ranking_quality import quality
from worker.split import TimeCut

HIT, MISS = 1, 50
TRIAL = Trial(settings={"k": 5}, quality=quality(np.array([0], np.int32)), seconds=0.1)
POPULARITY = ItemPopularity(np.array([3, 2, 1]))


def run(name, ranks, **changes):
    made = ModelRun(
        name=name,
        settings={"k": 5},
        ranks=np.array(ranks, np.int32),
        lists=np.array([[0, 1]], np.int32),
        timing=Timing(tuning=1.5, training=None, scoring=0.25),
        trials=[TRIAL],
    )
    for field, value in changes.items():
        object.__setattr__(made, field, value)
    return made


def cut_of(users, events_seen):
    n = len(users)
    log = EventLog(
        np.array(users, np.int32),
        np.zeros(n, np.int32),
        np.zeros(n, np.int8),
        np.arange(n),
        [f"u{code}" for code in range(max(users) + 1)],
    )
    seen = np.array(events_seen, np.int32)
    return TimeCut(0, log.where(np.zeros(n, np.bool_)), log, np.ones(n, np.bool_), seen)


# Users 0 and 1 have two events each, user 2 has one; the last event is not scored.
CUT = cut_of([0, 0, 1, 1, 2, 2], [0, 1, 0, 1, 0, 1])
SEGMENTS = Segments("tier", ("gold", "silver", "empty"), np.array([0, 1, 1]))
GOOD = run("good", [HIT, HIT, HIT, MISS, HIT, -1])
BAD = run("bad", [HIT, MISS, MISS, MISS, HIT, -1])


@pytest.fixture
def measurement():
    return Measurement([GOOD, BAD], CUT, SEGMENTS, POPULARITY, seed=0)


def test_cells_are_those_of_the_published_form(measurement):
    model = msgspec.to_builtins(measurement.models()["good"])
    assert model["overall"] == {"hr@20": 0.8, "mrr@20": 0.4, "n": 5}
    assert model["by_events_seen"]["0"] == {"hr@20": 1.0, "mrr@20": 0.5, "n": 3}
    assert model["by_events_seen"]["1"] == {"hr@20": 0.5, "mrr@20": 0.25, "n": 2}
    assert model["by_events_seen"]["10+"] == {"hr@20": None, "mrr@20": None, "n": 0}
    assert model["seconds"] == 1.75
    assert model["timing"] == {"tuning": 1.5, "training": None, "scoring": 0.25}
    assert model["settings"] == {"k": 5}
    assert model["trials"][0]["quality"]["hr@20"] == 1.0
    assert model["recommended"]["coverage@20"] == pytest.approx(2 / 3)


def test_every_cell_with_events_has_a_band_around_it(measurement):
    for model in measurement.models().values():
        bands = model.confidence
        assert list(bands.by_events_seen) == list(model.by_events_seen)
        assert list(bands.segments) == list(model.segments) == ["gold", "silver"]
        pairs = [(model.overall, bands.overall)]
        pairs += [(model.by_events_seen[x], bands.by_events_seen[x]) for x in model.by_events_seen]
        pairs += [(model.segments[x], bands.segments[x]) for x in model.segments]
        for cell, band in pairs:
            if cell.n == 0:
                assert band.hit_rate is band.reciprocal_rank is None
                continue
            assert band.hit_rate[0] <= cell.hit_rate <= band.hit_rate[1]
            assert band.reciprocal_rank[0] <= cell.reciprocal_rank <= band.reciprocal_rank[1]


def test_the_reference_is_compared_with_every_other_model(measurement):
    comparisons = measurement.comparisons()
    assert comparisons.reference == "good"
    assert list(comparisons.against) == ["bad"]
    found = comparisons.against["bad"]
    assert found.overall.n == 5
    assert found.overall.hit_rate.difference == pytest.approx(0.4)
    assert found.overall.reciprocal_rank.difference == pytest.approx(0.2)
    assert found.overall.hit_rate.low <= 0.4 <= found.overall.hit_rate.high
    assert (found.overall.mcnemar.only_model, found.overall.mcnemar.only_against) == (2, 0)
    assert found.by_events_seen["1"].hit_rate.difference == 0.5
    assert found.by_events_seen["2"] == msgspec.structs.replace(
        found.by_events_seen["2"], n=0, hit_rate=None, reciprocal_rank=None, mcnemar=None
    )


def test_one_model_alone_is_compared_with_nothing():
    assert Measurement([GOOD], CUT, SEGMENTS, POPULARITY, seed=0).comparisons() is None


def test_segments_are_measured_and_small_ones_stay_out_of_the_gap(measurement, monkeypatch):
    info = measurement.segment_info()
    assert (info.by, info.users) == ("tier", {"gold": 1, "silver": 2})
    model = measurement.models()["good"]
    assert model.segments["gold"].hit_rate == 1.0
    assert model.segments["silver"].hit_rate == pytest.approx(2 / 3)
    assert model.fairness_gap is None
    monkeypatch.setattr(measure, "FEWEST_USERS", 1)
    gap = measurement.models()["good"].fairness_gap
    assert gap.hit_rate == pytest.approx(1 / 3)
    assert gap.reciprocal_rank == pytest.approx(1 / 2 - 1 / 3)


def test_a_model_that_ranks_other_events_is_found_out():
    other = run("other", [HIT, -1, HIT, MISS, HIT, -1])
    with pytest.raises(ValueError, match="other ranks other events than good"):
        Measurement([GOOD, other], CUT, SEGMENTS, POPULARITY, seed=0)
