"""Products of the codes of queries and items, a tile at a time: the whole cost of the scan.

One instruction (VPDPBUSD of AVX-512 VNNI or AVX-VNNI) multiplies 64 pairs of bytes and adds them up
in fours; without it, the same is done in several (`_dot4`), and the results are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types

from worker.ranking_index import llvm
from worker.ranking_index.llvm import LANES

QUERIES = 6
"""Queries of a tile."""
_BLOCKS = 4
ITEMS = _BLOCKS * LANES
"""Items of a tile. Its 24 sums, with what is loaded, fill the 32 registers of AVX-512."""

ROUNDING_OF_ADDED = 2.0**-20
"""Bounds what float32 does to an amount that is added to a score, relative to it: 2^−24 in each of
a few operations, and some more to be safe."""

_WIDE_VNNI = llvm.CPU.get("avx512vnni", False) and llvm.CPU.get("avx512f", False)
_VNNI = _WIDE_VNNI or llvm.CPU.get("avxvnni", False)
_AVX2 = llvm.CPU.get("avx2", False)

QUERY_LEVELS = 63 if _AVX2 and not _VNNI else 127
"""Largest code of a query's component. AVX2 alone adds two products in 16 bits: 2 · 126 · 127 is
the most that fits."""
QUERY_SHIFT = QUERY_LEVELS + 1
"""Is added to a query's codes, which must not be negative."""


def instructions() -> str:
    """Return the name of what multiplies bytes on this CPU."""
    if _WIDE_VNNI:
        return "AVX-512 VNNI"
    if _VNNI:
        return "AVX-VNNI"
    return "AVX2" if _AVX2 else "generic"


def _dot4(builder: Any, sums: Any, query: Any, items: Any) -> Any:
    """Add to 16 sums the products of 4 bytes of a query, in each lane the same, and of 16 items."""
    if _WIDE_VNNI:
        return llvm.call(builder, "llvm.x86.avx512.vpdpbusd.512", llvm.INTS, [sums, query, items])
    if _VNNI or _AVX2:
        return _in_halves(builder, _half_vnni if _VNNI else _half_avx2, sums, query, items)
    return _dot4_generic(builder, sums, query, items)


