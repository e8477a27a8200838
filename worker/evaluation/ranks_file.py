"""The ranks of every model in one NumPy archive, for comparisons of one's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from schemas.errors import EvaluationError
from worker.evaluation.job import EvaluationData
from worker.evaluation.runner import ModelRun

SUFFIX = ".npz"


def check_ranks_path(path: Path) -> None:
    """Refuse a name that NumPy would not write to.

    Raises:
        EvaluationError: it does not end in .npz.
    """
    if path.suffix != SUFFIX:
        raise EvaluationError(f"--ranks {path}: the file's name must end in {SUFFIX}")


def write_ranks(path: Path, data: EvaluationData, runs: list[ModelRun]) -> None:
    """Write the scored events, m of them, in the stream's order. Arrays, none of them pickled:

    * `models` (k,): names;
    * `ranks` (k, m): 0-based; −1 where the event has no right answer, because seen items are
      excluded and it is on one;
    * `users` (m,): numbers that tell the users apart, but not who they are;
    * `events_seen` (m,); `items` (m,): rows of the items file; `times` (m,): milliseconds.
    """
    scored = data.cut.scored
    stream = data.cut.stream
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path,
        allow_pickle=False,
        models=np.array([run.name for run in runs]),
        ranks=np.stack([run.ranks[scored] for run in runs]),
        users=np.unique(stream.users[scored], return_inverse=True)[1].astype(np.int32),
        events_seen=data.cut.events_seen[scored],
        items=stream.items[scored],
        times=stream.times[scored],
    )
