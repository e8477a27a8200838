"""Who may send: write keys, origins, and how much of it."""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
from collections.abc import Mapping

from throttled import RateLimiterType, Throttled, rate_limiter, store

from schemas.settings.storefront import CollectorSettings

KEY_HEADER = "x-write-key"
KEY_PARAMETERS = ("write_key", "api_secret")
"""Query parameters that may hold the key; `api_secret` is that of GA4's protocol."""
KEY_MEMBERS = ("write_key", "writeKey")
"""Members of a body that may hold the key; `writeKey` is that of Segment's libraries."""

_BURST_S = 2
_IPV6_SITE = 64


class WriteKeys:
    """The keys that may write, by name.

    Args:
        settings: with `write_keys`.
    """

    def __init__(self, settings: CollectorSettings) -> None:
        self.names = sorted(settings.write_keys)
        self._keys = [
            (name, key.get_secret_value().encode()) for name, key in settings.write_keys.items()
        ]

    def name_of(self, presented: str) -> str | None:
        """Return the name of a key; None if there is no such key. Takes equally long for all."""
        secret = presented.encode("utf-8", "replace")
        found = None
        for name, key in self._keys:
            if hmac.compare_digest(key, secret):
                found = name
        return found


def key_in_request(headers: Mapping[str, str], query: Mapping[str, str]) -> str | None:
    """Return the write key that headers or query hold; None if they hold none.

    `Authorization` may be Bearer, or Basic with the key as the user's name, as Segment's libraries
    send it.
    """
    scheme, _, rest = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(rest, validate=True).decode().partition(":")[0]
        except (binascii.Error, ValueError):
            return ""
    if KEY_HEADER in headers:
        return headers[KEY_HEADER]
    return next((query[name] for name in KEY_PARAMETERS if name in query), None)


class Origins:
    """Which pages may send. What has no `Origin` is no page, or one of the same origin.

    Args:
        settings: with `allowed_origins`.
    """

    def __init__(self, settings: CollectorSettings) -> None:
        self._allowed = frozenset(settings.allowed_origins)

    def may_send(self, origin: str | None, host: str | None) -> bool:
        """Return whether a page of this origin may send to the collector at `host`."""
        if origin is None or "*" in self._allowed or origin in self._allowed:
            return True
        return host is not None and origin.lower() in (f"https://{host}", f"http://{host}")


class Limits:
    """How often an address may ask and how many events a key may send: GCRA, with bursts.

    The addresses counted longest ago are forgotten where there are more than are to be known, so
    memory is bounded; what is beyond an IPv6 network of 64 bits counts as one address.

    Args:
        settings: with the limits.
    """

    def __init__(self, settings: CollectorSettings) -> None:
        self._requests = _limiter(
            settings.requests_per_second,
            settings.requests_per_second * _BURST_S,
            settings.known_addresses,
        )
        events = settings.events_per_second
        self.most_events = max(events * _BURST_S, settings.max_batch_events)
        self._events = _limiter(events, self.most_events, len(settings.write_keys) or 1)

    def request(self, address: str) -> float:
        """Count a request; return the seconds to wait if it is one too many, else 0."""
        return _retry_after(self._requests, _site(address), 1)

    def events(self, key: str, count: int) -> float:
        """Count events of a key, by its name; return the seconds to wait, or 0."""
        return _retry_after(self._events, key, count)


def _limiter(per_second: int, burst: int, keys: int) -> Throttled:
    return Throttled(
        using=RateLimiterType.GCRA.value,
        quota=rate_limiter.per_sec(per_second, burst=burst),
        store=store.MemoryStore(options={"MAX_SIZE": keys}),
        timeout=-1,
    )


def _retry_after(limiter: Throttled, key: str, cost: int) -> float:
    result = limiter.limit(key, cost=cost)
    return max(result.state.retry_after, 0.001) if result.limited else 0.0


def _site(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    return str(ipaddress.ip_network((address, _IPV6_SITE), strict=False))
