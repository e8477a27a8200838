"""A batch of observations leaves what single ones leave in Prometheus' own histogram."""

import math
import threading

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from worker.batch_histogram import BatchHistogram

BOUNDS = (0.1, 1, 2.5, 10)


@pytest.fixture
def pair():
    """One of each, and how each is scraped, but for when it was created."""
    registries = CollectorRegistry(), CollectorRegistry()
    batch = BatchHistogram("h", "What it is.", BOUNDS, registries[0])
    single = Histogram("h", "What it is.", registry=registries[1], buckets=BOUNDS)

    def scraped() -> list[list[str]]:
        lines = [generate_latest(registry).decode().splitlines() for registry in registries]
        return [[line for line in of if not line.startswith("h_created ")] for of in lines]

    return batch, single, scraped


@pytest.mark.parametrize(
    "batches",
    [
        [[]],
        [[0.5]],
        [[0.1, 1, 2.5, 10]],  # on the bounds
        [[-3, 0.0, 11, 1e9], [0.25]],
        [[math.inf, 2.0]],
        [[math.nan, 2.0]],
        [list(range(20)), [], [0.125] * 300],
    ],
)
def test_it_is_scraped_like_a_histogram(pair, batches):
    batch, single, scraped = pair
    for values in batches:
        batch.observe_many(values)
        for value in values:
            single.observe(value)
    ours, theirs = scraped()
    assert ours == theirs


def test_drawn_values_of_float32_are_counted_alike(pair):
    batch, single, scraped = pair
    rng = np.random.default_rng(5)
    for _ in range(20):
        # Halves: their sum is exact in any order.
        values = (rng.integers(0, 30, size=100) / 2).astype(np.float32)
        batch.observe_many(values)
        for value in values.tolist():
            single.observe(value)
        batch.observe(0.5)
        single.observe(0.5)
    ours, theirs = scraped()
    assert ours == theirs


def test_it_says_when_it_was_created_as_a_histogram_does(pair):
    batch, single, _ = pair
    ours, theirs = ([s.name for f in h.collect() for s in f.samples] for h in (batch, single))
    assert ours == theirs
    created = [s.value for f in batch.collect() for s in f.samples if s.name == "h_created"]
    batch.observe(1)
    assert created == [s.value for f in batch.collect() for s in f.samples if s.name == "h_created"]


def test_the_same_name_twice_is_refused():
    registry = CollectorRegistry()
    BatchHistogram("h", "", BOUNDS, registry)
    with pytest.raises(ValueError, match="Duplicated"):
        Histogram("h", "", registry=registry)


def test_a_scrape_shows_whole_batches():
    registry = CollectorRegistry()
    histogram = BatchHistogram("h", "", BOUNDS, registry)
    batch = np.full(7, 2.0)
    over = threading.Event()

    def observe() -> None:
        for _ in range(3000):
            histogram.observe_many(batch)
        over.set()

    thread = threading.Thread(target=observe)
    thread.start()
    seen = []
    while not over.is_set():
        families = text_string_to_metric_families(generate_latest(registry).decode())
        family = next(family for family in families if family.name == "h")
        values = {s.name + s.labels.get("le", ""): s.value for s in family.samples}
        assert values["h_sum"] == 2 * values["h_count"]
        assert values["h_count"] == values["h_bucket+Inf"] == values["h_bucket2.5"]
        seen.append(values["h_count"])
    thread.join()
    assert all(count % 7 == 0 for count in seen) and seen == sorted(seen)
    assert registry.get_sample_value("h_count") == 21_000
