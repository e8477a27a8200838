"""The compiled mix gives what the module gives that was trained."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from worker.item_memory.kernels import CONTEXT, FEATURES
from worker.item_memory.memory import Candidates
from worker.model.mixer import Mixer, pairs_of
from worker.model.mixer_kernel import Inputs, found_arrays, mixed_scores, mixer_arrays

USERS, ITEMS, RECENT, EACH = 9, 300, 10, 40


def drawn_mixer(hidden: int) -> Mixer:
    """A mixer in which every input counts, on the scales of a trained one."""
    torch.manual_seed(hidden)
    mixer = Mixer(hidden, RECENT).requires_grad_(False)
    for parameter in mixer.parameters():
        parameter.copy_(0.3 * torch.randn_like(parameter))
    for mean, scale in (
        (mixer.number_mean, mixer.number_scale),
        (mixer.context_mean, mixer.context_scale),
    ):
        mean.copy_(torch.randn_like(mean))
        scale.copy_(0.5 + torch.rand_like(scale))
    return mixer


def drawn_candidates(draw: np.random.Generator) -> Candidates:
    sizes = draw.integers(0, EACH, USERS)
    pointers = np.concatenate([[0], np.cumsum(sizes)])
    total = int(pointers[-1])
    rows = [draw.choice(ITEMS, size, replace=False) for size in sizes]
    return Candidates(
        pointers,
        np.concatenate(rows).astype(np.int32),
        4.0 * draw.random((total, len(FEATURES)), np.float32),
        draw.integers(-1, RECENT, total).astype(np.int32),
        draw.integers(-1, RECENT, total).astype(np.int32),
        3.0 * draw.random((USERS, len(CONTEXT)), np.float32),
    )


@pytest.mark.parametrize("hidden", [32, 6, 16, 33])
@pytest.mark.parametrize("dim", [96, 7])
def test_scores_are_those_of_the_module(hidden, dim):
    draw = np.random.default_rng(dim)
    mixer, candidates = drawn_mixer(hidden), drawn_candidates(draw)
    vectors = 0.5 * torch.from_numpy(draw.standard_normal((ITEMS, dim), np.float32))
    vectors[7] = 0.0
    queries = torch.from_numpy(draw.standard_normal((USERS, dim), np.float32))
    latest = draw.integers(0, ITEMS, USERS)
    latest[:2] = [-1, 7]
    gone = torch.from_numpy(draw.random(ITEMS) < 0.2)
    every = (queries @ vectors.T).masked_fill(gone, -torch.inf)
    best = every.topk(20, dim=1).values
    best[3, 5:] = -torch.inf
    pairs = pairs_of(candidates, every, best.logsumexp(dim=1), vectors, torch.from_numpy(latest))
    expected = (pairs.dense + mixer(pairs)).numpy()
    inputs = Inputs(
        queries.numpy(), vectors.numpy(), vectors.norm(dim=1).numpy(), ~gone.numpy(),
        best.numpy(), latest,
    )  # fmt: skip
    scores = np.full(len(candidates.rows), np.nan, np.float32)
    for start in range(0, USERS, 4):
        stop = min(USERS, start + 4)
        mixed_scores(mixer_arrays(mixer), inputs, found_arrays(candidates), start, stop, scores)
    np.testing.assert_array_equal(np.isinf(scores), np.isinf(expected))
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-5)


def test_candidates_without_a_vector_are_left_out():
    draw = np.random.default_rng(1)
    candidates, vectors = drawn_candidates(draw), np.ones((ITEMS // 2, 4), np.float32)
    inputs = Inputs(
        np.ones((USERS, 4), np.float32), vectors, np.full(len(vectors), 2.0, np.float32),
        np.ones(len(vectors), np.bool_), np.full((USERS, 3), 4.0, np.float32),
        np.full(USERS, -1),
    )  # fmt: skip
    scores = np.zeros(len(candidates.rows), np.float32)
    weights = mixer_arrays(drawn_mixer(8))
    mixed_scores(weights, inputs, found_arrays(candidates), 0, USERS, scores)
    np.testing.assert_array_equal(np.isfinite(scores), candidates.rows < ITEMS // 2)
