"""Sharing work between threads: the compiled loops let go of the interpreter's lock."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
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
