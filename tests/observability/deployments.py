"""Every kind of process, in processes of their own, with a Prometheus that scrapes them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from asking import Asking, prometheus
from busy_shop import BusyShop, publish_items
from fake_model import FakeModel
from redis_servers import RedisServer
from rollout_parts import following
from running_worker import make_topics, with_worker

from schemas.settings import Settings
from schemas.settings.sources import ENVIRONMENT_PREFIX
from schemas.topics import Topic
from worker.broker.readiness import reserved_port

KEY = "a write key of the test's own"
ITEMS = 12
PROCESSES = ("worker", "collector", "insights", "gateway", "sink")
COMMANDS = {
    "collector": ["collect"],
    "insights": ["insights", "--store", "memory"],
    "gateway": ["gateway", "serve"],
    "sink": ["sink", "redis"],
}
DEAD_LETTER_BYTES = 20_000
"""Larger dead letters are refused by the whole deployment's broker."""


@contextmanager
def process(name: str, environment: dict[str, str], logs: Path) -> Iterator[None]:
    """Run a command of ours, a key of `COMMANDS`, in a process of its own."""
    with (logs / f"{name}.log").open("wb") as log:
        started = subprocess.Popen(
            [sys.executable, "-m", "worker.cli", *COMMANDS[name]],
            env=environment,
            stdout=log,
            stderr=log,
        )
    try:
        yield
    finally:
        started.kill()
        started.wait()


@dataclass
class Doors:
    """Where visitors' browsers reach the collector and the gateway."""

    collector: str
    gateway: str

    def send(self, event: dict[str, str]) -> int:
        """Send an event; return the answer's status."""
        authorized = {"authorization": f"Bearer {KEY}"}
        at = f"{self.collector}/v1/events"
        return httpx.post(
            at, json=event, headers=authorized, timeout=60, trust_env=False
        ).status_code

    def look(self, user: str) -> int:
        """Ask for a user's latest recommendation; return the answer's status."""
        at = f"{self.gateway}/v1/recommendations/{user}"
        return httpx.get(at, timeout=60, trust_env=False).status_code

    @contextmanager
    def page(self, user: str) -> Iterator[int]:
        """Have a user's page open, which streams; give the answer's status."""
        at = f"{self.gateway}/v1/recommendations/{user}/events"
        with httpx.stream("GET", at, timeout=60, trust_env=False) as response:
            yield response.status_code


def ports_of(stack: ExitStack) -> dict[str, int]:
    """Return a port of each process's metrics, and of the doors."""
    names = (*PROCESSES, "collector_http", "gateway_http")
    return {name: stack.enter_context(reserved_port()) for name in names}


def doors_at(ports: dict[str, int]) -> Doors:
    """Return the doors at these ports."""
    return Doors(
        *(f"http://127.0.0.1:{ports[f'{name}_http']}" for name in ("collector", "gateway"))
    )


def environment(
    settings: Settings, ports: dict[str, int], folder: Path, **more: object
) -> dict[str, str]:
    """Return the environment of processes: nothing of ours from outside, but these settings."""
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
        **more,
    }
    outside = {k: v for k, v in os.environ.items() if not k.startswith(ENVIRONMENT_PREFIX)}
    return outside | {f"{ENVIRONMENT_PREFIX}{name}": str(value) for name, value in given.items()}


def said(logs: Path) -> str:
    """Return the last words of each process."""
    texts = {log.name: log.read_text(errors="replace") for log in sorted(logs.glob("*.log"))}
    return "\n".join(f"{name}: {text[-600:]}" for name, text in texts.items())


@dataclass
class Deployment:
    """What runs, and where it is scraped."""

    settings: Settings
    asking: Asking
    ports: dict[str, int]
    doors: Doors
    visitors: BusyShop
    logs: Path

    def said(self) -> str:
        """Return the last words of each process."""
        return said(self.logs)


@contextmanager
def deployed(settings: Settings, folder: Path) -> Iterator[Deployment]:
    """Run everything there is, on a real Kafka, with visitors, and a Prometheus that scrapes it."""
    with ExitStack() as stack:
        ports = ports_of(stack)
        settings = with_worker(settings, follow_models=True, delivery="exactly_once")
        metrics = settings.metrics.model_copy(update={"port": ports["worker"]})
        settings = settings.model_copy(update={"metrics": metrics})
        make_topics(settings, {Topic.DEAD_LETTERS: {"max.message.bytes": str(DEAD_LETTER_BYTES)}})
        publish_items(settings, range(ITEMS))
        redis = RedisServer(folder)
        stack.callback(redis.stop)
        redis.start()
        given = environment(settings, ports, folder, SINK__REDIS_URL=redis.url)
        for name in COMMANDS:
            stack.enter_context(process(name, given, folder))
        stack.enter_context(following(settings, FakeModel(popular_items=["i0", "i1"])))
        visitors = stack.enter_context(BusyShop(settings, ITEMS))
        visitors.garbage = 0.05
        targets = {f"innerloop-{name}": [f"127.0.0.1:{ports[name]}"] for name in PROCESSES}
        asking = stack.enter_context(prometheus(folder / "prometheus", targets))
        yield Deployment(settings, asking, ports, doors_at(ports), visitors, folder)
