"""An interrupted training goes on to the same bundle; what is no checkpoint of it is refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
import small_shop
import torch
from small_shop import EPOCHS, run, stop_after, write_shop

from schemas.errors import TrainingError
from schemas.settings import TrainingSettings
from worker.model.bundle import MEMORY, MEMORY_ITEMS, WEIGHTS, Bundle
from worker.model.config import ModelConfig
from worker.model.meta_model import MetaRecommender
from worker.ranking_quality import Quality
from worker.training.checkpoint import STATE, TRAINED, checkpoint_folder
from worker.training.outer_loop import OuterLoop


class Interrupted(Exception):  # noqa: N818
    """A training was interrupted by the test."""


def interrupt() -> None:
    raise Interrupted


@pytest.fixture(scope="module")
def arguments(tmp_path_factory, text_encoder_folder) -> list[str]:
    return write_shop(tmp_path_factory.mktemp("shop"), text_encoder_folder)


@pytest.fixture(scope="module")
def uninterrupted(arguments, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "bundle"
    run(*arguments, "--out", out)
    assert not checkpoint_folder(out).exists()
    return out


def interrupted(out: Path, writes: int, *arguments: str, of: str = STATE) -> Path:
    """Train until so many files called `of` are written; return the checkpoint's folder."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(*stop_after(writes, interrupt, of=of))
        run(*arguments, "--out", out)
    assert not out.exists()
    return checkpoint_folder(out)


def state_of(checkpoint: Path) -> dict:
    return msgspec.json.decode((checkpoint / STATE).read_bytes())["state"]


def assert_same(out: Path, expected: Path, memory: bool = True) -> None:
    assert not checkpoint_folder(out).exists()
    for name in [WEIGHTS, *([MEMORY, MEMORY_ITEMS] if memory else [])]:
        assert (out / name).read_bytes() == (expected / name).read_bytes(), name
    got, wanted = Bundle(out).manifest, Bundle(expected).manifest
    assert got.version == wanted.version
    for name in wanted.metrics.keys() - {"training_seconds"}:
        assert got.metrics[name] == wanted.metrics[name], name


# After its epochs the outcome of the first training is written, then the epochs of the refit.
@pytest.mark.parametrize("writes", [1, EPOCHS - 1, EPOCHS, EPOCHS + 1, EPOCHS + 2])
def test_interrupted_at_any_stage_it_ends_in_the_same_bundle(
    arguments, uninterrupted, tmp_path, writes
):
    out = tmp_path / "bundle"
    checkpoint = interrupted(out, writes, *arguments)
    state = state_of(checkpoint)
    assert (state["outcome"] is not None) == (writes > EPOCHS)
    if writes != EPOCHS + 1:
        assert state["loop"]["number"] == (writes - EPOCHS - 1 if writes > EPOCHS else writes)
    assert {path.name for path in checkpoint.iterdir()} >= {STATE, *state["files"]}
    trained: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        record = OuterLoop.note

        def note(self, loss, validation):
            trained.append("epoch")
            return record(self, loss, validation)

        patch.setattr(OuterLoop, "note", note)
        run(*arguments, "--out", out, "--resume")
    assert len(trained) == max(0, EPOCHS - writes)
    assert_same(out, uninterrupted)


KILLED = [(2, STATE), (2, ".safetensors"), (1, ".safetensors")]


@pytest.fixture(scope="module")
def killed(arguments, tmp_path_factory) -> dict[tuple[int, str], Path]:
    """Trainings that were killed after so many writes of such files."""
    root, folder = Path(__file__).parents[2], tmp_path_factory.mktemp("killed")
    outs = {case: folder / f"bundle-{n}" for n, case in enumerate(KILLED)}
    cases = [str(part) for (writes, of), out in outs.items() for part in (writes, of, out)]
    done = subprocess.run(
        [sys.executable, small_shop.__file__, *cases, "--", *arguments],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        check=True,
    )
    assert [int(line) for line in done.stdout.split()] == len(KILLED) * [-signal.SIGKILL]
    return outs


