"""Every benchmark's report has a picture."""

import pytest
from typer.testing import CliRunner

from schemas.errors import BenchError
from worker.bench.hardware import describe
from worker.bench.plots import draw
from worker.bench.report import Report, Run, write_json
from worker.cli.app import app


def report(benchmark: str, results) -> Report:
    run = Run(benchmark, describe(), {}, ["made for a test"])
    for method, case, figures in results:
        run.add(method, case, figures)
    return run.report()


REPORTS = {
    "floor": [
        ("copy", {}, {"us_per_event": [3.0, 4.0]}),
        ("worker", {}, {"us_per_event": [90.0], "outside_adapt_and_rank_us": [9.0]}),
    ],
    "pipeline": [
        ("saturation", {"broker": "kafka"}, {"events_per_s": [10.0]}),
        *(
            ("latency", {"broker": b, "load": x}, {"p50_ms": [x], "p99_ms": [9 * x]})
            for b in ("kafka", "embedded")
            for x in (0.25, 0.5)
        ),
    ],
    "ranking": [("worker", {"items": n}, {"users_per_s": [1e6 / n]}) for n in (10, 100)],
    "kernel": [
        ("closed_form", {"users": n, "dim": d}, {"users_per_s": [n / d]})
        for n in (10, 100)
        for d in (4, 8)
    ],
    "engines": [(name, {}, {"events_per_s": [5.0]}) for name in ("worker", "faust")],
}


@pytest.mark.parametrize("benchmark", REPORTS)
def test_a_report_is_drawn(benchmark, tmp_path):
    pytest.importorskip("matplotlib")
    (path,) = draw(report(benchmark, REPORTS[benchmark]), tmp_path / "new")
    assert path == tmp_path / "new" / f"{benchmark}.png"
    assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 5_000


def test_growth_is_drawn_by_axis(tmp_path):
    pytest.importorskip("matplotlib")
    results = [
        (axis, {name: n}, {"us_per_event": [float(n)]})
        for axis, name in (("users", "users"), ("catalogue", "items"))
        for n in (10, 100)
    ]
    names = [path.name for path in draw(report("growth", results), tmp_path)]
    assert names == ["growth_users.png", "growth_catalogue.png"]


def test_the_command_draws_files(tmp_path):
    pytest.importorskip("matplotlib")
    write_json(report("engines", REPORTS["engines"]), tmp_path / "r.json")
    arguments = ["bench", "plots", str(tmp_path / "r.json"), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "engines.png").is_file()


def test_what_has_no_picture_is_refused(tmp_path):
    pytest.importorskip("matplotlib")
    with pytest.raises(BenchError, match="no picture of the benchmark 'other'"):
        draw(report("other", [("m", {}, {"x": [1.0]})]), tmp_path)
