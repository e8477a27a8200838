"""Settings of the ranking policy: what may be listed, what is moved, and what is tried out."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from schemas.settings.section import Section

LEVEL_SEPARATOR = " > "
"""Between the levels of a category path, as in `schemas.catalog.category_text`."""

_MOST_ADDED = 100.0

CategoryPath = Annotated[str, Field(min_length=1)]
"""Levels from the root on, joined by `LEVEL_SEPARATOR`; stands for itself and all below it."""


class Restriction(Section):
    """Which categories lists may be made of, on one surface or everywhere."""

    surface: str | None = Field(
        None, min_length=1, description="surface of the events that it is for; without it, all"
    )
    categories: tuple[CategoryPath, ...] = Field(
        (), description="category paths that items have to be below; without any, all are right"
    )
    except_categories: tuple[CategoryPath, ...] = Field(
        (), description="category paths that items must not be below"
    )

    @model_validator(mode="after")
    def _restricts(self) -> Self:
        if not self.categories and not self.except_categories:
            raise ValueError("restricts nothing: give categories or except_categories")
        return self


class ScoreRule(Section):
    """An amount that is added to the scores of some items."""

    item: str | None = Field(None, min_length=1, description="item id")
    brand: str | None = Field(None, min_length=1, description="brand, as the catalogue has it")
    category: CategoryPath | None = Field(
        None, description="category path that items have to be below"
    )
    add: float = Field(
        ge=-_MOST_ADDED,
        le=_MOST_ADDED,
        description="added to the score; negative buries. Scores are logits: 0.7 doubles the odds "
        "of an item, -0.7 halves them",
    )

    @model_validator(mode="after")
    def _is_for_something(self) -> Self:
        if self.item is None and self.brand is None and self.category is None:
            raise ValueError("is for no items: give item, brand or category")
        return self


class PolicySettings(Section):
    """What lists are made of beyond the scores; docs/policy.md explains each."""

    leave_out: Literal["nothing", "purchased", "seen"] = Field(
        "nothing",
        description="items not to be listed: those that the user bought, or acted on in any way, "
        "as far as the latest events kept go (worker.recent_events)",
    )
    restrictions: tuple[Restriction, ...] = Field(
        (),
        description="which categories the answers to events of a surface are made of: "
        "surface, categories, except_categories",
    )
    rules: tuple[ScoreRule, ...] = Field(
        (),
        description="amounts added to the scores of items, to boost or bury them: add, and item, "
        "brand or category; where several are given, all must fit. Rules add up",
    )
    brand_cap: int | None = Field(
        None, ge=1, description="most items of one brand in a list; without it, any number"
    )
    diversity: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="weight of being unlike the items above (maximal marginal relevance); 0 goes "
        "by scores alone",
    )
    candidates: int = Field(
        100,
        ge=1,
        le=1000,
        description="best items from which diversity and exploration choose; no fewer than "
        "worker.top_k are taken",
    )
    exploration: Literal["none", "epsilon", "posterior"] = Field(
        "none",
        description="epsilon tries any candidate now and then; posterior those that may well be "
        "better for all that is known of the user. Both publish propensities",
    )
    epsilon: float = Field(
        0.05,
        gt=0,
        le=1,
        description="with exploration: probability that a place in the list goes to a candidate "
        "drawn evenly",
    )
    posterior_scale: float = Field(
        0.5,
        gt=0,
        le=100,
        description="with exploration by posterior: how uncertain a new user's query is, as the "
        "standard deviation of the scores of items with vectors of length 1",
    )
    explore_from: int = Field(
        1, ge=1, le=1000, description="with exploration: first place in the list that may be tried"
    )
    reason_types: bool = Field(
        False,
        description="say in an item's reason what the user did with the item that explains it "
        "(`event_type`)",
    )
