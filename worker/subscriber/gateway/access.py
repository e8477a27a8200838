"""Who may read whom, and how many may at a time."""

from __future__ import annotations

import contextlib
import ipaddress
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from schemas.errors import SettingsError
from schemas.settings import GatewaySettings
from worker.subscriber.gateway.metrics import GatewayMetrics
from worker.subscriber.gateway.problems import (
    other_user,
    too_many_of_address,
    unauthorized,
    unavailable,
)
from worker.subscriber.tokens import TokenError, read_token

TOKEN_PARAMETER = "token"
_IPV6_SITE = 64
_FOR_EVER = float("inf")


class Readers:
    """Who may read whose recommendations.

    Args:
        settings: with the secrets.
        now: the clock, epoch seconds.

    Raises:
        SettingsError: there is no secret and the gateway is not open, or it is open to more than
            this machine.
    """

    def __init__(self, settings: GatewaySettings, now: Callable[[], float] = time.time) -> None:
        self._open = settings.open
        self._secrets = {n: key.get_secret_value() for n, key in settings.token_secrets.items()}
        self._now = now
        if settings.open and not _is_loopback(settings.host):
            raise SettingsError(
                "gateway.open lets anybody read every user, so gateway.host has to be a loopback "
                f"address such as 127.0.0.1, not {settings.host}"
            )
        if not settings.open and not self._secrets:
            raise SettingsError(
                "gateway.token_secrets is empty, and nobody may read without a token; right would "
                "be INNERLOOP_GATEWAY__TOKEN_SECRETS__WEB=… with 32 random characters or more, or, "
                "for a demo on this machine, gateway.open = true"
            )

    def may_read(self, user_id: str, headers: Mapping[str, str], query: Mapping[str, str]) -> float:
        """Return until when a request may read a user, epoch seconds.

        Raises:
            Problem: it may not.
        """
        if self._open:
            return _FOR_EVER
        scheme, _, rest = headers.get("authorization", "").partition(" ")
        # EventSource sends no headers of the page's choice, so the token may be in the query.
        token = rest.strip() if scheme.lower() == "bearer" else query.get(TOKEN_PARAMETER)
        if not token:
            raise unauthorized("there is none")
        try:
            grant = read_token(self._secrets, token, self._now())
        except TokenError as error:
            raise unauthorized(str(error)) from None
        if grant.user_id != user_id:
            raise other_user()
        return float(grant.expires)


class Places:
    """How many streams and waiting requests there are, of each address and in all.

    Args:
        settings: with the limits.
        metrics: told how many there are.
    """

    def __init__(self, settings: GatewaySettings, metrics: GatewayMetrics) -> None:
        self._most = settings.max_streams
        self._most_of_address = settings.max_streams_per_address
        self._taken: Counter[str] = Counter()
        self._metrics = metrics

    def take(self, address: str) -> Callable[[], None]:
        """Take a place; return how to give it back.

        Raises:
            Problem: there is none.
        """
        site = _site(address)
        if self._taken.total() >= self._most:
            raise unavailable("it has as many streams as gateway.max_streams allows")
        if self._taken[site] >= self._most_of_address:
            raise too_many_of_address()
        self._taken[site] += 1
        self._metrics.streams.inc()

        def give_back() -> None:
            self._metrics.streams.dec()
            self._taken[site] -= 1
            if not self._taken[site]:
                del self._taken[site]

        return give_back

    @contextlib.contextmanager
    def taken(self, address: str) -> Iterator[None]:
        """Hold a place while the block runs; see `take`."""
        give_back = self.take(address)
        try:
            yield
        finally:
            give_back()


def _site(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    return str(ipaddress.ip_network((address, _IPV6_SITE), strict=False))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
