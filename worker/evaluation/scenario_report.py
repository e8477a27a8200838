"""What a report says of scenarios. docs/evaluation.md explains every field."""

from __future__ import annotations

import msgspec

from worker.evaluation.cells import Bands, ComparedCell
from worker.ranking_quality import Quality


class ScenarioCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How large a scenario is."""

    items: int
    """With an event in it."""
    held_out_events: int
    """Events before the cut that neither the reference nor the rivals were trained on."""
    training_events: int
    """Events before the cut that they were trained on."""
    stream_events: int
    """Events after the cut, those of earlier users included."""
    scored_events: int
    scored_users: int


class ScenarioBands(msgspec.Struct, frozen=True, kw_only=True):
    """Confidence intervals of a `ScenarioQuality`."""

    overall: Bands
    by_scenario_events: dict[str, Bands]
    by_user_events: dict[str, Bands]


class ScenarioQuality(msgspec.Struct, frozen=True, kw_only=True):
    """Quality of a model on the scored events of one scenario, or of several."""

    overall: Quality
    by_scenario_events: dict[str, Quality]
    """By how many events its scenario had had before, of all users, since the cut."""
    by_user_events: dict[str, Quality]
    """By how many events of its scenario its user had had before."""
    confidence: ScenarioBands


class ScenarioModel(msgspec.Struct, frozen=True, kw_only=True):
    """Quality of a model on scenarios."""

    together: ScenarioQuality
    """On the events of all scenarios."""
    each: dict[str, ScenarioQuality]
    elsewhere: Quality
    """On the events outside all of them."""


class ScenarioComparison(msgspec.Struct, frozen=True, kw_only=True):
    """The reference against another model, on the events of all scenarios, and of each."""

    together: ComparedCell
    by_scenario_events: dict[str, ComparedCell]
    by_user_events: dict[str, ComparedCell]
    each: dict[str, ComparedCell]
    elsewhere: ComparedCell


class ScenarioReport(msgspec.Struct, frozen=True, kw_only=True):
    """Quality on scenarios, such as those held out of training."""

    column: str
    scenarios: dict[str, ScenarioCounts]
    models: dict[str, ScenarioModel]
    reference: str
    against: dict[str, ScenarioComparison]
    trained_on_them: list[str]
    """Models that were trained on events which were held out of the reference's training and of
    the rivals': what could be had with time to train."""
