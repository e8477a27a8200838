"""What the tests of the trackers share."""

from __future__ import annotations

from typing import Any

from confluent_kafka import Message

from schemas.clickstream import ClickstreamEvent
from schemas.codec import build_codec
from schemas.settings import Settings

NOWHERE = "127.0.0.1:1"
"""Nobody listens there."""


def decoded(settings: Settings, messages: list[Message]) -> list[ClickstreamEvent]:
    decode = build_codec(settings.wire).decoder(ClickstreamEvent)
    return [decode(message.value()) for message in messages]


def with_kafka(settings: Settings, **changes: Any) -> Settings:
    """Return the settings with other ones of the section `kafka`."""
    kafka = settings.kafka.model_copy(update=changes)
    return settings.model_copy(update={"kafka": kafka})


def away(settings: Settings, **properties: Any) -> Settings:
    """Return the settings with brokers that are away."""
    return with_kafka(settings, bootstrap_servers=NOWHERE, producer_properties=properties)