def _in_halves(
    builder: Any, operation: Callable[[Any, Any, Any, Any], Any], sums: Any, query: Any, items: Any
) -> Any:
    parts = []
    for half in range(2):
        part = [
            llvm.part(builder, vector, half * (vector.type.count // 2), vector.type.count // 2)
            for vector in (sums, query, items)
        ]
        parts.append(operation(builder, *part))
    both = ir.Constant(ir.VectorType(llvm.I32, LANES), list(range(LANES)))
    return builder.shuffle_vector(parts[0], parts[1], both)


def _half_vnni(builder: Any, sums: Any, query: Any, items: Any) -> Any:
    return llvm.call(builder, "llvm.x86.avx512.vpdpbusd.256", sums.type, [sums, query, items])


def _half_avx2(builder: Any, sums: Any, query: Any, items: Any) -> Any:
    pairs = ir.VectorType(llvm.I16, 16)
    products = llvm.call(builder, "llvm.x86.avx2.pmadd.ub.sw", pairs, [query, items])
    ones = ir.Constant(pairs, [1] * 16)
    fours = llvm.call(builder, "llvm.x86.avx2.pmadd.wd", sums.type, [products, ones])
    return builder.add(sums, fours)


def _dot4_generic(builder: Any, sums: Any, query: Any, items: Any) -> Any:
    query, items = builder.bitcast(query, llvm.INTS), builder.bitcast(items, llvm.INTS)
    low = ir.Constant(llvm.INTS, [0xFF] * LANES)
    top = ir.Constant(llvm.INTS, [24] * LANES)
    for byte in range(4):
        up = ir.Constant(llvm.INTS, [24 - 8 * byte] * LANES)
        down = ir.Constant(llvm.INTS, [8 * byte] * LANES)
        ours = builder.and_(builder.lshr(query, down), low)
        theirs = builder.ashr(builder.shl(items, up), top)
        sums = builder.add(sums, builder.mul(ours, theirs))
    return sums


def _sums(builder: Any, queries: Any, items: Any, offsets: Any, width: Any) -> list[list[Any]]:
    """Return the inner products of a tile, [query][block]: a loop over four components at a time.

    Args:
        builder: where to write to.
        queries: address of the queries' codes, (QUERIES, width), unsigned.
        items: address of the items' codes, (_BLOCKS, width / 4, LANES, 4), signed.
        offsets: address of where the sums start, (ITEMS,), int32.
        width: components, a multiple of 4.
    """
    start = [llvm.load(builder, offsets, 4 * LANES * block, llvm.INTS) for block in range(_BLOCKS)]

    def step(i: Any, current: list[Any]) -> list[Any]:
        here = builder.mul(i, llvm.number(LANES))
        loaded = []
        for block in range(_BLOCKS):
            of_block = builder.mul(width, llvm.number(block * LANES))
            loaded.append(llvm.load(builder, items, builder.add(of_block, here), llvm.BYTES))
        new = []
        for query in range(QUERIES):
            of_query = builder.add(builder.mul(width, llvm.number(query)), i)
            four = builder.bitcast(
                llvm.splat(builder, llvm.load(builder, queries, of_query, llvm.I32)), llvm.BYTES
            )
            new += [
                _dot4(builder, current[query * _BLOCKS + block], four, loaded[block])
                for block in range(_BLOCKS)
            ]
        return new

    sums = llvm.loop(builder, llvm.number(0), width, 4, start * QUERIES, step)
    return [sums[query * _BLOCKS : (query + 1) * _BLOCKS] for query in range(QUERIES)]


@llvm.instructions
def score_tile(
    context: Any, queries: Any, bounds: Any, items: Any, offsets: Any, of_items: Any, stride: Any,
    width: Any, products: Any, masks: Any,
) -> Any:  # fmt: skip
    """Score a tile; say which items may be above the queries' thresholds.

    With the product p of the codes, item scale s, norm n and error r, and a query's E, M and
    threshold t, an item may be above if p·s + E·n + M·r ≥ t: see `worker.ranking_index.scan`.
    All arguments are int64, addresses but for two.

    Args:
        context: of typing.
        queries: codes, (QUERIES, width), uint8.
        bounds: E, M and t of each query, (QUERIES, 3), float32.
        items: codes of blocks, (ITEMS / LANES, width / 4, LANES, 4), int8.
        offsets: where the sums start, (ITEMS,), int32.
        of_items: first of (ITEMS,) scales, float32; norms and errors follow at distances of stride.
        stride: bytes.
        width: components, a multiple of 4.
        products: p·s go here, (QUERIES, ITEMS), float32.
        masks: a bit per item goes here, (QUERIES,), uint64.
    """

    def code(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        _write_tile(builder, args, None)
        return _context.get_dummy_value()

    signature = types.void(
        queries, bounds, items, offsets, of_items, stride, width, products, masks
    )
    return signature, code


@llvm.instructions
def score_raised_tile(
    context: Any, queries: Any, bounds: Any, items: Any, offsets: Any, of_items: Any, stride: Any,
    width: Any, products: Any, masks: Any, added: Any, inverses: Any,
) -> Any:  # fmt: skip
    """Do what `score_tile` does, with an amount of each item's own added to its score.

    With an amount b, and c = 1 / a of the query, the product p·s is p·s + c·b, and the slack is
    larger by `ROUNDING_OF_ADDED` |c·b|.

    Args:
        context: of typing.
        queries: as for `score_tile`, like all but the last two.
        bounds: as said.
        items: as said.
        offsets: as said.
        of_items: as said.
        stride: as said.
        width: as said.
        products: as said.
        masks: as said.
        added: b, (ITEMS,), float32.
        inverses: c, (QUERIES,), float32.
    """

    def code(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        _write_tile(builder, args[:-2], args[-2:])
        return _context.get_dummy_value()

    signature = types.void(
        queries, bounds, items, offsets, of_items, stride, width, products, masks, added, inverses
    )
    return signature, code


def _write_tile(builder: Any, args: Sequence[Any], raised: Sequence[Any] | None) -> None:
    """Write what `score_tile` does, or `score_raised_tile` where there are amounts to be added."""
    queries, bounds, items, offsets, of_items, stride, width, products, masks = args
    sums = _sums(builder, queries, items, offsets, width)
    twice = builder.add(stride, stride)
    for block in range(_BLOCKS):
        at = builder.add(of_items, llvm.number(4 * LANES * block))
        scale = llvm.load(builder, at, 0, llvm.FLOATS)
        norm = llvm.load(builder, at, stride, llvm.FLOATS)
        error = llvm.load(builder, at, twice, llvm.FLOATS)
        for query in range(QUERIES):
            e, m, t = (
                llvm.splat(builder, llvm.load(builder, bounds, 12 * query + 4 * c, llvm.F32))
                for c in range(3)
            )
            product = builder.fmul(builder.sitofp(sums[query][block], llvm.FLOATS), scale)
            slack = builder.fadd(builder.fmul(e, norm), builder.fmul(m, error))
            if raised is not None:
                more = llvm.load(builder, raised[0], 4 * LANES * block, llvm.FLOATS)
                inverse = llvm.splat(builder, llvm.load(builder, raised[1], 4 * query, llvm.F32))
                more = builder.fmul(more, inverse)
                product = builder.fadd(product, more)
                size = llvm.call(builder, f"llvm.fabs.v{LANES}f32", llvm.FLOATS, [more])
                rounding = llvm.splat(builder, ir.Constant(llvm.F32, ROUNDING_OF_ADDED))
                slack = builder.fadd(slack, builder.fmul(size, rounding))
            llvm.store(builder, product, products, 4 * (ITEMS * query + LANES * block))
            above = builder.fcmp_ordered(">=", builder.fadd(product, slack), t)
            bits = builder.bitcast(above, llvm.I16)
            llvm.store(builder, bits, masks, 8 * query + 2 * block)


def _largest(builder: Any, vector: Any) -> Any:
    """Return the largest component of a vector of floats without NaN."""
    lanes = vector.type.count
    while lanes > 1:
        lanes //= 2
        lower, upper = (llvm.part(builder, vector, start, lanes) for start in (0, lanes))
        vector = llvm.larger(builder, lower, upper)
    return builder.extract_element(vector, ir.Constant(llvm.I32, 0))


@llvm.instructions
def best_of_tile(
    context: Any, queries: Any, items: Any, offsets: Any, of_items: Any, stride: Any, width: Any,
    best: Any,
) -> Any:  # fmt: skip
    """Raise for each query the largest product p·s (see `score_tile`) to that of a tile's items.

    Items that are left out, of norm −∞, count for nothing. All arguments are int64, addresses but
    for two.

    Args:
        context: of typing.
        queries: codes, (QUERIES, width), uint8.
        items: codes of blocks, (ITEMS / LANES, width / 4, LANES, 4), int8.
        offsets: where the sums start, (ITEMS,), int32.
        of_items: first of (ITEMS,) scales, float32; the norms follow at a distance of stride.
        stride: bytes.
        width: components, a multiple of 4.
        best: (QUERIES,), float32, not NaN.
    """

    def code(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        queries, items, offsets, of_items, stride, width, best = args
        sums = _sums(builder, queries, items, offsets, width)
        nothing = ir.Constant(llvm.FLOATS, [float("-inf")] * LANES)
        largest = [nothing] * QUERIES
        for block in range(_BLOCKS):
            at = builder.add(of_items, llvm.number(4 * LANES * block))
            scale = llvm.load(builder, at, 0, llvm.FLOATS)
            there = builder.fcmp_ordered(">", llvm.load(builder, at, stride, llvm.FLOATS), nothing)
            for query in range(QUERIES):
                product = builder.fmul(builder.sitofp(sums[query][block], llvm.FLOATS), scale)
                product = builder.select(there, product, nothing)
                largest[query] = llvm.larger(builder, product, largest[query])
        for query in range(QUERIES):
            value = _largest(builder, largest[query])
            now = llvm.load(builder, best, 4 * query, llvm.F32)
            llvm.store(builder, llvm.larger(builder, value, now), best, 4 * query)
        return _context.get_dummy_value()

    return types.void(queries, items, offsets, of_items, stride, width, best), code
