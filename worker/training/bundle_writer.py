"""From events and items files to a model bundle."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from schemas.settings import TrainingSettings
from worker.data import EventLog, ItemTable, load_events, load_items
from worker.encoder.export import export_encoder
from worker.encoder.text_encoder import TextEncoder
from worker.files import sha256_of
from worker.model.bundle import (
    TEXT_ENCODER,
    KnownItems,
    Manifest,
    Provenance,
    new_bundle_folder,
    write_bundle,
    write_memory,
)
from worker.model.serving import ANCHORS, pick_device
from worker.split import TimeCut, split_at
from worker.training.trainer import Epoch, MetaTrainer, TrainedModel

_TEXTS_AT_ONCE = 4096


@dataclass(frozen=True)
class TrainingJob:
    """What to train on, and where to put the result."""

    events: Path
    items: Path
    out: Path
    cut: float
    seed: int
    settings: TrainingSettings
    encoder: Path | None = None
    """An exported text encoder to use; None exports the offline default."""
    device: str = "auto"


@dataclass(frozen=True)
class Progress:
    """Who is told what goes on."""

    on_phase: Callable[[str, int], None] = lambda name, total: None
    """A phase begins: its name and how many steps it has."""
    on_step: Callable[[int], None] = lambda steps: None
    on_epoch: Callable[[Epoch], None] = lambda epoch: None


def train_bundle(job: TrainingJob, progress: Progress) -> Manifest:
    """Train on the part of the events before the cut and write a bundle.

    Raises:
        DataError: the files cannot be used.
        EncoderError: the text encoder cannot be exported or loaded.
        BundleError: `job.out` must not be replaced.
    """
    progress.on_phase("reading events", 1)
    items = load_items(job.items)
    cut = split_at(load_events(job.events, items), job.cut)
    device = pick_device(job.device)
    with new_bundle_folder(job.out) as folder:
        progress.on_phase("preparing the text encoder", 1)
        _place_encoder(job.encoder, folder / TEXT_ENCODER)
        encoder = TextEncoder.load(
            folder / TEXT_ENCODER, device="cuda" if device.type == "cuda" else "cpu"
        )
        vectors = encode_texts(encoder, items.texts, progress)
        started = time.perf_counter()
        trained = _train(job, cut.train, vectors, device, progress)
        seconds = time.perf_counter() - started
        validation = trained.validation
        if trained.memory is not None:
            write_memory(folder, trained.memory, items.item_ids)
        return write_bundle(
            folder,
            model=trained.model.config,
            weights={**trained.model.state_dict(), ANCHORS: trained.anchors},
            items=_known_items(trained, items),
            provenance=_provenance(job, cut),
            metrics={
                "validation_hr@20": validation.hit_rate or 0.0,
                "validation_mrr@20": validation.reciprocal_rank or 0.0,
                "best_epoch": float(trained.best_epoch),
                "training_seconds": round(seconds, 1),
            },
            created_at=time.time_ns() // 1_000_000,
        )


def _train(
    job: TrainingJob,
    log: EventLog,
    vectors: NDArray[np.float32],
    device: torch.device,
    progress: Progress,
) -> TrainedModel:
    def step(loss: float) -> None:
        progress.on_step(1)

    trainer = MetaTrainer(job.settings, log, vectors, job.seed, device)
    progress.on_phase("meta-training", trainer.batches_per_epoch * job.settings.epochs)
    trained = trainer.train(step, progress.on_epoch)
    if not job.settings.refit:
        return trained
    everybody = MetaTrainer(job.settings, log, vectors, job.seed, device, validate=False)
    steps = everybody.batches_per_epoch * trained.best_epoch
    progress.on_phase("meta-training on all users", steps)
    return everybody.refit(trained, step)


def encode_texts(encoder: TextEncoder, texts: list[str], progress: Progress) -> NDArray[np.float32]:
    """Encode the catalogue's texts, (n, text_dim), with progress."""
    progress.on_phase("encoding item texts", len(texts))
    parts = []
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        chunk = texts[start : start + _TEXTS_AT_ONCE]
        parts.append(encoder.encode(chunk))
        progress.on_step(len(chunk))
    return np.concatenate(parts)


def _place_encoder(source: Path | None, folder: Path) -> None:
    if source is None:
        export_encoder(None, folder)
    else:
        shutil.copytree(source, folder)


def _known_items(trained: TrainedModel, items: ItemTable) -> KnownItems:
    return KnownItems(
        item_ids=[items.item_ids[code] for code in trained.known],
        counts=[int(trained.counts[code]) for code in trained.known],
    )


def _provenance(job: TrainingJob, cut: TimeCut) -> Provenance:
    train: EventLog = cut.train
    return Provenance(
        events_file=job.events.name,
        events_sha256=sha256_of(job.events),
        items_file=job.items.name,
        items_sha256=sha256_of(job.items),
        cut=job.cut,
        cut_time=cut.time,
        seed=job.seed,
        train_events=len(train),
        train_users=len(np.unique(train.users)),
        settings=job.settings.model_dump(),
    )
