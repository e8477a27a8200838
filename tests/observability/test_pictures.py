"""Dashboards as pictures: what is read of their JSON, how values are shown, what is drawn."""

import json
import math

import numpy as np
import pytest
from matplotlib.figure import Figure
from prometheus_files import DASHBOARDS
from typer.testing import CliRunner

from worker.broker.readiness import reserved_port
from worker.cli.app import app
from worker.observing.answers import Series, Span, span_until
from worker.observing.dashboard import (
    DashboardError,
    Panel,
    Place,
    Target,
    Transformation,
    read_dashboard,
)
from worker.observing.drawing import Named, draw
from worker.observing.prometheus import PrometheusError
from worker.observing.units import shown

SPAN = Span(1_700_000_000.0, 15.0, 4)


def drawn(kind: str, *found: Named, **more: object):
    axes = Figure().add_axes((0, 0, 1, 1))
    draw(axes, Panel(kind, "a panel", Place(0, 0, 12, 8), **more), found, SPAN)
    return axes


def named(name: str, *values: float, **labels: str) -> Named:
    return Named(name, Series(labels, np.array(values, dtype=float)))


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_every_query_of_ours_can_be_filled_in(file) -> None:
    dashboard = read_dashboard(file)
    targets = [target for panel in dashboard.panels for target in panel.targets]
    assert len(targets) > 20
    for target in targets:
        expr = dashboard.filled(target.expr, 9.2)
        assert "$" not in expr
        assert "[10s]" in expr or "$__rate_interval" not in target.expr


def test_what_cannot_be_drawn_is_refused_and_named(tmp_path) -> None:
    file = tmp_path / "board.json"
    with pytest.raises(DashboardError, match=r"board\.json: No such file"):
        read_dashboard(file)
    board = json.loads(DASHBOARDS[0].read_text())
    board["panels"][0]["type"] = "piechart"
    file.write_text(json.dumps(board))
    with pytest.raises(DashboardError, match=r"board\.json is no dashboard.*piechart.*panels"):
        read_dashboard(file)
    with pytest.raises(DashboardError, match="no variable is called region"):
        read_dashboard(DASHBOARDS[0]).filled('up{region="$region"}', 60)


def test_a_legend_takes_labels_or_shows_them_all() -> None:
    labels = {"job": "worker", "le": "0.5"}
    assert Target("up", "{{job}} {{ le }}").name_of(labels) == "worker 0.5"
    assert Target("up", "p99").name_of(labels) == "p99"
    assert Target("up").name_of(labels) == '{job="worker", le="0.5"}'
    assert Target("up").name_of({}) == "value"


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0, "short", "0"),
        (999.96, "short", "1000"),
        (12_345, "short", "12.3 K"),
        (0.00042, "s", "420 µs"),
        (90, "s", "1.5 min"),
        (3 * 2**30, "bytes", "3 GiB"),
        (0.12345, "percentunit", "12.3%"),
        (-2.5, "short", "-2.5"),
        (math.inf, "s", "∞"),
    ],
)
def test_values_are_shown_in_the_fitting_multiple_of_their_unit(value, unit, text) -> None:
    assert shown(value, unit) == text


def test_a_span_ends_now_and_is_not_finer_than_the_scrapes() -> None:
    span, rate_interval_s = span_until(1_000_000.5, 3600, 15)
    assert (span.end, span.step, span.points, rate_interval_s) == (1_000_000, 15, 241, 60)
    span, rate_interval_s = span_until(1_000_000.5, 86_400, 15)
    assert (span.step, rate_interval_s) == (360, 375)


def test_lines_have_gaps_where_there_was_nothing() -> None:
    axes = drawn("timeseries", named("a", 1, math.nan, math.inf, 4), named("b", 2, 2, 2, 2))
    gaps, whole = (line.get_ydata() for line in axes.lines)
    assert np.array_equal(np.isnan(gaps), [False, True, True, False])
    assert np.array_equal(whole, [2, 2, 2, 2])
    assert axes.get_ylim()[0] == 0


def test_a_heat_map_takes_lower_buckets_off_cumulative_ones_in_order_of_their_bounds() -> None:
    buckets = [
        named("", 9, 9, 9, 9, le="+Inf"),
        named("", 1, 2, 3, 4, le="0.25"),
        named("", 4, 4, 5, math.nan, le="2.5"),
    ]
    (mesh,) = drawn("heatmap", *buckets).collections
    counts = np.asarray(mesh.get_array().filled(0)).reshape(3, 4)
    assert counts.tolist() == [[1, 2, 3, 4], [3, 2, 2, 0], [5, 5, 4, 9]]


def test_a_number_is_the_latest_there_is() -> None:
    texts = [text.get_text() for text in drawn("stat", named("", 3, 7, 5, math.nan)).texts]
    assert texts == ["5"]


def test_a_table_shows_labels_but_those_that_are_hidden() -> None:
    hidden = Transformation({"excludeByName": {"Time": True, "job": True}})
    row = named("", 1, job="worker", version="v" * 40, device="cpu")
    cells = drawn("table", row, transformations=(hidden,)).tables[0].get_celld()
    texts = {place: cell.get_text().get_text() for place, cell in cells.items()}
    cut = "v" * 25 + "…"
    assert texts == {(0, 0): "version", (0, 1): "device", (1, 0): cut, (1, 1): "cpu"}


@pytest.mark.parametrize("kind", ["timeseries", "stat", "heatmap", "table"])
@pytest.mark.parametrize("found", [[], [named("", *[math.nan] * 4, le="1")]])
def test_a_panel_without_any_number_says_so(kind, found) -> None:
    axes = drawn(kind, *found)
    assert [text.get_text() for text in axes.texts] == ["No data"]


def test_without_a_prometheus_the_command_says_who_does_not_answer(tmp_path) -> None:
    with reserved_port() as port:
        flags = ["--prometheus", f"http://127.0.0.1:{port}", "--out", str(tmp_path / "pictures")]
        result = CliRunner().invoke(app, ["report", "dashboards", *flags])
    assert isinstance(result.exception, PrometheusError)
    assert f"no Prometheus answers at http://127.0.0.1:{port}" in str(result.exception)
    assert not (tmp_path / "pictures").exists()


def test_a_folder_without_dashboards_is_named(tmp_path) -> None:
    flags = ["--folder", str(tmp_path), "--out", str(tmp_path)]
    result = CliRunner().invoke(app, ["report", "dashboards", *flags])
    assert isinstance(result.exception, DashboardError)
    assert "--folder" in str(result.exception)
