"""Collector, gateway, sink and tail as processes, by SCRAM over TLS, each with its own access."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import pytest
from answers import publish_titles
from proxies import counted
from recording_learner import recording
from redis_servers import RedisServer
from running_worker import running, wait_until, with_worker
from secured_shop import PATIENCE_S, PREFIX, SecuredShop, name_of
from test_missing_access import entry
from test_refusals import MOST_ATTEMPTS

from schemas.access import Identity, Operation, Resource
from schemas.settings import SinkSettings
from schemas.topics import Topic
from worker.subscriber.tokens import mint_token

pytestmark = pytest.mark.kafka

COMMAND = (sys.executable, "-c", "from worker.cli import main; main()")
WRITE_KEY = "a write key of the page"
TOKEN_SECRET = "a secret of thirty-two characters"
WRONG = "not it"
NOWHERE = "unix:///nowhere/redis.sock"

COLLECT = (Identity.TRACKER, ("collect", "--port", "0", "--metrics-port", "0"))
GATEWAY = (
    Identity.SUBSCRIBER,
    ("gateway", "serve", "--titles", "--port", "0", "--metrics-port", "0"),
)
SINK = (Identity.SINK, ("sink", "redis"))
TAIL = (Identity.SUBSCRIBER, ("tail", "--since", "5", "--json", "-n", "1"))
Part = tuple[Identity, Sequence[str]]


def environment(shop: SecuredShop, identity: Identity, **more: str) -> dict[str, str]:
    """Return the variables of a process that goes by an identity."""
    properties = shop.kafka.scram(name_of(identity))
    by_name = {name.upper().replace(".", "_"): value for name, value in properties.items()}
    return {
        **os.environ,
        **{f"INNERLOOP_KAFKA__PROPERTIES__{name}": value for name, value in by_name.items()},
        "INNERLOOP_KAFKA__BOOTSTRAP_SERVERS": shop.kafka.address("SCRAM"),
        "INNERLOOP_KAFKA__TOPIC_PREFIX": PREFIX,
        "INNERLOOP_COLLECTOR__WRITE_KEYS__WEB": WRITE_KEY,
        "INNERLOOP_GATEWAY__TOKEN_SECRETS__WEB": TOKEN_SECRET,
        "INNERLOOP_SINK__START": "earliest",
        "INNERLOOP_SINK__METRICS_PORT": "0",
        "PYTHONUNBUFFERED": "1",
        **more,
    }


class Process:
    """A running command."""

    def __init__(self, shop: SecuredShop, folder: Path, part: Part, **more: str) -> None:
        identity, arguments = part
        self._log = folder / f"{arguments[0]}.log"
        self._secret = shop.kafka.scram(name_of(identity))["sasl.password"]
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [*COMMAND, *arguments],
                env=environment(shop, identity, **more),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def address(self) -> str:
        """Wait until it says where it listens."""
        line = self.process.stdout.readline()
        found = re.search(r"http://\S+", line)
        assert found is not None, f"{line}{self.log}"
        return found[0]

    def end(self) -> tuple[int, str]:
        """Wait for its end; return its status, and what it wrote to standard output."""
        out, _ = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, out

    @property
    def log(self) -> str:
        text = self._log.read_text()
        for secret in (self._secret, WRITE_KEY, TOKEN_SECRET, WRONG):
            assert secret not in text
        assert "Traceback" not in text
        return text

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def start(shop: SecuredShop, tmp_path: Path) -> Iterator:
    """Start a command; it is gone after the test."""
    with ExitStack() as stack:

        def make(part: Part, **more: str) -> Process:
            process = Process(shop, tmp_path, part, **more)
            stack.callback(process.kill)
            return process

        yield make


@contextmanager
def redis_server() -> Iterator[RedisServer]:
    with TemporaryDirectory() as folder:  # a socket's path is short
        server = RedisServer(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()


def is_ready(client: httpx.Client, address: str) -> bool:
    return client.get(f"{address}/ready").status_code == 200


def test_from_a_page_to_pages_redis_and_a_terminal(shop: SecuredShop, start):
    user = "u-of-processes"
    publish_titles(shop.by_password(Identity.LOADER), {f"i{n}": f"Thing {n}" for n in range(8)})
    with redis_server() as redis, httpx.Client(timeout=PATIENCE_S) as client:
        collector, gateway = start(COLLECT), start(GATEWAY)
        sink = start(SINK, INNERLOOP_SINK__REDIS_URL=redis.url)
        tail = start((TAIL[0], (*TAIL[1], "--user", user)))
        settings = with_worker(shop.by_password(Identity.WORKER))
        with running(settings, item_memory=recording()):
            there, here = collector.address(), gateway.address()
            wait_until(lambda: is_ready(client, here), "a gateway that reads", PATIENCE_S)
            wait_until(lambda: is_ready(client, there), "a collector that writes", PATIENCE_S)
            sent = client.post(
                f"{there}/v1/events",
                json={"type": "view", "user_id": user, "item_id": "i1"},
                headers={"Authorization": f"Bearer {WRITE_KEY}"},
            )
            assert sent.status_code == 202, sent.text
            [event_id] = sent.json()["event_ids"]
            path = f"{here}/v1/recommendations/{user}"
            query = {"token": mint_token(TOKEN_SECRET, user), "since_event": event_id}
            wait_until(
                lambda: client.get(path, params=query).status_code == 200, "an answer", PATIENCE_S
            )
            answer = client.get(path, params=query).json()
            assert answer["caused_by"] == event_id
            assert all(item["title"].startswith("Thing ") for item in answer["items"])
            status, out = tail.end()
            assert status == 0, tail.log
            assert json.loads(out)["caused_by"] == event_id
            key = f"{SinkSettings().key_prefix}{user}"
            wait_until(lambda: redis.client.exists(key) == 1, "a copy in Redis", PATIENCE_S)
        for process in (collector, gateway, sink):
            process.process.send_signal(signal.SIGTERM)
        for process in (collector, gateway, sink):
            assert process.end()[0] == 0, process.log
        assert user not in collector.log + gateway.log + sink.log


def test_a_wrong_password_ends_each_with_one_line_and_no_storm(shop: SecuredShop, start):
    with counted(shop.kafka.address("SCRAM")) as proxy:
        processes = [
            start(
                part,
                INNERLOOP_KAFKA__PROPERTIES__SASL_PASSWORD=WRONG,
                INNERLOOP_KAFKA__BOOTSTRAP_SERVERS=proxy.address,
                INNERLOOP_SINK__REDIS_URL=NOWHERE,
            )
            for part in (COLLECT, GATEWAY, SINK)
        ]
        for process in processes:
            assert process.end() == (2, ""), process.log
            assert len(process.log.strip().splitlines()) == 1, process.log
            assert "invalid credentials" in process.log
        assert proxy.connections <= MOST_ATTEMPTS * len(processes)


READ, WRITE, DESCRIBE = Operation.READ, Operation.WRITE, Operation.DESCRIBE


@pytest.mark.parametrize(
    "lost",
    [
        (
            (GATEWAY, Resource.TOPIC, Topic.RECOMMENDATIONS, READ),
            (SINK, Resource.TOPIC, Topic.RECOMMENDATIONS, READ),
        ),
        (
            (GATEWAY, Resource.TOPIC, Topic.CATALOG, READ),
            (SINK, Resource.GROUP, "innerloop-sink-redis", READ),
        ),
        (
            (GATEWAY, Resource.GROUP, "innerloop-subscriber", DESCRIBE),
            (COLLECT, Resource.TOPIC, Topic.CLICKSTREAM, WRITE),
        ),
    ],
    ids=["recommendations", "catalogue and group", "followers and events"],
)
def test_without_one_of_its_entries_it_ends_and_says_which(shop: SecuredShop, start, lost):
    with ExitStack() as gone:
        for part, resource, name, operation in lost:
            gone.enter_context(shop.without(entry(shop, part[0], resource, name, operation)))
        processes = [start(part, INNERLOOP_SINK__REDIS_URL=NOWHERE) for part, *_ in lost]
        statuses = [process.end()[0] for process in processes]
    for process, status in zip(processes, statuses, strict=True):
        assert status == 2, process.log
        errors = [line for line in process.log.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1, process.log
        assert "`innerloop topics acls`" in errors[0]
