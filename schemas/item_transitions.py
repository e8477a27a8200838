"""What users did on items, and what they had done before: how workers share their item memory.

Records of the compacted `item-transitions` topic. A block holds what came from 64 successive
offsets of one partition of `clickstream`; its slot in a ring bounds how many blocks are kept.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from schemas.clickstream import EpochMillis, EventType, Identifier

BLOCK_OFFSETS = 64
"""Offsets of `clickstream` whose transitions make one record."""

LAYOUT_VERSION = 1

_Natural = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class ItemTransition(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A user's step from items acted on before to one more, as an array; names no user.

    In order: offset, item_id, type, time, before.
    """

    offset: _Natural
    """Of the event in its partition of `clickstream`."""
    item_id: Identifier
    type: EventType
    time: EpochMillis
    before: list[Identifier]
    """The items that the same user acted on before, newest first."""


class ItemTransitions(msgspec.Struct, frozen=True, kw_only=True):
    """A block of transitions, whole so far. Key of the topic: `{partition}/{slot}`, slot = block
    modulo the ring's length.

    The record is rewritten until its block is full, so a reader takes only the events beyond the
    last offset that it knows of the partition. Always JSON.
    """

    version: int
    """Of this layout."""
    partition: int
    """Of `clickstream`, and of this topic."""
    epoch: _Natural = 0
    """Goes up when `clickstream` was made anew and its offsets began again."""
    block: _Natural
    """Offset of each event, divided by 64 without remainder."""
    events: list[ItemTransition]
    """By offset, ascending."""
