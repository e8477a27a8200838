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
        return _keyed_hash(key, user_id)

    return pseudonym


def all_pseudonyms(privacy: PrivacySettings, user_id: str) -> list[str]:
    """Return every id under which a user may have been published, today's first, each once.

    They are the pseudonyms under the key and under those used before it; without a key, and where
    `privacy.previously_plain` says so, the id itself, too.
    """
    secrets = [privacy.user_id_key, *privacy.previous_user_id_keys]
    keys = [secret.get_secret_value().encode() for secret in secrets if secret is not None]
    ids = [_keyed_hash(key, user_id) for key in keys]
    if privacy.user_id_key is None:
        ids.insert(0, user_id)
    elif privacy.previously_plain:
        ids.append(user_id)
    return list(dict.fromkeys(ids))


def _keyed_hash(key: bytes, user_id: str) -> str:
    return hmac.new(key, user_id.encode(), hashlib.sha256).hexdigest()[:_HEX_DIGITS]
