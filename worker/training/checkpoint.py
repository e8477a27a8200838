"""Checkpoints: a training that was interrupted goes on, and ends as if it never had been.

A folder beside the bundle to be written, kept up to date after each epoch and removed at the end:

    state.json                 how far the training is, of what job, and the sha256 of the others
    training-0002.safetensors  the outer loop after so many epochs, until the first model is trained
    trained.safetensors        the first model, its anchors and its item memory
    refit-0001.safetensors     the outer loop over all users after so many epochs

Tensors are written under a new name before `state.json` takes the place of the one before, so that
a training killed at any moment leaves a whole checkpoint behind: the earlier one or the later one.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from pathlib import Path

import msgspec
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from schemas.errors import TrainingError
from worker.files import write_whole
from worker.item_memory.memory import ItemMemory
from worker.item_memory.stored import from_arrays, known_rows, to_arrays
from worker.model.meta_model import MetaRecommender
from worker.ranking_quality import Quality
from worker.training.job_key import JobKey, differences
from worker.training.outer_loop import LoopNotes, OuterLoop, part
from worker.training.trained import Epoch, Fitted

FORMAT = 1
STATE = "state.json"
TRAINED = "trained.safetensors"

_OR_DELETE = "delete the folder to train from the beginning"


class _Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What is no tensor in the outcome of the first training."""

    epochs: list[Epoch]
    validation: Quality


class _State(msgspec.Struct, frozen=True, kw_only=True):
    job: JobKey
    seconds: float
    """Spent on training until here."""
    outcome: _Outcome | None = None
    loop: LoopNotes | None = None
    """Of the first training while there is no outcome, then of the refit."""
    files: dict[str, str] = {}
    """sha256 of each file of tensors."""


class _Sealed(msgspec.Struct, frozen=True, kw_only=True):
    """`state.json`."""

    format: int
    sha256: str
    """Of `state`, as it stands in the file."""
    state: msgspec.Raw


def checkpoint_folder(out: Path) -> Path:
    """Return where the checkpoint of the training of the bundle `out` is."""
    out = out.absolute()
    return out.with_name(f"{out.name}.checkpoint")


