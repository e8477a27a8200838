"""Model bundles: a folder with a manifest, ONNX graphs, safetensors and text. No pickle.

Layout:
    manifest.json        what the bundle is, where it came from, and the sha256 of every other file
    manifest.sig         who signed the manifest, if anybody did (`worker.model.signature`)
    model.safetensors    item tower, session encoder, inner loop, anchors
    memory.safetensors   what the training events taught about items (if the model has a memory)
    memory_items.json    ids of the items that the memory has met, by its rows
    items.json           ids of the items known in training, by row of the id embedding
    text_encoder/        ONNX text encoder and tokenizer (`worker.encoder`)
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file
from torch import Tensor

from schemas.errors import BundleError
from worker.files import new_folder, sha256_of
from worker.item_memory.memory import ItemMemory
from worker.item_memory.stored import from_arrays, known_rows, to_arrays
from worker.model.config import ModelConfig

FORMAT = 1
MANIFEST = "manifest.json"
SIGNATURES = "manifest.sig"
WEIGHTS = "model.safetensors"
ITEMS = "items.json"
TEXT_ENCODER = "text_encoder"
MEMORY = "memory.safetensors"
MEMORY_ITEMS = "memory_items.json"


class OffsetRange(msgspec.Struct, frozen=True, kw_only=True):
    """What was read of a partition: the offsets from `first` up to, without, `end`."""

    partition: int
    first: int
    end: int


class TopicRange(msgspec.Struct, frozen=True, kw_only=True):
    """What was read of a topic."""

    topic: str
    """Its full name."""
    partitions: list[OffsetRange]


class HeldOut(msgspec.Struct, frozen=True, kw_only=True):
    """Scenarios that were left out of training; see `worker.scenarios`."""

    column: str
    values: list[str]
    events: int
    """Events before the cut that training could have seen otherwise."""


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """Where a bundle came from: from files, or from topics."""

    events_file: str | None = None
    events_sha256: str | None = None
    items_file: str | None = None
    items_sha256: str | None = None
    events_topic: TopicRange | None = None
    items_topic: TopicRange | None = None
    left_out: dict[str, int] = {}
    """Records of the topics that training did not use, by reason."""
    held_out: HeldOut | None = None
    """None if nothing was."""
    cut: float
    """Quantile of first-event times at which the log was cut."""
    cut_time: int
    """The cut, milliseconds since the epoch."""
    seed: int
    train_events: int
    train_users: int
    settings: dict[str, bool | float | int | str]
    """Training settings, as used."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The bundle's table of contents."""

    format: int
    version: str
    """Digest of the bundle's files: equal versions adapt alike."""
    created_at: int
    """Milliseconds since the epoch."""
    model: ModelConfig
    provenance: Provenance
    metrics: dict[str, float]
    files: dict[str, str]
    """Path inside the bundle → sha256."""


class KnownItems(msgspec.Struct, frozen=True, kw_only=True):
    """`items.json`."""

    item_ids: list[str]
    """By row of the id embedding."""
    counts: list[int]
    """Training events of each."""


class Bundle:
    """A verified bundle.

    Args:
        folder: where it is.

    Raises:
        BundleError: the folder is no bundle, is of another format, or a file differs from the
            manifest.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = read_manifest(folder)
        _verify(folder, self.manifest.files)

    def weights(self, device: str = "cpu") -> dict[str, Tensor]:
        """Read the tensors."""
        try:
            return load_file(self.folder / WEIGHTS, device=device)
        except SafetensorError as error:
            raise BundleError(f"{self.folder / WEIGHTS}: {error}") from error

    def items(self) -> KnownItems:
        """Read the items known in training."""
        try:
            return msgspec.json.decode((self.folder / ITEMS).read_bytes(), type=KnownItems)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BundleError(f"{self.folder / ITEMS}: {error}") from error

    def memory_items(self) -> list[str]:
        """Read the ids of the items that the stored memory has met; empty without a memory."""
        path = self.folder / MEMORY_ITEMS
        if MEMORY_ITEMS not in self.manifest.files:
            return []
        try:
            return msgspec.json.decode(path.read_bytes(), type=list[str])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BundleError(f"{path}: {error}") from error

    def memory(self, rows: NDArray[np.int64]) -> ItemMemory:
        """Return an item memory that knows what the training events taught.

        Args:
            rows: row that each of `memory_items` is to have, distinct.

        Raises:
            BundleError: the bundle has no memory, or a broken one.
        """
        path, config = self.folder / MEMORY, self.manifest.model.memory
        if config is None or MEMORY not in self.manifest.files:
            raise BundleError(f"{self.folder} has no {MEMORY}: its model was trained without one")
        try:
            return from_arrays(config, load_arrays(path), rows)
        except (SafetensorError, KeyError, ValueError) as error:
            raise BundleError(f"{path}: {error}") from error

    @property
    def text_encoder(self) -> Path:
        """The text encoder's folder."""
        return self.folder / TEXT_ENCODER


