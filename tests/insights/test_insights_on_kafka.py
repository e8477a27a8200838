"""Killed at any point and started again, the stream says what a batch over the topics says."""

from __future__ import annotations

import re
import urllib.request
from urllib.error import URLError

import pytest
from prometheus_client.parser import text_string_to_metric_families
from storefront import publish_events, publish_recommendations, traffic

from schemas.errors import BrokerError
from schemas.insights import ALL_SURFACES
from schemas.topics import Topic
from worker.insights.indicators import indicators
from worker.insights.metrics import SPECS
from worker.insights.recompute import Recomputed, recompute
from worker.insights.report import make_report
from worker.insights.topics import insights_topics
from worker.kafka_admin import create_topics

pytestmark = pytest.mark.timeout(900)


def batch(settings, made) -> Recomputed:
    insights = settings.insights
    return recompute(
        made.events,
        made.recommendations,
        window_ms=insights.window_seconds * 1000,
        days=insights.indicator_days,
        click_types=insights.click_types,
        half_life_ms=insights.trending_half_life_seconds * 1000,
        all_surfaces=ALL_SURFACES,
    )


def flat(sums) -> dict:
    """Numbers by name, rounded as sums of floats in another order are."""
    return {
        (variant, name): value
        for variant, row in sums.items()
        for name, value in {
            "recommendations": row.recommendations,
            "clicked": row.clicked,
            "carted": row.carted,
            "purchased": row.purchased,
            "next_events": row.next_events,
            "hits": row.hits,
            **{f"revenue {c}": round(m.total, 4) for c, m in row.revenue.items()},
            **{f"squares {c}": round(m.squares, 2) for c, m in row.revenue.items()},
        }.items()
    }


def credited(outcomes) -> dict:
    return {o.event_id: (o.recommendation_id, o.revenue) for o in outcomes}


def scores(trending) -> dict:
    return {
        surface: {item.item_id: round(item.score, 6) for item in message.items}
        for surface, message in trending.items()
    }


def publish(settings, made, part: slice) -> None:
    """Publish some events, and before them the answers, none of which is then too late."""
    events = made.events[part]
    known = {event.event_id for event in events}
    first = {event.event_id for event in made.events[: part.start or 0]}
    publish_recommendations(
        settings, [r for r in made.recommendations if r.caused_by in known - first]
    )
    publish_events(settings, events)


def check_all(run, expected: Recomputed) -> None:
    """Wait until all numbers are there; then they must be the batch's, and stay so."""
    wanted = {
        surface: {item: round(score, 6) for item, score in counts.items()}
        for surface, counts in expected.trending.items()
    }
    run.comes_to(lambda: credited(run.outcomes()), expected.credited)
    run.comes_to(lambda: flat(run.sums()), flat(expected.sums))
    run.comes_to(lambda: scores(run.trending()), wanted)
    # What is left are a commit's marker, an aborted record and its marker.
    run.eventually(lambda: max(run.lags()) <= 3, "everything is committed")


@pytest.mark.parametrize("store", ["rocksdb", "memory"])
def test_killed_at_three_points_it_says_what_a_batch_says(insights_settings, insights_run, store):
    settings = insights_settings.model_copy(
        update={"insights": insights_settings.insights.model_copy(update={"store": store})}
    )
    # Users do not come back after the kill, so nothing but the replay writes them again.
    made = traffic(seed=7, number=2400, cohorts=4)
    expected = batch(settings, made)
    assert len(expected.credited) > 300
    run = insights_run(settings)
    quarter = len(made.events) // 4
    points = [("outcomes", 2), ("tables", 3), ("durable", 2), None]
    for number, point in enumerate(points):
        part = slice(number * quarter, None if point is None else (number + 1) * quarter)
        publish(settings, made, part)
        if point is not None:
            process = run.start("--die", point[0], str(point[1]))
            assert process.wait(120) == -9, run.log[-3000:]
    process = run.start()
    check_all(run, expected)
    process.kill()
    check_changelog(run, expected)


