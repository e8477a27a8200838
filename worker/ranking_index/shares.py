"""Sharing work between threads: the compiled loops let go of the interpreter's lock."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache


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
    starts = range(0, n, size)
    for done in [_pool(threads).submit(work, start, min(n, start + size)) for start in starts]:
        done.result()


@lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="ranking")
