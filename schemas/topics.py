"""Every topic: its name, key, message type and policy. The only place that names topics."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

import msgspec

from schemas.catalog import CatalogItem
from schemas.clickstream import ClickstreamEvent
from schemas.insights import RecommendationOutcome, Trending
from schemas.item_transitions import ItemTransitions
from schemas.model_rollout import ModelRollout
from schemas.privacy import PrivacyAudit, PrivacyRequest
from schemas.recommendations import Recommendation
from schemas.user_state import UserState


class Topic(enum.StrEnum):
    """Topic names, before the setting `kafka.topic_prefix`."""

    CLICKSTREAM = "clickstream"
    CATALOG = "catalog"
    RECOMMENDATIONS = "recommendations"
    USER_STATE = "user-state"
    ITEM_TRANSITIONS = "item-transitions"
    MODELS = "models"
    DEAD_LETTERS = "clickstream.dlq"
    PRIVACY = "privacy"
    PRIVACY_AUDIT = "privacy-audit"
    TRENDING = "trending"
    OUTCOMES = "recommendation-outcomes"


class InsightsTopic(enum.StrEnum):
    """Topics internal to `innerloop insights`, which creates them; before the prefix, too.

    They are compacted, and their records are nobody else's business. `USERS` and `COUNTS` have as
    many partitions as `clickstream`, the others have one.
    """

    USERS = "insights-users"
    COUNTS = "insights-counts"
    PARTS = "insights-parts"
    TOTALS = "insights-totals"


class Partitioning(enum.Enum):
    """How many partitions a topic gets."""

    BY_USER = "by_user"
    """As many as `clickstream`, so that a user's records share a partition number everywhere."""
    SINGLE = "single"
    """One: small, and read whole by every worker."""


@dataclass(frozen=True)
class TopicSpec:
    """What `innerloop topics create` asks of the broker for one topic."""

    topic: Topic
    key: str
    message: type[msgspec.Struct] | None
    """None for `clickstream.dlq`, whose value is the original record's bytes."""
    partitioning: Partitioning
    summary: str
    config: dict[str, str] = field(default_factory=dict)


_COMPACTED = {"cleanup.policy": "compact"}
_WEEK_MS = str(7 * 24 * 3600 * 1000)

TOPIC_SPECS: dict[Topic, TopicSpec] = {
    spec.topic: spec
    for spec in (
        TopicSpec(
            Topic.CLICKSTREAM,
            "user_id",
            ClickstreamEvent,
            Partitioning.BY_USER,
            "What users do, as the storefront sees it.",
            {"retention.ms": _WEEK_MS},
        ),
        TopicSpec(
            Topic.CATALOG,
            "item_id",
            CatalogItem,
            Partitioning.SINGLE,
            "The items that can be recommended; a null value removes one.",
            _COMPACTED,
        ),
        TopicSpec(
            Topic.RECOMMENDATIONS,
            "user_id",
            Recommendation,
            Partitioning.BY_USER,
            "The adapted list of a user, after each of the user's events.",
            {"retention.ms": _WEEK_MS},
        ),
        TopicSpec(
            Topic.USER_STATE,
            "user_id",
            UserState,
            Partitioning.BY_USER,
            "Changelog of the users' adapted state; internal to the worker.",
            _COMPACTED,
        ),
        TopicSpec(
            Topic.ITEM_TRANSITIONS,
            "{partition}/{slot}",
            ItemTransitions,
            Partitioning.BY_USER,
            "What the workers' item memory learned lately, as a ring; internal to the worker.",
            # A record is rewritten until its block is full; only closed segments are compacted.
            {**_COMPACTED, "segment.bytes": str(64 * 1024 * 1024)},
        ),
        TopicSpec(
            Topic.MODELS,
            "group_id",
            ModelRollout,
            Partitioning.SINGLE,
            "Which model bundles the workers of a group serve, and to whom.",
            _COMPACTED,
        ),
        TopicSpec(
            Topic.DEAD_LETTERS,
            "as the source",
            None,
            Partitioning.BY_USER,
            "Records that could not be used, byte for byte, with the reason in headers.",
            {"retention.ms": str(4 * int(_WEEK_MS)), "max.message.bytes": str(10 * 1024 * 1024)},
        ),
        TopicSpec(
            Topic.PRIVACY,
            "user_id",
            PrivacyRequest,
            Partitioning.BY_USER,
            "Consent and erasure requests.",
            # Compaction leaves the latest request of a user. An older one must not go before every
            # worker had it, nor before the events that it is about have left `clickstream`.
            {**_COMPACTED, "min.compaction.lag.ms": str(4 * int(_WEEK_MS))},
        ),
        TopicSpec(
            Topic.PRIVACY_AUDIT,
            "request_id",
            PrivacyAudit,
            Partitioning.BY_USER,
            "What was done about each request; holds no user id.",
            {"retention.ms": str(2 * 365 * 24 * 3600 * 1000)},
        ),
        TopicSpec(
            Topic.TRENDING,
            "surface",
            Trending,
            Partitioning.SINGLE,
            "Items most acted on, by surface.",
            _COMPACTED,
        ),
        TopicSpec(
            Topic.OUTCOMES,
            "user_id",
            RecommendationOutcome,
            Partitioning.BY_USER,
            "Actions credited to the recommendations that caused them.",
            {"retention.ms": str(4 * int(_WEEK_MS))},
        ),
    )
}
"""The policy of each topic."""
