"""Section `privacy`: pseudonymous user ids, and the keys that they were made with."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr

from schemas.settings.section import Section

UserIdKey = Annotated[SecretStr, Field(min_length=16)]


class PrivacySettings(Section):
    """Pseudonymous ids."""

    user_id_key: SecretStr | None = Field(
        None,
        repr=False,
        min_length=16,
        description="hash user ids with this key (HMAC-SHA-256) before publishing",
    )
    previous_user_id_keys: tuple[UserIdKey, ...] = Field(
        (),
        repr=False,
        description="keys used before, while there is data under them: privacy requests are made "
        "under each of them, too",
    )
    previously_plain: bool = Field(
        False,
        description="user ids were published as they are before there was a key: privacy requests "
        "are made under them, too",
    )
