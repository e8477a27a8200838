"""How long a call takes on a device."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

_MOST_CALLS = 10_000


class Stopwatch:
    """Times calls on a device, queued work included.

    Args:
        device: where the work is done.
        at_least_s: calls are repeated until they take this long, so that the clock's grain and the
            cost of waiting for the device do not show.
    """

    def __init__(self, device: torch.device, at_least_s: float = 0.2) -> None:
        self._device = device
        self._at_least_s = at_least_s
        self._calls: dict[Callable[[], object], int] = {}

    def seconds(self, work: Callable[[], object]) -> float:
        """Return the seconds that a call takes, a mean over calls in a row.

        How many is found at the first time, which is a warm-up therefore.
        """
        if work not in self._calls:
            work()
            once = max(self._time(work, 1), 1e-9)
            self._calls[work] = max(1, min(_MOST_CALLS, round(self._at_least_s / once)))
        calls = self._calls[work]
        return self._time(work, calls) / calls

    def _time(self, work: Callable[[], object], calls: int) -> float:
        if self._device.type == "cuda":
            return self._time_cuda(work, calls)
        begin = time.perf_counter()
        for _ in range(calls):
            work()
        return time.perf_counter() - begin

    def _time_cuda(self, work: Callable[[], object], calls: int) -> float:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        torch.cuda.synchronize(self._device)
        begin.record(torch.cuda.current_stream(self._device))
        for _ in range(calls):
            work()
        end.record(torch.cuda.current_stream(self._device))
        torch.cuda.synchronize(self._device)
        milliseconds: float = begin.elapsed_time(end)
        return milliseconds / 1000.0
