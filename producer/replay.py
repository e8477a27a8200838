"""Replay a dataset: its items into `catalog`, then its events into `clickstream`, at a pace."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from producer.datasets import EventFile, ItemFile, Selection
from producer.pacing import Pace, Pacer
from producer.publisher import Publisher
from schemas.catalog import CatalogItem
from schemas.clickstream import ClickstreamEvent
from schemas.errors import BrokerError
from schemas.pseudonyms import pseudonymiser
from schemas.settings import Settings
from schemas.topics import Topic

Progress = Callable[[Topic, int], None]
"""Called with a topic and how many of its messages were sent so far."""

_TELL_EVERY = 1000
_LONGEST_SLEEP_S = 0.05
_FLUSH_STEP_S = 0.2
_LAST_FLUSH_S = 30.0


@dataclass
class ReplayReport:
    """What a replay did."""

    items_sent: int = 0
    events_sent: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    """Rows of the files that were no event or item, by reason."""
    seconds: float = 0.0
    """From the first event to the acknowledgement of the last."""
    worst_lateness: float = 0.0
    """The most that an event was sent after it was due, seconds; 0 without a pace."""
    interrupted: bool = False

    @property
    def events_per_second(self) -> float:
        """Mean rate over `seconds`."""
        return self.events_sent / self.seconds if self.seconds else 0.0


def replay(
    settings: Settings,
    events: Iterable[ClickstreamEvent],
    items: Iterable[CatalogItem] = (),
    *,
    pace: Pace | None = None,
    times: Literal["original", "now"] = "original",
    stop: threading.Event | None = None,
    progress: Progress | None = None,
) -> ReplayReport:
    """Publish items, wait for their acknowledgement, then publish the events at their pace.

    Events are keyed by user and items by item. Running it again repeats the same messages: a worker
    drops the ids among a user's latest events, and the catalogue is the latest record of each key.

    Args:
        settings: brokers, wire format.
        events: in time order.
        items: the catalogue; none leaves the topic alone.
        pace: how fast; None sends as fast as the brokers take it.
        times: `original` keeps the events' times, `now` sets each to the moment it is sent (so
            gaps between events become those of the replay).
        stop: once set, sending ends and what was sent is flushed.
        progress: told every so many messages and after the last of a topic.

    Raises:
        BrokerError: no broker answers, a topic is missing, or a message was given up.
        CodecError: a message cannot be encoded.
    """
    stop = stop or threading.Event()
    tell = progress or (lambda _topic, _count: None)
    publisher = Publisher(settings)
    publisher.check(Topic.CATALOG, Topic.CLICKSTREAM)
    report = ReplayReport()
    report.items_sent = _send_items(publisher, items, stop, tell)
    _flush(publisher, stop)
    pacer = Pacer(pace or Pace())
    start = time.monotonic()
    report.events_sent = _send_events(
        publisher, events, pacer=pacer, times=times, stop=stop, tell=tell
    )
    _flush(publisher, stop)
    report.seconds = time.monotonic() - start
    report.worst_lateness = pacer.worst_lateness
    report.interrupted = stop.is_set()
    return report


def replay_dataset(
    settings: Settings,
    events: EventFile | None,
    items: ItemFile | None,
    selection: Selection | None = None,
    *,
    pace: Pace | None = None,
    times: Literal["original", "now"] = "original",
    stop: threading.Event | None = None,
    progress: Progress | None = None,
) -> ReplayReport:
    """Replay files: `replay`, with user ids hashed if the settings ask for it.

    Args:
        settings: brokers, wire format, `privacy.user_id_key`.
        events: None sends no events.
        items: None sends no items.
        selection: which events; None takes all.
        pace: see `replay`, as for `times`, `stop` and `progress`.

    Raises:
        BrokerError: no broker answers, a topic is missing, or a message was given up.
        DataError: a file is damaged, or holds no event.
    """
    report = replay(
        settings,
        events.events(selection, pseudonymiser(settings.privacy)) if events else (),
        items.items() if items else (),
        pace=pace,
        times=times,
        stop=stop,
        progress=progress,
    )
    report.skipped += events.survey.skipped if events else Counter()
    report.skipped += items.skipped if items else Counter()
    return report


def _send_items(
    publisher: Publisher, items: Iterable[CatalogItem], stop: threading.Event, tell: Progress
) -> int:
    sent = 0
    for item in items:
        if stop.is_set():
            break
        publisher.send(Topic.CATALOG, item.item_id, item)
        sent += 1
        if sent % _TELL_EVERY == 0:
            tell(Topic.CATALOG, sent)
    if sent:
        tell(Topic.CATALOG, sent)
    return sent


def _send_events(
    publisher: Publisher,
    events: Iterable[ClickstreamEvent],
    *,
    pacer: Pacer,
    times: Literal["original", "now"],
    stop: threading.Event,
    tell: Progress,
) -> int:
    sent = 0
    for event in events:
        wait = 0.0 if pacer.unthrottled else pacer.wait_for(event.time)
        if wait > 0:
            tell(Topic.CLICKSTREAM, sent)
            _sleep(publisher, wait, stop)
        if stop.is_set():
            break
        message = event
        if times == "now":
            message = msgspec.structs.replace(event, time=time.time_ns() // 1_000_000)
        publisher.send(Topic.CLICKSTREAM, event.user_id, message)
        if not pacer.unthrottled:
            pacer.sent()
        sent += 1
        if sent % _TELL_EVERY == 0:
            tell(Topic.CLICKSTREAM, sent)
    tell(Topic.CLICKSTREAM, sent)
    return sent


def _sleep(publisher: Publisher, seconds: float, stop: threading.Event) -> None:
    """Wait, woken by `stop`, and notice failures meanwhile."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0 and not stop.wait(min(left, _LONGEST_SLEEP_S)):
        publisher.poll()


def _flush(publisher: Publisher, stop: threading.Event) -> None:
    """Wait for every acknowledgement; whoever asks to stop waits `_LAST_FLUSH_S` at most."""
    patience = _LAST_FLUSH_S
    while waiting := publisher.flush(_FLUSH_STEP_S):
        patience -= _FLUSH_STEP_S if stop.is_set() else 0.0
        if patience <= 0:
            raise BrokerError(
                f"{waiting} of {publisher.sent} messages were not acknowledged within "
                f"{_LAST_FLUSH_S:g} s of the interruption"
            )
