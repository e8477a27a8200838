"""What a benchmark found, as JSON: the numbers, the hardware, the settings and the bias."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from schemas.errors import BenchError
from worker.bench.hardware import Hardware

FORMAT = 1

Value = bool | int | float | str | None


class Spread(msgspec.Struct, frozen=True):
    """A figure over the repetitions of a benchmark."""

    median: float
    min: float
    max: float
    values: list[float]
    """In the order measured, the warm-up left out."""

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarise repetitions, at least one."""
        return cls(statistics.median(values), min(values), max(values), [float(v) for v in values])


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One method in one case."""

    method: str
    case: dict[str, Value] = {}
    """What was varied, such as users or the size of the catalogue."""
    figures: dict[str, Spread] = {}
    """By name, which ends in the unit: `…_per_s`, `…_us`, `…_ms`."""
    note: str = ""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A run of one benchmark."""

    format: int = FORMAT
    benchmark: str
    started_at: int
    """Milliseconds since the epoch."""
    seconds: float
    """Duration of the whole run."""
    hardware: Hardware
    load_average: tuple[float, float]
    """Of the last minute, before and after the run: what else was going on is in both."""
    settings: dict[str, Value | list[Value]]
    bias: list[str]
    """What the figures favour, and what they leave out."""
    results: list[Result]
    skipped: dict[str, str] = {}
    """Method or part → why it was not measured."""

    def one(self, method: str, **case: Value) -> Result:
        """Return the result of a method in a case that has at least these entries.

        Raises:
            BenchError: there is none, or more than one.
        """
        found = [
            result
            for result in self.results
            if result.method == method and case.items() <= result.case.items()
        ]
        if len(found) != 1:
            raise BenchError(f"{len(found)} results of {method} with {case}, not one")
        return found[0]


class Run:
    """A benchmark under way: collects what goes into its report.

    Args:
        benchmark: its name.
        hardware: what it runs on.
        settings: what it was asked to do.
        bias: see `Report.bias`.
    """

    def __init__(
        self,
        benchmark: str,
        hardware: Hardware,
        settings: Mapping[str, Value | list[Value]],
        bias: Sequence[str],
    ) -> None:
        self._benchmark = benchmark
        self._hardware = hardware
        self._settings = dict(settings)
        self._bias = list(bias)
        self._results: list[Result] = []
        self._skipped: dict[str, str] = {}
        self._started_at = time.time_ns() // 1_000_000
        self._begin = time.perf_counter()
        self._load = load_average()

    def add(
        self,
        method: str,
        case: Mapping[str, Value],
        figures: Mapping[str, Sequence[float]],
        note: str = "",
    ) -> None:
        """Note what was measured: by figure, its values over the repetitions."""
        spreads = {name: Spread.of(values) for name, values in figures.items()}
        self._results.append(Result(method=method, case=dict(case), figures=spreads, note=note))

    def skip(self, what: str, why: str) -> None:
        """Note that something was not measured."""
        self._skipped[what] = why

    def report(self) -> Report:
        """Return the report."""
        return Report(
            benchmark=self._benchmark,
            started_at=self._started_at,
            seconds=round(time.perf_counter() - self._begin, 1),
            hardware=self._hardware,
            load_average=(self._load, load_average()),
            settings=self._settings,
            bias=self._bias,
            results=self._results,
            skipped=self._skipped,
        )


def load_average() -> float:
    """Return the processes that wanted a core on average over the last minute; −1 if unknown."""
    try:
        return float(Path("/proc/loadavg").read_text(encoding="ascii").split()[0])
    except OSError:
        return -1.0


def write_json(report: Report, path: Path) -> None:
    """Write a report."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")


def read_json(path: Path) -> Report:
    """Read a report.

    Raises:
        BenchError: the file is missing, or is no report of this format.
    """
    try:
        report = msgspec.json.decode(path.read_bytes(), type=Report)
    except (OSError, msgspec.DecodeError) as error:
        raise BenchError(f"{path} is no report of `innerloop bench`: {error}") from error
    if report.format != FORMAT:
        raise BenchError(f"{path} has format {report.format}; this innerloop reads {FORMAT}")
    return report
