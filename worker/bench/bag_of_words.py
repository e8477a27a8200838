"""A text encoder in the layout of an exported one, made at once: the sum of drawn word vectors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from worker.encoder.folder import (
    DEFAULT_MAX_TOKENS,
    FLOAT_GRAPH,
    FORMAT_VERSION,
    INPUT_NAMES,
    OUTPUT_NAME,
    TOKENIZER,
    EncoderDescription,
    Verification,
    write_description,
)
from worker.files import sha256_of

_OPSET = 18
_IR_VERSION = 10
_UNKNOWN, _BEGIN, _END = "[UNK]", "[CLS]", "[SEP]"


def write_bag_of_words(folder: Path, words: Sequence[str], dimension: int, seed: int = 0) -> None:
    """Write a text encoder that knows these words; `##` begins those inside a word.

    Args:
        folder: to be made.
        words: as a WordPiece vocabulary has them.
        dimension: width of the vectors.
        seed: of the words' vectors.
    """
    folder.mkdir(parents=True)
    vocabulary = {w: i for i, w in enumerate([_UNKNOWN, _BEGIN, _END, *words])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=_UNKNOWN))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{_BEGIN} $A {_END}",
        special_tokens=[(token, vocabulary[token]) for token in (_BEGIN, _END)],
    )
    tokenizer.save(str(folder / TOKENIZER))
    vectors = np.random.default_rng(seed).standard_normal((len(vocabulary), dimension))
    onnx.save(_graph(vectors.astype(np.float32)), folder / FLOAT_GRAPH)
    description = EncoderDescription(
        format=FORMAT_VERSION,
        name="bag of words",
        source="folder:made-up",
        source_sha256={},
        dimension=dimension,
        max_tokens=DEFAULT_MAX_TOKENS,
        unknown_token_id=vocabulary[_UNKNOWN],
        verification=Verification(probe_texts=0, float_max_abs_difference=0.0),
        made_with={"onnx": onnx.__version__},
        files={path.name: sha256_of(path) for path in sorted(folder.iterdir())},
    )
    write_description(folder, description)


def _graph(vectors: NDArray[np.float32]) -> onnx.ModelProto:
    """Return tokens → their vectors → the sum over attended ones → unit length."""
    ids, mask = INPUT_NAMES
    nodes = [
        helper.make_node("Gather", ["vectors", ids], ["token_vectors"]),
        helper.make_node("Cast", [mask], ["attended"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["attended", "one"], ["weights"]),
        helper.make_node("MatMul", ["weights", "token_vectors"], ["total"]),
        helper.make_node("Squeeze", ["total", "one"], ["sum"]),
        helper.make_node("LpNormalization", ["sum"], [OUTPUT_NAME], axis=1, p=2),
    ]
    shape = ["batch", "sequence"]
    graph = helper.make_graph(
        nodes,
        "bag_of_words",
        [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in INPUT_NAMES],
        [
            helper.make_tensor_value_info(
                OUTPUT_NAME, TensorProto.FLOAT, ["batch", vectors.shape[1]]
            )
        ],
        initializer=[
            numpy_helper.from_array(vectors, "vectors"),
            numpy_helper.from_array(np.array([1], np.int64), "one"),
        ],
    )
    opsets = [helper.make_opsetid("", _OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
    onnx.checker.check_model(model)
    return model
