"""The worker's stages between decoding and publishing, in this process and without a broker."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from schemas.catalog import CatalogItem
from schemas.clickstream import ClickstreamEvent
from schemas.settings import WorkerSettings
from worker.bench.shop import Shop
from worker.catalogue import Catalogue, ItemChange
from worker.coalescing.asked import Owing
from worker.coalescing.owed import Owed
from worker.encoder.text_encoder import TextEncoder
from worker.metrics import WorkerMetrics
from worker.model.bundle import Bundle
from worker.model.serving import ServingModel, pick_device
from worker.pipeline import Answers, Pipeline
from worker.restore.revival import Revival
from worker.stages.decode import EventColumns
from worker.state.arena import UserArena
from worker.state.entry import to_entry
from worker.state.records import StateRecords
from worker.state.state_keys import sealing_of
from worker.state.store import open_store
from worker.state.users import Users

_ITEMS_AT_ONCE = 20_000
_USERS_AT_ONCE = 4096
_PAST_EVENTS = 8
"""Events that a user has had on average."""


def load_model(bundle: Path, device: str = "cpu") -> ServingModel:
    """Load a bundle with its text encoder on the CPU: it is needed before anything is timed."""
    loaded = Bundle(bundle)
    encoder = TextEncoder.load(loaded.text_encoder, device="cpu")
    return ServingModel(loaded, encoder, pick_device(device))


def load_catalogue(model: ServingModel, items: list[CatalogItem]) -> Catalogue:
    """Return a catalogue of these items."""
    catalogue = Catalogue(model, capacity=len(items))
    for start in range(0, len(items), _ITEMS_AT_ONCE):
        part = items[start : start + _ITEMS_AT_ONCE]
        catalogue.apply([ItemChange(item.item_id, item) for item in part])
    return catalogue


def columns(events: list[ClickstreamEvent], first_offset: int) -> EventColumns:
    """Return events as if decoded from one partition."""
    n, now = len(events), time.time_ns() // 1_000_000
    return EventColumns(
        event_ids=[e.event_id for e in events],
        user_ids=[e.user_id for e in events],
        types=[e.type for e in events],
        times=[e.time for e in events],
        item_ids=[e.item_id for e in events],
        queries=[e.query for e in events],
        partitions=[0] * n,
        offsets=list(range(first_offset, first_offset + n)),
        record_times=[now] * n,
        surfaces=[e.surface for e in events],
    )


class InProcess:
    """All users of a shop, with a past, and the stages from fold to rank; no item memory.

    Known users beyond `worker.resident_users` are in the store, as a worker keeps them.

    Args:
        bundle: to be served.
        shop: its items and users.
        settings: of the worker.
        storm: events of each user of a micro-batch in it.
    """

    def __init__(
        self, bundle: Path, shop: Shop, settings: WorkerSettings, *, storm: int = 1
    ) -> None:
        self._shop = shop
        self._storm = storm
        self.batch_events = settings.batch_events
        self._offset = self._turn = 0
        model = load_model(bundle)
        catalogue = load_catalogue(model, shop.items())
        self.items = len(catalogue)
        arena = self._arena = UserArena(
            model,
            catalogue,
            recent_events=settings.recent_events,
            top_k=settings.top_k,
            capacity=max(1024, min(shop.users, settings.resident_users or shop.users)),
        )
        self._records = StateRecords(arena, model.version)
        metrics = WorkerMetrics()
        sealing = sealing_of(settings.state_key_file)
        store = open_store(settings.state_folder, sealing=sealing)
        users = Users(
            arena,
            store,
            Revival(model, catalogue, arena, metrics),
            metrics,
            records=self._records,
            most_resident=settings.resident_users,
        )
        self._users, self._store = users, store
        self._pipeline = Pipeline(model, catalogue, arena, metrics, settings, users=users)
        self._owed = (
            Owed(settings.min_interval_ms / 1000.0, metrics) if settings.coalesces else None
        )
        self._get_to_know(settings.resident_users or shop.users)

    def close(self) -> None:
        """Forget all users."""
        self._users.close()

    def batches(self, count: int) -> list[EventColumns]:
        """Draw micro-batches that have not been seen yet."""
        self._turn += 1
        size = self.batch_events
        events = self._shop.events(count * size, self._turn, f"g{self._turn}-")
        found = [
            columns(self._stormy(events[i : i + size]), self._offset + i)
            for i in range(0, len(events), size)
        ]
        self._offset += len(events)
        return found

    def process(self, batch: EventColumns) -> Answers:
        """Take a micro-batch through the stages."""
        owed = self._owed
        answers = self._pipeline.process(batch, None if owed is None else Owing(owed, owed.begin()))
        if owed is not None:
            owed.published()
        return answers

    def _get_to_know(self, resident: int) -> None:
        """Give all users a past: a few act, and all get what one of them has then.

        Args:
            resident: of the users, how many are brought into the arena at the end.
        """
        shop, at_once = self._shop, min(_USERS_AT_ONCE, resident)
        some = min(shop.users, at_once)
        past = Shop(shop.item_ids, some).events(_PAST_EVENTS * some, 0, "past-")
        for start in range(0, len(past), self.batch_events):
            self._pipeline.process(columns(past[start : start + self.batch_events], start))
        self._offset = len(past)
        known = [shop.user_id(number) for number in range(some)]
        slots = self._users.bring_in(known, [0] * some)
        patterns = [
            (user_id.encode(), record)
            for user_id, record in zip(known, self._records.encode(slots), strict=True)
        ]
        # Every other one first: LMDB would leave each page half empty if they came in order.
        for first in (some, some + 1):
            numbers = range(first, shop.users, 2)
            for start in range(0, len(numbers), _USERS_AT_ONCE):
                entries = {}
                for number in numbers[start : start + _USERS_AT_ONCE]:
                    own, record = patterns[number % some]
                    user_id = shop.user_id(number)
                    # Ids of users are of one length, so nothing else of the record changes.
                    entries[user_id] = to_entry(b"", record.replace(own, user_id.encode()))
                self._store.put(0, entries)
        for start in range(some, min(shop.users, resident), at_once):
            come = range(start, min(shop.users, resident, start + at_once))
            self._users.bring_in([shop.user_id(number) for number in come], [0] * len(come))

    def _stormy(self, events: list[ClickstreamEvent]) -> list[ClickstreamEvent]:
        """Return events with as many users fewer as each is to have more of them, in turns."""
        if self._storm == 1:
            return events
        users = [e.user_id for e in events[: max(1, len(events) // self._storm)]]
        return [
            msgspec.structs.replace(e, user_id=users[i % len(users)]) for i, e in enumerate(events)
        ]
