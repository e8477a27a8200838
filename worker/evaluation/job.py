"""What to evaluate on what, and the data that it is evaluated on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from schemas.errors import EvaluationError
from worker.data import EventLog, ItemTable, load_events, load_items
from worker.evaluation.scenarios import StreamScenarios, shown_choice
from worker.evaluation.segments import Segments, by_activity, by_column
from worker.model.bundle import HeldOut, read_manifest
from worker.scenarios import ScenarioChoice, find_scenarios
from worker.split import TimeCut, split_at, training_mask

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
    diversity: tuple[float, ...] = ()
    """Also score each bundle with its lists spread out so much, as `policy.diversity` does."""
    segments: str | None = None
    """A column of `users_file`; None takes the users' activity."""
    users_file: Path | None = None
    scenarios: ScenarioChoice | None = None
    """Scenarios to report on; None takes those that the first bundle's training held out."""
    seed: int = 0


@dataclass(frozen=True)
class EvaluationData:
    """The files of a job, read and cut."""

    items: ItemTable
    cut: TimeCut
    segments: Segments
    scenarios: StreamScenarios | None = None


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

    What the first bundle's training held out is left out of everybody's training events.

    Raises:
        BundleError: the first bundle is none.
        DataError: a file cannot be used, or there is no such scenario.
        EvaluationError: there is a column to group users by, but no users file, or the other way.
    """
    if (job.segments is None) != (job.users_file is None):
        raise EvaluationError(
            "--segments COLUMN and --users-file FILE go together: a column of that file"
        )
    items = load_items(job.items)
    log = load_events(job.events, items)
    held = read_manifest(job.bundles[0].folder).provenance.held_out if job.bundles else None
    held_out = _held_out(held, job, items, log)
    cut = split_at(log, job.cut, held_out)
    scenarios = _scenarios(job, held, items, log, held_out)
    if job.segments is None or job.users_file is None:
        segments = by_activity(cut)
    else:
        segments = by_column(job.users_file, job.segments, log.user_ids)
    if job.users is not None:
        cut = _only_some_users(cut, job.users, job.seed)
    return EvaluationData(items, cut, segments, scenarios)


def _held_out(
    held: HeldOut | None, job: EvaluationJob, items: ItemTable, log: EventLog
) -> NDArray[np.bool_]:
    """Return which events are not to be trained on, (len(log),)."""
    if held is None:
        return np.zeros(len(log), np.bool_)
    choice = ScenarioChoice(held.column, tuple(held.values))
    return find_scenarios(choice, job.events, job.items, items, log).mask


def _scenarios(
    job: EvaluationJob,
    held: HeldOut | None,
    items: ItemTable,
    log: EventLog,
    held_out: NDArray[np.bool_],
) -> StreamScenarios | None:
    shown = shown_choice(job.scenarios, held)
    if shown is None:
        return None
    found = find_scenarios(shown, job.events, job.items, items, log)
    return StreamScenarios.of(found, training_mask(log, job.cut)[1], held_out)


def _only_some_users(cut: TimeCut, n: int, seed: int) -> TimeCut:
    # The rest of the stream is still replayed: methods that learn online learn from everybody.
    new_users = np.unique(cut.stream.users[cut.scored])
    chosen = np.zeros(len(cut.stream.user_ids), np.bool_)
    rng = np.random.default_rng(seed)
    chosen[rng.choice(new_users, min(n, len(new_users)), replace=False)] = True
    return replace(cut, scored=cut.scored & chosen[cut.stream.users])
