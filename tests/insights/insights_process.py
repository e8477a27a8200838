"""`innerloop insights` in a process of its own, which may be told to die at a point of a round.

    python insights_process.py SETTINGS.json [--die POINT ROUND] [--stall HOW] [--slow]

With a point it kills itself there, hard, in the round of work of that number, counted over all
partitions: after the outcomes are acknowledged ("outcomes"), when tables are written but nothing is
acknowledged ("tables"), after that is acknowledged and before the records are ("durable"), or when
offsets are committed ("commit").

Told to stall it takes in no record though it goes on ("deaf"), or its event loop stands still
("frozen"). Slow, it takes each record in with a pause, and is told late what is committed, so that
records wait in all places when partitions move.
"""

import argparse
import asyncio
import logging
import os
import signal
import time
from pathlib import Path

from aiokafka import AIOKafkaConsumer

from schemas.settings import Settings
from worker.insights.app import Inbox
from worker.insights.counting import Counting
from worker.insights.faust_parts import _CarefulConsumer
from worker.insights.metrics import InsightsMetrics
from worker.insights.service import run_insights


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at(point: str, number: int) -> None:
    rounds = 0
    send, write, tell = Counting._send_outcomes, Counting._write, InsightsMetrics.count
    commit = _CarefulConsumer._commit

    async def counted_send(self, *args):
        nonlocal rounds
        await send(self, *args)
        rounds += 1
        if point == "outcomes" and rounds == number:
            die()

    def counted_write(self, *args):
        write(self, *args)
        if point == "tables" and rounds == number:
            die()

    def counted_tell(self, *args):
        if point == "durable" and rounds == number:
            die()
        tell(self, *args)

    async def counted_commit(self, offsets):
        done = await commit(self, offsets)
        if point == "commit" and rounds >= number:
            die()
        return done

    Counting._send_outcomes, Counting._write = counted_send, counted_write
    InsightsMetrics.count = counted_tell
    _CarefulConsumer._commit = counted_commit


def stall(how: str) -> None:
    async def never(self, event):
        await asyncio.Event().wait()

    async def frozen(self, *args):
        time.sleep(3600)

    if how == "deaf":
        Inbox.put = never
    else:
        Counting.round = frozen


def slow_down() -> None:
    put, committed = Inbox.put, AIOKafkaConsumer.committed

    async def slow_put(self, event):
        await asyncio.sleep(0.001)
        await put(self, event)

    async def late_committed(self, partition):
        await asyncio.sleep(0.02)
        return await committed(self, partition)

    Inbox.put, AIOKafkaConsumer.committed = slow_put, late_committed


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("settings", type=Path)
    parser.add_argument("--die", nargs=2, metavar=("POINT", "ROUND"))
    parser.add_argument("--stall", choices=["deaf", "frozen"])
    parser.add_argument("--slow", action="store_true")
    given = parser.parse_args()
    if given.slow:
        slow_down()
    if given.stall:
        stall(given.stall)
    if given.die:
        die_at(given.die[0], int(given.die[1]))
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    for chatty in ("faust", "mode", "aiokafka"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    run_insights(Settings.model_validate_json(given.settings.read_text()))


if __name__ == "__main__":
    main()