@pytest.mark.parametrize("writes, of", KILLED)
def test_a_killed_process_is_gone_on_from(arguments, uninterrupted, killed, writes, of):
    out = killed[writes, of]
    checkpoint = checkpoint_folder(out)
    # Killed before `state.json` was replaced, it leaves the checkpoint before, or none.
    done = writes if of == STATE else writes - 1
    assert (checkpoint / f"training-{writes:04}.safetensors").exists()
    assert (checkpoint / STATE).exists() == (done > 0)
    if done:
        assert state_of(checkpoint)["loop"]["number"] == done
    run(*arguments, "--out", out, "--resume")
    assert_same(out, uninterrupted)


def test_without_memory_and_refit_too(arguments, tmp_path, monkeypatch):
    monkeypatch.setenv("INNERLOOP_TRAINING__MEMORY", "false")
    monkeypatch.setenv("INNERLOOP_TRAINING__REFIT", "false")
    whole = tmp_path / "whole"
    run(*arguments, "--out", whole)
    for writes in (2, EPOCHS + 1):
        out = tmp_path / f"after-{writes}"
        interrupted(out, writes, *arguments)
        run(*arguments, "--out", out, "--resume")
        assert_same(out, whole, memory=False)


def test_with_epochs_of_fewer_events_too(arguments, uninterrupted, tmp_path, monkeypatch):
    monkeypatch.setenv("INNERLOOP_TRAINING__EPOCH_EVENTS", "100")
    whole = tmp_path / "whole"
    run(*arguments, "--out", whole)
    assert (whole / WEIGHTS).read_bytes() != (uninterrupted / WEIGHTS).read_bytes()
    for writes in (1, EPOCHS, EPOCHS + 2):
        out = tmp_path / f"after-{writes}"
        interrupted(out, writes, *arguments)
        run(*arguments, "--out", out, "--resume")
        assert_same(out, whole)


def test_resuming_twice_and_without_a_checkpoint(arguments, uninterrupted, tmp_path):
    out = tmp_path / "bundle"
    interrupted(out, 1, *arguments, "--resume")
    interrupted(out, 2, *arguments, "--resume")
    checkpoint = checkpoint_folder(out)
    assert state_of(checkpoint)["loop"]["number"] == 3
    # The second epoch's was still needed when the state was written, the first's no longer.
    tensors = {path.name for path in checkpoint.glob("*.safetensors")}
    assert tensors == {"training-0002.safetensors", "training-0003.safetensors"}
    run(*arguments, "--out", out, "--resume")
    assert_same(out, uninterrupted)


@pytest.fixture
def halfway(arguments, tmp_path) -> Path:
    """The bundle to be written by a training that was interrupted after its second epoch."""
    out = tmp_path / "bundle"
    interrupted(out, 2, *arguments)
    return out


def test_what_is_there_is_not_begun_anew_by_mistake(arguments, halfway):
    before = {path: path.read_bytes() for path in checkpoint_folder(halfway).iterdir()}
    with pytest.raises(TrainingError, match=r"after epoch 2 of meta-training: .*--resume"):
        run(*arguments, "--out", halfway)
    assert before == {path: path.read_bytes() for path in checkpoint_folder(halfway).iterdir()}


@pytest.mark.parametrize("resume", [(), ("--resume",)])
def test_another_training_is_refused_and_told_what_differs(
    arguments, halfway, monkeypatch, tmp_path, resume
):
    with pytest.raises(TrainingError, match=r"another training: seed is 1, there 0\. "):
        run(*arguments, "--out", halfway, "--seed", "1", *resume)
    with pytest.raises(TrainingError, match=r"settings\.dim is 16, there 8\. "):
        run(*arguments, "--dim", "16", "--out", halfway, *resume)
    monkeypatch.setenv("INNERLOOP_TRAINING__LEARNING_RATE", "0.01")
    (tmp_path / "settings.toml").write_text("")
    changed = [*arguments, "--config", str(tmp_path / "settings.toml")]
    with pytest.raises(TrainingError, match=r"settings\.learning_rate is 0\.01, there 0\.05"):
        run(*changed, "--out", halfway, *resume)


