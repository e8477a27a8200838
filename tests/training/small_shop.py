"""A small generated shop as files, and `innerloop train` on it as a person runs it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from worker.cli.app import app

USERS, ITEMS, EPOCHS = 150, 80, 3
CONFIG = """[training]
anchors = 16
rank = 2
batch_users = 16
negatives = 64
learning_rate = 0.05
memory_neighbours = 4
"""


def write_shop(folder: Path, text_encoder: Path) -> list[str]:
    """Write events, items and settings; return the arguments of `innerloop train` but `--out`."""
    draw = np.random.default_rng(0)
    rows = []
    for user in range(USERS):
        item = int(draw.integers(ITEMS))
        for step in range(int(draw.integers(2, 9))):
            rows.append((f"u{user}", f"i{item}", "view", 60 * user + 7 * step))
            item = (item + int(draw.integers(0, 4))) % ITEMS
    columns = ["user_id", "item_id", "event_type", "timestamp"]
    pl.DataFrame(rows, columns, orient="row").write_csv(folder / "events.csv")
    names = {
        "item_id": [f"i{n}" for n in range(ITEMS)],
        "title": [f"lamp {n}" for n in range(ITEMS)],
    }
    pl.DataFrame(names).write_csv(folder / "items.csv")
    (folder / "settings.toml").write_text(CONFIG)
    return [
        *("train", "--events", str(folder / "events.csv"), "--items", str(folder / "items.csv")),
        *("--config", str(folder / "settings.toml"), "--encoder", str(text_encoder)),
        *("--epochs", str(EPOCHS), "--dim", "8", "--device", "cpu"),
    ]


def run(*arguments: str | Path) -> None:
    """Run the command line in this process; errors are raised."""
    app([str(argument) for argument in arguments], standalone_mode=False)


def stop_after(
    writes: int, stop: Callable[[], None], *, of: str = "state.json"
) -> tuple[object, str, Callable[..., None]]:
    """Return what to patch, for `stop` to be called after so many writes of files called `of`."""
    from worker.training import checkpoint

    write, done = checkpoint.write_whole, [0]

    def counted(path: Path, content: bytes) -> None:
        write(path, content)
        done[0] += path.name.endswith(of)
        if path.name.endswith(of) and done[0] == writes:
            stop()

    return checkpoint, "write_whole", counted


def main() -> None:
    """Train, once for each WRITES OF OUT before `--`, and be killed after so many such writes.

    Each training is a process forked off this one, which has imported everything already. How they
    ended is told on standard output, a status a line.
    """
    import os
    import signal

    import worker.training.bundle_writer  # noqa: F401

    end = sys.argv.index("--")
    cases, arguments = sys.argv[1:end], sys.argv[end + 1 :]
    for writes, of, out in zip(cases[::3], cases[1::3], cases[2::3], strict=True):
        child = os.fork()
        if child == 0:
            os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
            setattr(*stop_after(int(writes), lambda: os.kill(os.getpid(), signal.SIGKILL), of=of))
            run(*arguments, "--out", out)
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
