import math

import pytest
from demo_parts import RECORDED, recorded
from prometheus_client import generate_latest

from schemas.settings import MetricsSettings
from worker.broker.readiness import free_port
from worker.demo.plan import metrics_url
from worker.demo.scrape import LiveQuality, WorkerSample, fetch, parse
from worker.events_seen import EVENTS_SEEN_LABELS
from worker.metrics import Rebalance, WorkerMetrics
from worker.metrics_endpoint import serve_metrics


def test_what_the_worker_counts_is_what_is_read() -> None:
    metrics = WorkerMetrics()
    metrics.events.labels("view").inc(3)
    metrics.events.labels("purchase").inc(4)
    metrics.users_resident.set(5)
    metrics.catalogue_items.labels("available").set(6)
    metrics.catalogue_items.labels("unavailable").set(60)
    metrics.rebalanced_partitions.labels(Rebalance.ASSIGNED.value).inc(4)
    metrics.rebalanced_partitions.labels(Rebalance.LOST.value).inc(1)
    metrics.rebalanced_partitions.labels(Rebalance.REVOKED.value).inc(1)
    metrics.restore_seconds.observe(0.1)
    for seconds in (0.015, 0.04, 0.04, 7.0):
        metrics.latency_seconds.observe(seconds)
    metrics.support_loss_before.observe(6.0)
    metrics.support_loss_after.observe(4.5)
    metrics.prequential_events.labels("1").inc(8)
    metrics.prequential_hits.labels("1").inc(4)
    metrics.prequential_popularity_hits.labels("1").inc(2)

    sample = parse(generate_latest(metrics.registry).decode())

    assert (sample.applied, sample.users, sample.items) == (7, 5, 6)
    assert (sample.partitions, sample.restored) == (2, 1)
    assert sample.latency.count == 4
    assert sample.latency.mean == pytest.approx(7.095 / 4)
    assert 0.03 < sample.latency.quantile(0.5) < 0.05
    assert (sample.loss_before.mean, sample.loss_after.mean) == (6.0, 4.5)
    assert list(sample.quality) == list(EVENTS_SEEN_LABELS)
    assert sample.quality["1"] == LiveQuality(8, 4, 2)
    assert sample.overall == LiveQuality(8, 4, 2)
    assert (sample.overall.hit_rate, sample.overall.popularity_hit_rate) == (0.5, 0.25)


def test_a_recording() -> None:
    sample = recorded()
    assert (sample.applied, sample.users, sample.items, sample.partitions) == (44444, 5369, 2248, 4)
    assert sum(quality.events for quality in sample.quality.values()) == 44444
    assert sample.quality["0"] == LiveQuality(5369, 1187, 1089)
    assert sample.overall.hit_rate == pytest.approx(9867 / 44444)


def test_a_worker_that_did_nothing_has_numbers_too() -> None:
    sample = WorkerSample.nothing()
    assert (sample.applied, sample.partitions, sample.latency.count) == (0, 0, 0)
    assert math.isnan(sample.overall.hit_rate)
    assert math.isnan(sample.latency.quantile(0.5))
    assert math.isnan(sample.loss_before.mean)


def test_the_difference_of_two_moments() -> None:
    metrics = WorkerMetrics()
    metrics.latency_seconds.observe(20.0)
    before = parse(generate_latest(metrics.registry).decode()).latency
    metrics.latency_seconds.observe(0.04)
    between = parse(generate_latest(metrics.registry).decode()).latency.since(before)
    assert between.count == 1
    assert between.mean == pytest.approx(0.04)
    assert between.quantile(0.99) <= 0.05


def test_a_metric_that_is_missing_is_named() -> None:
    kept = [line for line in RECORDED.splitlines() if "users_resident" not in line]
    with pytest.raises(ValueError, match="innerloop_users_resident"):
        parse("\n".join(kept) + "\n")


def test_fetched_over_http_past_any_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    metrics = WorkerMetrics()
    metrics.users_resident.set(3)
    with serve_metrics(metrics, MetricsSettings(port=0)) as port:
        text = fetch(metrics_url(port))
    assert text is not None
    assert parse(text).users == 3


def test_nobody_there_is_nothing() -> None:
    assert fetch(metrics_url(free_port())) is None
