"""Consent and erasure requests."""

from __future__ import annotations

import enum

import msgspec

from schemas.clickstream import EpochMillis, Identifier


class PrivacyAction(enum.StrEnum):
    """What is asked for."""

    GRANT_CONSENT = "grant_consent"
    WITHDRAW_CONSENT = "withdraw_consent"
    ERASE = "erase"


class PrivacyRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Key of the `privacy` topic: `user_id`."""

    request_id: Identifier
    user_id: Identifier
    action: PrivacyAction
    time: EpochMillis
