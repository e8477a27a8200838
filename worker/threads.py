"""How many threads a process that serves computes with: torch's, and those of compiled loops."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch


@dataclass
class _Sharing:
    """What the process was told; one for all, as torch's own number of threads is."""

    threads: int | None = None


_SHARING = _Sharing()


@contextmanager
def serving_threads(threads: int | None) -> Iterator[None]:
    """Have this process compute for micro-batches: compiled loops in several threads, torch in one.

    Torch's operations on a micro-batch take some microseconds each, less than its threads take to
    wait for one another: docs/decisions/0003-passive-openmp.md.

    Args:
        threads: for the compiled loops; None takes as many as torch would.
    """
    before = _SHARING.threads, torch.get_num_threads()
    _SHARING.threads = threads or threads_at_hand()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        _SHARING.threads = before[0]
        torch.set_num_threads(before[1])


def threads_at_hand() -> int:
    """Return how many threads compiled loops are shared among: as many as torch's by default."""
    return _SHARING.threads or torch.get_num_threads()
