"""The zero-install broker: librdkafka's mock cluster, in a process of its own.

It ships inside confluent-kafka, keeps everything in memory, listens on loopback at a port the
system picks, and is gone with its process. What it lacks decides what it is good for (a demo, a
fast test), see docs/decisions/0001-embedded-broker.md:

- a topic appears when a client first asks for its metadata, always with `PARTITIONS` partitions;
  topic policies (retention, compaction) do not exist;
- each partition keeps about its latest 4.7 MB; a reader that falls further behind skips records;
- transactional offsets are dropped and aborted records stay visible: no exactly-once here;
- a group that anyone joins or leaves waits for its session timeout less a second before it goes on,
  and a fetch that finds nothing takes all of its `fetch.wait.max.ms` even if a record comes sooner:
  consumers want `CONSUMER_PROPERTIES`;
- members of a group with different assignors abort the broker.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import IO

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from schemas.errors import BrokerError

PARTITIONS = 4
"""Partitions of every topic of the embedded broker; librdkafka offers no property to change it."""

CONSUMER_PROPERTIES: dict[str, str | int | float | bool] = {
    "session.timeout.ms": 6000,
    "fetch.wait.max.ms": 10,
}
"""Consumer properties that make a restarted consumer wait 5 s for its partitions, and not 44 s, and
one that has read everything wait 10 ms for the next record, and not 500 ms."""

_START_TIMEOUT_S = 10.0
_STOP_TIMEOUT_S = 5.0
_PARENT_CHECK_S = 1.0


def serve(announce: Callable[[str], None], stop: threading.Event, brokers: int = 1) -> None:
    """Run the mock cluster in this process until `stop` is set.

    Args:
        announce: called once with the address, `host:port[,host:port…]`, when clients can connect.
        stop: ends the cluster, and with it everything it holds.
        brokers: mock brokers in the cluster.

    Raises:
        BrokerError: librdkafka cannot start its mock cluster.
    """
    try:
        # The cluster lives as long as this client does; level 4 mutes the notice that it exists.
        client = AdminClient({"test.mock.num.brokers": brokers, "log_level": 4})
        metadata = client.list_topics(timeout=_START_TIMEOUT_S)
    except KafkaException as error:
        reason = error.args[0].str().strip()
        raise BrokerError(f"librdkafka's mock cluster does not start: {reason}") from error
    announce(",".join(f"{b.host}:{b.port}" for b in metadata.brokers.values()))
    stop.wait()
    del client


def stop_on_signals(stop: threading.Event) -> None:
    """Set `stop` on SIGTERM and SIGINT. Call it from the main thread."""

    def handle(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)


class EmbeddedBroker:
    """An embedded broker as a child process; a context manager.

    The child ends with `stop`, with the `with` block, on SIGTERM, and when this process dies in
    whatever way: it holds the other end of a pipe and notices that it closes.

    Example:
        >>> with EmbeddedBroker() as broker:
        ...     host, port = broker.bootstrap_servers.split(":")
        >>> host
        '127.0.0.1'
    """

    def __init__(self, brokers: int = 1) -> None:
        self._brokers = brokers
        self._process: subprocess.Popen[bytes] | None = None
        self._address: str | None = None

    @property
    def bootstrap_servers(self) -> str:
        """Where clients connect. Raises BrokerError if the broker is not running."""
        if self._address is None:
            raise BrokerError("the embedded broker is not running; call start() or use `with`")
        return self._address

    @property
    def pid(self) -> int | None:
        """The child's process id; None if it is not running."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the child and wait until clients can connect.

        Raises:
            BrokerError: the child ended instead; the message holds what it said.
        """
        if self._process is not None:
            raise BrokerError("the embedded broker is already running")
        command = [sys.executable, "-m", __name__, str(self._brokers)]
        with tempfile.TemporaryFile() as errors:
            # Its own session: Ctrl-C in a terminal reaches the parent alone, which can still
            # drain and commit before it stops the broker.
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
            self._process = process
            self._address = self._read_address(process, errors)

    def _read_address(self, process: subprocess.Popen[bytes], errors: IO[bytes]) -> str:
        assert process.stdout is not None
        line = process.stdout.readline()  # ends with the child at the latest: it has a timeout
        if not line:
            self.stop()
            errors.seek(0)
            said = errors.read().decode(errors="replace").strip()[-2000:]
            raise BrokerError(f"the embedded broker did not start; it said:\n{said}")
        address: str = json.loads(line)["bootstrap_servers"]
        return address

    def stop(self) -> None:
        """End the child and with it every topic. Does nothing if it is not running."""
        process, self._process, self._address = self._process, None, None
        if process is None:
            return
        assert process.stdin is not None and process.stdout is not None
        process.stdin.close()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()

    def __enter__(self) -> EmbeddedBroker:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def _stop_with_parent(stop: threading.Event) -> None:
    parent = os.getppid()

    def watch_pipe() -> None:
        # os.read and not sys.stdin: a thread blocked inside a Python file object holds a lock
        # that the interpreter wants at exit.
        while os.read(0, 1):
            pass
        stop.set()

    def watch_parent() -> None:
        # A process forked off the parent may hold the pipe open after the parent is gone.
        while not stop.wait(_PARENT_CHECK_S):
            if os.getppid() != parent:
                stop.set()

    for watch in (watch_pipe, watch_parent):
        threading.Thread(target=watch, daemon=True, name=watch.__name__).start()


def _main() -> None:
    def announce(address: str) -> None:
        sys.stdout.write(json.dumps({"bootstrap_servers": address}) + "\n")
        sys.stdout.flush()

    stop = threading.Event()
    stop_on_signals(stop)
    _stop_with_parent(stop)
    try:
        serve(announce, stop, int(sys.argv[1]))
    except BrokerError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    _main()
