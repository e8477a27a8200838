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


def examples(page: str) -> list[str]:
    """Return a page's examples of the client that are whole programs."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    return [block for block in blocks if "with RecommendationClient" in block]


def run(code: str, environment: dict[str, str]) -> str:
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
    return done.stdout


def test_an_event_and_the_list_that_it_caused(kafka_settings, produce_all):
    settings = with_worker(kafka_settings)
    make_topics(settings)
    codec, catalog = build_codec(settings.wire), settings.kafka.topic(Topic.CATALOG)
    records = [
        (item, codec.encode(catalog, CatalogItem(item_id=item, title=f"item {item}")))
        for item in ITEMS
    ]
    produce_all(settings, Topic.CATALOG, records)
    (readme,) = examples("README.md")
    (documented,) = examples("docs/subscribers.md")
    assert len([line for line in readme.splitlines() if line.strip()]) == 5
    environment = os.environ | {
        "INNERLOOP_KAFKA__BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers,
        "INNERLOOP_KAFKA__TOPIC_PREFIX": settings.kafka.topic_prefix,
        "INNERLOOP_PRIVACY__USER_ID_KEY": "as tracker and client share it",
    }
    with running(settings):
        told = run(readme, environment)
        told_more = run(documented, environment)
    latency, listed = re.fullmatch(r"(\d+) ms: \[(.*)\]\n", told).groups()
    assert 0 <= int(latency) < 60_000
    assert {item.strip("' ") for item in listed.split(",")} <= set(ITEMS)
    # The item just seen is why: the answer is to that event.
    assert re.fullmatch(r"\d+ Reason\(.*item_id='p-42'.*\)\nTrue\n", told_more), told_more
