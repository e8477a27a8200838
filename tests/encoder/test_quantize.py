from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from schemas.errors import EncoderError
from worker.encoder.quantize import WEIGHT_LEVELS, quantize

INNER, COLUMNS, ROWS = 48, 20, 2000


def save_graph(path: Path, constants: dict[str, NDArray], *nodes: onnx.NodeProto) -> Path:
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "sequence", INNER])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["a", "b", "c"])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path
    )
    return path


def run(path: Path, x: NDArray[np.float32]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


@pytest.fixture
def weights() -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(INNER, COLUMNS)).astype(np.float32)


@pytest.fixture
def product(tmp_path: Path, weights: NDArray[np.float32]) -> Path:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    source = save_graph(tmp_path / "float.onnx", {"w": weights}, node)
    assert quantize(source, tmp_path / "int8.onnx") == 1
    return tmp_path / "int8.onnx"


def formula(x: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.float64]:
    """The docstring's formula, in numpy's own integers."""
    s = np.abs(x).max(axis=-1, keepdims=True) / np.float32(127)
    t = np.abs(weights).max(axis=0) / np.float32(63)
    sums = np.rint(x / s).astype(np.int64) @ np.rint(weights / t).astype(np.int64)
    return s * t * sums.astype(np.float64)


def test_the_graph_computes_the_formula(product: Path, weights: NDArray[np.float32]):
    x = np.random.default_rng(1).normal(size=(3, 5, INNER)).astype(np.float32)
    np.testing.assert_allclose(run(product, x), formula(x, weights), rtol=1e-5, atol=1e-6)
    error = np.abs(run(product, x) - x @ weights).max()
    assert 0 < error < 0.02 * np.abs(x @ weights).max()


def test_a_row_does_not_depend_on_the_other_rows(product: Path):
    x = np.random.default_rng(2).normal(size=(4, 6, INNER)).astype(np.float32)
    x[2] *= 1000  # an outlier would set the scale of the whole batch, were there one
    together = run(product, x)
    for row in range(len(x)):
        np.testing.assert_array_equal(run(product, x[row : row + 1])[0], together[row])


def test_rows_of_zeros_give_zeros(product: Path):
    np.testing.assert_array_equal(run(product, np.zeros((1, 2, INNER), np.float32)), 0)


def test_sums_are_exact_at_the_extremes(tmp_path: Path):
    """All products at their largest: where 16-bit sums of pairs would saturate."""
    ones = np.ones((INNER, COLUMNS), np.float32)
    source = save_graph(
        tmp_path / "float.onnx", {"w": ones}, helper.make_node("MatMul", ["x", "w"], ["y"])
    )
    quantize(source, tmp_path / "int8.onnx")
    x = np.full((1, 3, INNER), 2.5, np.float32)
    np.testing.assert_allclose(run(tmp_path / "int8.onnx", x), 2.5 * INNER, rtol=1e-5)


def test_weights_are_seven_bits_and_no_float_copy_stays(product: Path):
    constants = {item.name: item for item in onnx.load(product).graph.initializer}
    assert "w" not in constants
    stored = numpy_helper.to_array(constants["w.int8"])
    assert stored.dtype == np.int8
    assert np.abs(stored).max() == WEIGHT_LEVELS == 63


def test_products_of_one_activation_share_its_rows(tmp_path: Path, weights: NDArray[np.float32]):
    source = save_graph(
        tmp_path / "float.onnx",
        {"a": weights, "b": weights[:, ::-1].copy()},
        helper.make_node("MatMul", ["x", "a"], ["xa"]),
        helper.make_node("MatMul", ["x", "b"], ["xb"]),
        helper.make_node("Sub", ["xa", "xb"], ["y"]),
    )
    assert quantize(source, tmp_path / "int8.onnx") == 2
    operators = [node.op_type for node in onnx.load(tmp_path / "int8.onnx").graph.node]
    assert operators.count("QuantizeLinear") == 1
    x = np.random.default_rng(3).normal(size=(2, 2, INNER)).astype(np.float32)
    y = run(tmp_path / "int8.onnx", x)
    np.testing.assert_allclose(y, -y[..., ::-1], atol=1e-5)


def test_tables_become_int8_by_row(tmp_path: Path, weights: NDArray[np.float32]):
    generator = np.random.default_rng(4)
    table = generator.normal(size=(ROWS, INNER)).astype(np.float32)
    table[7] *= 100
    indices = np.array([[0, 7, 1999]], np.int64)
    source = save_graph(
        tmp_path / "float.onnx",
        {"table": table, "indices": indices, "w": weights},
        helper.make_node("Gather", ["table", "indices"], ["looked_up"], axis=0),
        helper.make_node("MatMul", ["x", "w"], ["product"]),
        helper.make_node("ReduceSum", ["product"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "looked_up"], ["y"]),
    )
    quantize(source, tmp_path / "int8.onnx")
    constants = {item.name for item in onnx.load(tmp_path / "int8.onnx").graph.initializer}
    assert "table" not in constants
    x = generator.normal(size=(1, 1, INNER)).astype(np.float32)
    expected = formula(x, weights).sum() * table[indices]
    largest = np.abs(expected).max(axis=-1, keepdims=True)
    assert (np.abs(run(tmp_path / "int8.onnx", x) - expected) <= largest / 127).all()


def test_a_graph_without_weights_is_refused(tmp_path: Path):
    source = save_graph(tmp_path / "float.onnx", {}, helper.make_node("Neg", ["x"], ["y"]))
    with pytest.raises(EncoderError, match=r"no matrix products .* --no-int8"):
        quantize(source, tmp_path / "int8.onnx")
    assert not (tmp_path / "int8.onnx").exists()
