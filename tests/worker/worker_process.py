"""A worker in a process of its own, which may be told to die at a point of a micro-batch.

    python worker_process.py SETTINGS.json [POINT BATCH]

With a point it kills itself there, hard, in the micro-batch of that number: after the
recommendations are acknowledged and before any state is written ("recommendations"), after the
states are acknowledged and before the commit ("states"), or after the commit ("commit").
"""

import itertools
import logging
import os
import signal
import sys
from pathlib import Path

from fake_model import FakeModel

from schemas.settings import Settings
from worker.service import WorkerService
from worker.stages.commit import Committer
from worker.stages.publish import Publisher


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at(point: str, batch: int) -> None:
    batches = itertools.count(1)
    publish, commit = Publisher.publish, Committer.commit
    now = {"batch": 0, "publishes": 0}

    def counted_publish(self, records):
        if not now["publishes"]:
            now["batch"] = next(batches)
        now["publishes"] += 1
        publish(self, records)
        reached = "recommendations" if now["publishes"] == 1 else "states"
        if now["batch"] == batch and reached == point:
            die()

    def counted_commit(self, next_offsets):
        commit(self, next_offsets)
        now["publishes"] = 0
        if now["batch"] == batch and point == "commit":
            die()

    Publisher.publish, Committer.commit = counted_publish, counted_commit


def main() -> None:
    settings = Settings.model_validate_json(Path(sys.argv[1]).read_text())
    if len(sys.argv) > 2:
        die_at(sys.argv[2], int(sys.argv[3]))
    logging.basicConfig(level=logging.INFO)
    service = WorkerService(settings, FakeModel())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: service.stop())
    service.run()


if __name__ == "__main__":
    main()
