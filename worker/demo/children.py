"""The demo's child processes: each one an `innerloop` command, watched, and stopped at the end."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from schemas.errors import DemoError
from schemas.settings.sources import ENVIRONMENT_PREFIX

_TAIL_LINES = 15
_WAIT_STEP_S = 0.1
# Asked as Ctrl-C asks; whoever was started with that ignored, or hangs, is asked again.
_STOPPING = ((signal.SIGINT, 20.0), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0))


def command_name() -> str:
    """Return how a person calls `innerloop` from here, such as `.venv/bin/innerloop`."""
    script = Path(sys.executable).with_name("innerloop")
    on_path = shutil.which("innerloop")
    if on_path is not None and Path(on_path).resolve() == script.resolve():
        return "innerloop"
    if script.is_file():
        if script.is_relative_to(Path.cwd()):
            script = script.relative_to(Path.cwd())
        # A shell looks along PATH for a name without a folder.
        return shlex.quote(str(script) if len(script.parts) > 1 else f"./{script}")
    return shlex.join([sys.executable, "-m", "worker.cli"])


class Child:
    """A running `innerloop` command. Made by `Children`.

    Args:
        name: what it is called in messages.
        arguments: of the command, without `innerloop`.
        log: takes what it says; None lets it say it to whoever sees the demo.
    """

    def __init__(self, name: str, arguments: Sequence[str], log: Path | None) -> None:
        self.name = name
        self._arguments = arguments
        self._log = log
        with contextlib.ExitStack() as stack:
            output = None if log is None else stack.enter_context(log.open("wb"))
            # A session of its own: Ctrl-C in the terminal reaches the demo alone, which stops
            # its children in order.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "worker.cli", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=_environment(),
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Exit status; None while it runs."""
        return self._process.poll()

    def wait(self) -> None:
        """Wait for the end of a command that ends by itself.

        Raises:
            DemoError: it failed.
        """
        while self.status is None:
            time.sleep(_WAIT_STEP_S)
        self.check(may_end=True)

    def check(self, *, may_end: bool = False) -> None:
        """Make sure that it runs, or, if it may, has ended well.

        Raises:
            DemoError: it has not; the message holds the end of its log.
        """
        status = self.status
        if status is None or (may_end and status == 0):
            return
        ended = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        raise DemoError(f"{self.name} {ended}: innerloop {' '.join(self._arguments)}{self.tail()}")

    def tail(self) -> str:
        """Return the end of the log, as a part of an error message."""
        if self._log is None:
            return ""
        lines = self._log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
        return "\n".join([f"\nThe end of {self._log}:", *(f"  {line}" for line in lines)])

    def output(self) -> str:
        """Return what it has said so far; empty if that is not logged."""
        return "" if self._log is None else self._log.read_text(errors="replace")

    def stop(self) -> None:
        """Ask it to stop, and see that it does."""
        for number, patience_s in _STOPPING:
            if self.status is not None:
                return
            self._process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(patience_s)


class Children:
    """Child processes; leaving the `with` block stops those still running, the latest first.

    Args:
        logs: folder for what they say.
    """

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: list[Child] = []

    def __enter__(self) -> Self:
        self._logs.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with _undisturbed():
            while self._running:
                self._running.pop().stop()

    def start(self, name: str, arguments: Sequence[str], *, logged: bool = True) -> Child:
        """Start a command; `logged` ones write to `<name>.log`, others to the demo's own output."""
        log = self._logs / f"{name}.log" if logged else None
        with _undisturbed():  # an interruption between the start and the note would lose the child
            self._running.append(Child(name, arguments, log))
        return self._running[-1]


@contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """Raise KeyboardInterrupt on SIGTERM and SIGHUP, as Python does on SIGINT. Main thread only."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with _handled_by(interrupt, (signal.SIGTERM, signal.SIGHUP)):
        yield


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Keep interruptions back while the block runs; KeyboardInterrupt comes after it instead."""
    interrupted = False

    def note(_number: int, _frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True

    # Blocking the signals would not do: children inherit what is blocked, not what is handled.
    with _handled_by(note, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)):
        yield
    if interrupted:
        raise KeyboardInterrupt


@contextmanager
def _handled_by(
    handler: Callable[[int, FrameType | None], None], numbers: Sequence[signal.Signals]
) -> Iterator[None]:
    previous = {number: signal.getsignal(number) for number in numbers}
    # One that is ignored, as in a shell's background job or under nohup, stays ignored.
    changed = [number for number in numbers if previous[number] is not signal.SIG_IGN]
    for number in changed:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number in changed:
            signal.signal(number, previous[number])


def _environment() -> dict[str, str]:
    """Return the children's environment: the demo's own settings come in a file."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith(ENVIRONMENT_PREFIX)
    }
