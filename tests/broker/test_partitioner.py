"""Our producers put a key where Java's producer puts it, so both ends agree where a user lives."""

from __future__ import annotations

import pytest

from schemas.settings import Settings
from schemas.topics import Topic
from worker.kafka_admin import create_topics


def murmur2(data: bytes) -> int:
    """Kafka's 32-bit MurmurHash2 as a signed integer (org.apache.kafka.common.utils.Utils)."""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    h = (0x9747B28C ^ len(data)) & mask
    whole = len(data) - len(data) % 4
    for start in range(0, whole, 4):
        k = int.from_bytes(data[start : start + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = (h * m & mask) ^ k
    if rest := data[whole:]:
        h = (h ^ int.from_bytes(rest, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    h ^= h >> 15
    return h - (1 << 32) if h >> 31 else h


@pytest.mark.parametrize(
    ("key", "hashed"),
    [  # from Kafka's own UtilsTest.testMurmur2
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_the_reference_is_kafkas_murmur2(key: bytes, hashed: int) -> None:
    assert murmur2(key) == hashed


def test_a_key_lands_where_java_puts_it(broker_settings: Settings, produce_all) -> None:
    create_topics(broker_settings, [Topic.CLICKSTREAM])
    keys = [f"user-{n}" for n in range(200)] + ["用户-7", "é", "x" * 128, " "]

    messages = produce_all(broker_settings, Topic.CLICKSTREAM, [(key, b"{}") for key in keys])

    partitions = 4 if create_topics(broker_settings)[0].embedded else 3
    landed = {message.key().decode(): message.partition() for message in messages}
    assert landed == {key: (murmur2(key.encode()) & 0x7FFFFFFF) % partitions for key in keys}
    assert len(set(landed.values())) == partitions
