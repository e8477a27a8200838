"""The result of an evaluation, as JSON for programs. docs/evaluation.md explains every field."""

from __future__ import annotations

from pathlib import Path

import msgspec

from schemas.errors import EvaluationError
from worker.evaluation.baselines.base import Setting
from worker.evaluation.baselines.selection import Trial
from worker.evaluation.cells import Bands, ComparedCell
from worker.evaluation.metrics import ModelQuality
from worker.evaluation.new_items import Chance, NewItemQuality
from worker.evaluation.recommended import Recommended
from worker.evaluation.scenario_report import ScenarioReport
from worker.ranking_quality import Quality


class Protocol(msgspec.Struct, frozen=True, kw_only=True):
    """What was scored, and how."""

    events_file: str
    items_file: str
    cut: float
    cut_time: int
    """Milliseconds since the epoch."""
    items: int
    train_events: int
    stream_events: int
    scored_users: int
    scored_events: int
    exclude_seen: bool
    bundle_version: str | None
    """Of the reference; None if it is no bundle."""
    seed: int | None
    """Of the training of the reference; None if it is no bundle."""
    evaluation_seed: int = 0
    """Of the draw of users where only some are scored, of the sampled lists, of the bootstrap."""
    confidence: float = 0.95
    bootstrap_draws: int = 0


class Confidence(msgspec.Struct, frozen=True, kw_only=True):
    """Confidence intervals of every cell of a model."""

    overall: Bands
    by_events_seen: dict[str, Bands]
    segments: dict[str, Bands]


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Where the time went, seconds of wall clock; None where it is not known."""

    tuning: float | None
    training: float | None
    scoring: float


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """Best less worst segment, of those with enough users."""

    hit_rate: float = msgspec.field(name="hr@20")
    reciprocal_rank: float = msgspec.field(name="mrr@20")


class ModelReport(ModelQuality, frozen=True, kw_only=True):
    """Everything measured of one model."""

    confidence: Confidence | None = None
    settings: dict[str, Setting] = msgspec.field(default_factory=dict)
    trials: list[Trial] = msgspec.field(default_factory=list)
    """Settings compared on the validation slice; empty if there was no choice."""
    timing: Timing | None = None
    recommended: Recommended | None = None
    segments: dict[str, Quality] = msgspec.field(default_factory=dict)
    fairness_gap: Gap | None = None
    """None with fewer than two segments of enough users."""
    new_items: NewItemQuality | None = None
    """On items that training never saw."""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """The reference against one other model."""

    overall: ComparedCell
    by_events_seen: dict[str, ComparedCell]


class Comparisons(msgspec.Struct, frozen=True, kw_only=True):
    """The reference, the first model, against each other one."""

    reference: str
    against: dict[str, Comparison]


class SegmentInfo(msgspec.Struct, frozen=True, kw_only=True):
    """How the scored users fall into segments."""

    by: str
    """`activity`, or a column of the users file."""
    users: dict[str, int]
    """Scored users of each segment."""
    fewest_users: int
    """Segments with fewer users do not enter the fairness gap."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The result of an evaluation."""

    models: dict[str, ModelReport]
    protocol: Protocol
    comparisons: Comparisons | None = None
    segments: SegmentInfo | None = None
    acted_on: Recommended | None = None
    """The items that users acted on at the events of the sampled lists, described in the same
    way: what a model without popularity bias would be near to."""
    chance: Chance | None = None
    """What a random order of the catalogue gives."""
    scenarios: ScenarioReport | None = None
    """None if there are none to report on."""


def write_json(report: Report, path: Path) -> None:
    """Write the report as indented JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")


def read_json(path: Path) -> Report:
    """Read a report.

    Raises:
        EvaluationError: there is no such file, or it is no report.
    """
    if not path.is_file():
        raise EvaluationError(f"{path} does not exist")
    try:
        return msgspec.json.decode(path.read_bytes(), type=Report)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EvaluationError(f"{path} is no report of `innerloop evaluate`: {error}") from error
