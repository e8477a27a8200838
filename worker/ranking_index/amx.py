"""Products of the codes of queries and items by AMX, Intel's matrix instructions.

A tile register holds 16 rows of 64 bytes. One instruction (TDPBSSD) multiplies 16 queries by 16
items, 64 components of each: 16,384 products of bytes, where VPDPBUSD has 64. The items' codes lie
as it wants them. What matters besides is that they begin at a cache line: a row of a tile that
lies across two of them takes three times as long (docs/decisions/0010-ranking-on-cpu.md).

A process has to ask Linux for the registers once; each thread configures them before use, and
releases them so that the kernel need not save them.
"""

from __future__ import annotations

import ctypes
import platform
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from worker.ranking_index import llvm
from worker.ranking_index.llvm import LANES

QUERIES = 16
"""Queries of a tile."""
ITEMS = 64
"""Items that go through together: four tiles of sums."""
COMPONENTS = 64
"""Components of a tile: queries are filled up to a multiple of it with zeros."""
BEYOND = 16 * COMPONENTS
"""Bytes behind the codes of the last items that are loaded, and multiplied by zero."""

_SUMS, _OF_QUERIES, _OF_ITEMS = range(4), 4, (5, 6, 7)
"""Tile registers: of the sums of four blocks of items, of what is multiplied."""
_BLOCKS = len(_SUMS)
_ROW = 64
"""Bytes of a row of a tile."""

_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA = 158, 0x1023, 18
"""The system call on x86-64, ARCH_REQ_XCOMP_PERM and XFEATURE_XTILEDATA of Linux."""


@cache
def ready() -> bool:
    """Return whether this processor has AMX for bytes and Linux lets this process use it."""
    wanted = ("amx-tile", "amx-int8", "avx512f")
    if not all(llvm.CPU.get(feature, False) for feature in wanted):
        return False
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return False
    syscall = ctypes.CDLL(None).syscall
    return int(syscall(_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA)) == 0


def configuration() -> NDArray[np.uint8]:
    """Return what `configure` takes: palette 1, and eight registers of 16 rows of 64 bytes."""
    config = np.zeros(64, np.uint8)
    config[0] = 1
    config[16:32].view(np.uint16)[:] = _ROW
    config[48:56] = QUERIES
    return config


def _address(builder: Any, base: Any, offset: Any) -> Any:
    return llvm.at(builder, base, offset, llvm.I8)


def _tile(number: int) -> ir.Constant:
    return ir.Constant(llvm.I8, number)


def _call(builder: Any, name: str, *arguments: Any) -> None:
    llvm.call(builder, f"llvm.x86.{name}", ir.VoidType(), arguments)