def new_bundle_folder(out: Path) -> AbstractContextManager[Path]:
    """Give a folder to write a bundle into; it becomes `out` only if the block succeeds.

    Raises:
        BundleError: `out` exists and is not a bundle, so it must not be replaced.
    """
    return new_folder(out, marker=MANIFEST, error=BundleError)


def write_memory(folder: Path, memory: ItemMemory, item_ids: Sequence[str]) -> None:
    """Write an item memory into a bundle's folder; to be done before `write_bundle`.

    Args:
        folder: of the bundle.
        memory: what to write.
        item_ids: by the memory's rows.
    """
    rows = known_rows(memory)
    save_arrays(to_arrays(memory, rows), folder / MEMORY)
    (folder / MEMORY_ITEMS).write_bytes(msgspec.json.encode([item_ids[row] for row in rows]))


def write_bundle(
    folder: Path,
    *,
    model: ModelConfig,
    weights: dict[str, Tensor],
    items: KnownItems,
    provenance: Provenance,
    metrics: dict[str, float],
    created_at: int,
) -> Manifest:
    """Write everything but the text encoder, which must be in `folder` already, and the manifest.

    Raises:
        BundleError: the text encoder is missing.
    """
    if not (folder / TEXT_ENCODER).is_dir():
        raise BundleError(f"{folder} has no {TEXT_ENCODER}/ yet; export the text encoder first")
    save_file(
        {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()},
        folder / WEIGHTS,
    )
    (folder / ITEMS).write_bytes(msgspec.json.encode(items))
    files = {str(name): sha256_of(folder / name) for name in _payload(folder)}
    digest = hashlib.sha256(msgspec.json.encode([model, sorted(files.items())])).hexdigest()
    manifest = Manifest(
        format=FORMAT,
        version=digest[:16],
        created_at=created_at,
        model=model,
        provenance=provenance,
        metrics=metrics,
        files=files,
    )
    encoded = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    (folder / MANIFEST).write_bytes(encoded)
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """Read what a bundle says of itself, without verifying its files.

    Raises:
        BundleError: the folder is no bundle, or is of another format.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleError(f"{folder} is not a bundle: it has no {MANIFEST}")
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BundleError(f"{path} is not a bundle manifest: {error}") from error
    if manifest.format != FORMAT:
        raise BundleError(f"{path} has format {manifest.format}; this innerloop reads {FORMAT}")
    return manifest


def _verify(folder: Path, files: dict[str, str]) -> None:
    for needed in (WEIGHTS, ITEMS):
        if needed not in files:
            raise BundleError(f"{folder / MANIFEST} lists no {needed}")
    for name, expected in files.items():
        parts = PurePosixPath(name)
        if parts.is_absolute() or ".." in parts.parts:
            raise BundleError(f"{folder / MANIFEST} names a file outside the bundle: {name}")
        path = folder / parts
        if not path.is_file():
            raise BundleError(f"{path} is missing")
        if sha256_of(path) != expected:
            raise BundleError(
                f"{path} differs from the sha256 in {MANIFEST}; the bundle is refused"
            )
    unlisted = sorted(str(name) for name in _payload(folder) if str(name) not in files)
    if unlisted:
        raise BundleError(f"{folder} holds files that {MANIFEST} does not list: {unlisted[0]}")


def _payload(folder: Path) -> list[PurePosixPath]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    names = (PurePosixPath(path.relative_to(folder).as_posix()) for path in paths)
    return sorted(name for name in names if str(name) not in (MANIFEST, SIGNATURES))
