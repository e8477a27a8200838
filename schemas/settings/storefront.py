"""Settings of the storefront's side: the HTTP collector."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from schemas.settings.section import Section

_SHORTEST_KEY = 16
_KEY_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_ORIGIN = re.compile(r"https?://[^/\s*?#]+|\*")


class CollectorSettings(Section):
    """The HTTP collector (`innerloop collect`)."""

    host: str = Field("127.0.0.1", min_length=1, description="address to bind")
    port: int = Field(8480, ge=0, le=65_535, description="port to bind; 0 takes a free one")
    metrics_port: int = Field(
        9465,
        ge=0,
        le=65_535,
        description="port of the collector's Prometheus endpoint, on metrics.host; 0 takes a free "
        "one",
    )
    write_keys: dict[str, SecretStr] = Field(
        default_factory=dict,
        repr=False,
        description="keys that may write, by a name that metrics show; at least 16 characters. "
        "Without one the collector does not start",
    )
    allowed_origins: tuple[str, ...] = Field(
        (),
        description="origins whose pages may send events, such as https://shop.example; * allows "
        "all. Pages of the collector's own origin may always",
    )
    trusted_proxies: str = Field(
        "",
        description="addresses or networks, by comma, whose X-Forwarded-For is believed",
    )
    max_body_bytes: int = Field(
        262_144, ge=1024, le=16_777_216, description="larger requests are refused, bytes"
    )
    max_batch_events: int = Field(
        500, ge=1, le=10_000, description="most events of a request, after mapping"
    )
    requests_per_second: int = Field(
        50, ge=1, description="requests of one address; twice as many may come at once"
    )
    events_per_second: int = Field(
        2000, ge=1, description="events of one write key; twice as many may come at once"
    )
    known_addresses: int = Field(
        65_536, ge=16, description="most addresses whose requests are counted at a time"
    )
    max_waiting_requests: int = Field(
        512, ge=1, description="more that wait for the brokers at a time are refused with 503"
    )
    max_connections: int = Field(
        2048, ge=1, description="with more connections or requests at a time answers are 503"
    )
    body_seconds: float = Field(
        10, gt=0, description="longest wait for a request's body, seconds; then the answer is 408"
    )
    acknowledge_ms: int = Field(
        5000,
        ge=100,
        le=120_000,
        description="longest wait for the brokers' acknowledgement before events are given up and "
        "the answer is 503, milliseconds",
    )
    stop_seconds: int = Field(
        20, ge=1, description="longest wait for requests under way at a stop, seconds"
    )
    identity: Literal["account", "device"] = Field(
        "account",
        description="who the user is where a vendor's payload names both: the account that is "
        "signed in, or the device, which stays the same at signing in",
    )
    shopify_item: Literal["product", "variant", "sku"] = Field(
        "product", description="what of Shopify's product variants is the item's id"
    )
    consent_categories: tuple[str, ...] = Field(
        (),
        description="categories of Segment's consent and scopes of Snowplow's that have to be "
        "granted; without it, all that a Segment event names",
    )
    honour_gpc: bool = Field(
        True, description="take the header Sec-GPC: 1 (Global Privacy Control) as no consent"
    )

    @field_validator("write_keys")
    @classmethod
    def _strong(cls, keys: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, key in keys.items():
            if _KEY_NAME.fullmatch(name) is None:
                raise ValueError(
                    "should have names of up to 32 lower-case letters, digits, - and _"
                )
            secret = key.get_secret_value()
            if len(secret) < _SHORTEST_KEY or not secret.isascii() or not secret.isprintable():
                raise ValueError(
                    f"should have {_SHORTEST_KEY} printable ASCII characters or more for {name}"
                )
        if len({key.get_secret_value() for key in keys.values()}) < len(keys):
            raise ValueError("should have a different key for each name")
        return keys

    @field_validator("allowed_origins")
    @classmethod
    def _whole_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if _ORIGIN.fullmatch(origin) is None:
                raise ValueError(
                    "should hold origins, scheme://host or scheme://host:port without a path, or *"
                )
        return origins
