"""A real Apache Kafka broker (KRaft, one node) on loopback, for tests and for whoever has Java."""

from __future__ import annotations

import base64
import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from schemas.errors import BrokerError
from worker.broker.kafka_jars import KAFKA_VERSION, find_program, resolve_jars
from worker.broker.readiness import HOST, free_port, is_free, wait_for_answer, wait_for_port

BOOTSTRAP_VARIABLE = "KAFKA_BOOTSTRAP"
"""Environment variable with the address of a running broker, to be used instead of a new one."""

_LOGGING = Path(__file__).with_name("kafka-log4j2.properties")
_LOG_TAIL = 3000

_JVM_OPTIONS = ("-XX:+ExitOnOutOfMemoryError", "-XX:+UseParallelGC")
"""G1, Java's own choice, counts requests of half a region as humongous; with regions of 1 MiB, as
a heap this small has, that has it mark without end: a quarter of a core."""

# One node holds every copy. Internal topics are small, so that a broker starts and stops fast; the
# session is short, because after a crash the node's new self is let in when the old one's is over.
# So are those of group members (with group.protocol=consumer, where the broker sets them) and the
# time between two looks for transactions that timed out: who kills a worker need not wait long.
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
controller.quorum.voters=1@{host}:{controller_port}
log.dirs={records}
num.network.threads=2
num.io.threads=4
auto.create.topics.enable=false
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
group.consumer.min.session.timeout.ms=6000
group.consumer.session.timeout.ms=6000
group.consumer.heartbeat.interval.ms=2000
group.consumer.min.heartbeat.interval.ms=500
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
"""


class KafkaBroker:
    """One Apache Kafka node as a child process; a context manager.

    Where `KAFKA_BOOTSTRAP` is set, that broker is used and nothing is started: `external` is
    true, and the methods that need a process of ours refuse.

    Args:
        data: folder for records, settings and `broker.log`. None takes a temporary one that is
            removed when the `with` block ends.
        port: for clients; None takes a free one, and keeps it over restarts.
        version: of Apache Kafka, fetched by Maven when it is not in the cache.
        reuse: whether to use the broker of `KAFKA_BOOTSTRAP`; False always starts an own one, for
            who wants to kill it.
        heap_mb: the most heap the JVM may take, MiB.
        start_timeout_s: how long `start` waits until the broker answers, seconds.
        stop_timeout_s: how long `stop` waits after SIGTERM before it kills, seconds.
    """

    def __init__(
        self,
        data: Path | None = None,
        *,
        port: int | None = None,
        version: str = KAFKA_VERSION,
        reuse: bool = True,
        heap_mb: int = 512,
        start_timeout_s: float = 90.0,
        stop_timeout_s: float = 30.0,
    ) -> None:
        self.external = (os.environ.get(BOOTSTRAP_VARIABLE) or None) if reuse else None
        self.version = version
        self._temporary = data is None
        self._data = data
        self._port = port
        self._heap_mb = heap_mb
        self._start_timeout_s = start_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap_servers(self) -> str:
        """Where clients connect. Raises BrokerError before the first start."""
        if self.external:
            return self.external
        if self._port is None:
            raise BrokerError("the Kafka broker was not started yet; call start() or use `with`")
        return f"{HOST}:{self._port}"

    @property
    def pid(self) -> int | None:
        """The broker's process id; None if it does not run or is not ours."""
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        """Whether our broker process is there; a broker that is not ours counts as running."""
        if self.external:
            return True
        return self._process is not None and self._process.poll() is None

    @property
    def log_file(self) -> Path:
        """What the broker says: warnings and errors. Raises BrokerError if it has no folder yet."""
        if self._data is None:
            raise BrokerError("the Kafka broker was not started yet, so it has no log")
        return self._data / "broker.log"

    def start(self) -> None:
        """Start the broker on its data and port and wait until it answers.

        Raises:
            BrokerError: Java or Maven is missing, the port is taken, or the broker does not come
                up in time; the message holds the end of its log.
        """
        if self.external:
            wait_for_answer(self.external, self._checker())
            return
        if self._process is not None:
            raise BrokerError(f"the Kafka broker already runs, as process {self._process.pid}")
        java, jars = find_program("java", "Java 17 or newer"), resolve_jars(self.version)
        if self._port is None:
            self._port = free_port()
        elif not is_free(self._port):
            raise BrokerError(
                f"port {self._port} of {HOST} is in use; choose another with --port, or stop what "
                "listens there"
            )
        if self._data is None:
            self._data = Path(tempfile.mkdtemp(prefix="innerloop-kafka-"))
        properties = self._write_properties(self._data.resolve(), self._port)
        run = [java, f"-Xmx{self._heap_mb}m", *_JVM_OPTIONS]
        run += [f"-Dlog4j2.configurationFile={_LOGGING}", "-cp", f"{jars}{os.sep}*"]
        self._format(run, properties)
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [*run, "kafka.Kafka", str(properties)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._await_ready(self._port)

    def _await_ready(self, port: int) -> None:
        check = self._checker()
        try:
            wait_for_port(port, check)
            wait_for_answer(self.bootstrap_servers, check)
        except BrokerError as error:
            self.kill()
            raise BrokerError(f"{error}; the end of {self.log_file}:\n{self.log_tail()}") from None
        except BaseException:
            self.kill()
            raise

    def _checker(self) -> Callable[[], None]:
        deadline = time.monotonic() + self._start_timeout_s

        def check() -> None:
            if self._process is not None and self._process.poll() is not None:
                status = self._process.returncode
                raise BrokerError(f"the Kafka broker ended with status {status} as it started")
            if time.monotonic() > deadline:
                named = f" ({BOOTSTRAP_VARIABLE})" if self.external else ""
                raise BrokerError(
                    f"no Kafka broker answers at {self.bootstrap_servers}{named} within "
                    f"{self._start_timeout_s:g} s"
                )

        return check

    def stop(self) -> None:
        """Stop the broker: SIGTERM, and SIGKILL if that takes too long. Its data stays."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the broker as a crash would. Its data stays.

        Raises:
            BrokerError: the broker is not ours to kill.
        """
        if self.external:
            raise BrokerError(f"the broker at {self.external} ({BOOTSTRAP_VARIABLE}) is not ours")
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop the broker if it runs, and start it again on the same data and port.

        Raises:
            BrokerError: the broker is not ours, or does not start.
        """
        if self.external:
            raise BrokerError(f"the broker at {self.external} ({BOOTSTRAP_VARIABLE}) is not ours")
        self.stop()
        self.start()

    def log_tail(self) -> str:
        """Return the end of the log without the frames of stack traces, for a person to read."""
        if not self.log_file.is_file():
            return "(empty)"
        lines = self.log_file.read_text(errors="replace").splitlines()
        return "\n".join(line for line in lines if not line.startswith("\tat "))[-_LOG_TAIL:]

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(self._stop_timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _write_properties(self, folder: Path, port: int) -> Path:
        records = folder / "records"
        records.mkdir(parents=True, exist_ok=True)
        properties = folder / "server.properties"
        properties.write_text(
            _PROPERTIES.format(
                host=HOST, port=port, controller_port=free_port(), records=records.as_posix()
            )
        )
        return properties

    def _format(self, run: list[str], properties: Path) -> None:
        if (properties.parent / "records" / "meta.properties").is_file():
            return
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        arguments = [f"--cluster-id={cluster_id}", f"--config={properties}", "--ignore-formatted"]
        failed = f"Kafka {self.version} cannot format its storage in {self._data}"
        try:
            done = subprocess.run(
                [*run, "kafka.tools.StorageTool", "format", *arguments],
                capture_output=True,
                text=True,
                timeout=self._start_timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise BrokerError(f"{failed} within {self._start_timeout_s:g} s") from None
        if done.returncode != 0:
            raise BrokerError(f"{failed}:\n{(done.stdout + done.stderr).strip()[-_LOG_TAIL:]}")

    def close(self) -> None:
        """Stop the broker and remove its folder, if that is a temporary one."""
        self.stop()
        if self._temporary and self._data is not None:
            shutil.rmtree(self._data, ignore_errors=True)
            self._data = None

    def __enter__(self) -> KafkaBroker:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
