"""The README's few lines: an event is published, and the list that it caused comes back."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from running_worker import make_topics, running, with_worker

from schemas.catalog import CatalogItem
from schemas.codec import build_codec
from schemas.topics import Topic

ROOT = Path(__file__).parents[2]
ITEMS = [f"p-{n}" for n in range(40, 50)]


def snippet() -> str:
    """Return the README's example of a client."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (found,) = [block for block in blocks if "RecommendationClient" in block]
    return found


def test_an_event_and_the_list_that_it_caused(kafka_settings, produce_all):
    settings = with_worker(kafka_settings)
    make_topics(settings)
    codec, catalog = build_codec(settings.wire), settings.kafka.topic(Topic.CATALOG)
    records = [
        (item, codec.encode(catalog, CatalogItem(item_id=item, title=f"item {item}")))
        for item in ITEMS
    ]
    produce_all(settings, Topic.CATALOG, records)
    code = snippet()
    assert len([line for line in code.splitlines() if line.strip()]) == 5
    environment = os.environ | {
        "INNERLOOP_KAFKA__BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers,
        "INNERLOOP_KAFKA__TOPIC_PREFIX": settings.kafka.topic_prefix,
        "INNERLOOP_PRIVACY__USER_ID_KEY": "as tracker and client share it",
    }
    with running(settings):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    latency, listed = re.fullmatch(r"(\d+) ms: \[(.*)\]\n", done.stdout).groups()
    assert 0 <= int(latency) < 60_000
    assert {item.strip("' ") for item in listed.split(",")} <= set(ITEMS)
