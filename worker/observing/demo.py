"""The demo with a Prometheus beside it that scrapes it and applies our rules."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.text import Text

from worker.broker.readiness import HOST, reserved_port
from worker.demo.children import Children
from worker.demo.frame import Frame
from worker.demo.plan import DemoPlan
from worker.demo.run import Demo, Stream
from worker.demo.services import address_of
from worker.observing.config import RULES, local_config
from worker.observing.prometheus import PrometheusError, PrometheusServer, prometheus_binary

_METRICS = re.compile(r"Metrics at http://(\S+)/metrics\n")


class ObservedDemo(Demo):
    """A run of the demo that stays up, watched by Prometheus.

    Args:
        plan: what to do.
        console: where to show it.
        count_events: counts the events that the replay will publish, once the data is there.
        port: that Prometheus listens on; 0 takes a free one.
        rules: folder of Prometheus' rules.

    Raises:
        PrometheusError: it is not installed, or the rules are not there.
    """

    def __init__(
        self,
        plan: DemoPlan,
        console: Console,
        count_events: Callable[[], int],
        *,
        port: int = 0,
        rules: Path = RULES,
    ) -> None:
        super().__init__(plan, console, count_events, stay=True)
        prometheus_binary()
        if not any(rules.glob("*.yml")):
            raise PrometheusError(
                f"--rules: {rules} holds no *.yml; give deploy/prometheus/rules of the repository"
            )
        self._folder = plan.folder / "prometheus"
        self._shown = console
        self._port = port
        self._rules = rules
        self._stack = ExitStack()

    def run(self) -> Frame | None:
        """Run until interrupted; see `Demo.run`.

        Raises:
            DemoError: a process ended before its time, or events stayed unanswered.
            PrometheusError: Prometheus does not start.
        """
        with self._stack:
            return super().run()

    def start_stream(self, children: Children) -> Stream:
        """Start what the demo starts, and then Prometheus; see `Demo.start_stream`."""
        stream = super().start_stream(children)
        collector, gateway, *_ = stream.page.services
        targets = {
            "innerloop-worker": [f"{HOST}:{stream.metrics_port}"],
            "innerloop-collector": [address_of(collector, _METRICS)],
            "innerloop-gateway": [address_of(gateway, _METRICS)],
        }
        config = local_config(targets, self._rules)
        port = self._port or self._stack.enter_context(reserved_port())
        server = self._stack.enter_context(PrometheusServer(self._folder, config, port))
        self._shown.print(Text("\nPrometheus", style="bold"))
        for what, path in (("graphs", "graph"), ("targets", "targets"), ("alerts", "alerts")):
            self._shown.print(f"{what}: {server.url}/{path}", soft_wrap=True)
        return stream