def check_changelog(run, expected: Recomputed) -> None:
    """Without its folder, a process has from the changelogs alone what the last one had."""
    told = run.parts_told()
    run.start(member=run.settings.kafka.consumer_properties["group.instance.id"])
    run.eventually(
        lambda: run.parts_told() >= told + run.settings.kafka.partitions, "parts from a new folder"
    )
    assert flat(run.sums()) == flat(expected.sums)


def test_another_process_takes_over_and_report_and_metrics_agree(insights_settings, insights_run):
    settings = insights_settings
    made = traffic(seed=11, number=1500)
    half = len(made.events) // 2
    run = insights_run(settings)
    run.start("--slow")
    second = run.start(member="second")
    publish(settings, made, slice(half))
    run.eventually(
        lambda: len(run.outcomes()) > 50 and run.log.count("partitions with") > 1, "two at work"
    )
    second.kill()
    publish(settings, made, slice(half, None))
    expected = batch(settings, made)
    check_all(run, expected)
    report = make_report(settings, again=True)
    assert report.differing == 0
    assert flat(report.sums) == flat(expected.sums)
    told = make_report(settings)
    for variant, row in told.sums.items():
        assert row.clicked == expected.sums[variant].clicked
        assert row.revenue["EUR"].squares == pytest.approx(
            expected.sums[variant].revenue["EUR"].squares
        )
    check_metrics(run, expected)


def scrape(run) -> str:
    """The metrics of the process that is left."""
    for address in re.findall(r"metrics at (http://\S+)", run.log):
        try:
            with urllib.request.urlopen(address, timeout=30) as response:
                return response.read().decode()
        except URLError:  # it was the other's
            continue
    raise AssertionError(run.log[-3000:])


def check_metrics(run, expected) -> None:
    shown = {v: indicators(v, row, 0.95) for v, row in expected.sums.items()}
    wanted = {(v, "click_through_rate", "low"): i.click_through.low for v, i in shown.items()}
    wanted |= {(v, "hit_rate", "estimate"): i.hit_rate.value for v, i in shown.items()}

    def scraped() -> dict:
        families = list(text_string_to_metric_families(scrape(run)))
        names = {f.name + "_total" * (f.type == "counter") for f in families}
        ours = {n for n in names if n.startswith("innerloop_") and not n.endswith("_created")}
        assert ours == set(SPECS)
        (rates,) = [f for f in families if f.name == "innerloop_insights_rate"]
        return {
            (s.labels["variant"], s.labels["rate"], s.labels["bound"]): s.value
            for s in rates.samples
        }

    run.eventually(
        lambda: all(scraped().get(k) == pytest.approx(v) for k, v in wanted.items()), "metrics"
    )


@pytest.mark.parametrize(
    ("how", "told"),
    [("deaf", "has records from offset 0 on, and none was taken"), ("frozen", "neither a round")],
)
def test_a_process_that_stalls_ends_with_an_error(insights_settings, insights_run, how, told):
    settings = insights_settings.model_copy(
        update={"insights": insights_settings.insights.model_copy(update={"stall_seconds": 5.0})}
    )
    made = traffic(seed=3, number=50)
    publish_events(settings, made.events)
    run = insights_run(settings)
    process = run.start("--stall", how)
    assert process.wait(120) == 2
    assert "error: innerloop insights has stalled: " in run.log
    assert told in run.log
    assert "insights.stall_seconds" in run.log


def test_topics_that_do_not_fit_together_are_refused(kafka_settings):
    with pytest.raises(BrokerError, match=r"clickstream does not exist; run `innerloop topics"):
        insights_topics(kafka_settings)
    create_topics(kafka_settings, (Topic.CLICKSTREAM, Topic.OUTCOMES, Topic.TRENDING))
    other = kafka_settings.model_copy(
        update={"kafka": kafka_settings.kafka.model_copy(update={"partitions": 2})}
    )
    create_topics(other, (Topic.RECOMMENDATIONS,))
    with pytest.raises(BrokerError, match=r"recommendations has 2 partitions and .* has 3"):
        insights_topics(kafka_settings)