def test_other_events_are_refused_and_a_file_of_another_name_is_not(
    arguments, halfway, uninterrupted, tmp_path
):
    events = Path(arguments[arguments.index("--events") + 1])
    fewer = tmp_path / "fewer.csv"
    fewer.write_text("\n".join(events.read_text().splitlines()[:-3]) + "\n")
    with pytest.raises(TrainingError, match="events_sha256 is "):
        run(*arguments, "--events", fewer, "--out", halfway, "--resume")
    moved = tmp_path / "moved.csv"
    moved.write_bytes(events.read_bytes())
    run(*arguments, "--events", moved, "--out", halfway, "--resume")
    assert_same(halfway, uninterrupted)


@pytest.mark.parametrize("damage", ["flipped", "cut", "missing"])
def test_damaged_tensors_are_refused_by_name(arguments, halfway, damage):
    path = checkpoint_folder(halfway) / "training-0002.safetensors"
    _damage(path, damage)
    with pytest.raises(TrainingError, match=r"bundle\.checkpoint/training-0002\.safetensors"):
        run(*arguments, "--out", halfway, "--resume")


def test_a_damaged_outcome_is_refused_by_name(arguments, tmp_path):
    out = tmp_path / "bundle"
    _damage(interrupted(out, EPOCHS + 2, *arguments) / TRAINED, "flipped")
    with pytest.raises(TrainingError, match=TRAINED):
        run(*arguments, "--out", out, "--resume")


@pytest.mark.parametrize("damage", ["flipped", "cut"])
def test_a_damaged_state_is_refused_by_name(arguments, halfway, damage):
    path = checkpoint_folder(halfway) / STATE
    _damage(path, damage)
    with pytest.raises(TrainingError, match=r"bundle\.checkpoint/state\.json"):
        run(*arguments, "--out", halfway, "--resume")


def test_a_state_with_another_number_in_it_is_refused(arguments, halfway):
    path = checkpoint_folder(halfway) / STATE
    text = path.read_text()
    assert '"number":2,' in text
    path.write_text(text.replace('"number":2,', '"number":1,', 1))
    with pytest.raises(TrainingError, match=r"state\.json differs from its own sha256"):
        run(*arguments, "--out", halfway, "--resume")


def test_another_format_is_refused(arguments, halfway):
    path = checkpoint_folder(halfway) / STATE
    path.write_text(path.read_text().replace('"format":1,', '"format":2,', 1))
    with pytest.raises(TrainingError, match=r"state\.json has format 2"):
        run(*arguments, "--out", halfway, "--resume")


def test_a_folder_of_something_else_is_left_alone(arguments, tmp_path):
    out = tmp_path / "bundle"
    mine = checkpoint_folder(out) / "notes.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(TrainingError, match="holds something else"):
        run(*arguments, "--out", out)
    assert mine.read_text() == "mine"


def _damage(path: Path, damage: str) -> None:
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        content[-20] ^= 1
        path.write_bytes(content)


def test_a_loop_that_stopped_improving_is_still_finished_when_restored():
    settings = TrainingSettings(dim=4, rank=2, anchors=4, epochs=9, patience=2)
    config = ModelConfig(dim=4, rank=2, anchors=4, text_dim=5)

    def loop(seed: int) -> OuterLoop:
        torch.manual_seed(seed)
        return OuterLoop(MetaRecommender(config, 6), settings, 3, np.random.default_rng(seed))

    first = loop(0)
    for hit_rate in (0.2, 0.4, 0.3, 0.4):
        assert not first.finished
        first.number += 1
        first.note(1.0, Quality(hit_rate=hit_rate, reciprocal_rank=0.1, n=5))
    assert [epoch.best for epoch in first.history] == [True, True, False, False]
    assert first.finished
    restored = loop(1)
    notes = msgspec.json.decode(msgspec.json.encode(first.notes()), type=type(first.notes()))
    restored.restore(notes, first.tensors())
    assert restored.finished
    assert restored.history == first.history
    assert restored.rng.random() == first.rng.random()
