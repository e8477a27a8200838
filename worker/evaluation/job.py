"""What to evaluate on what, and the data that it is evaluated on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from schemas.errors import EvaluationError
from worker.data import ItemTable, load_events, load_items
from worker.evaluation.segments import Segments, by_activity, by_column
from worker.split import TimeCut, split_at

DEFAULT_NAME = "innerloop"
"""The bundle's name in reports if there is only one and it is given no name."""


@dataclass(frozen=True)
class NamedBundle:
    """A bundle and its name in reports."""

    name: str
    folder: Path


@dataclass(frozen=True)
class EvaluationJob:
    """What to evaluate on what."""

    bundles: tuple[NamedBundle, ...]
    """The first is the reference of the comparisons; with none it is the first rival."""
    events: Path
    items: Path
    cut: float = 0.75
    users: int | None = None
    """Score this many new users, drawn at random; None scores all."""
    exclude_seen: bool = False
    device: str = "auto"
    rivals: str = "fast"
    """A group of the rivals, "all", "none", or names with commas between."""
    tune: bool = True
    """Choose the rivals' settings on a validation slice; else take their first ones."""
    inner_loop_off: bool = True
    """Also score each bundle with its fast weights kept at their start."""
    segments: str | None = None
    """A column of `users_file`; None takes the users' activity."""
    users_file: Path | None = None
    seed: int = 0


@dataclass(frozen=True)
class EvaluationData:
    """The files of a job, read and cut."""

    items: ItemTable
    cut: TimeCut
    segments: Segments


def parse_bundles(texts: list[str]) -> tuple[NamedBundle, ...]:
    """Read bundles given as `folder` or `name=folder`.

    Without a name a bundle is called after its folder; a single one `DEFAULT_NAME`.

    Raises:
        EvaluationError: two bundles have the same name, or a name is empty.
    """
    bundles = []
    for text in texts:
        name, separator, folder = text.partition("=")
        if not separator or Path(text).is_dir():
            unnamed = DEFAULT_NAME if len(texts) == 1 else Path(text).resolve().name
            bundles.append(NamedBundle(unnamed, Path(text)))
        elif name and folder:
            bundles.append(NamedBundle(name, Path(folder)))
        else:
            raise EvaluationError(f"--bundle {text!r} is neither a folder nor name=folder")
    names = [bundle.name for bundle in bundles]
    for name in names:
        if names.count(name) > 1:
            raise EvaluationError(
                f"two bundles are called {name!r}; give them names, as in --bundle a=first/bundle"
            )
    return tuple(bundles)


def load_data(job: EvaluationJob) -> EvaluationData:
    """Read the files, cut the events, and group the users.

    Raises:
        DataError: a file cannot be used.
        EvaluationError: there is a column to group users by, but no users file, or the other way.
    """
    if (job.segments is None) != (job.users_file is None):
        raise EvaluationError(
            "--segments COLUMN and --users-file FILE go together: a column of that file"
        )
    items = load_items(job.items)
    log = load_events(job.events, items)
    cut = split_at(log, job.cut)
    if job.segments is None or job.users_file is None:
        segments = by_activity(cut)
    else:
        segments = by_column(job.users_file, job.segments, log.user_ids)
    if job.users is not None:
        cut = _only_some_users(cut, job.users, job.seed)
    return EvaluationData(items, cut, segments)


def _only_some_users(cut: TimeCut, n: int, seed: int) -> TimeCut:
    # The rest of the stream is still replayed: methods that learn online learn from everybody.
    new_users = np.unique(cut.stream.users[cut.scored])
    chosen = np.zeros(len(cut.stream.user_ids), np.bool_)
    rng = np.random.default_rng(seed)
    chosen[rng.choice(new_users, min(n, len(new_users)), replace=False)] = True
    return replace(cut, scored=cut.scored & chosen[cut.stream.users])
