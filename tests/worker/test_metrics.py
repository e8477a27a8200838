"""The metrics are what their documentation says, few, and free of ids."""

import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from worker_parts import Worker, event, message

from schemas.errors import SettingsError
from schemas.settings import MetricsSettings
from worker.cli.metrics_page import metrics_page
from worker.metrics import OPEN_LABELS, SPECS, WorkerMetrics
from worker.metrics_endpoint import serve_metrics

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


def scrape(metrics: WorkerMetrics) -> str:
    with (
        serve_metrics(metrics, MetricsSettings(port=0)) as port,
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as response,
    ):
        return response.read().decode()


def busy_worker() -> Worker:
    worker = Worker()
    worker.process([event(f"shopper-{n}", k, f"i{n}") for n in range(30) for k in range(3)])
    worker.processor.process([message(b"garbage", b"shopper-1", 500)])
    return worker


def test_the_page_of_metrics_is_what_the_module_says():
    assert PAGE.read_text() == metrics_page(), (
        "docs/metrics.md is not level with the modules that name metrics; write it anew:\n"
        'python -c "from worker.cli.metrics_page import metrics_page as p; '
        "open('docs/metrics.md', 'w').write(p())\""
    )


def test_every_metric_is_served_under_its_documented_name_and_no_other():
    families = [
        family
        for family in text_string_to_metric_families(scrape(WorkerMetrics()))
        if not family.name.startswith("process_")
    ]
    served = {f.name + "_total" * (f.type == "counter") for f in families}
    served = {name for name in served if not name.endswith("_created")}
    assert served == set(SPECS)
    documented = {f.name + "_total" * (f.type == "counter"): f for f in families}
    for name, spec in SPECS.items():
        assert documented[name].type == spec.kind.__name__.lower()
        assert documented[name].documentation == spec.help


def test_what_happened_can_be_read_from_the_endpoint():
    text = scrape(busy_worker().metrics)
    assert 'innerloop_events_total{type="view"} 90.0' in text
    assert 'innerloop_records_total{outcome="dead_letter"} 1.0' in text
    assert 'innerloop_dead_letters_total{reason="malformed"} 1.0' in text
    assert "innerloop_users_resident 30.0" in text
    assert "innerloop_event_to_recommendation_seconds_count 90.0" in text
    assert "innerloop_support_loss_after_nats_count 90.0" in text
    for stage in ("decode", "fold", "encode", "adapt", "rank", "publish"):
        assert f'innerloop_stage_seconds_count{{stage="{stage}"}} 2.0' in text, stage
    assert "shopper-" not in text


def test_labels_take_the_documented_values_only():
    worker = busy_worker()
    for family in worker.metrics.registry.collect():
        spec = SPECS[family.name + "_total" * (family.type == "counter")]
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(spec.labels)
            for label, allowed in spec.labels.items():
                assert sample.labels[label] in allowed or (not allowed and label in OPEN_LABELS)


def test_the_number_of_series_does_not_grow_with_users_and_items():
    few, many = Worker(), Worker(items=300)
    few.process([event("u", 0)])
    many.process([event(f"u{n}", 0, f"i{n}") for n in range(300)])

    def series(worker: Worker) -> int:
        return sum(len(family.samples) for family in worker.metrics.registry.collect())

    assert series(few) == series(many)


def test_an_endpoint_that_is_switched_off_binds_nothing():
    with serve_metrics(WorkerMetrics(), MetricsSettings(enabled=False)) as port:
        assert port is None


def test_a_port_that_is_taken_names_the_setting():
    metrics = WorkerMetrics()
    with serve_metrics(metrics, MetricsSettings(port=0)) as port:
        taken = MetricsSettings(port=port)
        with (
            pytest.raises(SettingsError, match=r"metrics\.port.*free port"),
            serve_metrics(WorkerMetrics(), taken),
        ):
            pass
