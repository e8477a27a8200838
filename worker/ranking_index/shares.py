"""Sharing work between threads: the compiled loops let go of the interpreter's lock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

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


def in_shares(work: Callable[[int, int], object], n: int, threads: int, *, least: int = 1) -> None:
    """Have `work(start, stop)` done for all of 0, …, n − 1, in one thread or several at once.

    Args:
        work: does a share.
        n: size of the whole.
        threads: most shares.
        least: least size of a share, but for the last one.
    """
    size = max(least, -(-n // max(1, threads)))
    if size >= n:
        work(0, n)
        return
    others = [
        _pool(threads - 1).submit(work, start, min(n, start + size))
        for start in range(size, n, size)
    ]
    try:
        work(0, size)  # the first share is done right here: nobody has to be woken for it
    finally:
        wait(others)
    for done in others:
        done.result()


@lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="ranking")
