"""Where the live view goes: a terminal that redraws it, or a pipe that takes lines."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live

from worker.demo.frame import Frame
from worker.demo.view import line, render

LINE_EVERY_S = 5.0
"""Seconds of the replay between lines, where there is no terminal."""


class Screen:
    """Shows frames; a context manager.

    Args:
        console: a terminal gets a live view, which vanishes at the end; anything else gets lines.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = (
            Live(console=console, auto_refresh=False, transient=True)
            if console.is_terminal
            else None
        )
        self._next_line = LINE_EVERY_S

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.stop()

    def show(self, frame: Frame) -> None:
        """Show what is now."""
        if self._live:
            self._live.update(render(frame), refresh=True)
        elif frame.seconds >= self._next_line:
            self._next_line = frame.seconds + LINE_EVERY_S
            self._console.print(line(frame), highlight=False, soft_wrap=True)
