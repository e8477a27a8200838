"""The inner loop on users in 8 bits, compiled: a pass over each A before the step, and one after.

Torch's way makes an array of n·d·r numbers at every turn; here A stays in 8 bits until it is
changed. What a step does is linear in the gradient g = ∂L/∂q of its own loss: with k fixed, the
step sizes α and decays λ of `worker.model.fast_weights`,

    q' = h + b' + A' k = [h + λ_b ⊙ b + (λ_A ⊙ A) k] − [α_b + α_A (k ⊙ k)] ⊙ g.

The first bracket and the second are all that further steps need of A, so that it is written once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

F32 = np.float32

_FREE_ORDER = {"reassoc", "contract", "nsz", "arcp"}
"""Sums may be added up in any order, so that they become vector instructions. The order is the
same for every user."""


class Coded(NamedTuple):
    """The adapted state of n users, A in 8 bits: A[j, c] = entries[j·r + c] · scales[c]."""

    hidden: NDArray[np.float32]
    """Session encoder state h, (n, d)."""
    bias: NDArray[np.float32]
    """Fast weight b, (n, d)."""
    scales: NDArray[np.float32]
    """(n, r)."""
    entries: NDArray[np.int8]
    """(n, d·r)."""


class Rates(NamedTuple):
    """Step sizes, and decays by row of a table."""

    step_bias: NDArray[np.float32]
    """α_b, (d,)."""
    step_adapter: NDArray[np.float32]
    """α_A, (d, r)."""
    decay_bias: NDArray[np.float32]
    """λ_b, (rows, d)."""
    decay_adapter: NDArray[np.float32]
    """λ_A, (rows, d, r)."""


class Events(NamedTuple):
    """What n users adapt on, but for its vector."""

    keys: NDArray[np.float32]
    """k, (n, r)."""
    rows: NDArray[np.int64]
    """Rows of the table of decays, (n,)."""


class Prepared(NamedTuple):
    """What is to be known of n users before a step, (n, d) each."""

    query: NDArray[np.float32]
    """q = h + b + A·k."""
    base: NDArray[np.float32]
    """q with the decayed fast weights."""
    slope: NDArray[np.float32]
    """What the gradient is multiplied with."""


class Changed(NamedTuple):
    """The fast weights of n users after a step."""

    bias: NDArray[np.float32]
    """(n, d)."""
    adapter: NDArray[np.float32]
    """(n, d, r)."""
    size: NDArray[np.float32]
    """Sum of all magnitudes in A, (n,): finite if they all are."""


@njit(cache=True, nogil=True, fastmath=_FREE_ORDER)
def prepare(users: Coded, events: Events, rates: Rates, out: Prepared) -> None:
    """Write what a step needs to know of the users before it."""
    n, d = users.hidden.shape
    keys, rows = events.keys, events.rows
    r = keys.shape[1]
    entries, hidden, bias = users.entries, users.hidden, users.bias
    decay_bias, decay_adapter = rates.decay_bias, rates.decay_adapter
    step_bias, step_adapter = rates.step_bias, rates.step_adapter
    scaled, squares = np.empty(r, F32), np.empty(r, F32)
    for i in range(n):
        row = rows[i]
        for c in range(r):
            scaled[c] = users.scales[i, c] * keys[i, c]
            squares[c] = keys[i, c] * keys[i, c]
        for j in range(d):
            now, decayed, slope = F32(0.0), F32(0.0), F32(0.0)
            for c in range(r):
                x = F32(entries[i, j * r + c]) * scaled[c]
                now += x
                decayed += decay_adapter[row, j, c] * x
                slope += step_adapter[j, c] * squares[c]
            out.query[i, j] = hidden[i, j] + bias[i, j] + now
            out.base[i, j] = hidden[i, j] + decay_bias[row, j] * bias[i, j] + decayed
            out.slope[i, j] = step_bias[j] + slope


@njit(cache=True, nogil=True, fastmath=_FREE_ORDER)
def change(
    users: Coded, events: Events, rates: Rates, gradients: NDArray[np.float32], out: Changed
) -> None:
    """Write the fast weights after a step.

    Args:
        users: before it.
        events: that it is on.
        rates: of the inner loop.
        gradients: ∂L/∂q, summed over the gradient steps, (n, d).
        out: written.
    """
    n, d = gradients.shape
    keys, rows = events.keys, events.rows
    r = keys.shape[1]
    bias, adapter = out.bias, out.adapter
    entries, before = users.entries, users.bias
    decay_bias, decay_adapter = rates.decay_bias, rates.decay_adapter
    step_bias, step_adapter = rates.step_bias, rates.step_adapter
    scales, key = np.empty(r, F32), np.empty(r, F32)
    for i in range(n):
        row, total = rows[i], F32(0.0)
        for c in range(r):
            scales[c] = users.scales[i, c]
            key[c] = keys[i, c]
        for j in range(d):
            g = gradients[i, j]
            bias[i, j] = decay_bias[row, j] * before[i, j] - step_bias[j] * g
            for c in range(r):
                x = F32(entries[i, j * r + c]) * scales[c]
                x = decay_adapter[row, j, c] * x - step_adapter[j, c] * (g * key[c])
                adapter[i, j, c] = x
                total += abs(x)
        out.size[i] = total


@njit(cache=True, nogil=True, fastmath=_FREE_ORDER)
def queries(users: Coded, keys: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Write q = h + b + A·k, (n, d)."""
    n, d = users.hidden.shape
    r = keys.shape[1]
    entries, hidden, bias = users.entries, users.hidden, users.bias
    scaled = np.empty(r, F32)
    for i in range(n):
        for c in range(r):
            scaled[c] = users.scales[i, c] * keys[i, c]
        for j in range(d):
            x = F32(0.0)
            for c in range(r):
                x += F32(entries[i, j * r + c]) * scaled[c]
            out[i, j] = hidden[i, j] + bias[i, j] + x
