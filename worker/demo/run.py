"""Runs the demo: data, bundle, broker, topics, worker, page, replay, each by its public command."""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass

import polars as pl
from rich.console import Console
from rich.text import Text

from schemas.errors import DemoError
from worker.broker.embedded import PARTITIONS
from worker.broker.readiness import reserved_port
from worker.demo.bundle import reusable
from worker.demo.children import Child, Children, command_name, interrupted_by_signals
from worker.demo.frame import Frame
from worker.demo.plan import DemoPlan, metrics_url
from worker.demo.screen import Screen
from worker.demo.services import Page, broker_address, start_page
from worker.demo.subscriber import Subscriber
from worker.demo.summary import CAUTION, next_steps, summary
from worker.demo.visitors import Visitors
from worker.demo.watch import Watch
from worker.tables import read_table
from worker.training.checkpoint import checkpoint_folder

_LOOK_EVERY_S = 0.2


@dataclass(frozen=True)
class Stream:
    """The processes that go on until the end."""

    broker: Child
    worker: Child
    address: str
    metrics_port: int
    page: Page

    @property
    def lasting(self) -> list[Child]:
        """Processes that must run all the while."""
        return [self.broker, self.worker, *self.page.services]


class Demo:
    """One run of the demo.

    Args:
        plan: what to do.
        console: where to show it.
        count_events: counts the events that the replay will publish, once the data is there.
        stay: whether to keep everything up after the replay, for the page, until interrupted.
    """

    def __init__(
        self,
        plan: DemoPlan,
        console: Console,
        count_events: Callable[[], int],
        *,
        stay: bool = False,
    ) -> None:
        self._plan = plan
        self._stay = stay
        self._console = console
        self._count_events = count_events
        self._innerloop = command_name()

    def run(self) -> Frame | None:
        """Run to the end, stop every process, and say how it went.

        Returns:
            The last moment of the replay; None without one.

        Raises:
            DemoError: a process ended before its time, or events stayed unanswered.
        """
        self._plan.folder.mkdir(parents=True, exist_ok=True)
        self._write_config()
        self._console.print(Text(CAUTION, style="dim"))
        frame = None
        with interrupted_by_signals():
            with Children(self._plan.logs) as children:
                self._make_data(children)
                self._make_bundle(children)
                stream = self.start_stream(children)
                if self._plan.events != 0:
                    frame, cut_short = self._replay(children, stream)
                    self._console.print(summary(frame, self._plan, cut_short=cut_short))
                self._say_what_next()
                if self._stay:
                    self._keep_up(stream)
                self._console.print("\nstopping every process", style="dim")
            if stream.worker.status != 0:
                raise DemoError(f"the worker did not stop as it should{stream.worker.tail()}")
        return frame

    def _write_config(self) -> None:
        # It holds this run's keys, which are nobody else's business.
        self._plan.config.touch(mode=0o600)
        self._plan.config.chmod(0o600)
        self._plan.config.write_text(self._plan.config_text(), encoding="utf-8")

    def _make_data(self, children: Children) -> None:
        self._say("Data")
        self._run(children, "dataset", self._plan.dataset_command())

    def _make_bundle(self, children: Children) -> None:
        self._say("A model bundle, trained on visitors before the cut")
        if reusable(self._plan):
            self._console.print(
                f"the one in {self._plan.bundle} was made of this data; --fresh trains again"
            )
            return
        # An interrupted demo leaves one, maybe of other data; training a demo again takes a minute.
        shutil.rmtree(checkpoint_folder(self._plan.bundle), ignore_errors=True)
        self._run(children, "train", self._plan.train_command())

    def start_stream(self, children: Children) -> Stream:
        """Start broker, worker and page on the plan's data and bundle; return when all are ready.

        Raises:
            DemoError: a process ended, or was not ready in time.
        """

        def start(name: str, command: list[str]) -> Child:
            return self._start(children, name, command)

        self._say("A broker, in memory")
        broker = start("broker", self._plan.broker_command())
        address = broker_address(broker)
        self._say("Topics and catalogue")
        self._run(children, "topics", self._plan.topics_command(address), logged=True)
        self._run(children, "catalog", self._plan.catalog_command(address), logged=True)
        with reserved_port() as port:
            self._say("The worker")
            worker = start("worker", self._plan.worker_command(address, port))
            self._say("Collector, gateway and storefront, while it loads")
            page = start_page(self._plan, address, start)
            stream = Stream(broker, worker, address, port, page)
            sample = Watch(worker, port, stream.lasting).wait_until_ready(PARTITIONS)
        self._console.print(f"ready: {sample.items:,.0f} items; metrics at {metrics_url(port)}")
        self._say(f"A shop to click in: {page.address}")
        return stream

    def _replay(self, children: Children, stream: Stream) -> tuple[Frame, bool]:
        watch = Watch(stream.worker, stream.metrics_port, stream.lasting)
        self._say("Visitors that training never saw")
        expected = self._count_events()
        visitors = Visitors(self._titles())
        with Subscriber(stream.address, visitors) as subscriber:
            replay = self._start(children, "replay", self._plan.replay_command(stream.address))
            with Screen(self._console) as screen:
                frame = watch.follow(replay, expected, subscriber, visitors, screen.show)
        if frame.sent != expected and not watch.cut_short:
            raise DemoError(f"the replay published {frame.sent:,} of {expected:,} events")
        return frame, watch.cut_short

    def _keep_up(self, stream: Stream) -> None:
        """Wait for an interruption.

        Raises:
            DemoError: a process ends before.
        """
        self._say(f"The shop stays open until Ctrl-C: {stream.page.address}")
        try:
            while True:
                for child in stream.lasting:
                    child.check()
                time.sleep(_LOOK_EVERY_S)
        except KeyboardInterrupt:
            return

    def _titles(self) -> dict[str, str]:
        items = read_table(self._plan.items_file).select("item_id", pl.col("title").fill_null(""))
        return dict(items.iter_rows())

    def _start(self, children: Children, name: str, command: list[str]) -> Child:
        self._print_command(command, " &")
        return children.start(name, command)

    def _run(
        self, children: Children, name: str, command: list[str], *, logged: bool = False
    ) -> None:
        self._print_command(command)
        children.start(name, command, logged=logged).wait()

    def _say(self, heading: str) -> None:
        self._console.print(Text(f"\n{heading}", style="bold"))

    def _print_command(self, command: list[str], suffix: str = "") -> None:
        text = f"$ {self._innerloop} {shlex.join(command)}{suffix}"
        self._console.print(Text(text, style="cyan"), soft_wrap=True)

    def _say_what_next(self) -> None:
        self._say("What to try next")
        for purpose, commands in next_steps(self._plan, self._innerloop):
            self._console.print(Text(purpose))
            for command in commands:
                self._console.print(Text(f"  {command}", style="cyan"), soft_wrap=True)
