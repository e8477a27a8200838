"""From events and items to a model bundle."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from schemas.settings import TrainingSettings
from worker.data import EventLog, ItemTable
from worker.encoder.export import export_encoder
from worker.encoder.text_encoder import TextEncoder
from worker.model.bundle import (
    TEXT_ENCODER,
    HeldOut,
    KnownItems,
    Manifest,
    Provenance,
    new_bundle_folder,
    write_bundle,
    write_memory,
)
from worker.model.serving import ANCHORS, pick_device
from worker.scenarios import Scenarios
from worker.split import TimeCut, split_at, training_mask
from worker.training.checkpoint import Checkpoint, checkpoint_folder
from worker.training.job_key import job_key
from worker.training.progress import Progress
from worker.training.sources import TrainingData, TrainingSource
from worker.training.trained import TrainedModel
from worker.training.trainer import MetaTrainer

_TEXTS_AT_ONCE = 4096


@dataclass(frozen=True)
class TrainingJob:
    """What to train on, and where to put the result."""

    source: TrainingSource
    out: Path
    cut: float
    seed: int
    settings: TrainingSettings
    encoder: Path | None = None
    """An exported text encoder to use; None exports the offline default."""
    device: str = "auto"
    resume: bool = False
    """Go on from the checkpoint of an interrupted training, if there is one."""


def train_bundle(job: TrainingJob, progress: Progress) -> Manifest:
    """Train on the part of the events before the cut and write a bundle.

    Raises:
        DataError: the source holds nothing to train on, or files that cannot be used.
        BrokerError: the topics cannot be read.
        EncoderError: the text encoder cannot be exported or loaded.
        BundleError: `job.out` must not be replaced.
        TrainingError: there is a checkpoint beside `job.out` that must not be replaced or cannot
            be used.
    """
    items, log, provenance = _read(job, progress)
    device = pick_device(job.device)
    with new_bundle_folder(job.out) as folder:
        progress.on_phase("preparing the text encoder", 1)
        _place_encoder(job.encoder, folder / TEXT_ENCODER)
        checkpoint = Checkpoint(
            checkpoint_folder(job.out),
            job_key(provenance, folder / TEXT_ENCODER, device),
            resume=job.resume,
        )
        encoder = TextEncoder.load(
            folder / TEXT_ENCODER, device="cuda" if device.type == "cuda" else "cpu"
        )
        vectors = encode_texts(encoder, items.texts, progress)
        checkpoint.start_clock()
        material = _Material(log, vectors, items.categories, device)
        trained = _train(job, material, progress=progress, checkpoint=checkpoint)
        seconds = checkpoint.seconds
        validation = trained.validation
        if trained.memory is not None:
            write_memory(folder, trained.memory, items.item_ids)
        manifest = write_bundle(
            folder,
            model=trained.model.config,
            weights={**trained.model.serving_state(), ANCHORS: trained.anchors},
            items=_known_items(trained, items),
            provenance=provenance,
            metrics={
                "validation_hr@20": validation.hit_rate or 0.0,
                "validation_mrr@20": validation.reciprocal_rank or 0.0,
                "best_epoch": float(trained.best_epoch),
                "training_seconds": round(seconds, 1),
            },
            created_at=time.time_ns() // 1_000_000,
        )
    checkpoint.remove()
    return manifest


def _read(job: TrainingJob, progress: Progress) -> tuple[ItemTable, EventLog, Provenance]:
    """Return the catalogue, the events before the cut and where they came from; let go of others.

    What comes after the cut would only take up memory while training.
    """
    data = job.source.read(progress)
    held_out = data.held_out
    cut = split_at(data.log, job.cut, held_out.mask if held_out else None)
    return data.items, cut.train, _provenance(job, data, cut)


@dataclass(frozen=True)
class _Material:
    """What a trainer works on."""

    log: EventLog
    text_vectors: NDArray[np.float32]
    categories: list[str] | None
    device: torch.device

    def trainer(self, job: TrainingJob, *, validate: bool) -> MetaTrainer:
        return MetaTrainer(
            job.settings,
            self.log,
            self.text_vectors,
            job.seed,
            self.device,
            validate=validate,
            categories=self.categories,
        )


def _train(
    job: TrainingJob,
    material: _Material,
    *,
    progress: Progress,
    checkpoint: Checkpoint,
) -> TrainedModel:
    def step(loss: float) -> None:
        progress.on_step(1)

    def begin(name: str, batches: int, epochs: int, done: int) -> None:
        progress.on_phase(f"{name} (resumed)" if done else name, batches * epochs)
        progress.on_step(batches * done)

    def train() -> TrainedModel:
        most = job.settings.epochs
        trainer = material.trainer(job, validate=True)
        done = most if checkpoint.refitting else checkpoint.epochs_done
        begin("meta-training", trainer.batches_per_epoch, most, done)
        return trainer.train(step, progress.on_epoch, checkpoint)

    trained = train()
    if not job.settings.refit:
        return trained
    everybody = material.trainer(job, validate=False)
    epochs, done = trained.best_epoch, checkpoint.epochs_done
    begin("meta-training on all users", everybody.batches_per_epoch, epochs, done)
    return everybody.refit(trained, step, checkpoint)


def encode_texts(encoder: TextEncoder, texts: list[str], progress: Progress) -> NDArray[np.float32]:
    """Encode the catalogue's texts, (n, text_dim), with progress."""
    progress.on_phase("encoding item texts", len(texts))
    vectors = np.empty((len(texts), encoder.dimension), np.float32)
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        chunk = texts[start : start + _TEXTS_AT_ONCE]
        vectors[start : start + len(chunk)] = encoder.encode(chunk)
        progress.on_step(len(chunk))
    return vectors


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


def _provenance(job: TrainingJob, data: TrainingData, cut: TimeCut) -> Provenance:
    train: EventLog = cut.train
    return Provenance(
        **vars(data.origin),
        held_out=_held_out(data.held_out, training_mask(data.log, job.cut)[1]),
        cut=job.cut,
        cut_time=cut.time,
        seed=job.seed,
        train_events=len(train),
        train_users=len(np.unique(train.users)),
        settings=job.settings.model_dump(),
    )


def _held_out(scenarios: Scenarios | None, in_train: NDArray[np.bool_]) -> HeldOut | None:
    if scenarios is None:
        return None
    return HeldOut(
        column=scenarios.column,
        values=list(scenarios.labels),
        events=int((scenarios.mask & in_train).sum()),
    )
