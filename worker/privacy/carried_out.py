"""What carrying out requests leads to."""

from __future__ import annotations

from dataclasses import dataclass, field

from worker.stages.publish import OutgoingRecord


@dataclass(frozen=True)
class CarriedOut:
    """What requests led to."""

    tombstones: list[OutgoingRecord] = field(default_factory=list)
    """Null values for the users erased: to be published before anything of the micro-batch."""
    audit: list[OutgoingRecord] = field(default_factory=list)
    """To be published when all else is there."""
    next_offsets: dict[int, int] = field(default_factory=dict)
    """To be committed with those of the micro-batch, by partition of `privacy`."""
