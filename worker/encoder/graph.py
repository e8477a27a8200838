"""From a transformer to a float32 ONNX graph that gives one unit vector for each text."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from schemas.errors import EncoderError
from worker.encoder.folder import INPUT_NAMES, OUTPUT_NAME

_EXPORTER_LOGGERS = ("torch.onnx", "onnxscript", "onnx_ir")


class SentenceEncoder(nn.Module):
    """Transformer, then mean pooling over the attended tokens, then L2 normalisation.

    The pooling of Sentence-BERT (Reimers and Gurevych, EMNLP 2019). The mean's divisor cancels in
    the normalisation, so only the sum is taken.
    """

    def __init__(self, transformer: PreTrainedModel) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Encode tokens, int64 (batch, sequence), as unit vectors, float32 (batch, dimension)."""
        hidden = self.transformer(
            input_ids=input_ids, attention_mask=attention_mask
        ).last_hidden_state
        # Sums as matrix products, one for each text: onnxruntime's reductions add in another order
        # for a batch of one, its products do not. So a text's vector never depends on its batch.
        weights = attention_mask.to(hidden.dtype).unsqueeze(1)
        total = torch.matmul(weights, hidden)
        squared_norm = torch.matmul(total, total.transpose(1, 2))
        return (total / squared_norm.clamp(min=1e-24).sqrt()).squeeze(1)


def export_graph(encoder: SentenceEncoder, path: Path) -> None:
    """Write the float32 ONNX graph, dynamic in batch and sequence.

    Raises:
        EncoderError: torch cannot export the model.
    """
    batch, sequence = torch.export.Dim("batch"), torch.export.Dim("sequence", min=2)
    example = torch.ones((2, 8), dtype=torch.int64)
    try:
        with _quiet_exporter(), torch.inference_mode():
            program = torch.onnx.export(
                encoder,
                (example, example.clone()),
                dynamo=True,
                verbose=False,
                input_names=list(INPUT_NAMES),
                output_names=[OUTPUT_NAME],
                dynamic_shapes={name: {0: batch, 1: sequence} for name in INPUT_NAMES},
            )
    except torch.onnx.OnnxExporterError as error:
        raise EncoderError(
            f"torch cannot export the {type(encoder.transformer).__name__} to ONNX; is it an"
            f" encoder, as BERT is? ({error.__cause__ or error})"
        ) from error
    assert program is not None  # it is None only with dynamo=False
    model = program.model_proto
    _strip_traces(model)
    onnx.save(model, path)


def _strip_traces(model: onnx.ModelProto) -> None:
    # The exporter notes stack traces of the exporting machine on every node: they tell its paths,
    # and make two exports of one model differ.
    nodes = [*model.graph.node, *(node for part in model.functions for node in part.node)]
    for holder in [model, model.graph, *nodes, *model.graph.value_info]:
        del holder.metadata_props[:]
        holder.doc_string = ""


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    # They tell each step of theirs, and warn of torchvision's operators and of axis names that the
    # inputs share: nothing that is wrong here.
    before = {name: logging.getLogger(name).level for name in _EXPORTER_LOGGERS}
    for name in before:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
