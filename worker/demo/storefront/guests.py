"""Who the page's visitors are: random ids, and the gateway's tokens as proof of them.

A shop would mint the token behind its login, for whoever is signed in there. Here nobody signs in,
so whoever comes without a token that is still good is somebody new.
"""

from __future__ import annotations

import time
import uuid

import msgspec

from schemas.errors import SettingsError
from schemas.settings import GatewaySettings
from worker.subscriber.tokens import TokenError, mint_token, read_token

PREFIX = "visitor-"
"""Ids of the page's users begin with it, so the demo can tell them from those that it replays."""

TOKEN_SECONDS = 12 * 3600


class Guest(msgspec.Struct, frozen=True):
    """A visitor, and what the gateway wants to see."""

    user_id: str
    token: str


class Guests:
    """Lets visitors in.

    Args:
        settings: of the gateway; tokens are signed with the first of its secrets.

    Raises:
        SettingsError: there is no secret.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        self._secrets = {n: key.get_secret_value() for n, key in settings.token_secrets.items()}
        if not self._secrets:
            raise SettingsError(
                "gateway.token_secrets is empty, and the page's visitors need tokens; right would "
                "be INNERLOOP_GATEWAY__TOKEN_SECRETS__WEB=… with 32 random characters or more, the "
                "same as the gateway's"
            )

    def enter(self, token: str | None) -> Guest:
        """Return the visitor that a token is of, with a new token; somebody new without one."""
        try:
            user_id = self.who(token)
        except TokenError:
            user_id = PREFIX + uuid.uuid4().hex
        name, secret = next(iter(self._secrets.items()))
        return Guest(user_id, mint_token(secret, user_id, TOKEN_SECONDS, name))

    def who(self, token: str | None) -> str:
        """Return the id of the visitor that a token is of.

        Raises:
            TokenError: it is of none.
        """
        return read_token(self._secrets, token or "", time.time()).user_id
