from __future__ import annotations

import logging
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from schemas.errors import EncoderError
from worker.encoder import text_encoder as text_encoder_module
from worker.encoder.folder import DESCRIPTION, INT8_GRAPH, TOKENIZER
from worker.encoder.probes import probe_texts
from worker.encoder.text_encoder import TextEncoder

HEADPHONES = "Sony WH-1000XM4 wireless noise cancelling over-ear headphones, black"
WASHER = "Bosch front-load washing machine 9 kg"
COFFEE = "organic whole-bean coffee, dark roast, 1 kg"

needs_no_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")


def fresh(folder: Path, threads: int = 1, cache_entries: int = 0) -> TextEncoder:
    return TextEncoder.load(folder, device="cpu", threads=threads, cache_entries=cache_entries)


def norms(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.linalg.norm(vectors, axis=1)


# What the vectors mean


@pytest.mark.parametrize(
    ("query", "nearest"),
    [
        ("bluetooth headset for listening to music", HEADPHONES),
        ("laundry appliance", WASHER),
        ("espresso beans", COFFEE),
    ],
)
def test_a_query_is_nearest_to_its_product(encoder: TextEncoder, query: str, nearest: str):
    products = [HEADPHONES, WASHER, COFFEE, "LEGO space shuttle set", "women's running shoes"]
    similarities = encoder.encode(products) @ encoder.encode([query])[0]
    assert products[int(similarities.argmax())] == nearest
    assert sorted(similarities)[-2] < similarities.max() - 0.1


def test_vectors_are_float32_rows_of_norm_one(encoder: TextEncoder):
    vectors = encoder.encode(probe_texts())
    assert vectors.shape == (len(probe_texts()), encoder.dimension)
    assert vectors.dtype == np.float32
    known = norms(vectors) > 0
    assert known.sum() >= len(vectors) - 1
    np.testing.assert_allclose(norms(vectors)[known], 1, atol=1e-5)


def test_no_texts_give_no_rows(encoder: TextEncoder):
    assert encoder.encode([]).shape == (0, encoder.dimension)


# What a text is computed together with


def test_a_vector_does_not_depend_on_its_batch(encoder_folder: Path):
    texts = probe_texts()
    together = fresh(encoder_folder).encode(texts)
    alone = fresh(encoder_folder)
    for row in range(0, len(texts), 3):
        np.testing.assert_array_equal(alone.encode([texts[row]])[0], together[row])
    reverse = fresh(encoder_folder, threads=3).encode(texts[::-1])
    np.testing.assert_array_equal(reverse[::-1], together)


@pytest.mark.parametrize("batch_tokens", [1, 64, 1000, 100_000])
def test_a_vector_does_not_depend_on_the_batch_size(
    encoder_folder: Path, batch_tokens: int, monkeypatch: pytest.MonkeyPatch
):
    texts = probe_texts()
    expected = fresh(encoder_folder).encode(texts)
    monkeypatch.setattr(text_encoder_module, "CPU_BATCH_TOKENS", batch_tokens)
    np.testing.assert_array_equal(fresh(encoder_folder).encode(texts), expected)


def test_real_titles_do_not_depend_on_their_batch(encoder_folder: Path, real_titles: list[str]):
    together = fresh(encoder_folder, threads=2).encode(real_titles)
    alone = fresh(encoder_folder)
    for row in range(0, len(real_titles), 6):
        np.testing.assert_array_equal(alone.encode([real_titles[row]])[0], together[row])


def test_several_callers_at_once_get_what_one_gets(text_encoder_folder: Path):
    texts = probe_texts()[:60]
    expected = fresh(text_encoder_folder).encode(texts)
    shared = fresh(text_encoder_folder, threads=2, cache_entries=20)
    with ThreadPoolExecutor(4) as callers:
        for start, vectors in callers.map(lambda i: (i, shared.encode(texts[i:])), range(12)):
            np.testing.assert_array_equal(vectors, expected[start:])


# Texts that are odd


@pytest.mark.parametrize(
    "text",
    ["", " ", "\t\r\n  ", "\u3000\u00a0", "\x00\x01\x1f", "\ufffd", "\ud800", "😀", "瑿瑿瑿"],
)
def test_a_text_of_which_nothing_is_known_is_zero(encoder: TextEncoder, text: str):
    vectors = encoder.encode([HEADPHONES, text, WASHER])
    assert not vectors[1].any()
    np.testing.assert_allclose(norms(vectors[[0, 2]]), 1, atol=1e-5)


@pytest.mark.parametrize(
    "texts",
    [
        ["手机", "天", "白酒 茅台", "中国 日本", "大 小"],
        ["наушники", "кофе в зёрнах", "стиральная машина"],
        ["سماعات", "قهوة", "غسالة"],
        ["이어폰", "커피", "세탁기"],
        ["אוזניות", "קפה"],
        ["café crème", "größe L", "naïve"],
    ],
)
def test_scripts_that_the_tokenizer_knows_are_told_apart(encoder: TextEncoder, texts: list[str]):
    vectors = encoder.encode(texts)
    np.testing.assert_allclose(norms(vectors), 1, atol=1e-5)
    similarities = vectors @ vectors.T - 2 * np.eye(len(texts))
    assert similarities.max() < 0.999


def test_unknown_characters_are_all_alike(encoder: TextEncoder):
    """Of the characters in 苹果 and 华为 the vocabulary has none: the same two unknown tokens."""
    apple, huawei = encoder.encode(["苹果 phone", "华为 phone"])
    np.testing.assert_array_equal(apple, huawei)
    assert apple.any()


def test_case_accents_and_spaces_do_not_matter_but_words_do(encoder: TextEncoder):
    vectors = encoder.encode(["Crème BRÛLÉE torch", "creme  brulee\n torch", "torch"])
    np.testing.assert_array_equal(vectors[0], vectors[1])
    assert not np.array_equal(vectors[0], vectors[2])


def test_control_characters_and_lone_surrogates_count_for_nothing(encoder: TextEncoder):
    texts = ["wool socks", "wool\x00 soc\x07ks", "wool \udfffsocks\ud83d", "wool socks\ufffd"]
    vectors = encoder.encode(texts)
    for vector in vectors[1:]:
        np.testing.assert_array_equal(vector, vectors[0])


def test_a_character_split_into_surrogates_is_put_together(encoder: TextEncoder):
    split, whole = encoder.encode(["phone \ud83d\ude00", "phone 😀"])
    np.testing.assert_array_equal(split, whole)


def test_names_of_special_tokens_are_ordinary_text(encoder: TextEncoder):
    vectors = encoder.encode(["red [SEP] shoes [MASK] [PAD]", "red [ sep ] shoes [ mask ] [ pad ]"])
    np.testing.assert_array_equal(vectors[0], vectors[1])


def test_a_long_text_has_the_vector_of_its_first_tokens(encoder: TextEncoder):
    """Each word is one token; two of `max_tokens` are the tokenizer's own."""
    words = ["coffee", "lamp", "steel", "phone"] * 100
    room = encoder.max_tokens - 2
    cut, just_right, shorter = encoder.encode(
        [" ".join(words), " ".join(words[:room]), " ".join(words[: room - 1])]
    )
    np.testing.assert_array_equal(cut, just_right)
    assert not np.array_equal(just_right, shorter)


@pytest.mark.parametrize("text", ["x" * 100_000, "coffee " * 15_000, "天" * 100_000, " " * 10**5])
def test_a_hundred_thousand_characters(encoder: TextEncoder, text: str):
    vector = encoder.encode([text])[0]
    assert np.isfinite(vector).all()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(st.characters(codec=None), max_size=60), max_size=4))
