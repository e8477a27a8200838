"""The time since a user's previous event, as a bucket on a log2 scale."""

from __future__ import annotations

import torch
from torch import Tensor


def gap_bucket(gaps: Tensor, buckets: int) -> Tensor:
    """Return floor(log2(1 + seconds)), at most `buckets` − 1; `buckets` where there is no gap.

    Args:
        gaps: seconds since the user's previous event; negative where there is none.
        buckets: number of buckets, that for "none" not counted.
    """
    bucket = torch.log2(1.0 + gaps.clamp(min=0.0)).long().clamp(max=buckets - 1)
    return torch.where(gaps < 0, buckets, bucket)
