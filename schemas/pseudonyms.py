"""Keyed pseudonyms for user ids."""

from __future__ import annotations

import functools
import hashlib
import hmac
from collections.abc import Callable

from schemas.settings import PrivacySettings

_HEX_DIGITS = 32
_CACHED_USERS = 1 << 18


def pseudonymiser(privacy: PrivacySettings) -> Callable[[str], str] | None:
    """Return the function from a user id to the id to publish; None if no key is set.

    The pseudonym is HMAC-SHA-256 of the id under the key, the first 128 bits in hexadecimal: the
    same user under the same key always gets the same one, and without the key it cannot be made
    from a guessed id (RFC 2104).
    """
    if privacy.user_id_key is None:
        return None
    key = privacy.user_id_key.get_secret_value().encode()

    @functools.lru_cache(maxsize=_CACHED_USERS)
    def pseudonym(user_id: str) -> str:
        return hmac.new(key, user_id.encode(), hashlib.sha256).hexdigest()[:_HEX_DIGITS]

    return pseudonym
