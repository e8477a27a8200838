"""Bounds of groups of items, for 16 queries at once: a lane of a vector each."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from worker.ranking_index import llvm
from worker.ranking_index.llvm import LANES

HALVINGS = 14
"""Of the interval in which a threshold is sought: what is left of it is a 16,384th."""

_STEP = 4 * LANES
"""Bytes of a number for each query."""
_LIMITS = np.finfo(np.float32)


def _splat(builder: Any, address: Any, group: Any) -> Any:
    """Return a group's own number for all queries."""
    return llvm.splat(builder, llvm.load(builder, address, _times(builder, group, 4), llvm.F32))


def _times(builder: Any, index: Any, size: int) -> Any:
    return builder.mul(index, llvm.number(size))


@llvm.instructions
def spread(
    context: Any, best: Any, groups: Any, norms: Any, errors: Any, of_norm: Any, of_error: Any,
    lower: Any,
) -> Any:  # fmt: skip
    """Write lower bounds, best − (E·n + M·r), and turn best into upper ones, best + (E·n + M·r).

    All arguments are int64, addresses but for one.

    Args:
        context: of typing.
        best: (groups, LANES), float32.
        groups: how many.
        norms: n, (groups,), float32.
        errors: r, (groups,), float32.
        of_norm: E, (LANES,), float32.
        of_error: M, (LANES,), float32.
        lower: (groups, LANES), float32.
    """

    def code(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        best, groups, norms, errors, of_norm, of_error, lower = args
        e, m = (llvm.load(builder, address, 0, llvm.FLOATS) for address in (of_norm, of_error))

        def step(g: Any, _now: list[Any]) -> list[Any]:
            of_n = builder.fmul(e, _splat(builder, norms, g))
            slack = builder.fadd(of_n, builder.fmul(m, _splat(builder, errors, g)))
            at = _times(builder, g, _STEP)
            value = llvm.load(builder, best, at, llvm.FLOATS)
            llvm.store(builder, builder.fsub(value, slack), lower, at)
            llvm.store(builder, builder.fadd(value, slack), best, at)
            return []

        llvm.loop(builder, llvm.number(0), groups, 1, [], step)
        return _context.get_dummy_value()

    return types.void(best, groups, norms, errors, of_norm, of_error, lower), code


@llvm.instructions
def reached(context: Any, values: Any, groups: Any, k: Any, limits: Any) -> Any:
    """Write for each query a number that at least k of its values reach, or −∞ if there is none.

    The number is close to the k-th largest value: found by halving what lies between the smallest
    and the largest. All arguments are int64, addresses but for two.

    Args:
        context: of typing.
        values: (groups, LANES), float32; −∞ counts for nothing.
        groups: how many.
        k: how many are to reach it.
        limits: (LANES,), float32.
    """

    def code(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        values, groups, k, limits = args
        lowest, highest, zero, one, half, none = (
            ir.Constant(llvm.FLOATS, [value] * LANES)
            for value in (float(_LIMITS.min), float(_LIMITS.max), 0.0, 1.0, 0.5, float("-inf"))
        )
        wanted = llvm.splat(builder, builder.sitofp(k, llvm.F32))

        def count(total: Any, value: Any, limit: Any) -> Any:
            more = builder.select(builder.fcmp_ordered(">=", value, limit), one, zero)
            return builder.fadd(total, more)

        def look(g: Any, now: list[Any]) -> list[Any]:
            least, largest, there = now
            value = llvm.load(builder, values, _times(builder, g, _STEP), llvm.FLOATS)
            finite = builder.fcmp_ordered(">=", value, lowest)
            smallest = builder.select(finite, value, highest)
            return [
                builder.select(builder.fcmp_ordered("<", smallest, least), smallest, least),
                llvm.larger(builder, value, largest),
                count(there, value, lowest),
            ]

        least, largest, there = llvm.loop(
            builder, llvm.number(0), groups, 1, [highest, lowest, zero], look
        )

        def halve(_turn: Any, now: list[Any]) -> list[Any]:
            low, high = now
            middle = builder.fmul(half, builder.fadd(low, high))

            def above(g: Any, totals: list[Any]) -> list[Any]:
                value = llvm.load(builder, values, _times(builder, g, _STEP), llvm.FLOATS)
                return [count(totals[0], value, middle)]

            (total,) = llvm.loop(builder, llvm.number(0), groups, 1, [zero], above)
            enough = builder.fcmp_ordered(">=", total, wanted)
            return [builder.select(enough, middle, low), builder.select(enough, high, middle)]

        low, _ = llvm.loop(
            builder, llvm.number(0), llvm.number(HALVINGS), 1, [least, largest], halve
        )
        enough = builder.fcmp_ordered(">=", there, wanted)
        llvm.store(builder, builder.select(enough, low, none), limits, 0)
        return _context.get_dummy_value()

    return types.void(values, groups, k, limits), code


@llvm.instructions
def which_reach(context: Any, values: Any, limits: Any) -> Any:
    """Return a bit for each of 16 values at an address that is at least its limit, likewise.

    Args:
        context: of typing.
        values: address, int64, of (LANES,) float32.
        limits: address, int64, of (LANES,) float32.
    """

    def code(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        value, limit = (llvm.load(builder, address, 0, llvm.FLOATS) for address in args)
        bits = builder.bitcast(builder.fcmp_ordered(">=", value, limit), llvm.I16)
        return builder.zext(bits, llvm.I64)

    return types.uint64(values, limits), code
