"""`innerloop gateway` as a process: its addresses, its tokens, how it stops and what it logs."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from answers import answer, publish
from gateways import PATIENCE_S, SECRET, Stream, wait_until

from schemas.settings import Settings
from worker.kafka_admin import create_topics

COMMAND = (sys.executable, "-c", "from worker.cli import main; main()", "gateway")
USER = "a-user-nobody-logs"


def environment(settings: Settings, **more: str) -> dict[str, str]:
    return {
        **os.environ,
        "INNERLOOP_KAFKA__TOPIC_PREFIX": settings.kafka.topic_prefix,
        "INNERLOOP_KAFKA__BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers,
        "INNERLOOP_GATEWAY__TOKEN_SECRETS__WEB": SECRET,
        "PYTHONUNBUFFERED": "1",
        **more,
    }


@contextmanager
def serving(
    settings: Settings, *arguments: str
) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    process = subprocess.Popen(
        [*COMMAND, "serve", "--port", "0", "--metrics-port", "0", *arguments],
        env=environment(settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        addresses = re.findall(r"http://\S+", process.stdout.readline() + process.stdout.readline())
        if len(addresses) != 2:
            raise AssertionError(process.communicate(timeout=120)[1])
        yield process, addresses[0], addresses[1]
    finally:
        process.kill()
        process.communicate()


def minted(settings: Settings) -> str:
    done = subprocess.run(
        [*COMMAND, "token", USER, "--expires", "60"],
        env=environment(settings),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_a_stop_ends_streams_and_nothing_of_users_is_logged(embedded_settings):
    create_topics(embedded_settings)
    publish(embedded_settings, answer(USER, "e-1"))
    token = minted(embedded_settings)
    with (
        serving(embedded_settings) as (process, address, metrics_address),
        httpx.Client(base_url=address, timeout=PATIENCE_S) as client,
    ):
        assert address.startswith("http://127.0.0.1:")
        assert metrics_address.startswith("http://127.0.0.1:")

        def ready() -> bool:
            try:
                return client.get("/ready").status_code == 200
            except httpx.TransportError:
                return False

        wait_until(ready, "a ready gateway")
        path = f"/v1/recommendations/{USER}"
        assert client.get(path, headers={"Authorization": f"Bearer {token}"}).status_code == 200
        with client.stream("GET", f"{path}/events?token={token}") as response:
            stream = Stream(response.iter_lines())
            assert stream.caused_by() == "e-1"
            scraped = httpx.get(metrics_address).text
            process.send_signal(signal.SIGTERM)
            with pytest.raises(EOFError):
                stream.message()
        _, log = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, log
    assert "innerloop_gateway_open_streams 1.0" in scraped
    assert 'innerloop_gateway_requests_total{route="latest",status="200"} 1.0' in scraped
    for secret in (USER, token, SECRET, "Traceback"):
        assert secret not in log + scraped


def test_an_address_that_is_taken_is_said_in_one_line(embedded_settings):
    create_topics(embedded_settings)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with (
            pytest.raises(AssertionError, match=r"gateway\.port: cannot listen"),
            serving(embedded_settings, "--port", port),
        ):
            pass


def test_a_token_needs_a_secret_that_there_is(embedded_settings):
    done = subprocess.run(
        [*COMMAND, "token", USER, "--secret", "app"],
        env=environment(embedded_settings),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "gateway.token_secrets has web" in done.stderr
