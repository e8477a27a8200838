"""Numbers as the demo writes them."""

from __future__ import annotations

import math

from worker.demo.scrape import HistogramSample

NOTHING = "–"


def seconds_text(seconds: float) -> str:
    """Return a duration: "43 ms", "1.2 s", or a dash for NaN."""
    if math.isnan(seconds):
        return NOTHING
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def latency_text(latency: HistogramSample) -> str:
    """Return median and 99th percentile of a histogram in seconds."""
    return f"{seconds_text(latency.quantile(0.5))} / {seconds_text(latency.quantile(0.99))}"


def rate_text(share: float) -> str:
    """Return a hit rate: "0.231", or a dash for NaN."""
    return NOTHING if math.isnan(share) else f"{share:.3f}"


def loss_text(before: HistogramSample, after: HistogramSample) -> str:
    """Return the mean support loss before and after the inner-loop step, in nats."""
    if not before.count or not after.count:
        return NOTHING
    return f"{before.mean:.2f} → {after.mean:.2f} nats"
