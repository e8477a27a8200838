"""Settings of the subscribers' side."""

from __future__ import annotations

from pydantic import Field

from schemas.settings.section import Section


class SubscriberSettings(Section):
    """Whoever follows `recommendations`: the client, `innerloop tail`, the gateway."""

    users: int = Field(
        100_000,
        ge=1,
        description="users whose latest recommendation is kept; those heard of longest ago are "
        "forgotten first",
    )
    events_per_user: int = Field(
        64,
        ge=1,
        le=10_000,
        description="answers of a user that are remembered by their ids, to drop copies and to "
        "know which events are answered",
    )
    titles: int = Field(
        1_000_000, ge=1, description="items whose titles are kept where titles are asked for"
    )
    refresh_seconds: float = Field(
        60, gt=0, description="how often to look for partitions that were added, seconds"
    )
