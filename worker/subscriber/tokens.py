"""Tokens by which a browser may read its own user's recommendations.

A shop's backend mints one for whoever is signed in, or for a visitor's random id, and puts it into
the page; the gateway checks it. `v1.NAME.EXPIRES.USER.SIGNATURE`, where NAME is the secret's,
EXPIRES is in epoch seconds, USER is the user's id in base64url, and SIGNATURE is the base64url of
HMAC-SHA-256 (RFC 2104) under the secret of all that stands before it, its dot left out.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass

from schemas.errors import InnerloopError

_VERSION = "v1"
_LONGEST_TOKEN = 1024
_FORM = re.compile(
    r"(?P<signed>v1\.(?P<name>[a-z0-9][a-z0-9_-]{0,31})\.(?P<expires>[0-9]{1,12})\."
    r"(?P<user>[A-Za-z0-9_-]+))\.(?P<signature>[A-Za-z0-9_-]{43})"
)


class TokenError(InnerloopError):
    """A token is none, was altered, is over, or is of a secret that is not known."""


@dataclass(frozen=True)
class Grant:
    """What a token allows."""

    user_id: str
    expires: int
    """Epoch seconds."""


def mint_token(secret: str, user_id: str, expires_in: int = 3600, name: str = "web") -> str:
    """Return a token that lets its bearer read the recommendations of one user.

    Args:
        secret: one of the setting gateway.token_secrets.
        user_id: the user's own id, as it is given to the tracker: not a pseudonym.
        expires_in: how long it is good for, seconds.
        name: of the secret in that setting.

    Raises:
        TokenError: the user's id is empty or too long.
    """
    if not 0 < len(user_id) <= 128:
        raise TokenError("user_id: has to have 1 to 128 characters")
    signed = f"{_VERSION}.{name}.{int(time.time()) + expires_in}.{_base64url(user_id.encode())}"
    return f"{signed}.{_signature(secret, signed)}"


def read_token(secrets: Mapping[str, str], token: str, now: float) -> Grant:
    """Return what a token allows.

    Args:
        secrets: by name.
        token: as it was presented.
        now: epoch seconds.

    Raises:
        TokenError: it allows nothing; the message does not tell what would have.
    """
    match = _FORM.fullmatch(token) if len(token) <= _LONGEST_TOKEN else None
    if match is None:
        raise TokenError("the token is none")
    # An unknown name is checked like a known one, and takes as long.
    secret = secrets.get(match["name"])
    expected = _signature(secret or "", match["signed"])
    if not hmac.compare_digest(expected, match["signature"]) or secret is None:
        raise TokenError("the token's signature is wrong")
    if int(match["expires"]) <= now:
        raise TokenError("the token is over")
    try:
        user = base64.urlsafe_b64decode(match["user"] + "=" * (-len(match["user"]) % 4)).decode()
    except (binascii.Error, ValueError):
        raise TokenError("the token's user is no text in base64url") from None
    return Grant(user, int(match["expires"]))


def _signature(secret: str, signed: str) -> str:
    return _base64url(hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest())


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
