"""Every query of every dashboard, asked of a real Prometheus that scrapes every kind of process."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from asking import Asking, prometheus, wait_until
from busy_shop import BusyShop, publish_items
from fake_model import FakeModel
from prometheus_files import dashboards, panels, promtool, rules
from redis_servers import RedisServer
from running_worker import make_topics, running, with_worker

from schemas.settings import Settings
from worker.broker.readiness import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

KEY = "a write key of the test's own"
ITEMS = 12
PROCESSES = ("worker", "collector", "insights", "gateway", "sink")
VARIABLES = {"$job": ".*", "$instance": ".*", "$__rate_interval": "10s"}
COMMANDS = {
    "collector": ["collect"],
    "insights": ["insights", "--store", "memory"],
    "gateway": ["gateway", "serve"],
    "sink": ["sink", "redis"],
}


@dataclass
class Deployment:
    """What runs, and where it is scraped."""

    asking: Asking
    ports: dict[str, int]
    logs: Path

    def said(self) -> str:
        """Return the last words of each process."""
        return "\n".join(
            f"{log.name}: {log.read_text(errors='replace')[-600:]}"
            for log in sorted(self.logs.glob("*.log"))
        )


def environment(settings: Settings, ports: dict[str, int], folder: Path) -> dict[str, str]:
    given = {
        "KAFKA__BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers,
        "KAFKA__TOPIC_PREFIX": settings.kafka.topic_prefix,
        "COLLECTOR__PORT": ports["collector_http"],
        "COLLECTOR__METRICS_PORT": ports["collector"],
        "COLLECTOR__WRITE_KEYS__WEB": KEY,
        "GATEWAY__PORT": ports["gateway_http"],
        "GATEWAY__METRICS_PORT": ports["gateway"],
        "GATEWAY__OPEN": "true",
        "INSIGHTS__GROUP_ID": f"{settings.worker.group_id}-insights",
        "INSIGHTS__METRICS_PORT": ports["insights"],
        "INSIGHTS__FOLDER": folder / "tables",
        "INSIGHTS__JOIN_WAIT_SECONDS": 1,
        "INSIGHTS__CHECKPOINT_SECONDS": 0.2,
        "INSIGHTS__TRENDING_INTERVAL_SECONDS": 0.5,
        "SINK__GROUP_ID": f"{settings.worker.group_id}-sink",
        "SINK__METRICS_PORT": ports["sink"],
    }
    return {**os.environ, **{f"INNERLOOP_{name}": str(value) for name, value in given.items()}}


@contextmanager
def command(name: str, environment: dict[str, str], logs: Path) -> Iterator[None]:
    with (logs / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker.cli", *COMMANDS[name]],
            env=environment,
            stdout=log,
            stderr=log,
        )
    try:
        yield
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def deployment(kafka_settings: Settings, tmp_path: Path) -> Iterator[Deployment]:
    """Everything there is, on a real Kafka, with visitors, and a Prometheus that scrapes it."""
    ports = {name: free_port() for name in (*PROCESSES, "collector_http", "gateway_http")}
    settings = with_worker(kafka_settings, follow_models=True)
    metrics = settings.metrics.model_copy(update={"port": ports["worker"]})
    settings = settings.model_copy(update={"metrics": metrics})
    make_topics(settings)
    publish_items(settings, range(ITEMS))
    targets = {f"innerloop-{name}": [f"127.0.0.1:{ports[name]}"] for name in PROCESSES}
    with ExitStack() as stack:
        redis = RedisServer(tmp_path)
        stack.callback(redis.stop)
        redis.start()
        env = environment(settings, ports, tmp_path) | {"INNERLOOP_SINK__REDIS_URL": redis.url}
        for name in COMMANDS:
            stack.enter_context(command(name, env, tmp_path))
        stack.enter_context(running(settings, FakeModel(popular_items=["i0", "i1"])))
        shop = stack.enter_context(BusyShop(settings, ITEMS))
        shop.garbage = 0.05
        server = stack.enter_context(prometheus(tmp_path / "prometheus", targets))
        yield Deployment(Asking(server), ports, tmp_path)


def filled(text: str) -> str:
    for name, value in VARIABLES.items():
        text = text.replace(name, value)
    assert "$" not in text, text
    return text


def finite(series: dict[str, Any]) -> bool:
    return math.isfinite(float(series["value"][1]))


def faults(asking: Asking, panel: dict[str, Any]) -> list[str]:
    """Return in words what a panel does not show, or what its legends lack."""
    answers = [(t, asking.query(filled(t["expr"]))) for t in panel["targets"]]
    found = [f"empty: {target['expr']}" for target, series in answers if not series]
    if not any(finite(one) for _, series in answers for one in series):
        found.append("no number")
    for target, series in answers:
        named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        if any(named - one["metric"].keys() for one in series):
            found.append(f"not all series have {sorted(named)}")
    return found


class Waiting:
    """The panels that have not shown what they should yet; those that have, have."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking
        self.faults: dict[str, list[str]] = {}
        self._panels = {
            f"{name}: {panel['title']}": panel
            for name, dashboard in dashboards().items()
            for panel in panels(dashboard)
        }

    def over(self) -> bool:
        """Look once more; return whether all have shown it."""
        self.faults = {name: faults(self._asking, panel) for name, panel in self._panels.items()}
        self._panels = {name: p for name, p in self._panels.items() if self.faults[name]}
        return not self._panels


def send(deployment: Deployment) -> None:
    """Send an event through the collector, and one that it refuses."""
    events = f"http://127.0.0.1:{deployment.ports['collector_http']}/v1/events"
    view = {"type": "view", "user_id": "visitor-1", "item_id": "i1"}
    for event in (view, {"type": "no such type"}):
        authorized = {"authorization": f"Bearer {KEY}"}
        httpx.post(events, json=event, headers=authorized, timeout=60, trust_env=False)


@contextmanager
def page(deployment: Deployment) -> Iterator[None]:
    """Have a visitor's page open."""
    gateway = f"http://127.0.0.1:{deployment.ports['gateway_http']}"
    stream = f"{gateway}/v1/recommendations/visitor-1/events"
    with httpx.stream("GET", stream, timeout=60, trust_env=False) as response:
        assert response.status_code == 200
        yield


def test_every_panel_of_every_dashboard_shows_something(deployment: Deployment) -> None:
    asking, said = deployment.asking, deployment.said

    def all_answer() -> bool:
        return len(asking.query('up{job=~"innerloop-.*"} == 1')) == len(PROCESSES)

    wait_until(all_answer, "all processes scraped", said)
    waiting = Waiting(asking)

    def all_have_shown() -> bool:
        send(deployment)
        return waiting.over()

    with page(deployment):
        wait_until(all_have_shown, "all panels", lambda: [waiting.faults, said()])

    for rule in rules("record"):
        name = rule["record"]
        wait_until(lambda name=name: bool(asking.query(name)), name)
    for name in PROCESSES:
        at = f"http://127.0.0.1:{deployment.ports[name]}/metrics"
        text = httpx.get(at, timeout=60, trust_env=False).text
        assert "visitor-" not in text
        done = promtool("check", "metrics", text=text)
        assert (done.returncode, done.stdout + done.stderr) == (0, ""), name
