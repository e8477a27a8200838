"""Whether the worker lives and is ready, for who restarts it and who sends it work."""

from __future__ import annotations

import faulthandler
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_LOG = logging.getLogger(__name__)

HEALTH_PATH, READY_PATH = "/health", "/ready"
_OK, _UNAVAILABLE = "200 OK", "503 Service Unavailable"
_LOOKS = 20
"""How often a watchdog looks within the time after which a worker counts as stuck."""


class Health:
    """What is known of the worker's loop. Set by the loop, asked by other threads.

    Args:
        stuck_s: a loop that does not come round for longer is stuck, seconds.
        clock: monotonic, seconds.
        first: what is waited for at the start.
    """

    def __init__(
        self,
        stuck_s: float,
        clock: Callable[[], float] = time.monotonic,
        first: str = "the catalogue",
    ) -> None:
        self.stuck_s = stuck_s
        self._clock = clock
        self._first = first
        self._round: float | None = None
        self._waiting_for: str | None = first

    def starting(self) -> None:
        """Note that the worker reads what it needs; that may take as long as it takes."""
        self._round = None
        self._waiting_for = self._first

    def came_round(self, waiting_for: str | None = None) -> None:
        """Note that the loop goes on.

        Args:
            waiting_for: what is to come before all events are processed; None if nothing.
        """
        self._round = self._clock()
        self._waiting_for = waiting_for

    def age_s(self) -> float | None:
        """Return how long ago the loop last came round, seconds; None while it starts."""
        latest = self._round
        return None if latest is None else self._clock() - latest

    def stuck(self) -> str | None:
        """Return in words for how long the loop has not come round; None if it is not stuck."""
        away = self.age_s()
        if away is None or away <= self.stuck_s:
            return None
        return f"the loop has not come round for {away:.0f} s (metrics.stuck_seconds)"

    def not_ready(self) -> str | None:
        """Return why the worker is not processing all events that it should; None if it is."""
        return self.stuck() or (self._waiting_for and f"waiting for {self._waiting_for}")


def with_health(app: WSGIApplication, health: Health) -> WSGIApplication:
    """Return an application that answers for health itself, and else as `app` does."""
    answers = {HEALTH_PATH: health.stuck, READY_PATH: health.not_ready}

    def answer(environment: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        asked = answers.get(environment.get("PATH_INFO", ""))
        if asked is None:
            return app(environment, start)
        problem = asked()
        headers = [("Content-Type", "text/plain; charset=utf-8")]
        start(_OK if problem is None else _UNAVAILABLE, headers)
        return [f"{problem or 'ok'}\n".encode()]

    return answer


@contextmanager
def watched(health: Health, dump: Callable[[], Any] | None = None) -> Iterator[None]:
    """Report, once each time, while the block runs, that its loop is stuck, and where.

    Args:
        health: of the loop.
        dump: says where all threads are; None writes that to standard error.
    """
    over = threading.Event()

    def watch() -> None:
        reported = False
        while not over.wait(health.stuck_s / _LOOKS):
            problem = health.stuck()
            if problem is not None and not reported:
                _LOG.error("stuck: %s; where the threads are:", problem)
                (dump or _dump)()
            reported = problem is not None

    watcher = threading.Thread(target=watch, name="watchdog", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _dump() -> None:
    faulthandler.dump_traceback(file=sys.__stderr__ or sys.stderr, all_threads=True)
