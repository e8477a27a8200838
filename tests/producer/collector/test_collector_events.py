"""`POST /v1/events`: what is accepted is on the brokers; what is wrong is named; all or nothing."""

from __future__ import annotations

import json

import pytest
from collecting import KEY, NOW

from producer.metrics import COLLECTOR_SPECS, TRACKER_SPECS
from schemas.clickstream import ClickstreamEvent, EventType
from schemas.pseudonyms import pseudonymiser

VIEW = {"type": "view", "user_id": "u", "item_id": "i"}


def test_one_event(collector):
    event = {**VIEW, "event_id": "e-1", "time": NOW - 7, "surface": "home", "unknown": [1]}
    answer = collector.send("/v1/events", event)
    assert answer == {"accepted": 1, "without_consent": 0, "ignored": 0, "event_ids": ["e-1"]}
    assert collector.events() == [
        ClickstreamEvent(
            event_id="e-1",
            user_id="u",
            type=EventType.VIEW,
            time=NOW - 7,
            item_id="i",
            surface="home",
        )
    ]
    (message,) = collector.messages()
    assert message.key() == b"u"
    headers = dict(message.headers())
    assert headers["ce_id"] == b"e-1"
    assert headers["ce_source"] == b"/innerloop/collector/web"
    assert headers["content-type"] == b"application/json"


def test_ids_and_times_are_made(collector):
    (event_id,) = collector.send("/v1/events", VIEW)["event_ids"]
    (event,) = collector.events()
    assert (event.event_id, event.time) == (event_id, NOW)


@pytest.mark.parametrize(
    "shape",
    [
        lambda events: (events, "application/json"),
        lambda events: ({"events": events}, "application/json; charset=utf-8"),
        lambda events: ({"events": events}, "text/plain;charset=UTF-8"),
        lambda events: (b"\n".join(json.dumps(e).encode() for e in events), "application/x-ndjson"),
    ],
)
def test_several_events(collector, shape):
    events = [{**VIEW, "event_id": f"e-{n}", "time": NOW + n} for n in range(30)]
    payload, media = shape(events)
    answer = collector.send("/v1/events", payload, content_type=media)
    assert answer["event_ids"] == [event["event_id"] for event in events]
    assert [event.event_id for event in collector.events()] == answer["event_ids"]


def test_what_a_batch_shares_is_said_once(collector):
    batch = {
        "user_id": "u",
        "session_id": "s",
        "events": [
            {"type": "view", "item_id": "a", "time": NOW},
            {"type": "view", "item_id": "b", "time": NOW + 1, "user_id": "other"},
        ],
    }
    collector.send("/v1/events", batch)
    assert [(e.user_id, e.session_id, e.item_id) for e in collector.events()] == [
        ("u", "s", "a"),
        ("other", "s", "b"),
    ]


@pytest.mark.parametrize(
    ("sent_at", "expected"),
    [
        (NOW - 1000, NOW - 60_000),  # on its way for a second: right
        (NOW + 3_600_000, NOW - 3_660_000),  # an hour fast
        (NOW - 86_400_000, NOW - 60_000 + 86_400_000),  # a day slow; never later than now
        (None, NOW - 60_000),
    ],
)
def test_a_clock_that_is_wrong_is_corrected(collector, sent_at, expected):
    events = [{**VIEW, "time": NOW - 60_000}]
    collector.send("/v1/events", {"events": events, "sent_at": sent_at})
    assert collector.events()[0].time == min(expected, NOW)


