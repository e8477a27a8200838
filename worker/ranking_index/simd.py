"""Loops over numbers in float32 as vector instructions: see `worker.ranking_index.llvm`.

`inner_product` has a fixed order of additions: the same two vectors give the same number wherever
it is compiled into, so that equal items tie.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types

from worker.ranking_index import llvm
from worker.ranking_index.llvm import LANES

_CACHE_LINE = 64
_AT_ONCE = 4


@llvm.instructions
def inner_product(context: Any, a: Any, b: Any, width: Any) -> Any:
    """Return the inner product of two float32 vectors, added up in an order fixed by their width.

    Args:
        context: of typing.
        a: address, int64.
        b: address, int64.
        width: components, int64.
    """

    def code(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        a, b, width = args
        zero = ir.Constant(llvm.FLOATS, [0.0] * LANES)
        step = LANES * _AT_ONCE
        wide = builder.and_(width, llvm.number(-step))
        sums = _product_loop(builder, a, b, llvm.number(0), wide, [zero] * _AT_ONCE)
        total = builder.fadd(builder.fadd(sums[0], sums[1]), builder.fadd(sums[2], sums[3]))
        blocks = builder.and_(width, llvm.number(-LANES))
        (total,) = _product_loop(builder, a, b, wide, blocks, [total])
        lanes = LANES
        while lanes > 1:
            lanes //= 2
            lower, upper = (llvm.part(builder, total, start, lanes) for start in (0, lanes))
            total = builder.fadd(lower, upper)
        scalar = builder.extract_element(total, ir.Constant(llvm.I32, 0))
        (scalar,) = _product_loop(builder, a, b, blocks, width, [scalar])
        return scalar

    return types.float32(a, b, width), code


@llvm.instructions
def prefetch(context: Any, address: Any, size: Any) -> Any:
    """Send for `size` bytes at an address, int64 both, which need not be a valid one."""

    def code(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        address, size = args
        flags = [ir.Constant(llvm.I32, flag) for flag in (0, 3, 1)]  # read, keep close, data

        def line(offset: Any, _now: list[Any]) -> list[Any]:
            pointer = builder.inttoptr(builder.add(address, offset), llvm.I8.as_pointer())
            llvm.call(builder, "llvm.prefetch.p0", ir.VoidType(), [pointer, *flags])
            return []

        llvm.loop(builder, llvm.number(0), size, _CACHE_LINE, [], line)
        return _context.get_dummy_value()

    return types.void(address, size), code


def _product_loop(
    builder: Any, a: Any, b: Any, start: Any, stop: Any, sums: Sequence[Any]
) -> list[Any]:
    """Add products of components start, …, stop − 1 to sums, each as wide as the sums are."""
    kind = sums[0].type
    width = kind.count if isinstance(kind, ir.VectorType) else 1
    name = f"llvm.fma.v{width}f32" if width > 1 else "llvm.fma.f32"

    def step(i: Any, current: list[Any]) -> list[Any]:
        new = []
        for place, total in enumerate(current):
            at = builder.mul(builder.add(i, llvm.number(place * width)), llvm.number(4))
            pair = [llvm.load(builder, address, at, kind) for address in (a, b)]
            new.append(llvm.call(builder, name, kind, [*pair, total]))
        return new

    return llvm.loop(builder, start, stop, width * len(sums), sums, step)


@llvm.instructions
def add_product(
    context: Any, inputs: Any, count: Any, weights: Any, outputs: Any, width: Any
) -> Any:
    """Add inputs (count,) times weights (count, width) to outputs (width,), all float32.

    Args:
        context: of typing.
        inputs: address, int64.
        count: of inputs, int64.
        weights: address, int64.
        outputs: address, int64.
        width: a multiple of `LANES`, int64.
    """

    def code(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        inputs, count, weights, outputs, width = args
        row = builder.mul(width, llvm.number(4))

        def of_lanes(lane: Any) -> None:
            place = builder.mul(lane, llvm.number(4))
            start = llvm.load(builder, outputs, place, llvm.FLOATS)

            def step(i: Any, total: Any) -> Any:
                scalar = llvm.load(builder, inputs, builder.mul(i, llvm.number(4)), llvm.F32)
                at = builder.add(builder.mul(i, row), place)
                pair = [llvm.splat(builder, scalar), llvm.load(builder, weights, at, llvm.FLOATS)]
                return llvm.call(builder, "llvm.fma.v16f32", llvm.FLOATS, [*pair, total])

            (total,) = llvm.loop(
                builder, llvm.number(0), count, 1, [start], lambda i, now: [step(i, now[0])]
            )
            llvm.store(builder, total, outputs, place)

        def lanes(lane: Any, _now: list[Any]) -> list[Any]:
            of_lanes(lane)
            return []

        llvm.loop(builder, llvm.number(0), width, LANES, [], lanes)
        return _context.get_dummy_value()

    return types.void(inputs, count, weights, outputs, width), code
