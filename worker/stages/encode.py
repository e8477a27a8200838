"""Encode: the vector of what each event was about."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.catalogue import Catalogue
from worker.model.interface import AdaptationModel
from worker.rows import NO_ITEM


def encode_targets(
    rows: NDArray[np.int64], searches: dict[int, str], catalogue: Catalogue, model: AdaptationModel
) -> Tensor:
    """Return the vectors to adapt on, (n, dim): of the item, of the search, or zero for neither.

    Args:
        rows: catalogue rows of the items, (n,); `NO_ITEM` where there is none.
        searches: position → text searched for; all go through the text encoder together.
        catalogue: holds the item vectors.
        model: encodes the searches.
    """
    targets = torch.zeros(len(rows), model.dim, device=model.device)
    known = np.flatnonzero(rows != NO_ITEM)
    if known.size:
        here = torch.from_numpy(known).to(model.device)
        targets[here] = catalogue.vectors[torch.from_numpy(rows[known]).to(model.device)]
    if searches:
        here = torch.tensor(list(searches), device=model.device)
        targets[here] = model.query_vectors(list(searches.values()))
    return targets
