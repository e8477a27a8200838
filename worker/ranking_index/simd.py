"""What the loops of the index are made of, as vector instructions written out in LLVM's own terms.

A compiler finds them only by luck, and here they are the whole cost. Two operations:

`score_tile` takes the inner products of `QUERIES` queries and `ITEMS` items in 8 bits, bounds each
product from above and compares the bound with the query's threshold. One instruction
(VPDPBUSD of AVX-512 VNNI or AVX-VNNI) multiplies 64 pairs of bytes and adds them up in fours;
without it, the same is done in several (`_dot4`), and the results are the same.

`inner_product` is one of float32 with a fixed order of additions: the same two vectors give the
same number wherever it is compiled into, so that equal items tie.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.extending import intrinsic

QUERIES = 6
"""Queries of a tile."""
LANES = 16
"""Items of a block: numbers of 32 bits in the widest register."""
_BLOCKS = 4
ITEMS = _BLOCKS * LANES
"""Items of a tile. Its 24 sums, with what is loaded, fill the 32 registers of AVX-512."""

ROUNDING_OF_ADDED = 2.0**-20
"""Bounds what float32 does to an amount that is added to a score, relative to it: 2^−24 in each of
a few operations, and some more to be safe."""

_CACHE_LINE = 64

_instructions: Callable[[Callable[..., Any]], Callable[..., Any]] = intrinsic
"""Makes a function that compiled code can call of one that writes LLVM instructions."""

_I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
_F32 = ir.FloatType()
_BYTES = ir.VectorType(_I8, 4 * LANES)
_INTS = ir.VectorType(_I32, LANES)
_FLOATS = ir.VectorType(_F32, LANES)


def _features() -> dict[str, bool]:
    try:
        return dict(binding.get_host_cpu_features())
    except RuntimeError:  # LLVM does not know how to ask this platform
        return {}


_CPU = _features()
_WIDE_VNNI = _CPU.get("avx512vnni", False) and _CPU.get("avx512f", False)
_VNNI = _WIDE_VNNI or _CPU.get("avxvnni", False)
_AVX2 = _CPU.get("avx2", False)

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


def _int(value: int) -> ir.Constant:
    return ir.Constant(_I64, value)


def _at(builder: Any, address: Any, offset: int | Any, kind: ir.Type) -> Any:
    if isinstance(offset, int):
        offset = _int(offset)
    return builder.inttoptr(builder.add(address, offset), kind.as_pointer())


def _load(builder: Any, address: Any, offset: int | Any, kind: ir.Type) -> Any:
    return builder.load(_at(builder, address, offset, kind), align=1)


def _store(builder: Any, value: Any, address: Any, offset: int | Any) -> None:
    builder.store(value, _at(builder, address, offset, value.type), align=1)


def _splat(builder: Any, scalar: Any, lanes: int = LANES) -> Any:
    vector = ir.VectorType(scalar.type, lanes)
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(_I32, 0))
    zeros = ir.Constant(ir.VectorType(_I32, lanes), [0] * lanes)
    return builder.shuffle_vector(first, undefined, zeros)


def _call(builder: Any, name: str, result: ir.Type, arguments: Sequence[Any]) -> Any:
    function = builder.module.globals.get(name)
    if function is None:
        kind = ir.FunctionType(result, [argument.type for argument in arguments])
        function = ir.Function(builder.module, kind, name)
    return builder.call(function, arguments)


def _dot4(builder: Any, sums: Any, query: Any, items: Any) -> Any:
    """Add to 16 sums the products of 4 bytes of a query, in each lane the same, and of 16 items."""
    if _WIDE_VNNI:
        return _call(builder, "llvm.x86.avx512.vpdpbusd.512", _INTS, [sums, query, items])
    if _VNNI or _AVX2:
        return _in_halves(builder, _half_vnni if _VNNI else _half_avx2, sums, query, items)
    return _dot4_generic(builder, sums, query, items)


def _in_halves(
    builder: Any, operation: Callable[[Any, Any, Any, Any], Any], sums: Any, query: Any, items: Any
) -> Any:
    parts = []
    for half in range(2):
        part = [
            _slice(builder, vector, half * (vector.type.count // 2), vector.type.count // 2)
            for vector in (sums, query, items)
        ]
        parts.append(operation(builder, *part))
    both = ir.Constant(ir.VectorType(_I32, LANES), list(range(LANES)))
    return builder.shuffle_vector(parts[0], parts[1], both)


def _slice(builder: Any, vector: Any, start: int, count: int) -> Any:
    places = ir.Constant(ir.VectorType(_I32, count), list(range(start, start + count)))
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), places)


def _half_vnni(builder: Any, sums: Any, query: Any, items: Any) -> Any:
    return _call(builder, "llvm.x86.avx512.vpdpbusd.256", sums.type, [sums, query, items])


def _half_avx2(builder: Any, sums: Any, query: Any, items: Any) -> Any:
    pairs = ir.VectorType(_I16, 16)
    products = _call(builder, "llvm.x86.avx2.pmadd.ub.sw", pairs, [query, items])
    ones = ir.Constant(pairs, [1] * 16)
    fours = _call(builder, "llvm.x86.avx2.pmadd.wd", sums.type, [products, ones])
    return builder.add(sums, fours)


def _dot4_generic(builder: Any, sums: Any, query: Any, items: Any) -> Any:
    query, items = builder.bitcast(query, _INTS), builder.bitcast(items, _INTS)
    low = ir.Constant(_INTS, [0xFF] * LANES)
    top = ir.Constant(_INTS, [24] * LANES)
    for byte in range(4):
        up = ir.Constant(_INTS, [24 - 8 * byte] * LANES)
        down = ir.Constant(_INTS, [8 * byte] * LANES)
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
    start = [_load(builder, offsets, 4 * LANES * block, _INTS) for block in range(_BLOCKS)]

    def step(i: Any, current: list[Any]) -> list[Any]:
        here = builder.mul(i, _int(LANES))
        loaded = []
        for block in range(_BLOCKS):
            of_block = builder.mul(width, _int(block * LANES))
            loaded.append(_load(builder, items, builder.add(of_block, here), _BYTES))
        new = []
        for query in range(QUERIES):
            of_query = builder.add(builder.mul(width, _int(query)), i)
            four = builder.bitcast(_splat(builder, _load(builder, queries, of_query, _I32)), _BYTES)
            new += [
                _dot4(builder, current[query * _BLOCKS + block], four, loaded[block])
                for block in range(_BLOCKS)
            ]
        return new

    sums = _loop(builder, _int(0), width, 4, start * QUERIES, step)
    return [sums[query * _BLOCKS : (query + 1) * _BLOCKS] for query in range(QUERIES)]


@_instructions
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


@_instructions
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
        at = builder.add(of_items, _int(4 * LANES * block))
        scale = _load(builder, at, 0, _FLOATS)
        norm = _load(builder, at, stride, _FLOATS)
        error = _load(builder, at, twice, _FLOATS)
        for query in range(QUERIES):
            e, m, t = (
                _splat(builder, _load(builder, bounds, 12 * query + 4 * c, _F32)) for c in range(3)
            )
            product = builder.fmul(builder.sitofp(sums[query][block], _FLOATS), scale)
            slack = builder.fadd(builder.fmul(e, norm), builder.fmul(m, error))
            if raised is not None:
                more = _load(builder, raised[0], 4 * LANES * block, _FLOATS)
                inverse = _splat(builder, _load(builder, raised[1], 4 * query, _F32))
                more = builder.fmul(more, inverse)
                product = builder.fadd(product, more)
                size = _call(builder, f"llvm.fabs.v{LANES}f32", _FLOATS, [more])
                rounding = _splat(builder, ir.Constant(_F32, ROUNDING_OF_ADDED))
                slack = builder.fadd(slack, builder.fmul(size, rounding))
            _store(builder, product, products, 4 * (ITEMS * query + LANES * block))
            above = builder.fcmp_ordered(">=", builder.fadd(product, slack), t)
            bits = builder.bitcast(above, _I16)
            _store(builder, bits, masks, 8 * query + 2 * block)


_AT_ONCE = 4


@_instructions
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
        zero = ir.Constant(_FLOATS, [0.0] * LANES)
        step = LANES * _AT_ONCE
        wide = builder.and_(width, _int(-step))
        sums = _product_loop(builder, a, b, _int(0), wide, [zero] * _AT_ONCE)
        total = builder.fadd(builder.fadd(sums[0], sums[1]), builder.fadd(sums[2], sums[3]))
        blocks = builder.and_(width, _int(-LANES))
        (total,) = _product_loop(builder, a, b, wide, blocks, [total])
        lanes = LANES
        while lanes > 1:
            lanes //= 2
            lower, upper = (_slice(builder, total, start, lanes) for start in (0, lanes))
            total = builder.fadd(lower, upper)
        scalar = builder.extract_element(total, ir.Constant(_I32, 0))
        (scalar,) = _product_loop(builder, a, b, blocks, width, [scalar])
        return scalar

    return types.float32(a, b, width), code


@_instructions
def prefetch(context: Any, address: Any, size: Any) -> Any:
    """Send for `size` bytes at an address, int64 both, which need not be a valid one."""

    def code(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        address, size = args
        flags = [ir.Constant(_I32, flag) for flag in (0, 3, 1)]  # read, keep close, data

        def line(offset: Any, _now: list[Any]) -> list[Any]:
            pointer = builder.inttoptr(builder.add(address, offset), _I8.as_pointer())
            _call(builder, "llvm.prefetch.p0", ir.VoidType(), [pointer, *flags])
            return []

        _loop(builder, _int(0), size, _CACHE_LINE, [], line)
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
            at = builder.mul(builder.add(i, _int(place * width)), _int(4))
            pair = [_load(builder, address, at, kind) for address in (a, b)]
            new.append(_call(builder, name, kind, [*pair, total]))
        return new

    return _loop(builder, start, stop, width * len(sums), sums, step)


def _loop(
    builder: Any, start: Any, stop: Any, step: int, values: Sequence[Any],
    body: Callable[[Any, list[Any]], list[Any]],
) -> list[Any]:  # fmt: skip
    """Go from start up to stop in steps; the body makes new values of an index and the values."""
    before = builder.block
    head, inside, after = (builder.append_basic_block(name) for name in ("head", "body", "after"))
    builder.branch(head)
    builder.position_at_end(head)
    i = builder.phi(_I64)
    i.add_incoming(start, before)
    current = [builder.phi(value.type) for value in values]
    for phi, value in zip(current, values, strict=True):
        phi.add_incoming(value, before)
    builder.cbranch(builder.icmp_signed("<", i, stop), inside, after)
    builder.position_at_end(inside)
    for phi, value in zip(current, body(i, list(current)), strict=True):
        phi.add_incoming(value, builder.block)
    i.add_incoming(builder.add(i, _int(step)), builder.block)
    builder.branch(head)
    builder.position_at_end(after)
    return current


@_instructions
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
        row = builder.mul(width, _int(4))

        def of_lanes(lane: Any) -> None:
            place = builder.mul(lane, _int(4))
            start = _load(builder, outputs, place, _FLOATS)

            def step(i: Any, total: Any) -> Any:
                scalar = _load(builder, inputs, builder.mul(i, _int(4)), _F32)
                at = builder.add(builder.mul(i, row), place)
                pair = [_splat(builder, scalar), _load(builder, weights, at, _FLOATS)]
                return _call(builder, "llvm.fma.v16f32", _FLOATS, [*pair, total])

            (total,) = _loop(builder, _int(0), count, 1, [start], lambda i, now: [step(i, now[0])])
            _store(builder, total, outputs, place)

        def lanes(lane: Any, _now: list[Any]) -> list[Any]:
            of_lanes(lane)
            return []

        _loop(builder, _int(0), width, LANES, [], lanes)
        return _context.get_dummy_value()

    return types.void(inputs, count, weights, outputs, width), code
