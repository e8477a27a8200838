"""A client that keeps the latest recommendation of each user."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from schemas.errors import BrokerError, InnerloopError
from schemas.pseudonyms import pseudonymiser
from schemas.settings import Settings, load_settings
from worker.subscriber.latest import LatestRecommendations, Received
from worker.subscriber.reading import RecommendationReader

_POLL_S = 0.1

Listener = Callable[[Received | None], None]
"""Called with a user's recommendation, or None where the user was removed; in the client's thread,
so it must neither block nor raise."""


@dataclass(eq=False)
class _Waiter:
    user: str
    event_id: str
    event_time: int | None
    future: concurrent.futures.Future[Received]


class RecommendationClient:
    """Follows `recommendations` in a thread, and keeps the latest of each user.

    It joins no consumer group: every client sees every recommendation. User ids are the caller's
    own; where the setting privacy.user_id_key is set they are hashed here as they are by `Tracker`.
    Safe to use from several threads.

        with RecommendationClient() as client:
            answer = client.wait_for("u-7", event_id)

    Args:
        settings: brokers, wire format, privacy and limits; None reads them as every command does,
            from `innerloop.toml` and the environment.
        bootstrap_servers: brokers, in place of those of the settings read.
        minutes_back: how far back to begin; 0 begins with what is published after the start.

    Raises:
        SettingsError: a setting is wrong.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        bootstrap_servers: str | None = None,
        minutes_back: float = 0.0,
    ) -> None:
        self._settings = client_settings(settings, bootstrap_servers)
        self._minutes_back = minutes_back
        pseudonym = pseudonymiser(self._settings.privacy)
        self._known_as: Callable[[str], str] = pseudonym or str
        limits = self._settings.subscriber
        self._lock = threading.Lock()
        self._latest = LatestRecommendations(limits.users, limits.events_per_user)
        self._waiting: dict[str, list[_Waiter]] = {}
        self._listeners: dict[str, list[Listener]] = {}
        self._stop = threading.Event()
        self._caught_up = threading.Event()
        self._ended: InnerloopError | None = None
        self._reader: RecommendationReader | None = None
        self._thread = threading.Thread(target=self._run, name="recommendations", daemon=True)

    def start(self) -> Self:
        """Begin to follow: what is published after this has returned is not missed.

        Raises:
            BrokerError: the brokers do not answer, or do not have the topic.
        """
        self._reader = RecommendationReader(self._settings, self._minutes_back)
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop following; who waits gets a BrokerError. May be called again."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def catch_up(self, timeout: float = 60.0) -> None:
        """Wait until what was there at the start (`minutes_back`) is read.

        Raises:
            TimeoutError: it is not within `timeout` seconds.
            BrokerError: the client has ended.
        """
        deadline = time.monotonic() + timeout
        while not self._caught_up.wait(min(_POLL_S, max(0.0, deadline - time.monotonic()))):
            self._check()
            if time.monotonic() >= deadline:
                raise TimeoutError(f"the recommendations are not read within {timeout:g} s")

    @property
    def caught_up(self) -> bool:
        """Whether what was there at the start is read."""
        return self._caught_up.is_set()

    @property
    def users(self) -> int:
        """How many users' recommendations are kept."""
        with self._lock:
            return len(self._latest)

    @property
    def trouble(self) -> InnerloopError | None:
        """Why the client ended by itself; None if it did not."""
        return self._ended

    def latest(self, user_id: str) -> Received | None:
        """Return a user's latest recommendation, or None if none is known.

        Raises:
            BrokerError: the client has ended.
        """
        self._check()
        with self._lock:
            return self._latest.latest(self._known_as(user_id))

    def wait_for(
        self, user_id: str, event_id: str, timeout: float = 10.0, *, event_time: int | None = None
    ) -> Received:
        """Wait for the recommendation that an event causes; return it, or a later one of the user.

        It returns at once if the event is answered already; of each user the latest
        `subscriber.events_per_user` answers are remembered for this.

        Args:
            user_id: whose event it is.
            event_id: of the event, such as `Receipt.event_id` of the tracker.
            timeout: the longest wait, seconds.
            event_time: when the event was, epoch milliseconds; with it, the answer to any later
                event will do, whether or not this event is answered.

        Raises:
            TimeoutError: no such recommendation came in time.
            BrokerError: the client has ended.
        """
        future = self.answer_to(user_id, event_id, event_time)
        try:
            return future.result(timeout)
        except TimeoutError:
            future.cancel()
            raise TimeoutError(
                f"no recommendation for event {event_id} within {timeout:g} s; is a worker running?"
            ) from None

    def answer_to(
        self, user_id: str, event_id: str, event_time: int | None = None
    ) -> concurrent.futures.Future[Received]:
        """Return the future of what `wait_for` waits for; cancel it when it is not wanted any more.

        Raises:
            BrokerError: the client has ended.
        """
        self._check()
        waiter = _Waiter(self._known_as(user_id), event_id, event_time, concurrent.futures.Future())
        with self._lock:
            found = self._latest.since(waiter.user, event_id, event_time)
            if found is None:
                self._waiting.setdefault(waiter.user, []).append(waiter)
        if found is not None:
            waiter.future.set_result(found)
        else:
            waiter.future.add_done_callback(lambda _: self._discard(waiter))
            if self._ended is not None:  # meanwhile
                self._fail_waiters(self._ended)
        return waiter.future

    def listen(self, user_id: str, listener: Listener) -> Callable[[], None]:
        """Call `listener` with each recommendation of a user from now on; return how to stop it."""
        user = self._known_as(user_id)
        with self._lock:
            self._listeners.setdefault(user, []).append(listener)

        def stop() -> None:
            with self._lock:
                left = self._listeners.get(user, [])
                if listener in left:
                    left.remove(listener)
                if not left:
                    self._listeners.pop(user, None)

        return stop

    def _run(self) -> None:
        assert self._reader is not None
        ended: InnerloopError = BrokerError("this client is closed; make another one")
        try:
            while not self._stop.is_set():
                for found in self._reader.read(_POLL_S, self._stop.wait):
                    self._take(found)
                if self._reader.caught_up:
                    self._caught_up.set()
        except InnerloopError as error:
            ended = error
        finally:
            self._ended = ended
            self._reader.close()
            self._fail_waiters(ended)

    def _take(self, found: Received | str) -> None:
        answered: list[tuple[_Waiter, Received]] = []
        with self._lock:
            if isinstance(found, str):
                user, told = found, None
                self._latest.forget(user)
            else:
                user, told = found.recommendation.user_id, found
                if not self._latest.add(found):
                    return
                for waiter in self._waiting.get(user, []):
                    answer = self._latest.since(user, waiter.event_id, waiter.event_time)
                    if answer is not None:
                        answered.append((waiter, answer))
            listeners = tuple(self._listeners.get(user, ()))
        for waiter, answer in answered:
            if waiter.future.set_running_or_notify_cancel():
                waiter.future.set_result(answer)
        for listener in listeners:
            listener(told)

    def _discard(self, waiter: _Waiter) -> None:
        with self._lock:
            left = self._waiting.get(waiter.user, [])
            if waiter in left:
                left.remove(waiter)
            if not left:
                self._waiting.pop(waiter.user, None)

    def _fail_waiters(self, error: InnerloopError) -> None:
        with self._lock:
            waiters = [waiter for each in self._waiting.values() for waiter in each]
            self._waiting.clear()
        for waiter in waiters:
            if waiter.future.set_running_or_notify_cancel():
                waiter.future.set_exception(error)

    def _check(self) -> None:
        if self._ended is not None:
            raise self._ended
        if self._reader is None:
            raise BrokerError("this client is not started; use it in a with block, or call start()")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def client_settings(settings: Settings | None, bootstrap_servers: str | None) -> Settings:
    """Return the settings given, or those that every command reads, with these brokers."""
    if settings is None:
        return load_settings(flags={"kafka": {"bootstrap_servers": bootstrap_servers}})
    if bootstrap_servers is None:
        return settings
    kafka = settings.kafka.model_copy(update={"bootstrap_servers": bootstrap_servers})
    return settings.model_copy(update={"kafka": kafka})
