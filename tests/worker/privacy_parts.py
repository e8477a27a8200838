"""What tests of privacy requests share: users' events of now, what is known of users, the audit."""

import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import msgspec
from running_worker import make_topics, wait_until
from worker_parts import item

from producer import PrivacyRequests
from schemas.clickstream import ClickstreamEvent, EventType
from schemas.codec import decode_state
from schemas.privacy import PrivacyAudit
from schemas.settings import Settings
from schemas.topics import Topic
from schemas.user_state import UserState
from worker.clients import make_reader

ITEMS = 40
decode_audit = msgspec.json.Decoder(PrivacyAudit).decode


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def visit(user: str, number: int = 0, **fields) -> ClickstreamEvent:
    """An event of now."""
    return ClickstreamEvent(
        event_id=uuid.uuid4().hex,
        user_id=user,
        type=EventType.VIEW,
        time=fields.pop("time", None) or now_ms(),
        item_id=f"i{number % ITEMS}",
        **fields,
    )


@dataclass
class Shop:
    """Topics with a catalogue in them."""

    settings: Settings
    produce_all: Callable
    consume_all: Callable

    def __post_init__(self) -> None:
        make_topics(self.settings)
        records = [(f"i{n}", msgspec.json.encode(item(n))) for n in range(ITEMS)]
        self.produce_all(self.settings, Topic.CATALOG, records)

    def visited(self, users: Iterable[str], times: int = 1, **fields) -> None:
        """Publish events."""
        events = [visit(user, n, **fields) for n in range(times) for user in users]
        records = [(e.user_id, msgspec.json.encode(e)) for e in events]
        self.produce_all(self.settings, Topic.CLICKSTREAM, records)

    def latest(self, topic: Topic) -> dict[str, bytes | None]:
        """Return the latest value by key, as compaction would leave them."""
        return {m.key().decode(): m.value() for m in self.consume_all(self.settings, topic)}

    def states(self) -> dict[str, UserState]:
        values = self.latest(Topic.USER_STATE)
        return {user: decode_state(value) for user, value in values.items() if value is not None}

    def audit(self) -> dict[str, list[PrivacyAudit]]:
        """Return the audit records by request."""
        found = defaultdict(list)
        for message in self.consume_all(self.settings, Topic.PRIVACY_AUDIT):
            record = decode_audit(message.value())
            assert message.key().decode() == record.request_id
            found[record.request_id].append(record)
        return found

    def await_audit(self, requests: Iterable[str], least: int | None = None) -> None:
        """Wait until that many of the requests are done, or all."""
        wanted = set(requests)
        number = len(wanted) if least is None else least
        reader = make_reader(self.settings, Topic.PRIVACY_AUDIT, wait_ms=50)
        reader.add(range(self.settings.kafka.partitions))
        found: set[str] = set()

        def done() -> bool:
            found.update((message.key() or b"").decode() for message in reader.read(1000, 0.1))
            return len(wanted & found) >= number

        try:
            wait_until(done, "requests carried out")
        finally:
            reader.close()

    def erase(self, users: Iterable[str]) -> dict[str, str]:
        """Return the request for each user."""
        with PrivacyRequests(self.settings) as requests:
            return {user: requests.erase(user) for user in users}

    def seen(self) -> Counter:
        return Counter({user: state.events_seen for user, state in self.states().items()})
