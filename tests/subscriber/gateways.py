"""A gateway in a thread of the test's own, and reading its streams."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from schemas.settings import GatewaySettings, Settings
from worker.subscriber.gateway.metrics import GatewayMetrics
from worker.subscriber.gateway.server import bound, make_server
from worker.subscriber.tokens import mint_token

SECRET = "a secret of thirty-two characters"
PATIENCE_S = 120.0


def gateway_settings(base: Settings, **changes: Any) -> Settings:
    given = {"token_secrets": {"web": SECRET}, **changes}
    return base.model_copy(update={"gateway": GatewaySettings.model_validate(given)})


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.01)


@dataclass
class Gateway:
    """A running gateway."""

    settings: Settings
    port: int
    metrics: GatewayMetrics
    client: httpx.Client

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.client.get(path, headers={n.replace("_", "-"): v for n, v in headers.items()})

    def path(
        self, user: str, suffix: str = "", *, token_of: str | None = None, **query: Any
    ) -> str:
        token = mint_token(SECRET, token_of or user)
        return str(
            httpx.URL(f"/v1/recommendations/{user}{suffix}", params={"token": token, **query})
        )

    def sample(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"innerloop_gateway_{name}", labels) or 0.0

    @contextmanager
    def stream(self, user: str, **headers: str) -> Iterator[Stream]:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        with self.client.stream("GET", self.path(user, "/events"), headers=given) as response:
            assert response.status_code == 200
            assert response.headers["content-type"].startswith("text/event-stream")
            yield Stream(response.iter_lines())


class Stream:
    """Messages of a stream, as the specification says that they are read."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines

    def block(self) -> list[str]:
        """Return the lines up to the next empty one."""
        lines = []
        for line in self._lines:
            if not line:
                return lines
            lines.append(line)
        raise EOFError(lines)

    def message(self) -> dict[str, str]:
        """Return the fields of the next message; comments and `retry` alone are none."""
        while True:
            fields = dict(line.split(": ", 1) for line in self.block() if not line.startswith(":"))
            if "data" in fields:
                return fields

    def caused_by(self) -> str:
        return json.loads(self.message()["data"])["caused_by"]


@contextmanager
def gateway(settings: Settings) -> Iterator[Gateway]:
    """Run a gateway while the block runs; at its end it stops in time."""
    metrics = GatewayMetrics()
    server = make_server(settings, metrics)
    with bound("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S) as client:
                wait_until(lambda: server.started or not thread.is_alive(), "a gateway")
                wait_until(lambda: client.get("/ready").status_code == 200, "a ready gateway")
                yield Gateway(settings, port, metrics, client)
        finally:
            server.should_exit = True
            thread.join(PATIENCE_S)
            assert not thread.is_alive()
