"""OAUTHBEARER for Faust's clients: tokens by OAuth's client credentials (RFC 6749, section 4.4).

librdkafka has this built in; aiokafka wants somebody to give it tokens. The properties, and when a
token is asked for anew, are librdkafka's.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import AuthenticationFailedError
from authlib.integrations.httpx_client import OAuth2Client, OAuthError
from httpx2 import HTTPError, InvalidURL

from schemas.errors import BrokerError, SettingsError

_LOG = logging.getLogger(__name__)

_PREFIX = "sasl.oauthbearer."
_METHOD = f"{_PREFIX}method"
_URL = f"{_PREFIX}token.endpoint.url"
_SCOPE = f"{_PREFIX}scope"
_EXTENSIONS = f"{_PREFIX}extensions"
_GRANT_TYPE = f"{_PREFIX}grant.type"
_CLIENT_ID = (f"{_PREFIX}client.id", f"{_PREFIX}client.credentials.client.id")
_CLIENT_SECRET = (f"{_PREFIX}client.secret", f"{_PREFIX}client.credentials.client.secret")
_CA_LOCATION, _CA_PEM = "https.ca.location", "https.ca.pem"
_CLIENT_CREDENTIALS = "client_credentials"

USED = frozenset(
    {_METHOD, _URL, _SCOPE, _EXTENSIONS, _GRANT_TYPE, *_CLIENT_ID, *_CLIENT_SECRET}
    | {_CA_LOCATION, _CA_PEM}
)
"""The properties that are understood."""

_TIMEOUT_S = 10.0
_RENEWED_AFTER = 0.8
"""Share of a token's life after which another one is asked for, as librdkafka does it."""
_FIRST_RETRY_S = 1.0
_LONGEST_RETRY_S = 30.0
_SAID_EVERY_S = 60.0


class TokenError(BrokerError):
    """The token endpoint cannot be reached, refuses, or gives no token."""


@dataclass(frozen=True)
class OidcClient:
    """Who asks which endpoint for what."""

    url: str
    client_id: str
    secret: str = field(repr=False)
    scope: str | None = None
    extensions: Mapping[str, str] = field(default_factory=dict)
    """Told the brokers with each token (RFC 7628)."""
    trusted: ssl.SSLContext | None = field(default=None, repr=False)
    """Authorities of the endpoint's certificate; None for those of the system."""

    def ask(self) -> tuple[str, float | None]:
        """Ask for a token; return it and how long it lives, seconds, None if that is not told.

        Raises:
            TokenError: there is none.
        """
        client = OAuth2Client(
            self.client_id,
            self.secret,
            scope=self.scope,
            timeout=_TIMEOUT_S,
            verify=self.trusted or ssl.create_default_context(),
        )
        try:
            with client:
                answer = client.fetch_token(self.url, grant_type=_CLIENT_CREDENTIALS)
            return _read(answer)
        except OAuthError as error:
            raise self._error(f"refuses: {error}") from None
        except (HTTPError, InvalidURL) as error:
            raise self._error(f"gives no token: {error or type(error).__name__}") from error
        except (ValueError, TypeError, OverflowError) as error:
            raise self._error(f"gives what is no token: {error}") from error

    def _error(self, what: str) -> TokenError:
        return TokenError(
            f"the token endpoint {self.url} {what} (see {_PREFIX}… in kafka.properties)"
        )


