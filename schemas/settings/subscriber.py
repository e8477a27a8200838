"""Settings of the subscribers' side: the client, the gateway for browsers, the sink into Redis."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from schemas.settings.section import Section

_SHORTEST_SECRET = 32
_KEY_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_ORIGIN = re.compile(r"https?://[^/\s*?#]+|\*")


class SubscriberSettings(Section):
    """Whoever follows `recommendations`: the client, `innerloop tail`, the gateway."""

    users: int = Field(
        100_000,
        ge=1,
        description="users whose latest recommendation is kept; those heard of longest ago are "
        "forgotten first",
    )
    events_per_user: int = Field(
        64,
        ge=1,
        le=10_000,
        description="answers of a user that are remembered by their ids, to drop copies and to "
        "know which events are answered",
    )
    titles: int = Field(
        1_000_000, ge=1, description="items whose titles are kept where titles are asked for"
    )
    refresh_seconds: float = Field(
        60, gt=0, description="how often to look for partitions that were added, seconds"
    )


class GatewaySettings(Section):
    """The gateway for browsers (`innerloop gateway`)."""

    host: str = Field("127.0.0.1", min_length=1, description="address to bind")
    port: int = Field(8481, ge=0, le=65_535, description="port to bind; 0 takes a free one")
    metrics_port: int = Field(
        9467,
        ge=0,
        le=65_535,
        description="port of the gateway's Prometheus endpoint, on metrics.host; 0 takes a free "
        "one",
    )
    token_secrets: dict[str, SecretStr] = Field(
        default_factory=dict,
        repr=False,
        description="secrets that tokens are signed with, by a name that the token tells; at least "
        "32 characters. Without one the gateway does not start, unless gateway.open is set",
    )
    open: bool = Field(
        False,
        description="let whoever asks read any user, without a token: for a demo on one machine; "
        "refused unless gateway.host is loopback",
    )
    allowed_origins: tuple[str, ...] = Field(
        (),
        description="origins whose pages may read, such as https://shop.example; * allows all",
    )
    trusted_proxies: str = Field(
        "", description="addresses or networks, by comma, whose X-Forwarded-For is believed"
    )
    minutes_back: float = Field(
        60, ge=0, description="how far back recommendations are read at the start, minutes"
    )
    titles: bool = Field(False, description="add items' titles, from the topic catalog")
    max_streams: int = Field(
        2000, ge=1, description="streams and waiting requests at a time; more are refused with 503"
    )
    max_streams_per_address: int = Field(
        20, ge=1, description="the same of one address; more are refused with 429"
    )
    max_waiting_messages: int = Field(
        16,
        ge=1,
        description="messages that wait for a slow client before it is cut off; it may come again "
        "and gets the latest",
    )
    heartbeat_seconds: float = Field(
        15, gt=0, description="a stream without a message for so long carries a comment, seconds"
    )
    retry_ms: int = Field(
        2000, ge=0, description="how long a browser waits before it comes again, milliseconds"
    )
    longest_wait_seconds: float = Field(
        25, gt=0, le=300, description="longest wait of a request with since_event, seconds"
    )
    stop_seconds: int = Field(
        10, ge=1, description="longest wait for requests under way at a stop, seconds"
    )

    @field_validator("token_secrets")
    @classmethod
    def _strong(cls, secrets: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, secret in secrets.items():
            if _KEY_NAME.fullmatch(name) is None:
                raise ValueError(
                    "should have names of up to 32 lower-case letters, digits, - and _"
                )
            if len(secret.get_secret_value()) < _SHORTEST_SECRET:
                raise ValueError(f"should have {_SHORTEST_SECRET} characters or more for {name}")
        return secrets

    @field_validator("allowed_origins")
    @classmethod
    def _whole_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if _ORIGIN.fullmatch(origin) is None:
                raise ValueError(
                    "should hold origins, scheme://host or scheme://host:port without a path, or *"
                )
        return origins


class SinkSettings(Section):
    """The sink into Redis (`innerloop sink redis`)."""

    group_id: str = Field(
        "innerloop-sink-redis", min_length=1, description="Kafka consumer group of the sink"
    )
    metrics_port: int = Field(
        9468,
        ge=0,
        le=65_535,
        description="port of the sink's Prometheus endpoint, on metrics.host; 0 takes a free one",
    )
    redis_url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"),
        description="where Redis is, redis://127.0.0.1:6379/0 by default; rediss:// (TLS) "
        "and unix:// will do, too; with user and password keep it in the environment",
    )
    key_prefix: str = Field(
        "innerloop:recommendation:", description="put before the user's id to make the key"
    )
    ttl_seconds: int = Field(
        7 * 24 * 3600, ge=1, description="how long a user's list is kept after its latest, seconds"
    )
    batch_records: int = Field(
        1000, ge=1, le=100_000, description="most records that are written in one go"
    )
    redis_timeout_seconds: float = Field(
        5, gt=0, description="longest wait for an answer of Redis before it counts as away, seconds"
    )
    longest_backoff_seconds: float = Field(
        30, gt=0, description="longest pause before Redis is tried again, seconds"
    )
    start: Literal["earliest", "latest"] = Field(
        "earliest",
        description="where a group without offsets begins: earliest or latest",
    )
