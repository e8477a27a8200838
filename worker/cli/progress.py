"""Progress bars for jobs that go through named phases."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class PhaseProgress:
    """One bar per phase; starting a phase completes the one before.

    A phase of unknown length shows that something goes on, and leaves nothing behind.
    """

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._progress.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self._complete()
        self._progress.__exit__(kind, error, traceback)

    def start(self, name: str, total: int | None) -> None:
        """Begin a phase of `total` steps; None if nobody knows how many."""
        self._complete()
        self._task = self._progress.add_task(name, total=total)

    def advance(self, steps: int) -> None:
        """Note that `steps` more steps of the phase are done."""
        if self._task is not None:
            self._progress.advance(self._task, steps)

    def _complete(self) -> None:
        if self._task is not None:
            task = next(task for task in self._progress.tasks if task.id == self._task)
            if task.total is None:
                self._progress.remove_task(self._task)
            else:
                self._progress.update(self._task, completed=task.total)
