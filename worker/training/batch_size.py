"""How large a batch is, so that little data still makes for enough steps."""

from __future__ import annotations

_STEPS = 64
"""Batches that an epoch should have: in fewer steps little is learned."""


def batch_size(cases: int, largest: int, smallest: int) -> int:
    """Return how many cases a batch has: `largest`, or fewer where there are few, to `smallest`."""
    return min(largest, max(smallest, cases // _STEPS))
