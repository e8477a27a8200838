"""What an erasure leaves in the brokers' files is gone once they compact: read byte by byte."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)
from privacy_parts import Shop
from running_worker import drain, make_topics, running, wait_until, with_worker

from schemas.settings import Settings
from schemas.topics import Topic
from worker.broker.kafka import KafkaBroker

PERSON = "private-person-4711"
OTHERS = [f"somebody-{n}" for n in range(24)]
BROKER = "1"
OFFSETS = (".index", ".timeindex")
"""Files of numbers, large and mostly empty."""

# Compaction within a second or so, and records to be found in files as they are.
SOON = {
    "cleanup.policy": "compact",
    "segment.ms": "100",
    "min.cleanable.dirty.ratio": "0.01",
    "delete.retention.ms": "0",
    "file.delete.delay.ms": "0",
    "compression.type": "uncompressed",
}
TOPICS = {
    Topic.USER_STATE: SOON,
    # Lists go with retention as a rule; so they go with the next compaction, too.
    Topic.RECOMMENDATIONS: SOON | {"cleanup.policy": "compact,delete"},
}


@contextmanager
def eager_cleaner(settings: Settings) -> Iterator[None]:
    """Have the broker look for something to compact ten times a second, not each 15 s."""
    admin = AdminClient(settings.kafka.client_config())

    def configure(change: AlterConfigOpType, value: str | None) -> None:
        entry = ConfigEntry("log.cleaner.backoff.ms", value, incremental_operation=change)
        resource = ConfigResource(ResourceType.BROKER, BROKER, incremental_configs=[entry])
        for future in admin.incremental_alter_configs([resource]).values():
            future.result(120)

    configure(AlterConfigOpType.SET, "100")
    try:
        yield
    finally:
        configure(AlterConfigOpType.DELETE, None)


def test_no_file_of_the_brokers_holds_who_was_erased(
    kafka_broker: KafkaBroker, kafka_settings, produce_all, consume_all
):
    if kafka_broker.external:
        pytest.skip("the files of the broker at KAFKA_BOOTSTRAP are not at hand")
    settings = with_worker(kafka_settings)
    make_topics(settings, TOPICS)
    shop = Shop(settings, produce_all, consume_all)
    records = kafka_broker.log_file.parent / "records"

    def files_of(topic: Topic) -> bytes:
        found = bytearray()
        for file in records.glob(f"{settings.kafka.topic(topic)}-*/*"):
            if file.suffix not in OFFSETS:
                found += _content(file)
        return bytes(found)

    def gone() -> bool:
        # Only what is closed is compacted, which takes records that come after it.
        shop.visited(OTHERS)
        drain(settings)
        return not any(PERSON.encode() in files_of(topic) for topic in TOPICS)

    def others_in(topic: Topic) -> bool:
        content = files_of(topic)
        return all(other.encode() in content for other in OTHERS)

    with eager_cleaner(settings), running(settings):
        shop.visited([PERSON, *OTHERS], 3)
        drain(settings)
        for topic in TOPICS:
            assert PERSON.encode() in files_of(topic), topic
        shop.await_audit(shop.erase([PERSON]).values())
        # Twice, as files change their names while one looks.
        wait_until(lambda: gone() and gone(), "the user's records compacted away", 180.0)
        for topic in TOPICS:
            wait_until(lambda held=topic: others_in(held), "the others' records found")
    seen = shop.seen()
    assert set(seen) == set(OTHERS)
    assert min(seen.values()) > 3


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:  # compacted in between
        return b""
