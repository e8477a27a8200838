"""The documented lines of JavaScript, run by Node with its EventSource, against a real gateway."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from answers import answer, publish
from gateways import PATIENCE_S, SECRET, gateway, gateway_settings, wait_until

from worker.kafka_admin import create_topics
from worker.subscriber.tokens import mint_token

PAGE = Path(__file__).parents[2] / "docs" / "subscribers.md"
FLAG = "--experimental-eventsource"
DOCUMENT = "globalThis.document = {{querySelector: () => ({{content: {token}}})}}\n"


@pytest.fixture
def node() -> str:
    """Node, if it is here and has an EventSource; else the test is skipped with the reason."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("Node is not installed")
    asked = [found, FLAG, "-e", "process.exit(typeof EventSource === 'function' ? 0 : 1)"]
    if subprocess.run(asked, capture_output=True, check=False).returncode != 0:
        pytest.skip("this Node has no EventSource")
    return found


def documented(port: int) -> str:
    (code,) = re.findall(r"```js\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert code.count("http://127.0.0.1:8481/") == 1
    return code.replace("http://127.0.0.1:8481/", f"http://127.0.0.1:{port}/")


def test_the_documented_page_shows_what_it_gets(node, embedded_settings):
    create_topics(embedded_settings)
    settings = gateway_settings(embedded_settings)
    with gateway(settings) as running:
        document = DOCUMENT.format(token=json.dumps(mint_token(SECRET, "u-7")))
        process = subprocess.Popen(
            [node, FLAG, "--no-warnings", "-e", document + documented(running.port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            wait_until(lambda: running.sample("open_streams") == 1, "the page listening")
            publish(settings, answer("u-7", "e-1", items=["p-1", "p-2"]), answer("v", "e-2"))
            first = process.stdout.readline()
            assert re.fullmatch(r"\d+ ms: \[ 'p-1', 'p-2' \]\n", first), first
            publish(settings, answer("u-7", "e-3", items=["p-3"]))
            assert process.stdout.readline().endswith("ms: [ 'p-3' ]\n")
        finally:
            process.kill()
            process.communicate(timeout=PATIENCE_S)
