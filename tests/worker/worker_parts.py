"""The worker without Kafka: messages made by hand, records and offsets collected in a list."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
from confluent_kafka import Message
from fake_model import FakeModel

from schemas.catalog import CatalogItem
from schemas.clickstream import ClickstreamEvent, EventType
from schemas.codec import JsonCodec, decode_state
from schemas.recommendations import Recommendation
from schemas.settings import PolicySettings, Settings, WorkerSettings
from schemas.user_state import UserState
from worker.arm import Arm, ArmParts
from worker.catalogue import Catalogue, ItemChange
from worker.coalescing.owed import Owed
from worker.item_sharing.interface import MemorySource
from worker.item_sharing.learning import ItemLearning
from worker.item_sharing.log import TransitionLog
from worker.metrics import WorkerMetrics
from worker.micro_batch import BatchProcessor
from worker.model.interface import AdaptationModel
from worker.restore.loader import StateLoader
from worker.rollout.arms import Arms
from worker.stages.decode import Decoder
from worker.stages.publish import OutgoingRecord
from worker.state.store import MemoryStore, StateStore
from worker.trending.follower import Trends

NOW_MS = 1_700_000_000_000
RECORD_MS = NOW_MS - 250


def item(number: int, **fields) -> CatalogItem:
    title = fields.pop("title", f"thing number {number}")
    return CatalogItem(item_id=f"i{number}", title=title, **fields)


def event(user: str, number: int, item_id: str | None = "i1", **fields) -> ClickstreamEvent:
    """Event `number` of a user, a minute after the one before."""
    return ClickstreamEvent(
        event_id=fields.pop("event_id", f"{user}-{number}"),
        user_id=user,
        type=fields.pop("type", EventType.VIEW),
        time=fields.pop("time", NOW_MS - 86_400_000 + 60_000 * number),
        item_id=item_id,
        **fields,
    )


def message(
    value: bytes | None,
    key: bytes | None,
    offset: int,
    partition: int = 0,
    timestamp: int = RECORD_MS,
    headers: list[tuple[str, bytes]] | None = None,
) -> Message:
    return Message(
        topic="clickstream",
        partition=partition,
        offset=offset,
        key=key,
        value=value,
        timestamp=(1, timestamp),
        headers=headers,
    )


def messages(
    events: Sequence[ClickstreamEvent], first_offset: int = 0, partition: int = 0
) -> list[Message]:
    return [
        message(msgspec.json.encode(e), e.user_id.encode(), first_offset + i, partition)
        for i, e in enumerate(events)
    ]


class Journal:
    """Takes the place of Kafka: remembers what was published and committed, in order."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, int]] = []
        self.records: list[OutgoingRecord] = []
        self.committed: dict[int, int] = {}
        self.visible: Callable[[int], None] = lambda batches: None

    def publish(self, records: Sequence[OutgoingRecord]) -> None:
        for topic in dict.fromkeys(record.topic for record in records):
            count = sum(record.topic == topic for record in records)
            self.steps.append((topic, count))
        self.records += records

    def commit(self, next_offsets: Mapping[int, int]) -> None:
        self.steps.append(("commit", len(next_offsets)))
        self.committed.update(next_offsets)
        self.visible(1)

    def values(self, topic: str) -> list[bytes]:
        return [r.value for r in self.records if r.topic == topic and r.value is not None]

    def recommendations(self) -> list[Recommendation]:
        decode = msgspec.json.Decoder(Recommendation).decode
        return [decode(value) for value in self.values("recommendations")]

    def dead_letters(self) -> list[tuple[bytes | None, bytes | None, dict[str, str]]]:
        return [
            (r.key, r.value, {name: value.decode() for name, value in r.headers})
            for r in self.records
            if r.topic == "clickstream.dlq"
        ]

    def states(self) -> dict[str, UserState]:
        """The latest state of each user, as compaction would leave them."""
        decoded = [decode_state(value) for value in self.values("user-state")]
        return {state.user_id: state for state in decoded}


@dataclass
class Worker:
    """Everything of a worker but its Kafka clients."""

    model: AdaptationModel = field(default_factory=FakeModel)
    settings: WorkerSettings = field(
        default_factory=lambda: WorkerSettings(top_k=5, recent_events=8)
    )
    policy: PolicySettings = field(default_factory=PolicySettings)
    items: int = 30
    item_memory: MemorySource | None = None
    trends: Callable[[], Trends] | None = None
    journal: Journal = field(default_factory=Journal)
    store: StateStore = field(default_factory=MemoryStore)
    make_tracing: Callable[[Settings, WorkerMetrics], object] | None = None
    now_s: float = 0.0
    """By the clock that the least interval between a user's answers goes by."""

    def __post_init__(self) -> None:
        self.metrics = WorkerMetrics()
        self.catalogue = Catalogue(self.model, capacity=2)
        self.catalogue.apply([ItemChange(f"i{n}", item(n)) for n in range(self.items)])
        self.log = TransitionLog("item-transitions", 3, self.settings.item_memory_events)
        self.item_learning = self._open_memory()
        codec = JsonCodec()
        settings = Settings(worker=self.settings, policy=self.policy)
        parts = ArmParts(
            settings=settings,
            codec=codec,
            metrics=self.metrics,
            store=self.store,
            item_learning=self.item_learning,
            now_ms=lambda: NOW_MS,
            trends=self.trends,
        )
        self.arm = Arm(self.model, self.catalogue, parts, self.settings.variant)
        self.arena, self.users, self.states = self.arm.arena, self.arm.users, self.arm.state_records
        self.pipeline, self.writer = self.arm.pipeline, self.arm.writer
        self.loader = StateLoader(self.model, self.users)
        self.owed, answering = None, self.arm
        if self.settings.coalesces:
            interval_s = self.settings.min_interval_ms / 1000
            self.owed = Owed(interval_s, self.metrics, lambda: self.now_s)
            answering = Arms(self.store, self.metrics, self.owed)
            answering.serve(self.arm, None)
        self.processor = BatchProcessor(
            decoder=Decoder(
                codec,
                max_bytes=self.settings.max_event_bytes,
                max_future_ms=self.settings.max_future_seconds * 1000,
                now_ms=lambda: NOW_MS,
            ),
            answering=answering,
            records=self.journal,
            offsets=self.journal,
            metrics=self.metrics,
            dead_letter_topic="clickstream.dlq",
            item_learning=self.item_learning,
            owed=self.owed,
            tracing=self.make_tracing and self.make_tracing(settings, self.metrics),
            now_ms=lambda: NOW_MS,
        )
        self.journal.visible = self.processor.visible

    def _open_memory(self) -> ItemLearning | None:
        if self.item_memory is None:
            return None
        learning = ItemLearning(
            self.item_memory,
            self.catalogue,
            self.log,
            self.metrics,
            max_future_ms=self.settings.max_future_seconds * 1000,
            now_ms=lambda: NOW_MS,
        )
        learning.open()
        return learning

    def process(self, events: Sequence[ClickstreamEvent], **where: int) -> None:
        self.processor.process(messages(events, **where))

    def bring_in(self, *user_ids: str) -> None:
        """Have users of partition 0 in the arena who are known."""
        stored = [u for u in user_ids if u in dict(self.store_content())]
        self.users.bring_in(stored, [0] * len(stored))

    def store_content(self, partition: int = 0) -> list[tuple[str, bytes]]:
        return self.store.scan(partition, 1 << 20)

    def sample(self, name: str, **labels: str) -> float:
        value = self.metrics.registry.get_sample_value(name, labels)
        assert value is not None, f"no sample {name} {labels}"
        return value
