"""What the worker answers with: one message for each event that it applied."""

from __future__ import annotations

import enum

import msgspec

from schemas.clickstream import EpochMillis, Identifier


class ReasonKind(enum.StrEnum):
    """Why an item is on the list."""

    START = "start"
    """From the meta-learned starting point alone: nothing is known of the user yet."""
    SIMILAR_TO = "similar_to"
    """Closest, among the user's recent items, to the one named."""


class Reason(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Why an item is recommended; `item_id` names the support event's item, if there is one."""

    kind: ReasonKind
    item_id: Identifier | None = None


class RecommendedItem(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An item, its score (the adapted query's inner product with it) and the reason."""

    item_id: Identifier
    score: float
    reason: Reason


class Adaptation(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The inner-loop step that the event caused.

    The losses are the support loss on the event's own item before and after the step, in nats;
    both are null where no step was taken (`steps` 0).
    """

    steps: int
    support_loss_before: float | None = None
    support_loss_after: float | None = None


class Recommendation(msgspec.Struct, frozen=True, kw_only=True):
    """The adapted list of one user. Key of the `recommendations` topic: `user_id`.

    `recommendation_id` is a function of the event and the model version, so a replay after a crash
    repeats the id and a subscriber can drop the copy.
    """

    recommendation_id: Identifier
    user_id: Identifier
    items: list[RecommendedItem]
    events_seen: int
    caused_by: Identifier
    adaptation: Adaptation
    model_version: str
    variant: str
    event_time: EpochMillis
    produced_at: EpochMillis