@pytest.mark.parametrize(
    ("change", "field", "detail"),
    [
        ({"user_id": ""}, "user_id", "length >= 1"),
        ({"user_id": None}, "user_id", "missing"),
        ({"item_id": ""}, "item_id", "length >= 1"),
        ({"item_id": None}, "item_id", "needs the field"),
        ({"type": "look"}, "type", "look"),
        ({"type": "search"}, "query", "needs the field"),
        ({"currency": "euro"}, "currency", "ISO 4217"),
        ({"price": "3"}, "price", "got `str`"),
        ({"time": 1_763_800_000}, "time", "looks like seconds"),
        ({"time": NOW + 90_000_000}, "time", "in the future"),
        ({"traceparent": "x"}, "traceparent", "flags"),
        ({"consent": None}, "consent", "bool"),
        ({"text": "\0" * 16_000, "type": "review"}, "", "max_event_bytes"),
        ({"item_id": "\ud83d"}, None, None),
    ],
)
def test_what_is_wrong_is_named_with_its_place_and_nothing_is_published(
    collector, change, field, detail
):
    batch = {"events": [VIEW, {**VIEW, **change}, VIEW]}
    if field is None:  # half a surrogate pair: JSON of its own kind
        assert collector.post("/v1/events", batch).status_code == 400
    else:
        error = collector.refused("/v1/events", batch)
        assert error["index"] == 1
        assert error["field"] == (f"events[1].{field}" if field else "")
        assert detail in error["detail"]
    assert collector.messages() == []


def test_every_wrong_event_is_named(collector):
    response = collector.post("/v1/events", [{**VIEW, "item_id": n} for n in range(25)])
    problem = response.json()
    assert problem["type"] == "urn:innerloop:problem:invalid-events"
    assert problem["detail"].endswith("(and 24 more)")
    assert [error["index"] for error in problem["errors"]] == list(range(20))
    assert {error["field"] for error in problem["errors"]} == {f"[{n}].item_id" for n in range(20)}


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"type": NaN}', b'"text"', b"7", b"null", b"[]",
     b"{}", b"[[]]", b'{"events": []}', b'{"events": {}}', b'{"events": [null]}',
     b'{"events": 3}', b'{"time": 1e999}', b'{"time":' + b"9" * 5000 + b"}"],
)  # fmt: skip
def test_what_cannot_be_read_is_answered_400(collector, body):
    response = collector.post("/v1/events", body)
    assert response.status_code == 400
    assert response.json()["detail"]
    assert collector.messages() == []


def test_media_types_and_encodings(collector):
    for media in ("multipart/form-data; boundary=x", "application/x-www-form-urlencoded"):
        response = collector.post("/v1/events", VIEW, content_type=media)
        assert response.status_code == 415
        assert "application/json" in response.headers["accept"]
    assert collector.post("/v1/events", VIEW, content_encoding="gzip").status_code == 415
    assert (
        collector.post("/v1/ga4", b"{}\n", content_type="application/x-ndjson").status_code == 415
    )


def test_requests_that_are_too_large(start):
    small = start(max_body_bytes=2000, max_batch_events=5)
    assert small.post("/v1/events", b" " * 2001).status_code == 413
    response = small.post("/v1/events", [VIEW] * 6)
    assert response.status_code == 413
    assert "collector.max_batch_events" in response.json()["detail"]
    assert small.post("/v1/events", [VIEW] * 5).status_code == 202


@pytest.mark.parametrize("honoured", [True, False])
def test_consent_signals_are_respected(start, honoured):
    collector = start(honour_gpc=honoured)
    answer = collector.send("/v1/events", [VIEW, {**VIEW, "consent": False}])
    assert (answer["accepted"], answer["without_consent"]) == (1, 1)
    answer = collector.send("/v1/events", {"consent": False, "events": [VIEW]})
    assert (answer["accepted"], answer["without_consent"]) == (0, 1)
    answer = collector.send("/v1/events", VIEW, sec_gpc="1")
    assert answer["without_consent"] == honoured
    assert len(collector.messages()) == 1 + (not honoured)