@llvm.instructions
def configure(context: Any, config: Any) -> Any:
    """Have this thread use the tile registers, as `configuration` at this address (int64) says."""

    def code(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        _call(builder, "ldtilecfg", _address(builder, args[0], 0))
        return _context.get_dummy_value()

    return types.void(config), code


@llvm.instructions
def release(context: Any) -> Any:
    """Have this thread give up the tile registers."""

    def code(_context: Any, builder: Any, _signature: Any, _args: Any) -> Any:
        _call(builder, "tilerelease")
        return _context.get_dummy_value()

    return types.void(), code


@llvm.instructions
def multiply(context: Any, queries: Any, length: Any, items: Any, width: Any, sums: Any) -> Any:
    """Write the inner products of the codes of 16 queries and 64 items. All arguments are int64.

    Args:
        context: of typing.
        queries: address of codes, (QUERIES, length), int8.
        length: a multiple of `COMPONENTS`; what goes beyond the width is zero.
        items: address of codes, (ITEMS / LANES, width / 4, LANES, 4), int8, and `BEYOND` bytes.
        width: components, a multiple of 4.
        sums: address, of a cache line, for (QUERIES, ITEMS), int32.
    """

    def code(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        queries, length, items, width, sums = args
        for block in _SUMS:
            _call(builder, "tilezero", _tile(block))
        stride = llvm.number(_ROW)

        def step(i: Any, _now: list[Any]) -> list[Any]:
            at = _address(builder, queries, i)
            _call(builder, "tileloadd64", _tile(_OF_QUERIES), at, length)
            for block in _SUMS:
                tile = _tile(_OF_ITEMS[block % len(_OF_ITEMS)])
                row = builder.add(builder.mul(width, llvm.number(block)), i)
                here = builder.mul(row, llvm.number(LANES))
                _call(builder, "tileloadd64", tile, _address(builder, items, here), stride)
                _call(builder, "tdpbssd", _tile(block), _tile(_OF_QUERIES), tile)
            return []

        llvm.loop(builder, llvm.number(0), length, COMPONENTS, [], step)
        for block in _SUMS:
            at = _address(builder, sums, _ROW * block)
            _call(builder, "tilestored64", _tile(block), at, llvm.number(_ROW * _BLOCKS))
        return _context.get_dummy_value()

    return types.void(queries, length, items, width, sums), code


@llvm.instructions
def best_of_sums(context: Any, sums: Any, of_items: Any, stride: Any, best: Any) -> Any:
    """Raise for each query the largest product, item scale times sum, to that of these items.

    Items that are left out, of norm −∞, count for nothing. All arguments are int64, addresses but
    for the stride.

    Args:
        context: of typing.
        sums: (QUERIES, ITEMS), int32.
        of_items: first of (ITEMS,) scales, float32; the norms follow at a distance of stride.
        stride: bytes.
        best: (QUERIES,), float32, not NaN.
    """

    def code(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        sums, of_items, stride, best = args
        nothing = ir.Constant(llvm.FLOATS, [float("-inf")] * LANES)
        scales, there = [], []
        for block in _SUMS:
            at = builder.add(of_items, llvm.number(_ROW * block))
            scales.append(llvm.load(builder, at, 0, llvm.FLOATS))
            norms = llvm.load(builder, at, stride, llvm.FLOATS)
            there.append(builder.fcmp_ordered(">", norms, nothing))
        largest = []
        for query in range(QUERIES):
            so_far = nothing
            for block in _SUMS:
                at = _ROW * (_BLOCKS * query + block)
                product = builder.sitofp(llvm.load(builder, sums, at, llvm.INTS), llvm.FLOATS)
                product = builder.fmul(product, scales[block])
                product = builder.select(there[block], product, nothing)
                so_far = llvm.larger(builder, product, so_far)
            largest.append(so_far)
        value = _largest_of_each(builder, largest)
        now = llvm.load(builder, best, 0, llvm.FLOATS)
        llvm.store(builder, llvm.larger(builder, value, now), best, 0)
        return _context.get_dummy_value()

    return types.void(sums, of_items, stride, best), code


def _largest_of_each(builder: Any, vectors: list[Any]) -> Any:
    """Return a vector with the largest component of each of 16 vectors, in order.

    Two vectors become one at a time: its lanes hold a half of the one's and of the other's.
    """
    while len(vectors) > 1:
        half = len(vectors) // 2
        here = [lane for lane in range(LANES) if not lane & half]
        vectors = [
            llvm.larger(
                builder,
                _interleaved(builder, one, other, here, half, 0),
                _interleaved(builder, one, other, here, half, half),
            )
            for one, other in zip(vectors[:half], vectors[half:], strict=True)
        ]
    return vectors[0]


def _interleaved(builder: Any, one: Any, other: Any, here: list[int], half: int, shift: int) -> Any:
    """Return a vector of which the lanes `here` come from one, those `half` behind from another.

    Args:
        builder: where to write to.
        one: a vector.
        other: likewise.
        here: lanes.
        half: distance of the other's lanes.
        shift: how far behind it both are taken from.
    """
    places = [0] * LANES
    for lane in here:
        places[lane] = lane + shift
        places[lane + half] = LANES + lane + shift
    return builder.shuffle_vector(one, other, ir.Constant(ir.VectorType(llvm.I32, LANES), places))
