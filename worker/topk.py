"""The largest of many scores, faster than sorting out all of them."""

from __future__ import annotations

import torch
from torch import Tensor

from worker.rows import NO_ITEM

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


def top_items(scores: Tensor, unavailable: Tensor | None, k: int) -> tuple[Tensor, Tensor]:
    """Return scores and rows, both (n, k), of the best items, best first.

    Among equal scores the lower row comes first, also across the end of the list: items with the
    same text have the same vector, and which of them is listed must not depend on the batch.

    Args:
        scores: of every item, (n, items); altered.
        unavailable: true for rows to leave out, (items,); None for none.
        k: length of the lists; those that cannot be filled end in −∞ and `NO_ITEM`.
    """
    items = scores.shape[1]
    if unavailable is not None:
        scores.masked_fill_(unavailable, -torch.inf)
    # One more than asked for: it tells whether the end of the list cuts through equal scores.
    values, rows = topk(scores, min(k + 1, items))
    if items > k:
        _fill_cut_ties(scores, values, rows, k)
        values, rows = values[:, :k], rows[:, :k]
    values, rows = _order_ties(values, rows)
    rows = rows.masked_fill(values == -torch.inf, NO_ITEM)
    missing = k - values.shape[1]
    if missing > 0:
        values = torch.nn.functional.pad(values, (0, missing), value=-torch.inf)
        rows = torch.nn.functional.pad(rows, (0, missing), value=NO_ITEM)
    return values, rows


def _fill_cut_ties(scores: Tensor, values: Tensor, rows: Tensor, k: int) -> None:
    """Where the k-th and the next score are equal, take the lowest rows of that score instead."""
    threshold = values[:, k - 1]
    cut = torch.nonzero(threshold == values[:, k]).squeeze(1)
    if not len(cut):
        return
    items = scores.shape[1]
    tied = scores[cut] == threshold[cut].unsqueeze(1)
    descending = torch.arange(items, 0, -1, device=scores.device, dtype=torch.int32)
    lowest = items - torch.topk(torch.where(tied, descending, 0), k, dim=1).values.long()
    # Entries above the threshold stay; the tied ones, at the end, are replaced in ascending order.
    above = (values[cut, :k] > threshold[cut].unsqueeze(1)).sum(dim=1, keepdim=True)
    place = torch.arange(k, device=scores.device).unsqueeze(0) - above
    chosen = lowest.gather(1, place.clamp(min=0))
    rows[cut, :k] = torch.where(place >= 0, chosen, rows[cut, :k])


def _order_ties(values: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    by_row = torch.argsort(rows, dim=1)
    values, rows = values.gather(1, by_row), rows.gather(1, by_row)
    values, by_score = torch.sort(values, dim=1, descending=True, stable=True)
    return values, rows.gather(1, by_score)
