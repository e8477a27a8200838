"""Int8 for CPUs: weights per column, activations per row (token), both symmetric.

For activations X (tokens, inner) and weights W (inner, columns), with s_i = max_k |X_ik| / 127 and
t_j = max_k |W_kj| / 63:

    X W ≈ s_i t_j Σ_k round(X_ik / s_i) round(W_kj / t_j)

the scheme of Dettmers et al., LLM.int8() (2022), without its outlier part. A row's scale comes
from that row alone, so a text's vector does not depend on the texts it shares a batch with.
`onnxruntime.quantization.quantize_dynamic` takes one scale for the whole batch, so there it does
(docs/decisions/0002-text-encoder-on-cpu.md has the figures).

Weights take 7 bits: x86 CPUs without VNNI add pairs of 8-bit products in 16 bits, which saturate
with 8-bit weights (255 · 127 · 2 > 32,767) and cannot with 7 (255 · 63 · 2 = 32,130). So the
integer sums are exact, and equal, on every CPU.

Embedding tables are stored as int8 with one scale per row. Only standard ONNX operators are used.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from schemas.errors import EncoderError

WEIGHT_LEVELS = 63
_ROW_LEVELS = 127
_ZERO_POINT = 128
_SMALLEST_SCALE = 1e-10
_MIN_TABLE_ROWS = 1024


def quantize(source: Path, target: Path) -> int:
    """Write the int8 form of a float32 graph; return how many matrix products became int8.

    Raises:
        EncoderError: the graph has no matrix product with constant weights.
    """
    quantizer = _Quantizer(onnx.load(source))
    model = quantizer.run()
    if not quantizer.products:
        raise EncoderError(
            "the exported graph has no matrix products with constant weights to take to int8;"
            " export with --no-int8"
        )
    onnx.checker.check_model(model)
    onnx.save(model, target)
    return quantizer.products


class _Quantizer:
    """Rewrites one graph: its nodes in order, its constants as they come to be needed."""

    def __init__(self, model: ModelProto) -> None:
        self.model = model
        self.constants = {item.name: item for item in model.graph.initializer}
        self.nodes: list[NodeProto] = []
        self.rows: dict[str, tuple[str, str]] = {}
        """Activation → its int8 rows and their scales: query, key and value share one."""
        self.products = 0

    def run(self) -> ModelProto:
        graph = self.model.graph
        self._constant("int8.zero_point", np.array(_ZERO_POINT, np.uint8))
        self._constant("int8.one", np.array(1, np.float32))
        self._constant("int8.row_levels", np.array(_ROW_LEVELS, np.float32))
        self._constant("int8.smallest_scale", np.array(_SMALLEST_SCALE, np.float32))
        self._constant("int8.last_axis", np.array([-1], np.int64))
        for node in graph.node:
            if node.op_type == "MatMul" and self._is_matrix(node.input[1]):
                self._product(node)
            elif node.op_type == "Gather" and self._is_table(node):
                self._table(node)
            else:
                self.nodes.append(node)
        used = {name for node in self.nodes for name in node.input}
        used |= {output.name for output in graph.output}
        del graph.node[:], graph.initializer[:], graph.value_info[:]
        graph.node.extend(self.nodes)
        graph.initializer.extend(item for name, item in self.constants.items() if name in used)
        return self.model

    def _product(self, node: NodeProto) -> None:
        activation, weight_name = node.input
        output = node.output[0]
        rows, row_scales = self._rows(activation)
        weights, scales = _symmetric(self._array(weight_name), 0, WEIGHT_LEVELS)
        self._constant(f"{weight_name}.int8", weights)
        self._constant(f"{weight_name}.scales", scales[0])
        self._add("MatMulInteger", [rows, f"{weight_name}.int8", "int8.zero_point"], f"{output}.i")
        self._add("Cast", [f"{output}.i"], f"{output}.f", to=TensorProto.FLOAT)
        self._add("Mul", [f"{output}.f", row_scales], f"{output}.r")
        self._add("Mul", [f"{output}.r", f"{weight_name}.scales"], output)
        self.products += 1

    def _rows(self, activation: str) -> tuple[str, str]:
        if activation not in self.rows:
            rows, scales = f"{activation}.int8", f"{activation}.scales"
            self._add("Abs", [activation], f"{rows}.abs")
            self._add("ReduceMax", [f"{rows}.abs", "int8.last_axis"], f"{rows}.max", keepdims=1)
            self._add("Div", [f"{rows}.max", "int8.row_levels"], f"{rows}.scale")
            self._add("Max", [f"{rows}.scale", "int8.smallest_scale"], scales)
            self._add("Div", [activation, scales], f"{rows}.scaled")
            self._add("QuantizeLinear", [f"{rows}.scaled", "int8.one", "int8.zero_point"], rows)
            self.rows[activation] = (rows, scales)
        return self.rows[activation]

    def _table(self, node: NodeProto) -> None:
        table, indices = node.input
        output = node.output[0]
        rows, scales = _symmetric(self._array(table), 1, _ROW_LEVELS)
        self._constant(f"{table}.int8", rows)
        self._constant(f"{table}.scales", scales)
        self._add("Gather", [f"{table}.int8", indices], f"{output}.i", axis=0)
        self._add("Gather", [f"{table}.scales", indices], f"{output}.scale", axis=0)
        self._add("Cast", [f"{output}.i"], f"{output}.f", to=TensorProto.FLOAT)
        self._add("Mul", [f"{output}.f", f"{output}.scale"], output)

    def _add(self, operator: str, inputs: list[str], output: str, **attributes: int) -> None:
        node = helper.make_node(operator, inputs, [output], output)
        node.attribute.extend(helper.make_attribute(*item) for item in attributes.items())
        self.nodes.append(node)

    def _constant(self, name: str, value: NDArray[np.generic]) -> None:
        self.constants[name] = numpy_helper.from_array(value, name)

    def _array(self, name: str) -> NDArray[np.float32]:
        return numpy_helper.to_array(self.constants[name])

    def _is_matrix(self, name: str) -> bool:
        constant = self.constants.get(name)
        return constant is not None and len(constant.dims) == 2

    def _is_table(self, node: NodeProto) -> bool:
        by_rows = all(item.i == 0 for item in node.attribute if item.name == "axis")
        name = node.input[0]
        if not by_rows or not self._is_matrix(name):
            return False
        constant = self.constants[name]
        is_float: bool = constant.data_type == TensorProto.FLOAT
        return is_float and constant.dims[0] >= _MIN_TABLE_ROWS


def _symmetric(
    values: NDArray[np.float32], axis: int, levels: int
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Quantise along `axis`; the scales keep that axis with length 1."""
    largest = np.abs(values).max(axis=axis, keepdims=True)
    scales = np.maximum(largest / levels, _SMALLEST_SCALE).astype(np.float32)
    return np.clip(np.rint(values / scales), -levels, levels).astype(np.int8), scales
