"""Topics and consumer groups on the brokers: create, inspect, measure lag."""

from __future__ import annotations

from worker.kafka_admin.lag import PartitionLag, consumer_lag
from worker.kafka_admin.topics import (
    TopicState,
    create_compacted,
    create_topics,
    inspect_topics,
    partition_count,
)

__all__ = [
    "PartitionLag",
    "TopicState",
    "consumer_lag",
    "create_compacted",
    "create_topics",
    "inspect_topics",
    "partition_count",
]
