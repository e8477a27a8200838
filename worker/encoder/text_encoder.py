"""Texts in, unit vectors out: the text encoder as training and serving use it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from worker.encoder.folder import (
    FLOAT_GRAPH,
    INT8_GRAPH,
    TOKENIZER,
    EncoderDescription,
    read_description,
    verified_file,
)
from worker.encoder.session import (
    CPU_PROVIDERS,
    Device,
    cuda_usable,
    open_cuda_session,
    open_session,
    run_session,
)
from worker.encoder.vector_cache import VectorCache, text_key

# Measured best of 1 to 4096 (docs/decisions/0002-text-encoder-on-cpu.md), probably because the
# activations then fit a core's level-2 cache. A GPU wants large batches; its figure is a guess.
CPU_BATCH_TOKENS = 128
GPU_BATCH_TOKENS = 16_384

DEFAULT_CACHE_ENTRIES = 200_000


class TextEncoder:
    """A pretrained transformer's sentence vectors, computed by onnxruntime.

    What it promises for any text:

    - The row of a text has norm 1, or is zero if the tokenizer knows nothing of the text: it is
      empty, blank, made of control characters, or all of its tokens are the unknown one.
    - A text longer than `max_tokens` has the vector of its first `max_tokens` tokens.
    - Lone surrogates, which are no characters, count as U+FFFD, and the names of the tokenizer's
      special tokens ("[SEP]") as ordinary text.
    - On a CPU a text's vector is the same, bit for bit, whatever it is encoded together with, so a
      replay computes what was computed before. On a GPU its last digits may differ (not measured).
    - Which characters are known is the tokenizer's affair. The default model's vocabulary is
      English: of Chinese it has 488 characters, each other one is the unknown token, and texts
      that differ only in those have the same vector.

    Safe to use from several threads.

    Attributes:
        dimension: width of the vectors.
        max_tokens: where longer texts are cut, special tokens counted.
        device: "cpu" or "cuda".
        precision: of the graph in use, "int8" or "float32".
        cache: vectors of texts seen lately, with its counters `hits` and `misses`.
    """

    def __init__(
        self,
        description: EncoderDescription,
        tokenizer: Tokenizer,
        session: onnxruntime.InferenceSession,
        *,
        device: Literal["cpu", "cuda"],
        precision: Literal["int8", "float32"],
        cache_entries: int,
        threads: int,
    ) -> None:
        self.dimension = description.dimension
        self.max_tokens = description.max_tokens
        self.device = device
        self.precision = precision
        self.cache = VectorCache(cache_entries)
        self._session = session
        self._tokenizer = tokenizer
        self._batch_tokens = GPU_BATCH_TOKENS if device == "cuda" else CPU_BATCH_TOKENS
        self._pool = ThreadPoolExecutor(threads, "text-encoder") if threads > 1 else None
        self._meaningless = {*tokenizer.encode("").ids, description.unknown_token_id}

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        device: Device = "auto",
        cache_entries: int = DEFAULT_CACHE_ENTRIES,
        threads: int | None = None,
    ) -> TextEncoder:
        """Load an exported text encoder after checking the sha256 of its files.

        Args:
            folder: as `innerloop export-encoder` writes it.
            device: "auto" takes a GPU where onnxruntime can use one. A GPU runs the float32 graph,
                a CPU the int8 graph where there is one.
            cache_entries: texts whose vectors are kept (about 1.8 KB each); 0 keeps none.
            threads: batches encoded at once on a CPU; None takes one for each core at hand.

        Raises:
            EncoderError: the folder is incomplete, altered or of another format, or the device
                "cuda" cannot be used.
        """
        description = read_description(folder)
        tokenizer = _load_tokenizer(verified_file(folder, TOKENIZER, description), description)
        session = None
        if device != "cpu" and cuda_usable(device):
            session = open_cuda_session(verified_file(folder, FLOAT_GRAPH, description), device)
        on_gpu = session is not None
        graph = INT8_GRAPH if INT8_GRAPH in description.files and not on_gpu else FLOAT_GRAPH
        if session is None:
            session = open_session(verified_file(folder, graph, description), CPU_PROVIDERS)
        return cls(
            description,
            tokenizer,
            session,
            device="cuda" if on_gpu else "cpu",
            precision="int8" if graph == INT8_GRAPH else "float32",
            cache_entries=cache_entries,
            threads=1 if on_gpu else threads or _cores(),
        )

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the texts' vectors, (n, dimension); rows have norm 1 or are zero.

        Equal texts are computed once.
        """
        keys = [text_key(text) for text in texts]
        distinct = dict(zip(keys, texts, strict=True))
        vectors = self.cache.find(distinct)
        missing = [key for key in distinct if key not in vectors]
        if missing:
            computed = self._compute([distinct[key] for key in missing])
            self.cache.add(missing, computed)
            vectors.update(zip(missing, computed, strict=True))
        result = np.empty((len(keys), self.dimension), np.float32)
        for row, key in enumerate(keys):
            result[row] = vectors[key]
        return result

    def _compute(self, texts: list[str]) -> NDArray[np.float32]:
        tokens = [self._tokenizer.encode(_characters(text)).ids for text in texts]
        result = np.zeros((len(texts), self.dimension), np.float32)

        def encode_batch(rows: list[int]) -> None:
            ids = np.array([tokens[row] for row in rows], np.int64)
            result[rows] = run_session(self._session, ids, np.ones_like(ids))

        batches = self._batches(tokens)
        for _ in (
            self._pool.map(encode_batch, batches) if self._pool else map(encode_batch, batches)
        ):
            pass
        return result

    def _batches(self, tokens: list[list[int]]) -> Iterator[list[int]]:
        """Group rows of equal length: nothing is padded, so nothing depends on the padding."""
        known = [row for row, ids in enumerate(tokens) if not self._meaningless.issuperset(ids)]
        known.sort(key=lambda row: len(tokens[row]))
        batch: list[int] = []
        for row in known:
            length = len(tokens[row])
            full = (len(batch) + 1) * length > self._batch_tokens
            if batch and (full or length != len(tokens[batch[0]])):
                yield batch
                batch = []
            batch.append(row)
        if batch:
            yield batch


def _load_tokenizer(path: Path, description: EncoderDescription) -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.enable_truncation(description.max_tokens)
    tokenizer.encode_special_tokens = True
    return tokenizer


def _characters(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        # Through UTF-16, so that a pair split in two becomes the character that it stands for.
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
