"""A stream that is processed exactly once, and what an undisturbed worker makes of the same one."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec
from confluent_kafka import Consumer, Message, TopicPartition
from recording_learner import recording
from running_worker import PATIENCE_S, drain, make_topics, running, wait_until, with_worker
from test_service import assert_same_answers, assert_same_states
from worker_parts import item

from schemas.codec import decode_state
from schemas.dead_letter import DeadLetterHeader
from schemas.item_transitions import ItemTransitions
from schemas.recommendations import Recommendation
from schemas.settings import Settings
from schemas.topics import Topic
from schemas.user_state import UserState
from worker.offset_queries import held_offsets

encode = msgspec.json.encode
decode_recommendation = msgspec.json.Decoder(Recommendation).decode
decode_block = msgspec.json.Decoder(ItemTransitions).decode

GARBAGE = b"garbage"
OUTPUTS = (Topic.RECOMMENDATIONS, Topic.USER_STATE, Topic.ITEM_TRANSITIONS, Topic.DEAD_LETTERS)
EXACTLY_ONCE = {"delivery": "exactly_once", "transaction_timeout_ms": 10_000}


def named(answers: Sequence[Recommendation]) -> list[str]:
    """Return the ids of the events that recommendations name as answered."""
    return [event_id for r in answers for event_id in (*r.also_caused_by, r.caused_by)]


def with_protocol(settings: Settings, protocol: str) -> Settings:
    """Return settings for exactly-once with a group protocol, classic or consumer."""
    settings = with_worker(settings, **EXACTLY_ONCE)
    if protocol == "classic":
        return settings
    data = settings.model_dump()  # there the brokers know how long a session is
    properties = {"group.protocol": protocol, "fetch.wait.max.ms": 10}
    data["kafka"]["consumer_properties"] = properties
    return Settings.model_validate(data)


@dataclass
class Stream:
    """Topics with events in them."""

    settings: Settings
    make_settings: Callable[[str], Settings]
    produce_all: Callable
    consume_all: Callable
    events: list = field(default_factory=list)
    records: list = field(default_factory=list)
    sent: list[Message] = field(default_factory=list)

    def __post_init__(self) -> None:
        _with_catalogue(self.settings, self.produce_all)

    def publish(self, events: Sequence, draw: random.Random) -> None:
        """Publish events with garbage strewn in."""
        records = []
        for e in events:
            records.append((e.user_id, encode(e)))
            if draw.random() < 0.03:
                records.append((e.user_id, GARBAGE))
        self.events += events
        self.records += records
        self.sent += self.produce_all(self.settings, Topic.CLICKSTREAM, records)

    def answers(self) -> list[Recommendation]:
        """Return what a subscriber sees that reads committed records."""
        messages = self.consume_all(self.settings, Topic.RECOMMENDATIONS)
        return [decode_recommendation(m.value()) for m in messages]

    def assert_exactly_once(self) -> None:
        """Compare what is visible with the events, and with what an undisturbed worker makes."""
        self._await_no_open_transaction()
        twin = self._undisturbed()
        answers = self.answers()
        assert Counter(named(answers)) == Counter(e.event_id for e in self.events)
        assert_same_answers(answers, twin.answers())
        assert_same_states(self._states(), twin._states())
        garbage = Counter((m.partition(), m.offset()) for m in self.sent if m.value() == GARBAGE)
        assert self._dead_letters() == garbage
        assert self._told_offsets() == twin._told_offsets()

    def _undisturbed(self) -> "Stream":
        settings = with_worker(self.make_settings(self.settings.kafka.bootstrap_servers))
        twin = Stream(settings, self.make_settings, self.produce_all, self.consume_all)
        self.produce_all(settings, Topic.CLICKSTREAM, self.records)
        with running(settings, item_memory=recording()):
            drain(settings, 2 * PATIENCE_S)
        return twin

    def _await_no_open_transaction(self) -> None:
        """Wait until all can be read: what killed workers left open has timed out."""
        kafka = self.settings.kafka
        ends = [
            Consumer(kafka.consumer_config("nobody", **{"isolation.level": level}))
            for level in ("read_committed", "read_uncommitted")
        ]
        partitions = [TopicPartition(kafka.topic(t), n) for t in OUTPUTS for n in range(3)]

        def closed() -> bool:
            stable, written = (
                [held_offsets(consumer, p.topic, p.partition, 60) for p in partitions]
                for consumer in ends
            )
            return stable == written

        wait_until(closed, "all transactions over")
        for consumer in ends:
            consumer.close()

    def _states(self) -> dict[str, UserState]:
        messages = self.consume_all(self.settings, Topic.USER_STATE)
        states = [decode_state(m.value()) for m in messages]
        return {state.user_id: state for state in states}

    def _dead_letters(self) -> Counter:
        letters = self.consume_all(self.settings, Topic.DEAD_LETTERS)
        headers = [dict(letter.headers()) for letter in letters]
        return Counter(
            (int(h[DeadLetterHeader.SOURCE_PARTITION]), int(h[DeadLetterHeader.SOURCE_OFFSET]))
            for h in headers
        )

    def _told_offsets(self) -> Counter:
        """Partitions and offsets of the item transitions that compaction would leave."""
        messages = self.consume_all(self.settings, Topic.ITEM_TRANSITIONS)
        blocks = {m.key(): decode_block(m.value()) for m in messages}
        return Counter((b.partition, e.offset) for b in blocks.values() for e in b.events)


def _with_catalogue(settings: Settings, produce_all) -> None:
    make_topics(settings)
    produce_all(settings, Topic.CATALOG, [(f"i{n}", encode(item(n))) for n in range(40)])
