"""Killed at any point and started again, the stream says what a batch over the topics says."""

from __future__ import annotations

import pytest
from storefront import publish_events, publish_recommendations, traffic

from worker.insights.recompute import Recomputed, recompute
from worker.insights.trends import ALL_SURFACES


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


def check_all(run, expected: Recomputed) -> None:
    """Wait until all numbers are there; then they must be the batch's, and stay so."""
    wanted = {
        surface: {item: round(score, 6) for item, score in counts.items()}
        for surface, counts in expected.trending.items()
    }
    run.eventually(
        lambda: (
            credited(run.outcomes()) == expected.credited
            and flat(run.sums()) == flat(expected.sums)
            and scores(run.trending()) == wanted
        ),
        "the batch's numbers",
        30,
    )


@pytest.mark.parametrize("store", ["rocksdb", "memory"])
def test_killed_at_three_points_it_says_what_a_batch_says(insights_settings, insights_run, store):
    settings = insights_settings.model_copy(
        update={"insights": insights_settings.insights.model_copy(update={"store": store})}
    )
    made = traffic(seed=7, number=2400)
    expected = batch(settings, made)
    assert len(expected.credited) > 300
    run = insights_run(settings)
    quarter = len(made.events) // 4
    points = [("outcomes", 2), ("tables", 3), ("durable", 2), None]
    for number, point in enumerate(points):
        part = slice(number * quarter, None if point is None else (number + 1) * quarter)
        publish_recommendations(settings, made.recommendations[part])
        publish_events(settings, made.events[part])
        if point is not None:
            process = run.start("--die", point[0], str(point[1]))
            assert process.wait(60) == -9, run.log[-3000:]
    run.start()
    check_all(run, expected)
