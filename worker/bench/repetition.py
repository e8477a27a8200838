"""Repetition: variants take turns in one run, so that what else goes on hits all alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

_ValueT = TypeVar("_ValueT")


def alternate(
    variants: Mapping[str, Callable[[], _ValueT]], repeats: int, *, warm_up: int = 1
) -> dict[str, list[_ValueT]]:
    """Measure variants in turns and return what each gave, by name, the warm-up left out.

    Each round calls every variant once, each time beginning with another one, so that none always
    runs in the wake of the same.

    Args:
        variants: each measures itself once.
        repeats: rounds that count.
        warm_up: rounds before, whose values are dropped.
    """
    names = list(variants)
    values: dict[str, list[_ValueT]] = {name: [] for name in names}
    for turn in range(warm_up + repeats):
        first = turn % len(names) if names else 0
        for name in names[first:] + names[:first]:
            value = variants[name]()
            if turn >= warm_up:
                values[name].append(value)
    return values
