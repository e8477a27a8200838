"""Open-loop load from a process of its own: each record is sent when it is due, late or not.

    python -m worker.bench.sender ORDER.msgpack

It says `ready`, waits for a line, then says on the monotonic clock when the first record is due,
sends all, and says how late the latest was.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
from confluent_kafka import KafkaError, Message, Producer

from schemas.errors import BenchError

_LEAD_S = 0.05
_TICK_S = 0.001
"""Records due within it are sent together, at its end: to wake up for each by itself would take the
sender a quarter of a core at 5,000 a second. They count from when they were due."""
_FLUSH_WITHIN_S = 60.0


class Order(msgspec.Struct, frozen=True):
    """What to send."""

    config: dict[str, str | int | float | bool]
    """librdkafka's, of the producer."""
    topic: str
    rate: float
    """Records per second, evenly spaced."""
    records: list[tuple[bytes, bytes]]
    """Key and value of each, in order."""


class Sent(msgspec.Struct, frozen=True):
    """How it went."""

    worst_lateness_s: float
    seconds: float
    failed: int


class Sender:
    """The sending process; a context manager.

    The monotonic clock is the machine's: what is due here can be compared with what arrives in
    another process.

    Args:
        order: what to send.
        folder: for the order.
    """

    def __init__(self, order: Order, folder: Path) -> None:
        path = folder / "order.msgpack"
        path.write_bytes(msgspec.msgpack.encode(order))
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def start(self) -> float:
        """Wait until it is ready, let it go, and return when the first record is due.

        Raises:
            BenchError: it ended instead.
        """
        self._read()
        assert self._process.stdin is not None
        self._process.stdin.write(b"go\n")
        self._process.stdin.flush()
        return float(self._read())

    def finish(self) -> Sent:
        """Wait until all is sent and acknowledged.

        Raises:
            BenchError: it ended instead, or records were not acknowledged.
        """
        sent = msgspec.json.decode(self._read(), type=Sent)
        if sent.failed:
            raise BenchError(f"{sent.failed:,} of the events sent were not acknowledged")
        return sent

    def _read(self) -> bytes:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise BenchError(f"the sender ended with status {self._process.wait()}")
        return line


def send(order: Order, start: float) -> Sent:
    """Send records when they are due, the first one at `start` on the monotonic clock."""
    failures: list[KafkaError] = []

    def delivered(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            failures.append(error)

    producer = Producer(order.config)
    producer.list_topics(order.topic, timeout=30)
    worst = 0.0
    for number, (key, value) in enumerate(order.records):
        due = start + number / order.rate
        # Sleeping, not spinning: the core is wanted by what is measured.
        while (wait := due - time.monotonic()) > 0:
            producer.poll(0)
            time.sleep(max(wait, _TICK_S))
        worst = max(worst, -wait)
        while True:
            try:
                producer.produce(order.topic, key=key, value=value, on_delivery=delivered)
            except BufferError:
                producer.poll(0.01)
            else:
                break
    waiting = producer.flush(_FLUSH_WITHIN_S)
    return Sent(worst, time.monotonic() - start, len(failures) + waiting)


def due_times(start: float, count: int, rate: float) -> Sequence[float]:
    """Return when each record is due on the monotonic clock."""
    return [start + number / rate for number in range(count)]


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _main() -> None:
    order = msgspec.msgpack.decode(Path(sys.argv[1]).read_bytes(), type=Order)
    Producer(order.config).list_topics(order.topic, timeout=30)  # loaded, connected once
    _say("ready")
    sys.stdin.readline()
    start = time.monotonic() + _LEAD_S
    _say(repr(start))
    _say(msgspec.json.encode(send(order, start)).decode())


if __name__ == "__main__":
    _main()
