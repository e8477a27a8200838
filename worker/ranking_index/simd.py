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
        scalar = llvm.sum_of(builder, total)
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