def test_any_text_gives_a_vector_of_norm_one_or_zero(int8_encoder: TextEncoder, texts: list[str]):
    vectors = int8_encoder.encode(texts)
    assert vectors.shape == (len(texts), int8_encoder.dimension)
    lengths = norms(vectors)
    assert ((lengths == 0) | (np.abs(lengths - 1) < 1e-5)).all()


# What is computed, and what is remembered


@pytest.fixture
def computed_rows(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many texts each call of the session was given."""
    rows: list[int] = []
    run_session = text_encoder_module.run_session

    def counting(session, input_ids, attention_mask):
        rows.append(len(input_ids))
        return run_session(session, input_ids, attention_mask)

    monkeypatch.setattr(text_encoder_module, "run_session", counting)
    return rows


def test_equal_texts_are_computed_once(text_encoder_folder: Path, computed_rows: list[int]):
    encoder = fresh(text_encoder_folder)
    vectors = encoder.encode([COFFEE, WASHER, COFFEE, COFFEE, WASHER])
    assert sum(computed_rows) == 2
    np.testing.assert_array_equal(vectors[[0, 1]], vectors[[3, 4]])


def test_blank_texts_are_not_computed(text_encoder_folder: Path, computed_rows: list[int]):
    fresh(text_encoder_folder).encode(["", " ", "\x00"])
    assert computed_rows == []


def test_batches_keep_to_the_token_budget(
    text_encoder_folder: Path, computed_rows: list[int], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(text_encoder_module, "CPU_BATCH_TOKENS", 20)
    fresh(text_encoder_folder).encode([f"lamp {number}" for number in "0123456789"])
    assert computed_rows == [5, 5]  # of four tokens each, the tokenizer's two included


def test_texts_seen_before_come_from_the_cache(text_encoder_folder: Path, computed_rows: list[int]):
    encoder = fresh(text_encoder_folder, cache_entries=10)
    first = encoder.encode([COFFEE, WASHER, COFFEE])
    assert (encoder.cache.hits, encoder.cache.misses) == (0, 2)
    again = encoder.encode([WASHER, HEADPHONES, COFFEE])
    assert (encoder.cache.hits, encoder.cache.misses) == (2, 3)
    assert sum(computed_rows) == 3
    np.testing.assert_array_equal(again[[2, 0]], first[[0, 1]])


def test_changing_a_result_does_not_change_what_is_cached(text_encoder_folder: Path):
    encoder = fresh(text_encoder_folder, cache_entries=10)
    first = encoder.encode([COFFEE])
    kept = first.copy()
    first[:] = 7
    second = encoder.encode([COFFEE])
    np.testing.assert_array_equal(second, kept)
    second[:] = 7
    np.testing.assert_array_equal(encoder.encode([COFFEE]), kept)


def test_more_texts_than_the_cache_holds(text_encoder_folder: Path):
    texts = probe_texts()[:30]
    encoder = fresh(text_encoder_folder, cache_entries=8)
    np.testing.assert_array_equal(encoder.encode(texts), fresh(text_encoder_folder).encode(texts))
    assert len(encoder.cache) == 8


# Which graph, which device


def test_a_cpu_serves_int8_where_there_is_one(
    int8_encoder: TextEncoder, float_encoder: TextEncoder
):
    assert (int8_encoder.device, int8_encoder.precision) == ("cpu", "int8")
    assert (float_encoder.device, float_encoder.precision) == ("cpu", "float32")


@needs_no_cuda
def test_auto_falls_back_to_the_cpu_with_a_reason_and_no_noise(
    text_encoder_folder: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
):
    caplog.set_level(logging.INFO, "worker.encoder")
    encoder = TextEncoder.load(text_encoder_folder, device="auto")
    assert (encoder.device, encoder.precision) == ("cpu", "int8")
    assert caplog.messages == ["the text encoder runs on the CPU: torch finds no usable NVIDIA GPU"]
    encoder.encode([COFFEE])
    assert capfd.readouterr() == ("", "")


@needs_no_cuda
def test_cuda_without_a_gpu_says_what_is_missing(text_encoder_folder: Path):
    with pytest.raises(EncoderError, match="cannot run on cuda: torch finds no usable NVIDIA GPU"):
        TextEncoder.load(text_encoder_folder, device="cuda")


@needs_no_cuda
def test_a_gpu_that_onnxruntime_cannot_use(
    text_encoder_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(EncoderError, match="could not start its CUDA provider"):
        TextEncoder.load(text_encoder_folder, device="cuda")
    caplog.set_level(logging.INFO, "worker.encoder")
    encoder = TextEncoder.load(text_encoder_folder, device="auto")
    assert (encoder.device, encoder.precision) == ("cpu", "int8")
    assert "could not start its CUDA provider" in caplog.text


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_gpu_agrees_with_the_cpu(text_encoder_folder: Path, float_encoder: TextEncoder):
    encoder = TextEncoder.load(text_encoder_folder, device="cuda")
    assert (encoder.device, encoder.precision) == ("cuda", "float32")
    expected = float_encoder.encode(probe_texts())
    np.testing.assert_allclose(encoder.encode(probe_texts()), expected, atol=1e-4, rtol=0)


# Folders that are not what they should be


@pytest.fixture
def copied_folder(text_encoder_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(text_encoder_folder, tmp_path / "text_encoder"))


@pytest.mark.parametrize("name", [INT8_GRAPH, TOKENIZER])
def test_an_altered_file_is_refused(copied_folder: Path, name: str):
    content = bytearray((copied_folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copied_folder / name).write_bytes(content)
    with pytest.raises(EncoderError, match=f"{name} was altered"):
        fresh(copied_folder)


@pytest.mark.parametrize("name", [INT8_GRAPH, TOKENIZER])
def test_a_missing_file_is_named(copied_folder: Path, name: str):
    (copied_folder / name).unlink()
    with pytest.raises(EncoderError, match=f"{name} is missing"):
        fresh(copied_folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is no text encoder: .*innerloop export-encoder"),
        ("{", "is malformed"),
        ('{"format": 1}', "is malformed: .*name"),
    ],
)
def test_a_description_that_is_missing_or_malformed(
    copied_folder: Path, content: str | None, message: str
):
    (copied_folder / DESCRIPTION).unlink()
    if content is not None:
        (copied_folder / DESCRIPTION).write_text(content)
    with pytest.raises(EncoderError, match=message):
        fresh(copied_folder)


def test_a_later_format_is_refused(copied_folder: Path):
    path = copied_folder / DESCRIPTION
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(EncoderError, match="has format 2, this version reads 1"):
        fresh(copied_folder)
