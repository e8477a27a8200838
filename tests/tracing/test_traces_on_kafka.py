"""One trace from a shop's request to what a subscriber gets, on real Kafka."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import httpx
import msgspec
import pytest
from collecting import KEY
from gateways import gateway, gateway_settings
from otlp_receiver import OtlpReceiver, attributes
from running_worker import make_topics, running, wait_until, with_worker
from test_collector_server import running as collector
from traced_worker import STAGES, traceparent
from worker_parts import item

from producer import Tracker
from schemas.settings import Settings
from schemas.topics import Topic
from worker.subscriber import RecommendationClient

ITEMS = 20
PATIENCE_S = 120.0


def with_tracing(settings: Settings, endpoint: str, **worker: object) -> Settings:
    data = with_worker(settings, **worker).model_dump()
    data["tracing"] |= {"enabled": True, "endpoint": endpoint}
    return Settings.model_validate(data)


def filled(settings: Settings, produce_all) -> None:
    make_topics(settings)
    items = [(f"i{n}", msgspec.json.encode(item(n))) for n in range(ITEMS)]
    produce_all(settings, Topic.CATALOG, items)


def post(address: str, user: str, **headers: str) -> str:
    sent = {"type": "view", "user_id": user, "item_id": "i1"}
    given = {"authorization": f"Bearer {KEY}", **headers}
    response = httpx.post(f"{address}/v1/events", json=sent, headers=given, timeout=PATIENCE_S)
    assert response.status_code == 202, response.text
    return response.json()["event_ids"][0]


def tailed(settings: Settings, user: str) -> dict:
    """Return the first line that `innerloop tail` shows of a user."""
    environment = os.environ | {"INNERLOOP_KAFKA__TOPIC_PREFIX": settings.kafka.topic_prefix}
    command = [sys.executable, "-m", "worker.cli", "tail", "--since", "60", "-n", "1", "--json"]
    more = ["--user", user, "--bootstrap-servers", settings.kafka.bootstrap_servers]
    done = subprocess.run(
        [*command, *more],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
def test_a_request_is_one_trace_up_to_the_subscriber(
    kafka_settings, produce_all, receiver: OtlpReceiver, delivery
):
    settings = with_tracing(kafka_settings, receiver.endpoint, delivery=delivery)
    filled(settings, produce_all)
    with running(settings) as worker, RecommendationClient(settings) as client:
        with collector(settings) as (_, address, _):
            plain = post(address, "plain")
            asked = post(address, "u-7", traceparent=traceparent(0xABC), tracestate="shop=1")
        answer = client.wait_for("u-7", asked, PATIENCE_S)
        assert client.wait_for("plain", plain, PATIENCE_S).trace is None
        spans = receiver.wait_for(
            lambda found: (
                {"innerloop.micro_batch", *STAGES} <= {span.name for span in found}
                and sum(span.name.startswith(("process ", "send ")) for span in found) == 2
            ),
            "the spans of the event and of its micro-batch",
        )
        wait_until(
            lambda: worker.sample("innerloop_trace_spans_total", fate="sent") == len(spans),
            "spans counted as sent",
        )
    trace_id = bytes.fromhex(f"{0xABC:032x}")
    (process,) = [span for span in spans if span.name.startswith("process ")]
    (send,) = [span for span in spans if span.name.startswith("send ")]
    assert process.trace_id == send.trace_id == trace_id
    assert process.parent_span_id == bytes.fromhex(f"{0xABC:016x}")
    assert send.parent_span_id == process.span_id
    assert process.end_time_unix_nano <= send.end_time_unix_nano
    assert attributes(process)["innerloop.outcome"] == "applied"
    carried = f"00-{trace_id.hex()}-{send.span_id.hex()}-01"
    assert answer.trace == (carried, "shop=1")
    if delivery == "exactly_once":
        return  # subscribers are the same
    assert tailed(settings, "u-7")["traceparent"] == carried
    with gateway(gateway_settings(settings)) as served:
        shown = served.get(served.path("u-7")).json()
        assert shown["traceparent"] == carried and "tracestate" not in shown
        with served.stream("u-7") as stream:
            assert json.loads(stream.message()["data"])["traceparent"] == carried
        assert "traceparent" not in served.get(served.path("plain")).json()


def test_avro_and_the_trackers_current_span(embedded_settings, produce_all, receiver: OtlpReceiver):
    from opentelemetry.sdk.trace import TracerProvider

    from schemas.codec import build_codec

    base = with_tracing(embedded_settings, receiver.endpoint)
    wire = {"format": "avro", "registry_url": f"mock://{base.kafka.topic_prefix}"}
    settings = Settings.model_validate({**base.model_dump(), "wire": wire})
    make_topics(settings)
    codec, name = build_codec(settings.wire), settings.kafka.topic(Topic.CATALOG)
    produce_all(settings, Topic.CATALOG, [("i1", codec.encode(name, item(1)))])
    with running(settings), RecommendationClient(settings) as client:
        tracer = TracerProvider().get_tracer("shop")
        with Tracker(settings) as tracker, tracer.start_as_current_span("checkout") as span:
            receipt = tracker.view(user_id="u", item_id="i1")
        answer = client.wait_for("u", receipt.event_id, PATIENCE_S)
        trace_id = f"{span.get_span_context().trace_id:032x}"
        assert answer.trace.traceparent.startswith(f"00-{trace_id}-")
        receiver.wait_for(
            lambda found: (
                sorted(s.name.split()[0] for s in found if s.trace_id.hex() == trace_id)
                == ["process", "send"]
            ),
            "the spans of the event",
        )


def test_a_worker_that_nobody_takes_spans_from_answers_and_stops(embedded_settings, produce_all):
    settings = with_tracing(embedded_settings, "http://127.0.0.1:1/v1/traces")
    filled(settings, produce_all)
    with running(settings) as worker:
        with Tracker(settings) as tracker, RecommendationClient(settings) as client:
            for n in range(20):
                receipt = tracker.view(user_id="u", item_id=f"i{n}", traceparent=traceparent(n + 1))
            assert client.wait_for("u", receipt.event_id, PATIENCE_S).trace is not None
        assert worker.sample("innerloop_records_total", outcome="applied") == 20
    assert worker.sample("innerloop_trace_spans_total", fate="sent") == 0
    assert worker.sample("innerloop_trace_spans_total", fate="failed") > 0
