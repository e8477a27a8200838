"""Several reports as means and spreads."""

from __future__ import annotations

import msgspec
import pytest
from test_measure import BAD, CUT, GOOD, POPULARITY, SEGMENTS

from schemas.errors import EvaluationError
from worker.evaluation.markdown import summary_markdown
from worker.evaluation.measure import Measurement
from worker.evaluation.report import Protocol, Report, read_json, write_json
from worker.evaluation.seeds import combine

PROTOCOL = Protocol(
    events_file="events.csv",
    items_file="items.csv",
    cut=0.75,
    cut_time=1,
    items=3,
    train_events=6,
    stream_events=6,
    scored_users=3,
    scored_events=5,
    exclude_seen=False,
    bundle_version="v0",
    seed=0,
)


def report(hit_rate: float, seed: int, **protocol) -> Report:
    measured = Measurement([GOOD, BAD], CUT, SEGMENTS, POPULARITY, seed=0)
    models, comparisons = measured.models(), measured.comparisons()
    good = models["good"]
    overall = msgspec.structs.replace(good.overall, hit_rate=hit_rate)
    found = comparisons.against["bad"]
    difference = msgspec.structs.replace(found.overall.hit_rate, difference=hit_rate, p=seed / 100)
    cell = msgspec.structs.replace(found.overall, hit_rate=difference)
    return Report(
        models={**models, "good": msgspec.structs.replace(good, overall=overall)},
        protocol=msgspec.structs.replace(
            PROTOCOL, bundle_version=f"v{seed}", seed=seed, **protocol
        ),
        comparisons=msgspec.structs.replace(
            comparisons, against={"bad": msgspec.structs.replace(found, overall=cell)}
        ),
    )


REPORTS = {f"{seed}.json": report(rate, seed) for seed, rate in ((0, 0.5), (1, 0.6), (2, 0.7))}


def test_means_and_sample_deviations():
    summary = combine(REPORTS)
    hit_rate = summary.models["good"].overall.hit_rate
    assert hit_rate.mean == pytest.approx(0.6)
    assert hit_rate.deviation == pytest.approx(0.1)
    assert hit_rate.values == [0.5, 0.6, 0.7]
    assert summary.models["bad"].overall.hit_rate.deviation == 0.0
    assert summary.models["good"].by_events_seen["10+"].hit_rate is None
    assert summary.seeds == [0, 1, 2]


def test_differences_come_with_the_worst_p():
    found = combine(REPORTS).against["bad"].overall
    assert found.hit_rate.difference.mean == pytest.approx(0.6)
    assert found.hit_rate.worst_p == 0.02
    assert found.worst_mcnemar_p == 0.5  # two of two discordant events


def test_the_markdown_says_it_all():
    lines = summary_markdown(combine(REPORTS)).splitlines()
    assert lines[0] == "Mean ± sample standard deviation over 3 reports (seeds 0, 1, 2)."
    assert lines[4].startswith("| good | .600 ±.100 | .400 ±.000 |  |")
    assert lines[5].startswith("| bad | .400 ±.000 | .200 ±.000 | +.6000 ±.1000 | .020 | .500 |")
    assert "| good | 1.000 ±.000 / .500 ±.000 | .500 ±.000 / .250 ±.000 | – / – |" in lines[9]


def test_a_model_that_is_not_in_every_report_is_left_out_and_named():
    without = msgspec.structs.replace(REPORTS["1.json"], comparisons=None)
    only_good = {"good": without.models["good"]}
    without = msgspec.structs.replace(without, models=only_good)
    summary = combine({"0.json": REPORTS["0.json"], "1.json": without})
    assert list(summary.models) == ["good"]
    assert summary.left_out == ["bad"]
    assert summary.reference is None
    assert "Left out, as not in every report: bad." in summary_markdown(summary)


@pytest.mark.parametrize(
    ("reports", "message"),
    [
        ({"a": report(0.5, 0)}, "two or more"),
        (
            {"a": report(0.5, 0), "b": report(0.5, 1, scored_events=4)},
            "a and b are not of one protocol: scored_events is 5 in the one and 4 in the other",
        ),
        ({"a": report(0.5, 0), "b": report(0.6, 0)}, "a and b are of the same bundle"),
        (
            {"a": report(0.5, 0), "b": msgspec.structs.replace(report(0.5, 1), models={})},
            "no model is in all of the reports",
        ),
    ],
)
def test_reports_that_do_not_belong_together_are_refused(reports, message):
    with pytest.raises(EvaluationError, match=message):
        combine(reports)


def test_a_report_comes_back_from_its_file(tmp_path):
    path = tmp_path / "deep" / "report.json"
    write_json(REPORTS["1.json"], path)
    assert read_json(path) == REPORTS["1.json"]


def test_a_report_of_the_first_release_can_still_be_read(tmp_path):
    cell = {"hr@20": 0.5, "mrr@20": 0.1, "n": 2}
    protocol = msgspec.to_builtins(PROTOCOL)
    for added in ("evaluation_seed", "confidence", "bootstrap_draws"):
        del protocol[added]
    model = {"overall": cell, "by_events_seen": {"0": cell}, "seconds": 1.0}
    path = tmp_path / "old.json"
    path.write_bytes(msgspec.json.encode({"models": {"m": model}, "protocol": protocol}))
    assert read_json(path).models["m"].overall.hit_rate == 0.5


def test_what_is_no_report_is_named(tmp_path):
    path = tmp_path / "other.json"
    path.write_text('{"models": 3}')
    with pytest.raises(EvaluationError, match=r"other\.json is no report"):
        read_json(path)
    with pytest.raises(EvaluationError, match=r"absent\.json does not exist"):
        read_json(tmp_path / "absent.json")
