"""A worker in a process of its own, which may be told to die at a point of a micro-batch.

    python worker_process.py SETTINGS.json [--die POINT BATCH] [--lessons FILE]

With a point it kills itself there, hard, in the micro-batch of that number: after the
recommendations are acknowledged ("recommendations"), in the midst of the item transitions ("some
transitions"), after them and before any state is written ("transitions"), after the states are
acknowledged and before the commit ("states"), or after the commit ("commit").

With a file for lessons it has an item memory, and at its end writes there what that one was taught.
"""

import argparse
import json
import logging
import os
import signal
from pathlib import Path

from fake_model import FakeModel
from recording_learner import Recorder

from schemas.settings import Settings
from worker.service import WorkerService
from worker.stages.commit import Committer
from worker.stages.publish import Publisher


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at(point: str, batch: int, stages: list[str]) -> None:
    """Die in the micro-batch of this number; it publishes once in each of the stages.

    Its offsets may be committed together with later ones.
    """
    publish, commit = Publisher.publish, Committer.commit
    published = 0

    def counted_publish(self, records):
        nonlocal published
        stage = stages[published % len(stages)]
        here = published // len(stages) + 1 == batch
        if here and point == f"some {stage}":
            publish(self, records[: len(records) // 2])
            die()
        publish(self, records)
        if here and point == stage:
            die()
        published += 1

    def counted_commit(self, next_offsets):
        commit(self, next_offsets)
        if point == "commit" and published >= batch * len(stages):
            die()

    Publisher.publish, Committer.commit = counted_publish, counted_commit


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("settings", type=Path)
    parser.add_argument("--die", nargs=2, metavar=("POINT", "BATCH"))
    parser.add_argument("--lessons", type=Path)
    given = parser.parse_args()
    settings = Settings.model_validate_json(given.settings.read_text())
    recorder = Recorder() if given.lessons else None
    if given.die:
        stages = ["recommendations", *(["transitions"] if recorder else []), "states"]
        die_at(given.die[0], int(given.die[1]), stages)
    logging.basicConfig(level=logging.INFO)
    source = None if recorder is None else recorder.source
    service = WorkerService(settings, FakeModel(), item_memory=source)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: service.stop())
    service.run()
    if recorder is not None:
        given.lessons.write_text(json.dumps(recorder.lessons))


if __name__ == "__main__":
    main()
