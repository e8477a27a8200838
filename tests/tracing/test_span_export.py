"""Sending spans: what arrives, and what becomes of them where nobody takes them."""

from __future__ import annotations

import builtins
import logging
import socket
import sys

import pytest
from fake_model import FakeModel
from otlp_receiver import PATIENCE_S, OtlpReceiver, attributes
from running_worker import wait_until

from schemas.errors import SettingsError
from schemas.settings import Settings
from worker.metrics import SpanFate, WorkerMetrics
from worker.service import WorkerService
from worker.tracing import export
from worker.tracing.export import sending
from worker.tracing.opening import traced

EXPORTER = "opentelemetry.exporter.otlp.proto.http.trace_exporter"


@pytest.fixture
def nowhere():
    """An address at which connections are refused."""
    with socket.socket() as bound:  # nobody else gets the port meanwhile
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/v1/traces"


def settings_for(endpoint: str, **changes: object) -> Settings:
    return Settings.model_validate(
        {
            "tracing": {"enabled": True, "endpoint": endpoint, **changes},
            "worker": {"instance_id": "worker-3"},
        }
    )


def fates(metrics: WorkerMetrics) -> dict[str, float]:
    name = "innerloop_trace_spans_total"
    found = {fate: metrics.registry.get_sample_value(name, {"fate": fate}) for fate in SpanFate}
    return {fate.value: value or 0.0 for fate, value in found.items()}


def test_all_spans_are_sent_at_the_end_and_say_whose_they_are(receiver: OtlpReceiver, monkeypatch):
    monkeypatch.setattr(export, "_CLOSE_S", PATIENCE_S)
    metrics = WorkerMetrics()
    with sending(settings_for(receiver.endpoint, service_name="shop-worker"), metrics) as tracer:
        for n in range(700):
            tracer.start_span("one", attributes={"number": n}).end()
    assert {attributes(span)["number"] for span in receiver.spans} == set(range(700))
    assert fates(metrics) == {"sent": 700, "failed": 0, "dropped": 0}
    assert receiver.paths == {"/v1/traces"}
    resource = receiver.resources[0]
    assert resource["service.name"] == "shop-worker"
    assert resource["service.instance.id"] == "worker-3"
    assert resource["service.version"]


def test_where_nobody_takes_spans_few_wait_and_the_others_are_dropped(nowhere, caplog, monkeypatch):
    monkeypatch.setattr(export, "_CLOSE_S", 0.1)
    metrics = WorkerMetrics()
    made = 3 * export.MOST_WAITING
    with sending(settings_for(nowhere), metrics) as tracer:
        for _ in range(made):
            tracer.start_span("one").end()
        wait_until(lambda: EXPORTER in {r.name for r in caplog.records}, "trouble told")
    found = fates(metrics)
    assert found["sent"] == 0
    assert found["failed"] >= 1 and found["dropped"] >= 1
    assert found["failed"] + found["dropped"] == made


def test_each_kind_of_trouble_is_logged_once_a_minute(nowhere, caplog):
    with sending(settings_for(nowhere), WorkerMetrics()):
        for n in range(100):
            logging.getLogger(EXPORTER).warning("no way, %d", n)
            logging.getLogger(EXPORTER).error("no way at all, %d", n)
        told = [record.getMessage() for record in caplog.records if record.name == EXPORTER]
    assert told[:2] == ["no way, 0", "no way at all, 0"] and len(told) < 10
    logging.getLogger(EXPORTER).warning("no way, %d", 100)
    assert caplog.records[-1].getMessage() == "no way, 100", "as before"


def test_nothing_that_others_wrote_is_logged(receiver: OtlpReceiver, caplog):
    logger = logging.getLogger("opentelemetry.trace.span")
    with sending(settings_for(receiver.endpoint), WorkerMetrics()):
        logger.warning("Member doesn't match the w3c identifiers format %s", "shopper-4711")
    assert "4711" not in caplog.text
    logger.warning("as before")
    assert "as before" in caplog.text


def test_without_the_extra_the_error_names_it(monkeypatch):
    modules = [name for name in sys.modules if name.startswith("worker.tracing.")]
    for name in modules:
        monkeypatch.delitem(sys.modules, name)
    real = builtins.__import__

    def without(name, *rest, **more):
        if name.startswith("opentelemetry"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    service = WorkerService(settings_for("http://127.0.0.1:4318/v1/traces"), FakeModel())
    with pytest.raises(
        SettingsError, match=r"tracing\.enabled .*pip install 'innerloop\[tracing\]'"
    ):
        service.run()
    with traced(Settings(), WorkerMetrics()) as tracing:
        assert tracing is None


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("endpoint", "127.0.0.1:4318", "http://"),
        ("sample_ratio", 1.5, "less than or equal to 1"),
        ("events_per_second", 0, "greater than or equal to 1"),
    ],
)
def test_settings_that_are_wrong_are_refused(name, value, told):
    with pytest.raises(ValueError, match=told):
        settings_for(**{"endpoint": "http://x", name: value})
