"""Consent and erasure requests."""

from __future__ import annotations

import enum

import msgspec

from schemas.clickstream import EpochMillis, Identifier


class PrivacyAction(enum.StrEnum):
    """What is asked for."""

    GRANT_CONSENT = "grant_consent"
    """Learn from the user's events from now on."""
    WITHDRAW_CONSENT = "withdraw_consent"
    """Use no further event of the user."""
    ERASE = "erase"
    """Remove everything that is kept of the user."""


class PrivacyRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a user asks for about their own data. Key of the `privacy` topic: `user_id`."""

    request_id: Identifier
    user_id: Identifier
    action: PrivacyAction
    time: EpochMillis
    """When it was asked for."""
