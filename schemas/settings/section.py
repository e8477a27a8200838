"""What all sections of the settings share."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

from schemas.settings.sources import flat_properties

Properties = Annotated[dict[str, str | int | float | bool], BeforeValidator(flat_properties)]
"""A client library's own properties. They may hold credentials, so `repr` leaves them out."""


class Section(BaseModel):
    """A part of the settings: nothing in it can be changed, and nothing unknown be given."""

    model_config = ConfigDict(extra="forbid", frozen=True)
