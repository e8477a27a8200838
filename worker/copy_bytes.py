"""Copying bytes in compiled code, by LLVM's own `memcpy`.

A loop over an array's elements is not made into one: any index might count from the end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_instructions: Callable[[Callable[..., Any]], Callable[..., Any]] = intrinsic


@_instructions
def copy_bytes(context: Any, target: Any, source: Any, count: Any) -> Any:
    """Copy `count` bytes from an address to another, all int64; they must not overlap."""

    def code(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        target, source, count = args
        pointer, flag = ir.IntType(8).as_pointer(), ir.IntType(1)
        name = "llvm.memcpy.p0.p0.i64"
        function = builder.module.globals.get(name)
        if function is None:
            kind = ir.FunctionType(ir.VoidType(), [pointer, pointer, ir.IntType(64), flag])
            function = ir.Function(builder.module, kind, name)
        ends = [builder.inttoptr(address, pointer) for address in (target, source)]
        builder.call(function, [*ends, count, ir.Constant(flag, 0)])
        return _context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), code
