"""Settings of `innerloop insights`: trends, attribution, indicators and drift alarms."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from schemas.clickstream import EventType
from schemas.settings.section import Section


class InsightsSettings(Section):
    """The side streams: what is trending, what became of recommendations, and drift."""

    group_id: str = Field("innerloop-insights", min_length=1, description="consumer group")
    store: Literal["auto", "rocksdb", "memory"] = Field(
        "auto",
        description="where tables are kept: rocksdb (the extra innerloop[rocksdb]) on disk; auto "
        "takes it where it is installed; the truth is in the changelog topics either way",
    )
    folder: Path = Field(
        Path("innerloop-insights"),
        description="folder of the RocksDB tables, one of each process's own",
    )
    sample_rate: float = Field(
        1.0,
        gt=0,
        le=1,
        description="share of the users that is looked at, the same ones always (by a hash of the "
        "id); counts are then scaled up, and are estimates",
    )
    window_seconds: int = Field(
        86_400,
        ge=1,
        description="how long after a recommendation an action may be credited to it, by the "
        "events' own times, seconds",
    )
    recommendations_per_user: int = Field(
        32, ge=1, le=1024, description="latest recommendations of a user that are kept for that"
    )
    click_types: tuple[EventType, ...] = Field(
        ("click", "view"),
        validate_default=True,
        min_length=1,
        description="event types that count as a click on a recommended item",
    )
    join_wait_seconds: float = Field(
        5.0,
        gt=0,
        le=3600,
        description="how much later than an event a recommendation may be published, by the "
        "records' timestamps, and still count as made before it: more than clocks are apart and "
        "transactions take; one that is read too late for an event does not count for it",
    )
    pending_records: int = Field(
        20_000,
        ge=100,
        description="records of a topic's partition that may wait for the other topic's; it is not "
        "read on where there are more",
    )
    checkpoint_seconds: float = Field(
        2.0,
        gt=0,
        le=300,
        description="time between two writes of what has changed to the tables; so much is read "
        "again after a crash",
    )
    trending_interval_seconds: float = Field(
        10.0, gt=0, description="time between two publications of what is trending"
    )
    trending_half_life_seconds: float = Field(
        3600.0, gt=0, description="after so long an event counts half, by the events' own times"
    )
    trending_items: int = Field(100, ge=1, le=10_000, description="items published per surface")
    trending_capacity: int = Field(
        2000,
        ge=1,
        description="items counted per surface and partition; the rest is an error bound",
    )
    trending_surfaces: int = Field(
        50,
        ge=0,
        description="most surfaces counted per partition; events on further ones count for all "
        "surfaces together only",
    )
    indicator_days: int = Field(
        28, ge=1, le=366, description="days, by UTC, whose indicators are kept and shown together"
    )
    confidence: float = Field(0.95, gt=0.5, lt=1, description="level of the confidence intervals")
    drift_delta: float = Field(
        0.002,
        gt=0,
        lt=1,
        description="bound on the probability that a check of the live hit-rate raises an alarm "
        "although nothing has changed",
    )
    stall_seconds: float = Field(
        120.0,
        gt=0,
        description="the process ends with an error where records wait and none was taken for so "
        "long",
    )
    metrics_port: int = Field(
        9466,
        ge=0,
        le=65_535,
        description="port of the Prometheus endpoint at metrics.host; 0 takes a free one",
    )
