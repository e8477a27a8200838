"""Section `logging`: what processes that run on say of themselves."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from schemas.settings.section import Section


class LoggingSettings(Section):
    """The log, on standard error."""

    format: Literal["text", "json"] = Field(
        "text", description="json writes a line of JSON for each record, for machines to read"
    )
    repeats_per_minute: int = Field(
        30,
        ge=0,
        description="most records of one event (a message, whatever its values) in a minute; the "
        "next one says how many were left out; 0 leaves out none",
    )
