"""The plots of a report: that they show what it says, and what they need."""

from __future__ import annotations

import importlib.util

import msgspec
import pytest
from test_seeds import REPORTS

from schemas.errors import EvaluationError
from worker.evaluation import plots
from worker.evaluation.plots import draw, require_matplotlib
from worker.evaluation.recommended import Recommended

REPORT = msgspec.structs.replace(
    REPORTS["0.json"], acted_on=Recommended(lists=3, popularity=900.0, tail_share=0.9)
)


def test_every_plot_is_drawn_as_png(tmp_path):
    paths = draw(REPORT, tmp_path / "made")
    assert [path.name for path in paths] == ["cold_start.png", "overall.png", "popularity_bias.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def test_the_cold_start_curve_shows_the_buckets_with_events():
    figure = plots._cold_start(REPORT)
    hit_rate, reciprocal = figure.axes
    curves = {line.get_label(): line for line in hit_rate.get_lines()}
    assert list(curves) == ["good", "bad"]
    assert curves["good"].get_ydata().tolist() == [1.0, 0.5]
    assert [tick.get_text() for tick in hit_rate.get_xticklabels()] == [
        *("0", "1", "2", "3-4", "5-9", "10+")
    ]
    assert len(hit_rate.collections) == len(reciprocal.collections) == 2  # one band per model
    low = hit_rate.collections[0].get_paths()[0].vertices[:, 1].min()
    assert low == REPORT.models["good"].confidence.by_events_seen["1"].hit_rate[0]


def test_the_bars_are_the_overall_values_with_their_bands():
    hit_rate = plots._overall(REPORT).axes[0]
    assert [bar.get_width() for bar in hit_rate.patches] == [0.5, 0.4]
    ends = [tuple(line.get_xdata()) for line in hit_rate.get_lines()]
    assert ends == [model.confidence.overall.hit_rate for model in REPORT.models.values()]
    assert [text.get_text() for text in hit_rate.get_yticklabels()] == ["good", "bad"]


def test_what_users_acted_on_is_in_sight():
    popularity = plots._popularity_bias(REPORT).axes[1]
    (line,) = popularity.get_lines()
    assert line.get_xdata()[0] == 900.0
    assert popularity.get_xlim()[1] > 900.0


def test_with_more_models_than_colours_the_reference_and_the_best_are_shown():
    model = REPORT.models["bad"]

    def of(rate):
        overall = msgspec.structs.replace(model.overall, hit_rate=rate)
        return msgspec.structs.replace(model, overall=overall)

    models = {"mine": of(0.0), **{f"m{n}": of(n / 100) for n in range(20)}}
    report = msgspec.structs.replace(REPORT, models=models)
    figure = plots._cold_start(report)
    shown = [line.get_label() for line in figure.axes[0].get_lines()]
    assert shown == ["mine", *(f"m{n}" for n in range(19, 12, -1))]
    assert "the best 8 of 21" in figure.get_suptitle()


def test_a_report_without_bands_or_lists_is_drawn_too(tmp_path):
    bare = msgspec.structs.replace(REPORT.models["bad"], confidence=None, recommended=None)
    report = msgspec.structs.replace(REPORT, models={"bare": bare}, acted_on=None)
    assert len(draw(report, tmp_path)) == 3


def test_without_matplotlib_the_extra_is_named(monkeypatch, tmp_path):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "matplotlib" else found(name)
    )
    with pytest.raises(EvaluationError, match=r'pip install "innerloop\[plots\]"'):
        require_matplotlib()
    with pytest.raises(EvaluationError, match="--plots needs matplotlib"):
        draw(REPORT, tmp_path)