class Checkpoint:
    """How far a training is, on disk.

    Args:
        folder: from `checkpoint_folder`.
        job: from `job_key`.
        resume: go on from what is in the folder, if anything.

    Raises:
        TrainingError: the checkpoint is damaged; is of another job; or is of this job and `resume`
            is False.
    """

    def __init__(self, folder: Path, job: JobKey, *, resume: bool) -> None:
        self._folder = folder
        self._started = time.perf_counter()
        self._state = _State(job=job, seconds=0.0)
        if (folder / STATE).exists():
            self._state = _read_state(folder / STATE)
            if differs := differences(self._state.job, job):
                raise TrainingError(
                    f"{folder} is a checkpoint of another training: {'; '.join(differs)}."
                    f" Undo the difference, name another --out, or {_OR_DELETE}"
                )
            if not resume:
                raise TrainingError(
                    f"{folder} is a checkpoint of this training, {self.position}: go on from it"
                    f" with --resume, or {_OR_DELETE}"
                )
        elif folder.exists() and not all(_is_ours(path) for path in folder.iterdir()):
            raise TrainingError(f"{folder} is needed for checkpoints, and holds something else")

    @property
    def position(self) -> str:
        """How far the training is, in words."""
        stage = "the refit" if self._state.outcome else "meta-training"
        if not self._state.loop:
            return "after meta-training" if self._state.outcome else "at the beginning"
        return f"after epoch {self._state.loop.number} of {stage}"

    @property
    def refitting(self) -> bool:
        """Whether the first training is done."""
        return self._state.outcome is not None

    @property
    def epochs_done(self) -> int:
        """Epochs done of the outer loop that is under way."""
        return self._state.loop.number if self._state.loop else 0

    @property
    def seconds(self) -> float:
        """Time spent on training since `start_clock`, and before the interruptions."""
        return self._state.seconds + time.perf_counter() - self._started

    def start_clock(self) -> None:
        """Training begins, or goes on, now."""
        self._started = time.perf_counter()

    def restore_loop(self, loop: OuterLoop) -> None:
        """Set the loop that is under way to where it was; leave it if it had not begun.

        Raises:
            TrainingError: the file of its tensors is missing or damaged.
        """
        if self._state.loop is None:
            return
        name = self._loop_file(self._state.loop.number)
        try:
            loop.restore(self._state.loop, self._read(name))
        except (KeyError, RuntimeError, ValueError) as error:
            raise TrainingError(f"{self._folder / name}: {error}; {_OR_DELETE}") from error

    def save_loop(self, loop: OuterLoop) -> None:
        """Write where the loop is.

        Raises:
            TrainingError: it cannot be written.
        """
        kept = {TRAINED: self._state.files[TRAINED]} if self.refitting else {}
        name = self._loop_file(loop.number)
        self._write(name, loop.tensors(), kept, self._state.outcome, loop.notes())

    def trained(self, model: MetaRecommender) -> Fitted | None:
        """Set the model to the first training's outcome, and return the rest of it; None before.

        Raises:
            TrainingError: the file of its tensors is missing or damaged.
        """
        outcome = self._state.outcome
        if outcome is None:
            return None
        tensors = self._read(TRAINED)
        try:
            model.load_state_dict(part(tensors, "model."))
            memory = _memory_of(model, part(tensors, "memory."))
            anchors = tensors["anchors"].to(next(model.parameters()).device)
        except (KeyError, RuntimeError, ValueError) as error:
            raise TrainingError(f"{self._folder / TRAINED}: {error}; {_OR_DELETE}") from error
        return Fitted(anchors, list(outcome.epochs), memory, outcome.validation)

    def save_trained(self, model: MetaRecommender, fitted: Fitted) -> None:
        """Write the outcome of the first training.

        Raises:
            TrainingError: it cannot be written.
        """
        tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
        tensors["anchors"] = fitted.anchors
        if fitted.memory is not None:
            rows = known_rows(fitted.memory)
            arrays = {"rows": rows, **to_arrays(fitted.memory, rows)}
            tensors |= {f"memory.{name}": torch.from_numpy(a) for name, a in arrays.items()}
        outcome = _Outcome(epochs=fitted.epochs, validation=fitted.validation)
        self._write(TRAINED, tensors, {}, outcome, None)

    def remove(self) -> None:
        """Delete the checkpoint: the training is done."""
        (self._folder / STATE).unlink(missing_ok=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _loop_file(self, number: int) -> str:
        return f"{'refit' if self.refitting else 'training'}-{number:04}.safetensors"

    def _read(self, name: str) -> dict[str, Tensor]:
        path = self._folder / name
        try:
            content = path.read_bytes()
            if hashlib.sha256(content).hexdigest() != self._state.files.get(name):
                raise TrainingError(f"{path} differs from its sha256 in {STATE}; {_OR_DELETE}")
            return load(content)
        except (OSError, SafetensorError) as error:
            raise TrainingError(f"{path} cannot be read: {error}; {_OR_DELETE}") from error

    def _write(
        self,
        name: str,
        tensors: dict[str, Tensor],
        kept: dict[str, str],
        outcome: _Outcome | None,
        loop: LoopNotes | None,
    ) -> None:
        content = save({key: value.detach().cpu().contiguous() for key, value in tensors.items()})
        state = _State(
            job=self._state.job,
            seconds=self.seconds,
            outcome=outcome,
            loop=loop,
            files={**kept, name: hashlib.sha256(content).hexdigest()},
        )
        encoded = msgspec.json.encode(state)
        sealed = _Sealed(
            format=FORMAT, sha256=hashlib.sha256(encoded).hexdigest(), state=msgspec.Raw(encoded)
        )
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_whole(self._folder / name, content)
            write_whole(self._folder / STATE, msgspec.json.encode(sealed))
            for path in self._folder.glob("*.safetensors*"):
                if path.name not in state.files:
                    path.unlink()
        except OSError as error:
            raise TrainingError(f"the checkpoint {self._folder / name}: {error}") from error
        self._state = state
        self.start_clock()


def _read_state(path: Path) -> _State:
    try:
        sealed = msgspec.json.decode(path.read_bytes(), type=_Sealed)
        if sealed.format != FORMAT:
            raise TrainingError(
                f"{path} has format {sealed.format}, this innerloop reads {FORMAT}; {_OR_DELETE}"
            )
        if hashlib.sha256(sealed.state).hexdigest() != sealed.sha256:
            raise TrainingError(f"{path} differs from its own sha256; {_OR_DELETE}")
        return msgspec.json.decode(sealed.state, type=_State)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TrainingError(f"{path} cannot be read: {error}; {_OR_DELETE}") from error


def _memory_of(model: MetaRecommender, tensors: dict[str, Tensor]) -> ItemMemory | None:
    if model.config.memory is None:
        return None
    arrays = {name: value.numpy() for name, value in tensors.items()}
    return from_arrays(model.config.memory, arrays, arrays["rows"].astype(np.int64))


def _is_ours(path: Path) -> bool:
    return path.name.removesuffix(".new").endswith((".safetensors", STATE))
