"""Exact full-catalogue ranks and top lists, for training's validation and for evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

_CHUNK_SCORES = 1 << 25
"""Scores held at once: 128 MiB of float32."""

_TIE = 1e-6
"""Scores this close, relative to the target's, are one score with float32 rounding on it."""


def target_ranks(
    queries: Tensor,
    item_vectors: Tensor,
    targets: Tensor,
    *,
    excluded: Tensor | None = None,
    shift: Callable[[Tensor, slice], None] = lambda scores, rows: None,
) -> Tensor:
    """Return the 0-based rank of each target among all items, (n,) int64.

    Items are ordered by score, and by row among equal scores: items of the same text have the same
    vector, and a target must not win such a tie by luck. Sort the rows by popularity to break ties
    by it.

    Args:
        queries: (n, d).
        item_vectors: (items, d).
        targets: rows of the targets, (n,).
        excluded: rows that do not count, (n, m); pad with the target's own row.
        shift: given the scores of a slice of the queries, changes them in place before ranking.
    """
    ranks = [torch.empty(0, dtype=torch.long, device=queries.device)]
    for part, scores in _scores(queries, item_vectors, shift):
        others = None if excluded is None else excluded[part]
        ranks.append(ranks_in(scores, targets[part], excluded=others))
    return torch.cat(ranks)


def top_rows(
    queries: Tensor,
    item_vectors: Tensor,
    k: int,
    *,
    excluded: Tensor | None = None,
    shift: Callable[[Tensor, slice], None] = lambda scores, rows: None,
) -> Tensor:
    """Return the first rows of each query in the order of `target_ranks`, best first, (n, k) int64.

    Args:
        queries: (n, d).
        item_vectors: (items, d).
        k: length of the lists; no more than there are items.
        excluded: rows to leave out, (n, m); they stand at the end if there are too few others.
        shift: as in `target_ranks`.
    """
    rows = [torch.empty((0, k), dtype=torch.long, device=queries.device)]
    for part, scores in _scores(queries, item_vectors, shift):
        others = None if excluded is None else excluded[part]
        rows.append(top_in(scores, k, excluded=others))
    return torch.cat(rows)


def ranks_in(scores: Tensor, targets: Tensor, *, excluded: Tensor | None = None) -> Tensor:
    """Return the rank of each target by given scores, (n,) int64; see `target_ranks`.

    Args:
        scores: (n, items).
        targets: (n,).
        excluded: rows that do not count, (n, m); pad with the target's own row.
    """
    rows = torch.arange(scores.shape[1], device=scores.device)
    target = targets.unsqueeze(1)
    own = scores.gather(1, target)
    margin = _TIE * own.abs()
    preferred = (scores >= own - margin) & (rows < target)
    preferred |= scores > own + margin
    if excluded is not None:
        preferred.scatter_(1, excluded, value=False)
    return preferred.sum(dim=1)


def top_in(scores: Tensor, k: int, *, excluded: Tensor | None = None) -> Tensor:
    """Return the first rows of given scores, best first, (n, k) int64; see `top_rows`.

    Args:
        scores: (n, items).
        k: length of the lists; no more than there are items.
        excluded: rows to leave out, (n, m).
    """
    items = scores.shape[1]
    if excluded is not None:
        scores = scores.scatter(1, excluded, torch.finfo(scores.dtype).min)
    # One more than asked for: it tells whether the end of the list cuts through a tie.
    best = scores.topk(min(k + 1, items), dim=1)
    rows = best.indices[:, :k]
    if items > k:
        last = best.values[:, k - 1]
        cut = (last - best.values[:, k] <= _TIE * last.abs()).nonzero().squeeze(1)
        rows[cut] = _first_of_ties(scores[cut], last[cut].unsqueeze(1), k)
    return rows.gather(1, _by_score_then_row(scores.gather(1, rows), rows, items))


def _first_of_ties(scores: Tensor, last: Tensor, k: int) -> Tensor:
    """Return the rows above the score `last` (n, 1), and the first of those that tie: (n, k)."""
    items = scores.shape[1]
    margin = _TIE * last.abs()
    descending = torch.arange(items, 0, -1, device=scores.device)
    key = torch.where(scores >= last - margin, descending, 0)
    key = torch.where(scores > last + margin, items + descending, key)
    return key.topk(k, dim=1).indices


def _by_score_then_row(scores: Tensor, rows: Tensor, items: int) -> Tensor:
    """Return the order of each list (n, k): by score, by row among scores that tie."""
    by_score = scores.argsort(dim=1, descending=True)
    ordered = scores.gather(1, by_score)
    drops = ordered[:, :-1] - ordered[:, 1:] > _TIE * ordered[:, 1:].abs()
    group = torch.nn.functional.pad(drops.long().cumsum(dim=1), (1, 0))
    within = (group * items + rows.gather(1, by_score)).argsort(dim=1)
    return by_score.gather(1, within)


def _scores(
    queries: Tensor, item_vectors: Tensor, shift: Callable[[Tensor, slice], None]
) -> Iterator[tuple[slice, Tensor]]:
    """Yield the scores of all items for the queries, in slices that bound the memory."""
    chunk = max(1, _CHUNK_SCORES // max(1, len(item_vectors)))
    for start in range(0, len(queries), chunk):
        part = slice(start, start + chunk)
        scores = queries[part] @ item_vectors.T
        shift(scores, part)
        yield part, scores
