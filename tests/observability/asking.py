"""A real Prometheus with our rules, shortened, and asking it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from prometheus_files import RULES, tool

from worker.broker.readiness import reserved_port
from worker.observing.config import Targets, local_config
from worker.observing.prometheus import PrometheusServer

PATIENCE_S = 300.0
# Longer stays longer, and each holds several scrapes, one second apart.
WINDOWS = {
    "5m": "6s", "15m": "8s", "30m": "8s", "1h": "10s", "6h": "15s", "3d": "20s", "1d": "45s",
    "20s": "20s",
}  # fmt: skip
HOLD = "2s"
LIMITS = {
    'le="0.25"': 'le="2.5"',
    "innerloop_loop_round_timestamp_seconds > 60": "innerloop_loop_round_timestamp_seconds > 4",
    "increase(innerloop_prequential_events_total[1h])) > 1000": (
        "increase(innerloop_prequential_events_total[1h])) > 10"
    ),
    # Four lives of a process take longer than other faults do, on a busy machine.
    'changes(process_start_time_seconds{job=~"innerloop-.*"}[30m])': (
        'changes(process_start_time_seconds{job=~"innerloop-.*"}[20s])'
    ),
}
"""Of the rules, those that are times or numbers of events: tests are short, and machines busy."""


def shortened(text: str) -> str:
    """Return rules whose windows and patience are seconds; what they compare stays as it is."""
    for limit, in_tests in LIMITS.items():
        text = text.replace(limit, in_tests)
    text = re.sub(r"\[(\w+)\]", lambda found: f"[{WINDOWS[found[1]]}]", text)
    return re.sub(r"^(\s+for:) \w+$", rf"\1 {HOLD}", text, flags=re.MULTILINE)


@dataclass
class Asking:
    """A Prometheus to be asked."""

    server: PrometheusServer

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the result of an instant query; one that is refused is an AssertionError."""
        answer = httpx.post(
            f"{self.server.url}/api/v1/query",
            data={"query": expression},
            timeout=60,
            trust_env=False,
        ).json()
        assert answer["status"] == "success", f"{expression}: {answer}"
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def firing(self) -> set[str]:
        """Return the names of the alerts that fire."""
        return {a["metric"]["alertname"] for a in self.query('ALERTS{alertstate="firing"}')}

    def await_silent(self, name: str) -> None:
        """Wait until an alert fires no longer."""
        wait_until(lambda: name not in self.firing(), f"{name} silent")


def wait_until(
    condition: Callable[[], bool], what: str, detail: Callable[[], object] = lambda: ""
) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what} {detail()}"
        time.sleep(0.25)


@contextmanager
def prometheus(folder: Path, targets: Targets) -> Iterator[Asking]:
    """Run a server that scrapes each second and evaluates our rules, shortened."""
    tool("prometheus")
    rules = folder / "rules"
    rules.mkdir(parents=True)
    for file in RULES:
        (rules / file.name).write_text(shortened(file.read_text()))
    config = local_config(targets, rules)
    with reserved_port() as port, PrometheusServer(folder, config, port) as server:
        yield Asking(server)