class OidcTokens(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka has no types
    """Gives tokens to aiokafka, which asks for one at each connection that it opens.

    A token is kept, and another one asked for when most of its life is over. Where that fails the
    token is used for as long as it lives. Without one a connection waits, longer and longer, before
    the endpoint is asked again: aiokafka itself would try ten times a second. Faust's clients live
    in several threads.

    Args:
        client: asked.
        now: a monotonic clock, seconds.
    """

    def __init__(self, client: OidcClient, now: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._now = now
        self._lock = threading.Lock()
        self._token = ""
        self._renew_at = self._over_at = self._retry_at = float("-inf")
        self._failures = 0
        self._trouble: TokenError | None = None
        self._said_at = float("-inf")

    async def token(self) -> str:
        """Return a token that has not run out.

        Raises:
            AuthenticationFailedError: there is none, said by the log once a minute.
        """
        await asyncio.sleep(self.wait_s)
        try:
            return await asyncio.to_thread(self.current)
        except TokenError as error:
            raise AuthenticationFailedError(str(error)) from error

    def extensions(self) -> dict[str, str]:
        """Return what is told the brokers with the token."""
        return dict(self._client.extensions)

    @property
    def wait_s(self) -> float:
        """How long to wait before `current` can do any good, seconds."""
        now = self._now()
        return 0.0 if now < self._over_at else max(0.0, self._retry_at - now)

    def current(self) -> str:
        """Return the token kept, or a new one; blocks while it is asked for.

        Raises:
            TokenError: there is none.
        """
        with self._lock:
            now = self._now()
            # Of several connections that waited, one asks.
            if now >= self._renew_at and now >= self._retry_at:
                self._renew(now)
            if self._trouble is not None and now >= self._over_at:
                raise self._trouble
            return self._token

    def _renew(self, now: float) -> None:
        try:
            self._token, life_s = self._client.ask()
        except TokenError as error:
            self._note(error)
            return
        # Where no life is told, the next connection asks for itself.
        self._renew_at = now + _RENEWED_AFTER * (life_s or 0.0)
        self._over_at = now + (life_s or 0.0)
        self._failures, self._trouble = 0, None

    def _note(self, error: TokenError) -> None:
        now = self._now()
        delay_s = min(_LONGEST_RETRY_S, _FIRST_RETRY_S * 2.0 ** min(self._failures, 10))
        self._failures += 1
        self._trouble = error
        self._retry_at = now + delay_s
        if now - self._said_at >= _SAID_EVERY_S:
            self._said_at = now
            _LOG.error("%s", error)


def oidc_client(given: Mapping[str, str | int | float | bool]) -> OidcClient:
    """Return who asks for tokens, from librdkafka's properties.

    Raises:
        SettingsError: a property is missing or wrong, or asks for another way to tokens.
    """
    method = str(given.get(_METHOD, "default")).lower()
    if method != "oidc":
        raise SettingsError(
            f"kafka.properties: {_METHOD} is {method!r}; innerloop insights gets tokens by oidc"
        )
    grant_type = str(given.get(_GRANT_TYPE, _CLIENT_CREDENTIALS))
    if grant_type != _CLIENT_CREDENTIALS:
        raise SettingsError(
            f"kafka.properties: {_GRANT_TYPE} is {grant_type!r}; innerloop insights knows "
            f"{_CLIENT_CREDENTIALS}"
        )
    url = _needed(given, _URL)
    if not url.startswith(("https://", "http://")):
        raise SettingsError(f"kafka.properties: {_URL} is no address; right: https://host/token")
    return OidcClient(
        url=url,
        client_id=_needed(given, *_CLIENT_ID),
        secret=_needed(given, *_CLIENT_SECRET),
        scope=str(given[_SCOPE]) if _SCOPE in given else None,
        extensions=_extensions(str(given.get(_EXTENSIONS, ""))),
        trusted=_trusted(given),
    )


def _needed(given: Mapping[str, str | int | float | bool], *names: str) -> str:
    for name in names:
        if name in given:
            return str(given[name])
    raise SettingsError(f"kafka.properties: {names[0]} is not set; OAUTHBEARER by oidc needs it")


def _extensions(text: str) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
    # Of RFC 7628: letters, and "auth" is the token's.
    if any(not (name.strip().isalpha() and eq) or name.strip() == "auth" for name, eq, _ in pairs):
        raise SettingsError(
            f"kafka.properties: {_EXTENSIONS} has to be like name=value,other=value; names are of "
            "letters, and none is auth"
        )
    return {name.strip(): value.strip() for name, _, value in pairs}


def _trusted(given: Mapping[str, str | int | float | bool]) -> ssl.SSLContext | None:
    location = str(given.get(_CA_LOCATION, "probe"))
    pem = str(given[_CA_PEM]) if _CA_PEM in given else None
    if location == "probe" and pem is None:
        return None
    path = None if location == "probe" else Path(location)
    folder = path is not None and path.is_dir()
    try:
        return ssl.create_default_context(
            cafile=None if folder else path, capath=path if folder else None, cadata=pem
        )
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"kafka.properties: {_CA_LOCATION} or {_CA_PEM} cannot be used: {error}"
        ) from error


def _read(answer: Mapping[str, Any]) -> tuple[str, float | None]:
    token = answer.get("access_token")
    # It becomes part of a message whose fields end with \x01.
    if not isinstance(token, str) or not token or not token.isprintable():
        raise ValueError("access_token is missing, or no text")
    life = answer.get("expires_in")
    return token, None if life is None else float(life)
