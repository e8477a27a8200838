"""The largest of many scores, faster than sorting out all of them."""

from __future__ import annotations

import torch
from torch import Tensor

_GROUP = 16
"""Scores in a group. Finding a group's maximum is a streaming pass; 16 makes the groups few enough
that choosing among them costs little, and small enough that reading the chosen ones does too."""

_MIN_GROUPS = 8
"""Times k that there must be groups for the detour to pay."""


def topk(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k largest scores of each row and their columns, both (n, k), largest first.

    As `torch.topk`, exactly: the k largest lie in the k groups with the largest maxima. Which of
    equal scores is returned is not defined, there as here.

    Args:
        scores: (n, items).
        k: at most `items`.
    """
    n, items = scores.shape
    groups = items // _GROUP
    if groups < _MIN_GROUPS * k:
        found = torch.topk(scores, k, dim=1)
        return found.values, found.indices
    # Group g is the columns g, g + groups, g + 2·groups, …: the maxima of neighbouring groups are
    # then found together, a vector register at a time.
    whole = scores[:, : groups * _GROUP].reshape(n, _GROUP, groups)
    best = torch.topk(whole.amax(dim=1), k, dim=1, sorted=False).indices
    columns = best.unsqueeze(2) + groups * torch.arange(_GROUP, device=scores.device)
    columns = columns.flatten(1)
    if groups * _GROUP < items:
        rest = torch.arange(groups * _GROUP, items, device=scores.device)
        columns = torch.cat([columns, rest.expand(n, -1)], dim=1)
    values, place = torch.topk(scores.gather(1, columns), k, dim=1)
    return values, columns.gather(1, place)
