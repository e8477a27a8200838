"""Consent and erasure requests, and the record of what was done about them."""

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


class RequestNote(msgspec.Struct, frozen=True, kw_only=True):
    """Which request a null value in `recommendations` is because of: its header `privacy_request`.

    JSON, whatever the wire format; it holds no user id. Who keeps something of users beside the
    worker can write an audit record by it.
    """

    request_id: Identifier
    action: PrivacyAction
    time: EpochMillis
    """The request's."""
    partition: int
    """Of the request in `privacy`."""
    offset: int
    """Likewise."""


REQUEST_HEADER = "privacy_request"
"""The header with a `RequestNote`."""

AUDITED_BY_WORKER = "worker"
AUDITED_BY_INSIGHTS = "insights"


class PrivacyAudit(msgspec.Struct, frozen=True, kw_only=True):
    """That a request was carried out. Key of the `privacy-audit` topic: `request_id`.

    It holds no user id. A request that went out under several pseudonyms has a record for each; one
    that was carried out again after a crash has more than one. Each part that keeps something of
    users writes its own.
    """

    request_id: Identifier
    action: PrivacyAction
    requested_at: EpochMillis
    """The request's `time`."""
    done_at: EpochMillis
    """When the part removed what it held; the record is published once the brokers have the rest,
    and where worker.delivery is exactly_once, together with it."""
    partition: int
    """Of the request, and of the user's events."""
    offset: int
    """Of the request in that partition of `privacy`."""
    states_removed: int
    """Users' states that were removed: 1, or 0 where there was none."""
    tombstones: int
    """Null values published for the user's key: in `user-state` and in `recommendations`, or in
    `insights-users`."""
    worker: str
    """The worker's group.instance.id, or that of its membership in the group; of insights the
    former, or the group."""
    part: str = AUDITED_BY_WORKER
    """What carried it out: `worker`, or `insights`, which does so after the worker."""
