"""Asking a Prometheus, by its HTTP API: https://prometheus.io/docs/prometheus/latest/querying/api/."""

from __future__ import annotations

import math
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import msgspec
import numpy as np
import numpy.typing as npt

from worker.observing.prometheus import PrometheusError

Vector = npt.NDArray[np.float64]

_TIMEOUT_S = 60.0
_MOST_POINTS = 240
# Straight there, as to our own Prometheus: it is one that the caller can reach.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Span:
    """Points in time, evenly spaced."""

    start: float
    """Epoch seconds."""
    step: float
    """Seconds."""
    points: int

    @property
    def end(self) -> float:
        """The last of the points, epoch seconds."""
        return self.start + self.step * (self.points - 1)

    @cached_property
    def times(self) -> Vector:
        """Return the points, epoch seconds; shape (points,)."""
        return self.start + self.step * np.arange(self.points, dtype=np.float64)


@dataclass(frozen=True)
class Series:
    """A series that answers a query."""

    labels: Mapping[str, str]
    values: Vector
    """One for each point of the span, NaN where there is none."""

    @property
    def shows(self) -> bool:
        """Whether any value is a number."""
        return bool(np.isfinite(self.values).any())


def span_until(end: float, seconds: float, scrape_s: float) -> tuple[Span, float]:
    """Return a span to draw, and what Grafana would take for its `$__rate_interval`.

    That is, as its documentation says, `max(step + scrape interval, 4 * scrape interval)`:
    https://grafana.com/docs/grafana/latest/datasources/prometheus/template-variables/.

    Args:
        end: of the span, epoch seconds.
        seconds: length of the span.
        scrape_s: between two scrapes, seconds.
    """
    step = max(scrape_s, math.ceil(seconds / _MOST_POINTS))
    points = max(2, int(seconds / step) + 1)
    start = math.floor(end) - step * (points - 1)
    return Span(start, step, points), max(step + scrape_s, 4 * scrape_s)


class _Result(msgspec.Struct):
    metric: dict[str, str]
    values: list[tuple[float, str]] = []
    value: tuple[float, str] | None = None


class _Data(msgspec.Struct):
    result: list[_Result]


class _Answer(msgspec.Struct):
    status: str
    data: _Data | None = None
    error: str = ""


class Answers:
    """What a Prometheus answers.

    Args:
        url: its address, such as http://127.0.0.1:9090.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def over_time(self, expr: str, span: Span) -> list[Series]:
        """Return the answer at each point of a span.

        Raises:
            PrometheusError: it does not answer, or refuses the query.
        """
        given: dict[str, str | float] = {
            "query": expr,
            "start": span.start,
            "end": span.end,
            "step": span.step,
        }
        found = []
        for result in self._ask("query_range", given):
            values = np.full(span.points, np.nan)
            for time, text in result.values:
                values[round((time - span.start) / span.step)] = float(text)
            found.append(Series(result.metric, values))
        return found

    def now(self, expr: str, span: Span) -> list[Series]:
        """Return the answer at the end of a span, as series of one value.

        Raises:
            PrometheusError: it does not answer, or refuses the query.
        """
        return [
            Series(result.metric, np.array([float(result.value[1])]))
            for result in self._ask("query", {"query": expr, "time": span.end})
            if result.value is not None
        ]

    def _ask(self, what: str, given: Mapping[str, str | float]) -> list[_Result]:
        body = urllib.parse.urlencode(given).encode()
        try:
            with _OPENER.open(f"{self._url}/api/v1/{what}", body, timeout=_TIMEOUT_S) as response:
                content = response.read()
        except urllib.error.HTTPError as error:  # a query that is refused says why
            content = error.read()
        except (OSError, ValueError) as error:
            raise PrometheusError(f"no Prometheus answers at {self._url}: {error}") from None
        try:
            answer = msgspec.json.decode(content, type=_Answer)
        except msgspec.DecodeError as error:
            raise PrometheusError(f"{self._url} does not answer as Prometheus: {error}") from None
        if answer.data is None:
            raise PrometheusError(f"{self._url} refuses {given['query']}: {answer.error}")
        return answer.data.result
