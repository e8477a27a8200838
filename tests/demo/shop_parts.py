"""A small shop of six kinds of things: its data, a bundle trained on it, and the page, served."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import StringIO
from pathlib import Path

import numpy as np
import polars as pl
from demo_parts import plan
from rich.console import Console

from worker.demo.children import Children, interrupted_by_signals
from worker.demo.plan import DemoPlan
from worker.demo.run import Demo, Stream

KINDS = ["Teas", "Boots", "Lamps", "Guitars", "Tents", "Breads"]
LOOKS = ["red", "small", "old", "heavy", "soft", "round", "plain", "dark", "fine", "wide"]
VISITORS = 400
SETTINGS = """[training]
anchors = 32
rank = 4
dim = 16
batch_users = 16
negatives = 32
learning_rate = 0.02
"""


def write_shop(made: DemoPlan) -> None:
    """Write visitors who look, nine times of ten, at one kind of things."""
    draw = np.random.default_rng(0)
    rows = []
    for visitor in range(VISITORS):
        kind = int(draw.integers(len(KINDS)))
        for step in range(int(draw.integers(3, 9))):
            stays = draw.random() < 0.9
            item = (kind if stays else draw.integers(len(KINDS)), draw.integers(len(LOOKS)))
            rows.append((f"u{visitor}", item_id(*map(int, item)), "view", 60 * visitor + 7 * step))
    made.data.mkdir(parents=True)
    columns = ["user_id", "item_id", "event_type", "timestamp"]
    pl.DataFrame(rows, columns, orient="row").write_csv(made.events_file, compression="gzip")
    things = [
        (item_id(kind, look), f"{LOOKS[look]} {KINDS[kind][:-1].lower()}", KINDS[kind])
        for kind in range(len(KINDS))
        for look in range(len(LOOKS))
    ]
    columns = ["item_id", "title", "categories"]
    pl.DataFrame(things, columns, orient="row").write_csv(made.items_file, compression="gzip")


def item_id(kind: int, look: int) -> str:
    return f"{KINDS[kind]}-{LOOKS[look]}".lower()


def train(made: DemoPlan, text_encoder: Path) -> None:
    settings = made.folder / "training.toml"
    settings.write_text(SETTINGS)
    files = ["--events", made.events_file, "--items", made.items_file, "--out", made.bundle]
    options = ["--encoder", text_encoder, "--epochs", "6", "--config", settings]
    command = [sys.executable, "-m", "worker.cli", "train", *files, *options]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def open_shop(folder: Path, text_encoder: Path) -> Iterator[Stream]:
    """Serve the page of a shop with a freshly trained bundle while the block runs."""
    made = plan(folder)
    write_shop(made)
    train(made, text_encoder)
    made.config.write_text(made.config_text())
    demo = Demo(made, Console(file=StringIO()), lambda: 0)
    with Children(made.logs) as children:
        yield demo.start_stream(children)


def main() -> None:
    """Serve it until Ctrl-C, to look at."""
    folder, text_encoder = map(Path, sys.argv[1:])
    with (
        suppress(KeyboardInterrupt),
        interrupted_by_signals(),
        open_shop(folder, text_encoder) as stream,
    ):
        print(stream.page.address, flush=True)
        signal.pause()


if __name__ == "__main__":
    main()