def test_ids_are_hashed(start, embedded_settings):
    privacy = embedded_settings.privacy.model_validate({"user_id_key": "0123456789abcdef"})
    collector = start(embedded_settings.model_copy(update={"privacy": privacy}))
    collector.send("/v1/events", {**VIEW, "user_id": "me@example.org"})
    (message,) = collector.messages()
    assert message.key() == pseudonymiser(privacy)("me@example.org").encode()
    assert b"example.org" not in message.value()


def test_the_trace_of_the_request_goes_on(collector):
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    own = trace.replace("4bf9", "aaaa")
    collector.send("/v1/events", [VIEW, {**VIEW, "traceparent": own}], traceparent=trace)
    collector.send("/v1/events", VIEW, traceparent="nonsense")
    traces = [dict(message.headers()).get("traceparent") for message in collector.messages()]
    assert sorted(traces, key=str) == sorted([trace.encode(), own.encode(), None], key=str)


def test_what_vendors_add_to_a_trace_goes_on_with_it_alone(collector):
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    own = trace.replace("4bf9", "aaaa")
    both = [VIEW, {**VIEW, "traceparent": own}]
    collector.send("/v1/events", both, traceparent=trace, tracestate="shop=1,cdn=x")
    collector.send("/v1/events", VIEW, tracestate="shop=1")
    collector.send("/v1/events", VIEW, traceparent=trace, tracestate="long=" + "x" * 600)
    found = [dict(message.headers()) for message in collector.messages()]
    kept = [(each.get("traceparent"), each.get("tracestate")) for each in found]
    expected = [
        (trace.encode(), b"shop=1,cdn=x"),
        (own.encode(), None),
        (None, None),
        (trace.encode(), None),
    ]
    assert sorted(kept, key=str) == sorted(expected, key=str)


def test_nothing_of_an_event_reaches_logs_or_metrics(collector, caplog):
    caplog.set_level("DEBUG")
    secret = "shopper-4711"
    collector.post("/v1/events", {**VIEW, "user_id": secret, "surface": secret})
    collector.post("/v1/events", {**VIEW, "user_id": secret, "type": secret})
    collector.post(f"/v1/events?write_key={KEY}", b"{" + secret.encode())
    assert secret not in "".join(r.getMessage() for r in caplog.records if "httpx" not in r.name)
    samples = [s for family in collector.metrics.registry.collect() for s in family.samples]
    assert not [s for s in samples if secret in str(s) or KEY in str(s)]


def test_metrics_count_requests_and_events(collector):
    collector.send("/v1/events", [VIEW, VIEW, {**VIEW, "consent": False}])
    collector.post("/v1/events", [VIEW, {"type": "view"}])
    collector.client.post("/v1/events", json=VIEW)
    collector.client.get("/nowhere")

    def value(name: str, **labels: str) -> float | None:
        return collector.metrics.registry.get_sample_value(f"innerloop_{name}", labels)

    for status, route, count in (
        ("202", "events", 1),
        ("400", "events", 1),
        ("401", "events", 1),
        ("404", "other", 1),
    ):
        assert value("collector_requests_total", route=route, status=status) == count
    assert value("collector_events_total", route="events", result="accepted") == 2
    assert value("collector_events_total", route="events", result="no_consent") == 1
    assert value("collector_events_total", route="events", result="invalid") == 1
    assert value("collector_key_events_total", key="web") == 2
    assert value("collector_request_seconds_count", route="events") == 3
    assert value("tracker_delivered_events_total", type="view") == 2
    assert value("collector_waiting_requests") == 0


def test_every_metric_has_its_documented_name_and_labels(collector):
    collector.send("/v1/events", VIEW)
    specs = TRACKER_SPECS | COLLECTOR_SPECS
    families = {
        family.name + "_total" * (family.type == "counter"): family
        for family in collector.metrics.registry.collect()
    }
    assert families.keys() == specs.keys()
    for name, family in families.items():
        assert family.documentation == specs[name].help
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(specs[name].labels)
            for label, known in specs[name].labels.items():
                assert sample.labels[label] in (known or ("web",))
