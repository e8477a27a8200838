"""What a worker says when it runs out of memory, on the device or beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from schemas.errors import InnerloopError
from schemas.settings import WorkerSettings


class OutOfMemoryError(InnerloopError):
    """There is not enough memory for a micro-batch: nothing of it is committed."""


@contextmanager
def out_of_memory_explained(worker: WorkerSettings) -> Iterator[None]:
    """Say which settings make a worker smaller where what is done here runs out of memory.

    The micro-batch cannot be tried again: its events are in its users' columns already. So the
    worker ends, and what comes after it reads the same records.

    Raises:
        OutOfMemoryError: in place of torch's error, or Python's.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        users = worker.resident_users
        raise OutOfMemoryError(
            f"out of memory: {error}. Nothing of this micro-batch is committed; a restart takes it "
            f"up again. Lower worker.batch_events (now {worker.batch_events}) or "
            f"worker.resident_users (now {'all of them' if users is None else users}; the others "
            "are kept in worker.state_folder)"
        ) from error
