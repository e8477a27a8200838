"""A worker in a process of its own that follows plans of fake bundles, and dies in a switch."""

import logging
import multiprocessing
import os
import signal
from multiprocessing.process import BaseProcess
from pathlib import Path

from fake_model import FakeModel
from rollout_parts import load_fake

from schemas.settings import Settings
from worker.rollout.arms import Arms
from worker.service import WorkerService


def live(settings_json: str, point: str, log: Path) -> None:
    """Serve until the arms are about to be changed, or just have been, and die there, hard."""
    stream = log.open("a")
    os.dup2(stream.fileno(), 1)
    os.dup2(stream.fileno(), 2)
    logging.basicConfig(level=logging.INFO, stream=stream)
    serve = Arms.serve

    def deadly(self, primary, trial) -> None:
        if primary.model.version == "own":
            serve(self, primary, trial)
            return
        if point == "after":
            serve(self, primary, trial)
        os.kill(os.getpid(), signal.SIGKILL)

    Arms.serve = deadly
    settings = Settings.model_validate_json(settings_json)
    WorkerService(settings, FakeModel("own"), load=load_fake).run()


def start(settings: Settings, point: str, log: Path) -> BaseProcess:
    """Start such a worker, forked off a server that has loaded everything already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["rollout_lives", "short_lives"])
    process = context.Process(target=live, args=(settings.model_dump_json(), point, log))
    process.start()
    return process
