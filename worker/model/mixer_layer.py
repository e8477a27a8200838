"""The mixer's hidden layer and output for one candidate, as vector instructions, in registers."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from worker.item_memory.kernels import FEATURES
from worker.ranking_index import llvm
from worker.ranking_index.llvm import LANES

NUMBERS = len(FEATURES) + 2
"""Numbers of a candidate."""

_ROOT_HALF = 0.7071067811865476
_ERF_LIMIT = 4.0
_ODD = (
    -2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05,
    -7.34990630326855e-04, -2.95459980854025e-03, -1.60960333262415e-02,
)  # fmt: skip
_EVEN = (
    -1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03, -7.37332916720468e-03,
    -1.42647390514189e-02,
)  # fmt: skip


def _constant(value: float) -> ir.Constant:
    return ir.Constant(llvm.FLOATS, [value] * LANES)


def _fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    return llvm.call(builder, "llvm.fma.v16f32", llvm.FLOATS, [a, b, c])


def _polynomial(builder: Any, x: Any, coefficients: tuple[float, ...]) -> Any:
    value: Any = _constant(coefficients[0])
    for coefficient in coefficients[1:]:
        value = _fma(builder, value, x, _constant(coefficient))
    return value


def _gelu(builder: Any, x: Any) -> Any:
    """Return x·(1 + erf(x/√2))/2.

    erf is the rational approximation of the Eigen library, x·P(x²)/Q(x²) within ±4: its error is
    some units in the last place.
    """
    limit = _constant(_ERF_LIMIT)
    y = builder.fmul(x, _constant(_ROOT_HALF))
    y = builder.select(builder.fcmp_ordered("<", y, limit), y, limit)
    y = llvm.larger(builder, y, _constant(-_ERF_LIMIT))
    square = builder.fmul(y, y)
    top = builder.fmul(y, _polynomial(builder, square, _ODD))
    erf = builder.fdiv(top, _polynomial(builder, square, _EVEN))
    half = builder.fmul(x, _constant(0.5))
    return _fma(builder, half, erf, half)


@llvm.instructions
def gelu_output(
    context: Any, numbers: Any, weights: Any, of_user: Any, of_recency: Any, of_link: Any,
    output: Any, width: Any,
) -> Any:  # fmt: skip
    """Return the output layer's sum over GELU of the hidden layer, float32, without its bias.

    All arguments are int64, addresses of float32 but for the last.

    Args:
        context: of typing.
        numbers: of the candidate, (NUMBERS,).
        weights: of the numbers, (NUMBERS, width).
        of_user: what the user and the bias add to the hidden layer, (width,).
        of_recency: what the candidate's place adds, (width,).
        of_link: what the place of its link adds, (width,).
        output: weights of the output layer, (width,).
        width: hidden width, a multiple of `LANES`.
    """

    def code(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        numbers, weights, of_user, of_recency, of_link, output, width = args
        inputs = [
            llvm.splat(builder, llvm.load(builder, numbers, 4 * i, llvm.F32))
            for i in range(NUMBERS)
        ]
        row = builder.mul(width, llvm.number(4))

        def step(lane: Any, now: list[Any]) -> list[Any]:
            at = builder.mul(lane, llvm.number(4))
            parts = [
                llvm.load(builder, address, at, llvm.FLOATS)
                for address in (of_user, of_recency, of_link)
            ]
            # Two sums: each addition waits for the one before it.
            sums = [builder.fadd(parts[0], parts[1]), parts[2]]
            for i, value in enumerate(inputs):
                place = builder.add(builder.mul(row, llvm.number(i)), at)
                weight = llvm.load(builder, weights, place, llvm.FLOATS)
                sums[i % 2] = _fma(builder, value, weight, sums[i % 2])
            active = _gelu(builder, builder.fadd(*sums))
            return [_fma(builder, llvm.load(builder, output, at, llvm.FLOATS), active, now[0])]

        (total,) = llvm.loop(builder, llvm.number(0), width, LANES, [_constant(0.0)], step)
        return llvm.sum_of(builder, total)

    return types.float32(numbers, weights, of_user, of_recency, of_link, output, width), code
