"""Settings of the worker and its metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from schemas.settings.section import Section

TrustedKey = Annotated[str, Field(pattern=r"^ed25519:[A-Za-z0-9+/]{43}=$")]


class WorkerSettings(Section):
    """The streaming worker."""

    bundle: Path | None = Field(None, description="model bundle to serve (a folder)")
    bundle_digest: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{64}$",
        description="sha256 that the manifest.json of worker.bundle must have, in hexadecimal; "
        "`innerloop models verify` tells it",
    )
    trusted_keys: tuple[TrustedKey, ...] = Field(
        (),
        description="public keys, of which one must have signed each bundle served, that of a plan "
        "in `models` too; `innerloop models keygen` makes them. Without any, no signature is asked "
        "for",
    )
    group_id: str = Field("innerloop-worker", min_length=1, description="consumer group")
    instance_id: str | None = Field(
        None,
        min_length=1,
        description="of this worker among those of its group, the same at every start: one that "
        "was restarted gets its partitions back without a rebalance (static membership)",
    )
    delivery: Literal["at_least_once", "exactly_once"] = Field(
        "at_least_once",
        description="exactly_once makes results, users' states and offsets one transaction",
    )
    transaction_ms: int = Field(
        100,
        ge=0,
        le=60_000,
        description="with exactly_once: how long a transaction takes up further micro-batches "
        "while more records are waiting, milliseconds; 0 commits each micro-batch",
    )
    transaction_timeout_ms: int = Field(
        60_000,
        ge=1000,
        le=900_000,
        description="with exactly_once: the brokers abort a transaction that takes longer, "
        "milliseconds; so long may the next owner wait for what a killed worker left open",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="auto takes cuda where there is one"
    )
    batch_events: int = Field(
        2048,
        ge=1,
        le=65_536,
        description="most events in a micro-batch, which are taken where so many wait that "
        "latency_target_ms is missed anyway",
    )
    batch_wait_ms: int = Field(
        0,
        ge=0,
        le=60_000,
        description="longest wait for a micro-batch to fill once it has a record, milliseconds; 0 "
        "takes what is there, which under load is what came while the last one was processed",
    )
    latency_target_ms: float = Field(
        50.0,
        gt=0,
        description="time from an event's arrival to its recommendation that micro-batches are "
        "kept small for, milliseconds; where more events wait than that, they are large. They "
        "begin a fifth of it apart at least",
    )
    coalesce: bool = Field(
        False,
        description="of several events of a user in a micro-batch answer only the last, naming the "
        "others in also_caused_by",
    )
    min_interval_ms: int = Field(
        0,
        ge=0,
        le=3_600_000,
        description="least time between two recommendations of a user, milliseconds: events in "
        "between are answered together when it is over; 0 answers each at once, any other value "
        "implies coalesce",
    )
    top_k: int = Field(20, ge=1, le=1000, description="items in a recommendation")
    recent_events: int = Field(
        32, ge=1, le=1024, description="latest events kept per user (duplicates, reasons)"
    )
    resident_users: int | None = Field(
        None,
        ge=1,
        description="most users held ready on the device; those away longest make room and come "
        "back from the state folder, or memory. Without it, all who had an event",
    )
    state_folder: Path | None = Field(
        None,
        description="folder for the users not held ready, one of each worker's own; without it "
        "they are kept in memory",
    )
    warm_restart: bool = Field(
        True,
        description="with a state folder: keep all users there at a stop, and at the next start "
        "read only what has changed since; otherwise it is empty while the worker is stopped",
    )
    state_key_file: Path | None = Field(
        None,
        description="with a state folder: seal what is written there, ids included, with the first "
        "key in this file; a snapshot may be sealed with any of them. A line of base64 for each "
        "key of 32 bytes, readable by the worker's user alone",
    )
    user_ttl_days: float | None = Field(
        None,
        gt=0,
        description="forget users without an event for longer, by the events' own time, days; "
        "without it nobody is forgotten",
    )
    max_event_bytes: int = Field(
        65_536, ge=256, description="larger events go to the dead-letter topic, bytes"
    )
    dead_letter_window: int = Field(
        1000, ge=1, description="latest records over which dead_letter_ratio goes"
    )
    dead_letter_ratio: float = Field(
        0.5,
        gt=0,
        le=1,
        description="share of the latest records that may be unusable; more stop the worker, "
        "and 1 never does",
    )
    dead_letter_consecutive: int = Field(
        500, ge=1, description="so many unusable records in a row in one partition stop the worker"
    )
    max_future_seconds: int = Field(
        86_400, ge=0, description="events later than now plus this go to the dead-letter topic"
    )
    catalog_wait_seconds: float = Field(
        120,
        ge=0,
        description="longest that events wait for the catalog topic to be read to its end, seconds",
    )
    trending_prior: bool = Field(
        False,
        description="have what `innerloop insights` finds trending count for users of whom little "
        "is known; without the topic `trending` all is as without this",
    )
    trending_prior_events: float = Field(
        0.25,
        gt=0,
        le=1000,
        description="with trending_prior: how many of a user's events it is worth; after n of them "
        "the weight is this / (this + n)",
    )
    trending_prior_strength: float = Field(
        1.0,
        gt=0,
        le=10,
        description="with trending_prior: times log(1 + count) is what an item's score gets before "
        "the first event",
    )
    trending_prior_max_age_seconds: float = Field(
        3600,
        gt=0,
        description="with trending_prior: what was found trending longer ago does not count",
    )
    item_memory: bool = Field(
        True,
        description="learn about items from the stream, and share it with the other workers, where "
        "the bundle has an item memory",
    )
    item_memory_events: int = Field(
        1_000_000,
        ge=64,
        description="offsets of clickstream, in each partition, whose transitions are kept in "
        "item-transitions; the same for all workers",
    )
    follow_models: bool = Field(
        False,
        description="serve what the topic `models` says (innerloop models), starting with bundle",
    )
    variant: str = Field("default", min_length=1, description="label on recommendations")
    threads: int | None = Field(
        None,
        ge=1,
        description="CPU threads that share the search over the catalogue; without it, as many as "
        "torch would take. Torch itself takes one",
    )

    @property
    def coalesces(self) -> bool:
        """Whether several events of a user may be answered at once."""
        return self.coalesce or self.min_interval_ms > 0

    @property
    def user_ttl_ms(self) -> int | None:
        """`user_ttl_days` in milliseconds."""
        return None if self.user_ttl_days is None else round(self.user_ttl_days * 86_400_000)


class MetricsSettings(Section):
    """The Prometheus endpoint."""

    enabled: bool = Field(True, description="serve the endpoint")
    host: str = Field("127.0.0.1", description="address to bind")
    port: int = Field(9464, ge=0, le=65_535, description="port to bind; 0 takes a free one")
    stuck_seconds: float = Field(
        300,
        gt=0,
        description="a worker whose loop does not come round for so long is stuck: /health says "
        "so, and the log where, seconds",
    )
