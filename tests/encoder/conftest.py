"""A tiny transformer to export in a second or two, and the real one in both precisions."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from worker.encoder.folder import INT8_GRAPH, read_description, write_description
from worker.encoder.text_encoder import TextEncoder

WORDS = [
    "red",
    "blue",
    "small",
    "large",
    "phone",
    "case",
    "lamp",
    "cable",
    "for",
    "usb",
    "wool",
    "steel",
]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer BERT with random weights and a vocabulary of words, as transformers saves it."""
    folder = tmp_path_factory.mktemp("models") / "tiny-bert"
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {word: index for index, word in enumerate([*specials, *WORDS])}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=64,
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def float_encoder_folder(
    text_encoder_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The real text encoder without its int8 graph, so that a CPU serves the float32 one."""
    folder = tmp_path_factory.mktemp("export-float") / "text_encoder"
    shutil.copytree(text_encoder_folder, folder, ignore=shutil.ignore_patterns(INT8_GRAPH))
    description = read_description(folder)
    files = {name: digest for name, digest in description.files.items() if name != INT8_GRAPH}
    write_description(folder, msgspec.structs.replace(description, files=files))
    return folder


@pytest.fixture(scope="session")
def int8_encoder(text_encoder_folder: Path) -> TextEncoder:
    return TextEncoder.load(text_encoder_folder, device="cpu", threads=2)


@pytest.fixture(scope="session")
def float_encoder(float_encoder_folder: Path) -> TextEncoder:
    return TextEncoder.load(float_encoder_folder, device="cpu", threads=2)


@pytest.fixture(params=["int8", "float"])
def encoder_folder(request: pytest.FixtureRequest) -> Path:
    """Either form of the real text encoder's folder: the test runs once on each."""
    name = {"int8": "text_encoder_folder", "float": "float_encoder_folder"}[request.param]
    folder: Path = request.getfixturevalue(name)
    return folder


@pytest.fixture(params=["int8", "float"])
def encoder(request: pytest.FixtureRequest) -> TextEncoder:
    """Either graph on the CPU: the test runs once on each."""
    loaded: TextEncoder = request.getfixturevalue(f"{request.param}_encoder")
    return loaded


@pytest.fixture(scope="session")
def real_titles() -> list[str]:
    """600 titles of two shops, every so-many-th of each."""
    from worker.data import load_items

    data = Path(__file__).parents[2].parent / "shared" / "data"
    titles: list[str] = []
    for name in ("rees46_oct2019", "amazon2018_electronics"):
        file = data / name / "items.csv.gz"
        if not file.is_file():
            pytest.skip(f"the real titles are not here: ../shared/data/{name}/items.csv.gz")
        texts = list(dict.fromkeys(text for text in load_items(file).texts if text))
        titles += texts[:: len(texts) // 300][:300]
    return titles
