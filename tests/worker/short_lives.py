"""Workers in processes of their own that are killed, or stopped, at a call of their producer.

Processes are forked off a server that has loaded everything already, so that a life costs no more
than a worker's start.
"""

import logging
import multiprocessing
import os
import random
import signal
import sys
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from fake_model import FakeModel
from recording_learner import recording

from schemas.errors import InnerloopError
from schemas.settings import Settings
from worker.delivery.transactional_producer import TransactionalProducer
from worker.service import WorkerService

CALLS = {
    "begin_transaction": 3,
    "produce": 400,
    "send_offsets_to_transaction": 3,
    "commit_transaction": 3,
}
"""Calls to die at, and up to which of them; the number of records decides how many there are."""


@dataclass(frozen=True)
class Fate:
    """What happens to a worker at its `number`-th call of a method of its producer."""

    call: str
    number: int
    after: bool
    how: int = signal.SIGKILL


def drawn(draw: random.Random) -> Fate:
    call = draw.choice(list(CALLS))
    return Fate(call, draw.randint(1, CALLS[call]), draw.random() < 0.5)


class Doomed:
    """A producer with a fate."""

    def __init__(self, producer, fate: Fate) -> None:
        self._producer = producer
        self._fate = fate
        self._left = fate.number

    def __len__(self) -> int:
        return len(self._producer)

    def __getattr__(self, name: str):
        method = getattr(self._producer, name)
        return method if name != self._fate.call else self._counted(method)

    def _counted(self, method):
        def call(*arguments, **named):
            self._left -= 1
            if self._left == 0 and not self._fate.after:
                os.kill(os.getpid(), self._fate.how)
            result = method(*arguments, **named)
            if self._left == 0 and self._fate.after:
                os.kill(os.getpid(), self._fate.how)
            return result

        return call


def live(settings_json: str, fate: Fate | None, log: Path) -> None:
    """Serve until SIGTERM or the end that fate has in store."""
    stream = log.open("a")
    os.dup2(stream.fileno(), 1)
    os.dup2(stream.fileno(), 2)
    logging.basicConfig(level=logging.INFO, stream=stream, format="%(asctime)s %(message)s")
    if fate is not None:
        begin = TransactionalProducer.__init__

        def doom(self, producer, *arguments) -> None:
            begin(self, Doomed(producer, fate), *arguments)

        TransactionalProducer.__init__ = doom
    settings = Settings.model_validate_json(settings_json)
    service = WorkerService(settings, FakeModel(), item_memory=recording())
    signal.signal(signal.SIGTERM, lambda *_: service.stop())
    try:
        service.run()
    except InnerloopError as error:
        logging.error("%s: %s", type(error).__name__, error)
        sys.exit(2)


class Lives:
    """Starts workers; whatever is left at the end is killed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["short_lives"])
        self._started: list[BaseProcess] = []
        self._logs: dict[BaseProcess, Path] = {}

    def start(self, settings: Settings, fate: Fate | None = None) -> BaseProcess:
        log = self._folder / f"worker-{len(self._started)}.log"
        arguments = (settings.model_dump_json(), fate, log)
        process = self._context.Process(target=live, args=arguments)
        process.start()
        self._started.append(process)
        self._logs[process] = log
        return process

    def log(self, process: BaseProcess) -> str:
        return self._logs[process].read_text() if self._logs[process].exists() else ""

    def end(self) -> None:
        for process in self._started:
            process.kill()
            process.join()
