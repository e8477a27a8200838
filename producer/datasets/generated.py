"""Made-up clicks in any number, for measuring what a machine can take: they say nothing of quality.

Visitors arrive evenly over thirty days. Each begins at an item drawn with a preference for the
first ones, and goes on to items near the last one, now and then to another part of the catalogue.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.errors import DataError

EVENTS_FOLDER = "events"
ITEMS_NAME = "items.parquet"

_FROM = 1_700_000_000
_SECONDS = 30 * 86_400
_TYPES = ("view", "add_to_cart", "purchase")
_SHARES = (0.89, 0.07, 0.04)
_JUMP = 0.1
"""Probability that a visitor goes on to another part of the catalogue."""
_NEAR = 20
_WORDS = "red blue steel soft grand small lamp chair phone case cable toy shoe shirt watch glass"


@dataclass(frozen=True)
class Clicks:
    """How much to make up.

    Raises:
        DataError: there are fewer events than users, or fewer users than files.
    """

    events: int
    users: int
    items: int
    shards: int
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.shards <= self.users <= self.events:
            raise DataError(
                f"{self.events:,} events, {self.users:,} users, {self.shards:,} files: there should"
                " be no fewer events than users and no fewer users than files"
            )


def write_generated(clicks: Clicks, out: Path) -> None:
    """Write items, and events in as many Parquet files, each of the visitors of a few days.

    The same `clicks` give the same rows. No more than one file is held in memory.
    """
    (out / EVENTS_FOLDER).mkdir(parents=True, exist_ok=True)
    digits = len(str(clicks.shards - 1))
    for shard in range(clicks.shards):
        name = f"part-{shard:0{digits}}.parquet"
        events_of_shard(clicks, shard).write_parquet(out / EVENTS_FOLDER / name)
    _items(clicks).write_parquet(out / ITEMS_NAME)


def events_of_shard(clicks: Clicks, shard: int) -> pl.DataFrame:
    """Return the events of the visitors of one file, by time."""
    rng = np.random.default_rng([clicks.seed, shard])
    users, n = (_share(total, clicks.shards, shard) for total in (clicks.users, clicks.events))
    # Everybody has an event; who has the others is drawn.
    user = np.sort(np.concatenate([np.arange(users), rng.integers(0, users, n - users)]))
    first = np.concatenate([[True], user[1:] != user[:-1]])
    arrival = _FROM + (shard + rng.random(users)) / clicks.shards * _SECONDS
    gaps = np.where(first, 0, 1 + rng.lognormal(4, 2, n).astype(np.int64))
    time = arrival.astype(np.int64)[user] + _sums(gaps, first)
    frame = pl.DataFrame(
        {
            "user_id": np.char.add(f"visitor-{shard}-", user.astype(str)),
            "item_id": _items_of(rng, first, clicks.items),
            "event_type": rng.choice(_TYPES, n, p=_SHARES),
            "timestamp": time,
        }
    )
    return frame.with_columns(pl.format("sku-{}", "item_id").alias("item_id")).sort(
        "timestamp", maintain_order=True
    )


def _items_of(rng: np.random.Generator, first: NDArray[np.bool_], items: int) -> NDArray[np.int64]:
    n = len(first)
    anew = first | (rng.random(n) < _JUMP)
    start = (items * rng.random(n) ** 3).astype(np.int64)
    step = np.where(anew, start, rng.integers(-_NEAR, _NEAR + 1, n))
    return _sums(step, anew) % items


def _sums(values: NDArray[np.int64], first: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the running sums that begin anew where `first` is true: (n,), (n,) → (n,)."""
    sums = np.cumsum(values)
    starts = np.flatnonzero(first)
    before = sums[starts] - values[starts]
    return sums - np.repeat(before, np.diff(np.append(starts, len(values))))


def _items(clicks: Clicks) -> pl.DataFrame:
    rng = np.random.default_rng(clicks.seed)
    words = np.array(_WORDS.split())[rng.integers(0, len(_WORDS.split()), (3, clicks.items))]
    number = pl.int_range(clicks.items, eager=True)
    return pl.DataFrame({"number": number, "a": words[0], "b": words[1], "c": words[2]}).select(
        pl.format("sku-{}", "number").alias("item_id"),
        pl.format("{} {} {} {}", "a", "b", "c", pl.col("number") // 40).alias("title"),
        pl.format("aisle {} > shelf {}", pl.col("number") // 5000, pl.col("number") // 200).alias(
            "categories"
        ),
    )


def _share(total: int, parts: int, part: int) -> int:
    return total * (part + 1) // parts - total * part // parts
