"""The brokers that a benchmark runs on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from schemas.settings import Properties
from worker.broker.embedded import CONSUMER_PROPERTIES, EmbeddedBroker
from worker.broker.kafka import KafkaBroker

BrokerName = Literal["embedded", "kafka"]
BROKERS: tuple[BrokerName, ...] = ("embedded", "kafka")

EMBEDDED_BYTES = 8_000_000
"""Of records that a benchmark leaves unread in a topic of the embedded broker: its 4 partitions
keep about 4.7 MB each, and a partition gets more than its share."""


@dataclass(frozen=True)
class Broker:
    """A running broker."""

    name: BrokerName
    address: str
    consumer_properties: Properties
    """What consumers of it need."""


@contextmanager
def running_broker(name: BrokerName) -> Iterator[Broker]:
    """Run a broker while the block runs. `kafka` is that of KAFKA_BOOTSTRAP, if that is set.

    Raises:
        BrokerError: it does not start.
    """
    if name == "embedded":
        with EmbeddedBroker() as embedded:
            yield Broker(name, embedded.bootstrap_servers, dict(CONSUMER_PROPERTIES))
    else:
        with KafkaBroker() as kafka:
            yield Broker(name, kafka.bootstrap_servers, {})
