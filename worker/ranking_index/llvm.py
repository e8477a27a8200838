"""LLVM instructions, written out: for loops that a compiler turns into vector code only by luck."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import binding, ir
from numba.extending import intrinsic

LANES = 16
"""Numbers of 32 bits in the widest register."""

instructions: Callable[[Callable[..., Any]], Callable[..., Any]] = intrinsic
"""Makes a function that compiled code can call of one that writes LLVM instructions."""

I8, I16, I32, I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
F32 = ir.FloatType()
BYTES = ir.VectorType(I8, 4 * LANES)
INTS = ir.VectorType(I32, LANES)
FLOATS = ir.VectorType(F32, LANES)


def _features() -> dict[str, bool]:
    try:
        return dict(binding.get_host_cpu_features())
    except RuntimeError:  # LLVM does not know how to ask this platform
        return {}


CPU = _features()
"""What this processor can do, by LLVM's names."""


def number(value: int) -> ir.Constant:
    """Return a constant of 64 bits."""
    return ir.Constant(I64, value)


def at(builder: Any, address: Any, offset: int | Any, kind: ir.Type) -> Any:
    """Return the pointer to what lies at an address and an offset, bytes both."""
    if isinstance(offset, int):
        offset = number(offset)
    return builder.inttoptr(builder.add(address, offset), kind.as_pointer())


def load(builder: Any, address: Any, offset: int | Any, kind: ir.Type) -> Any:
    """Return what lies at an address and an offset; it need not be aligned."""
    return builder.load(at(builder, address, offset, kind), align=1)


def store(builder: Any, value: Any, address: Any, offset: int | Any) -> None:
    """Write a value to an address and an offset; it need not be aligned."""
    builder.store(value, at(builder, address, offset, value.type), align=1)


def splat(builder: Any, scalar: Any, lanes: int = LANES) -> Any:
    """Return a vector of one scalar."""
    vector = ir.VectorType(scalar.type, lanes)
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(I32, 0))
    zeros = ir.Constant(ir.VectorType(I32, lanes), [0] * lanes)
    return builder.shuffle_vector(first, undefined, zeros)


def call(builder: Any, name: str, result: ir.Type, arguments: Sequence[Any]) -> Any:
    """Call one of LLVM's intrinsics by its name."""
    function = builder.module.globals.get(name)
    if function is None:
        kind = ir.FunctionType(result, [argument.type for argument in arguments])
        function = ir.Function(builder.module, kind, name)
    return builder.call(function, arguments)


def larger(builder: Any, a: Any, b: Any) -> Any:
    """Return the larger of two numbers, or of each two of vectors; b where they cannot be told."""
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


def part(builder: Any, vector: Any, start: int, count: int) -> Any:
    """Return so many components of a vector, from `start` on."""
    places = ir.Constant(ir.VectorType(I32, count), list(range(start, start + count)))
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), places)


def sum_of(builder: Any, vector: Any) -> Any:
    """Return the sum of a vector's components, added up in a fixed order."""
    lanes = vector.type.count
    while lanes > 1:
        lanes //= 2
        vector = builder.fadd(*(part(builder, vector, start, lanes) for start in (0, lanes)))
    return builder.extract_element(vector, ir.Constant(I32, 0))


def loop(
    builder: Any, start: Any, stop: Any, step: int, values: Sequence[Any],
    body: Callable[[Any, list[Any]], list[Any]],
) -> list[Any]:  # fmt: skip
    """Go from start up to stop in steps; the body makes new values of an index and the values."""
    before = builder.block
    head, inside, after = (builder.append_basic_block(name) for name in ("head", "body", "after"))
    builder.branch(head)
    builder.position_at_end(head)
    i = builder.phi(I64)
    i.add_incoming(start, before)
    current = [builder.phi(value.type) for value in values]
    for phi, value in zip(current, values, strict=True):
        phi.add_incoming(value, before)
    builder.cbranch(builder.icmp_signed("<", i, stop), inside, after)
    builder.position_at_end(inside)
    for phi, value in zip(current, body(i, list(current)), strict=True):
        phi.add_incoming(value, builder.block)
    i.add_incoming(builder.add(i, number(step)), builder.block)
    builder.branch(head)
    builder.position_at_end(after)
    return current
