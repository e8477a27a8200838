"""The collector as a process: started by its command, stopped under load, without brokers."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest
from collecting import KEY, NOWHERE, away

from schemas.clickstream import ClickstreamEvent
from schemas.codec import build_codec
from schemas.errors import SettingsError
from schemas.settings import MetricsSettings, Settings
from schemas.topics import Topic
from worker.kafka_admin import create_topics

VIEW = {"type": "view", "user_id": "u", "item_id": "i"}
AUTHORIZED = {"authorization": f"Bearer {KEY}"}


@contextmanager
def running(
    settings: Settings, *arguments: str, **collector: str
) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """Run `innerloop collect` with flags and settings of the section `collector`.

    Gives the process, its address and that of its metrics.
    """
    section = {"requests_per_second": "100000", "events_per_second": "100000", **collector}
    environment = os.environ | {
        "INNERLOOP_KAFKA__TOPIC_PREFIX": settings.kafka.topic_prefix,
        "INNERLOOP_COLLECTOR__WRITE_KEYS__WEB": KEY,
        "PYTHONUNBUFFERED": "1",
    }
    for name, value in section.items():
        environment[f"INNERLOOP_COLLECTOR__{name.upper()}"] = value
    command = [
        *(sys.executable, "-c", "from worker.cli import main; main()", "collect"),
        *("--port", "0", "--metrics-port", "0"),
        *("--bootstrap-servers", settings.kafka.bootstrap_servers, *arguments),
    ]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        told = process.stdout.readline() + process.stdout.readline()
        addresses = re.findall(r"http://\S+", told)
        if len(addresses) != 2:
            raise AssertionError(told + process.communicate(timeout=120)[1])
        yield process, addresses[0], addresses[1]
    finally:
        process.kill()
        process.communicate()


def published_ids(settings: Settings, consume_all: Any) -> list[str]:
    decode = build_codec(settings.wire).decoder(ClickstreamEvent)
    return [
        decode(message.value()).event_id for message in consume_all(settings, Topic.CLICKSTREAM)
    ]


def test_what_was_accepted_before_a_stop_is_there(broker_settings, consume_all):
    create_topics(broker_settings)
    accepted: list[str] = []
    sent: list[str] = []
    enough, stopped = threading.Event(), threading.Event()

    def send(sender: int, address: str) -> None:
        with httpx.Client(base_url=address, headers=AUTHORIZED, timeout=120) as client:
            for n in range(100_000):
                batch = [{**VIEW, "event_id": f"{sender}-{n}-{k}"} for k in range(5)]
                sent.extend(event["event_id"] for event in batch)
                try:
                    response = client.post("/v1/events", json=batch)
                except httpx.TransportError:
                    assert stopped.is_set()  # no longer there
                    return
                if response.status_code == 202:
                    accepted.extend(response.json()["event_ids"])
                else:
                    assert response.status_code == 503
                if len(accepted) > 400:
                    enough.set()

    with running(broker_settings) as (process, address, metrics_address):
        assert httpx.get(f"{address}/ready").status_code == 200
        threads = [threading.Thread(target=send, args=(n, address)) for n in range(4)]
        for thread in threads:
            thread.start()
        assert enough.wait(120)
        scraped = httpx.get(metrics_address).text
        stopped.set()
        process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(120)
        _, log = process.communicate(timeout=120)

    assert process.returncode == 0, log
    assert KEY not in log and "Traceback" not in log
    published = published_ids(broker_settings, consume_all)
    assert len(published) == len(set(published))
    assert set(accepted) <= set(published) <= set(sent)
    value = re.search(r'requests_total\{route="events",status="202"\} (\d+)', scraped)
    assert value is not None and 0 < int(value[1]) <= len(accepted) / 5
    assert 'innerloop_collector_key_events_total{key="web"}' in scraped


def test_only_loopback_hears_it_unless_told_otherwise(embedded_settings):
    assert embedded_settings.collector.host == "127.0.0.1"
    with running(embedded_settings) as (_, address, metrics_address):
        assert address.startswith("http://127.0.0.1:")
        assert metrics_address.startswith("http://127.0.0.1:")
        # What the outside reaches tells nothing about the inside.
        assert httpx.get(f"{address}/metrics").status_code == 404
        assert httpx.get(metrics_address.replace("/metrics", "/v1/events")).status_code in (
            200,
            404,
        )
        assert "server" not in httpx.get(f"{address}/health").headers


def test_a_port_that_is_taken_or_no_key_is_said_in_one_line(embedded_settings):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for arguments, message in (
            (("--port", port), rf"collector\.port: cannot listen on 127\.0\.0\.1:{port}"),
            (("--metrics-port", port), r"collector\.metrics_port: cannot listen"),
            (("--allow-origin", "shop.example"), r"collector\.allowed_origins.*a flag.*origins"),
        ):
            with (
                pytest.raises(AssertionError, match=message),
                running(embedded_settings, *arguments),
            ):
                pass


def test_brokers_that_are_away_are_told_and_nothing_is_accepted(start, embedded_settings):
    collector = start(away(embedded_settings), acknowledge_ms=200)
    response = collector.post("/v1/events", VIEW)
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) >= 1
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["type"] == "urn:innerloop:problem:brokers"
    ready = collector.client.get("/ready")
    assert ready.status_code == 503
    assert NOWHERE not in ready.text
    assert collector.client.get("/health").status_code == 200
    # Without anything to publish nobody has to wait for the brokers.
    assert collector.post("/v1/events", {**VIEW, "consent": False}).status_code == 202
    sample = collector.metrics.registry.get_sample_value
    labels = {"route": "events", "result": "undelivered"}
    assert sample("innerloop_collector_events_total", labels) == 1


def test_no_more_requests_wait_for_brokers_than_may(start, embedded_settings):
    collector = start(away(embedded_settings), acknowledge_ms=3000, max_waiting_requests=2)
    statuses: list[tuple[int, str]] = []

    def send() -> None:
        response = collector.post("/v1/events", VIEW)
        statuses.append((response.status_code, response.json()["detail"]))

    threads = [threading.Thread(target=send) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [status for status, _ in statuses] == [503] * 5
    assert sum("too many wait already" in detail for _, detail in statuses) == 3


def test_the_endpoint_of_the_metrics_can_be_switched_off(embedded_settings):
    from producer.collector.server import _Metrics
    from producer.metrics import CollectorMetrics

    off = embedded_settings.model_copy(update={"metrics": MetricsSettings(enabled=False)})
    with _Metrics(off, CollectorMetrics()) as address:
        assert address is None
    with socket.create_server(("127.0.0.1", 0)) as taken:
        collector = off.collector.model_copy(update={"metrics_port": taken.getsockname()[1]})
        on = embedded_settings.model_copy(update={"collector": collector})
        with (
            pytest.raises(SettingsError, match=r"collector\.metrics_port"),
            _Metrics(on, CollectorMetrics()),
        ):
            pass


@pytest.mark.parametrize("trusted", [True, False])
def test_whose_address_counts_behind_a_proxy(embedded_settings, trusted):
    proxies = "127.0.0.0/8" if trusted else ""
    settings = {"trusted_proxies": proxies, "requests_per_second": "1"}
    with running(embedded_settings, **settings) as (_, address, _), httpx.Client() as client:
        statuses = [
            client.post(
                f"{address}/v1/events", headers={"X-Forwarded-For": f"198.51.100.{n}"}
            ).status_code
            for n in range(20)
        ]
    # There is nothing in any of them; the question is whether all are taken for one sender.
    assert set(statuses) <= {400, 429}
    assert (429 in statuses) is not trusted


def test_a_sender_that_hangs_up_does_no_harm(embedded_settings):
    create_topics(embedded_settings)
    with running(embedded_settings) as (process, address, metrics_address):
        host, _, port = address.removeprefix("http://").partition(":")
        head = f"POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
        for rest in ("Content-Length: 100\r\n\r\n{", "Content-Length: x\r\n\r\n", ""):
            with socket.create_connection((host, int(port))) as connection:
                connection.sendall((head + rest).encode())
        response = httpx.post(f"{address}/v1/events", json=VIEW, headers=AUTHORIZED)
        assert response.status_code == 202
        failed = r'requests_total\{[^}]*status="500"\} [1-9]'
        assert not re.search(failed, httpx.get(metrics_address).text)
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "ERROR" not in log and "Traceback" not in log


def test_a_body_that_does_not_come_and_connections_without_end(embedded_settings):
    limits = {"body_seconds": "0.2", "max_connections": "5"}
    with running(embedded_settings, **limits) as (_, address, _):
        host, _, port = address.removeprefix("http://").partition(":")
        head = "POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"
        with socket.create_connection((host, int(port)), timeout=120) as slow:
            slow.sendall(head.encode())
            answer = b""
            while b"slow-body" not in answer and (part := slow.recv(65_536)):
                answer += part
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"urn:innerloop:problem:slow-body" in answer
        with ExitStack() as stack:
            for _ in range(5):
                stack.enter_context(socket.create_connection((host, int(port))))
            wait_until(lambda: httpx.get(f"{address}/health").status_code == 503)
        wait_until(lambda: httpx.get(f"{address}/health").status_code == 200)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_broker_that_dies_and_comes_back(private_kafka_broker, make_settings, consume_all):
    settings = make_settings(private_kafka_broker.bootstrap_servers)
    create_topics(settings)
    accepted: list[str] = []

    with running(settings, acknowledge_ms="1500") as (_, address, _), httpx.Client() as client:

        def send(name: str) -> int:
            batch = [{**VIEW, "event_id": f"{name}-{n}"} for n in range(20)]
            sent = client.post(f"{address}/v1/events", json=batch, headers=AUTHORIZED, timeout=120)
            if sent.status_code == 202:
                accepted.extend(sent.json()["event_ids"])
            return sent.status_code

        # A broker just started can take longer than that for the first.
        wait_until(lambda: send("before") == 202)
        private_kafka_broker.kill()
        assert send("away") == 503
        assert client.get(f"{address}/ready", timeout=120).status_code == 503
        private_kafka_broker.start()
        wait_until(lambda: client.get(f"{address}/ready", timeout=120).status_code == 200)
        # Under the same ids, as a sender is asked to.
        wait_until(lambda: send("away") == 202)

    published = published_ids(settings, consume_all)
    assert set(accepted) <= set(published)
    assert set(published) == {f"{name}-{n}" for name in ("before", "away") for n in range(20)}
