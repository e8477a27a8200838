"""From events, items and a pretrained transformer to a tuned text encoder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from schemas.errors import EncoderError
from schemas.settings import TuningSettings
from worker.data import ItemTable
from worker.encoder.export import ExportReport, check_max_tokens, export_report, write_encoder
from worker.encoder.folder import DEFAULT_MAX_TOKENS, DESCRIPTION, Tuning
from worker.encoder.probes import probe_texts
from worker.encoder.source import find_source, load_model
from worker.files import new_folder
from worker.model.serving import pick_device
from worker.split import TimeCut, split_at
from worker.training.progress import Progress
from worker.training.sources import TrainingData, TrainingSource
from worker.tuning.adapter import require_peft
from worker.tuning.text_pairs import co_acted_pairs, distinct_texts
from worker.tuning.tuner import Tuned, tune

_CHECKED_TEXTS = 200


@dataclass(frozen=True)
class TuningJob:
    """What to tune, on what, and where to put the result."""

    source: TrainingSource
    out: Path
    cut: float
    seed: int
    settings: TuningSettings
    model: str | None = None
    """As of `worker.encoder.export.export_encoder`."""
    max_tokens: int = DEFAULT_MAX_TOKENS
    """Of the text encoder; the tuning has its own, shorter limit."""
    int8: bool = True
    device: str = "auto"


def tune_encoder(job: TuningJob, progress: Progress) -> ExportReport:
    """Tune on the part of the events before the cut, as `innerloop train` cuts, and export.

    Raises:
        DataError: the source holds nothing to tune on, or files that cannot be used.
        EncoderError: peft is missing, the model cannot be found, tuned or exported, or `job.out`
            must not be replaced.
    """
    require_peft()
    with new_folder(job.out, marker=DESCRIPTION, error=EncoderError) as folder:
        found = find_source(job.model)
        loaded = load_model(found)
        check_max_tokens(job.max_tokens, loaded)
        check_max_tokens(job.settings.max_tokens, loaded)
        device = pick_device(job.device)
        data = job.source.read(progress)
        cut = split_at(data.log, job.cut, data.held_out.mask if data.held_out else None)
        texts, text_of_item = _texts(data.items)
        tuned = tune(
            loaded,
            texts,
            co_acted_pairs(cut.train, text_of_item, job.settings.window),
            job.settings,
            seed=job.seed,
            device=device,
            progress=progress,
        )
        progress.on_phase("exporting", 1)
        description = write_encoder(
            folder,
            found,
            replace(loaded, model=tuned.model),
            max_tokens=job.max_tokens,
            int8=job.int8,
            texts=[*probe_texts(), *texts[:: max(1, len(texts) // _CHECKED_TEXTS)]],
            tuning=_record(job, tuned, cut, data),
        )
    return export_report(job.out, description)


def _texts(items: ItemTable) -> tuple[list[str], np.ndarray[tuple[int], np.dtype[np.int32]]]:
    """Return the distinct texts, and each item's place among them: −1 where it has no text."""
    texts, text_of_item = distinct_texts(items.texts)
    blank = np.array([not text.strip() for text in texts], np.bool_)
    return texts, np.where(blank[text_of_item], np.int32(-1), text_of_item)


def _record(job: TuningJob, tuned: Tuned, cut: TimeCut, data: TrainingData) -> Tuning:
    scenarios = data.held_out
    left_out = None if scenarios is None else f"{scenarios.column}={','.join(scenarios.labels)}"
    tenth = max(1, len(tuned.losses) // 10)
    return Tuning(
        method="LoRA",
        targets=tuned.targets,
        settings=job.settings.model_dump(),
        seed=job.seed,
        cut=job.cut,
        cut_time=cut.time,
        hold_out=left_out,
        events_sha256=data.origin.events_sha256,
        items_sha256=data.origin.items_sha256,
        train_events=len(cut.train),
        train_users=len(np.unique(cut.train.users)),
        pairs=tuned.pairs,
        first_loss=float(np.mean(tuned.losses[:tenth])),
        last_loss=float(np.mean(tuned.losses[-tenth:])),
        held_out=tuned.held_out,
    )
