"""The consumer group's generation under which records were read, to commit them under it."""

from __future__ import annotations

import struct

from confluent_kafka import Consumer

_MAGIC = b"CGMDv2:"
"""How librdkafka begins the bytes of its `rd_kafka_consumer_group_metadata_write`."""


class Membership:
    """Metadata of the consumer's group, as of the latest `observe`.

    librdkafka joins the group again in the background, and after that its metadata are those of
    the new membership: offsets of partitions that this member has since lost would pass for good.
    And with none of a member in them the coordinator checks nothing. So they are taken when
    callbacks have been served, when what is assigned and what is processed are known to agree.

    Args:
        consumer: the member.
    """

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._metadata: bytes | None = None

    def observe(self) -> None:
        """Take the metadata as they are. To be called in or after the consumer's callbacks."""
        metadata: bytes = self._consumer.consumer_group_metadata()
        self._metadata = metadata if is_member(metadata) else None

    @property
    def metadata(self) -> bytes | None:
        """The metadata; None if the consumer was no member of a group."""
        return self._metadata


def is_member(metadata: bytes) -> bool:
    """Tell whether metadata name a generation (or member epoch), so that they can be fenced."""
    if not metadata.startswith(_MAGIC) or len(metadata) < len(_MAGIC) + 4:
        return False
    (generation,) = struct.unpack_from("<i", metadata, len(_MAGIC))
    return bool(generation > 0)
