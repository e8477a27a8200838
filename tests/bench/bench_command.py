"""`innerloop bench …` run as a person would, small."""

import math
from pathlib import Path

from typer.testing import CliRunner

from worker.bench.report import Report, Spread, read_json
from worker.cli.app import app


def bench(tmp_path: Path, *arguments: str) -> Report:
    """Run a benchmark and return its report, read back from the JSON that it wrote."""
    out = tmp_path / "out" / "report.json"
    result = CliRunner().invoke(
        app, ["bench", *arguments, "--quick", "--json", str(out)], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    report = read_json(out)
    assert report.benchmark == arguments[0]
    assert "Median (min to max" in result.output
    check_common(report)
    return report


def check_common(report: Report) -> None:
    hardware = report.hardware
    assert hardware.cpu and hardware.cores >= 1 and hardware.memory_bytes > 1 << 20
    assert hardware.device == "cpu" and hardware.gpu is None
    assert {"torch", "confluent-kafka", "numpy"} <= hardware.packages.keys()
    assert report.bias and report.settings and report.results
    assert report.seconds > 0
    for result in report.results:
        for name, spread in result.figures.items():
            check_spread(spread, name)


def check_spread(spread: Spread, name: str) -> None:
    assert spread.min == min(spread.values) and spread.max == max(spread.values), name
    assert spread.min <= spread.median <= spread.max, name
    assert all(math.isfinite(value) for value in spread.values), name
