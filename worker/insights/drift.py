"""Alarms on a rate that falls: ADWIN over the latest counts of trials and hits.

Bifet & Gavaldà, "Learning from time-changing data with adaptive windowing" (SDM 2007). Kept is a
window of the stream, here as a list of batches (trials, hits). Whenever some cut splits it into two
parts whose rates differ by more than chance allows, the older part is dropped. With n₀ and n₁
trials in the parts, m = 1/(1/n₀ + 1/n₁) and σ² the variance p(1−p) of the whole window, the
threshold is theirs for practice (section 3.1):

    ε = √(2/m · σ² · ln(2/δ')) + 2/(3m) · ln(2/δ')

with δ' = δ / (number of cuts that are tried), so that, by the union bound, δ bounds the
probability that one check raises an alarm on a rate that has not changed, for independent trials.
The same users act again and again, so trials are not quite independent; and the rate has a daily
rhythm. An alarm is a reason to look, not a verdict.

As in the paper, batches are merged as they age, so memory is logarithmic in the window's length: at
most `_PER_SIZE` batches of about the same size, a size being a power of two trials.
"""

from __future__ import annotations

import math

import msgspec

_PER_SIZE = 6
_FEWEST = 30
"""Trials in a part below which no cut is tried; the paper's implementation asks for 5."""


class DriftWindow(msgspec.Struct, array_like=True):
    """The window of one rate."""

    batches: list[tuple[int, int]] = []
    """Trials and hits, oldest first."""
    falls: int = 0
    """Alarms: the rate fell."""
    rises: int = 0

    @property
    def trials(self) -> int:
        """Trials in the window."""
        return sum(trials for trials, _ in self.batches)

    @property
    def rate(self) -> float:
        """Share of hits in the window; NaN for none."""
        trials = self.trials
        return sum(hits for _, hits in self.batches) / trials if trials else math.nan


def observe(window: DriftWindow, trials: int, hits: int, delta: float) -> None:
    """Add a batch, and drop what is older than a change; counts the change where there is one.

    Args:
        window: changed.
        trials: at least 1.
        hits: at most `trials`.
        delta: bound on the probability of a false alarm.
    """
    window.batches.append((trials, hits))
    while (fell := _drop_before_change(window, delta)) is not None:
        if fell:
            window.falls += 1
        else:
            window.rises += 1
    _merge_old(window)


def _drop_before_change(window: DriftWindow, delta: float) -> bool | None:
    """Drop the batches before the clearest change; return whether the rate fell, None if none."""
    n, k = window.trials, sum(hits for _, hits in window.batches)
    best, best_margin, fell = 0, 0.0, False
    cuts = max(1, len(window.batches) - 1)
    n0 = k0 = 0
    for number, (trials, hits) in enumerate(window.batches[:-1], start=1):
        n0, k0 = n0 + trials, k0 + hits
        n1, k1 = n - n0, k - k0
        if min(n0, n1) < _FEWEST:
            continue
        difference = k0 / n0 - k1 / n1
        margin = abs(difference) - cut_threshold(n0, n1, k / n, delta / cuts)
        if margin > best_margin:
            best, best_margin, fell = number, margin, difference > 0
    if best == 0:
        return None
    del window.batches[:best]
    return fell


def cut_threshold(n0: int, n1: int, rate: float, delta: float) -> float:
    """Return ε for one cut: how far apart the rates of two parts must be to count as different."""
    m = 1 / (1 / n0 + 1 / n1)
    confidence = math.log(2 / delta)
    return math.sqrt(2 / m * rate * (1 - rate) * confidence) + 2 / (3 * m) * confidence


def _merge_old(window: DriftWindow) -> None:
    """Merge the oldest two neighbours of a size that has too many batches, from new to old."""
    seen: dict[int, list[int]] = {}
    for index in range(len(window.batches) - 1, -1, -1):
        size = window.batches[index][0].bit_length()
        same = seen.setdefault(size, [])
        same.append(index)
        if len(same) > _PER_SIZE and index + 1 < len(window.batches):
            newer = window.batches.pop(index + 1)
            older = window.batches[index]
            window.batches[index] = (older[0] + newer[0], older[1] + newer[1])
            _merge_old(window)
            return
