"""A catalogue item, as a storefront publishes it."""

from __future__ import annotations

from typing import Annotated

import msgspec

from schemas.clickstream import Identifier


class CatalogItem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One item. Key of the compacted `catalog` topic: `item_id`; a null value removes the item."""

    item_id: Identifier
    title: Annotated[str, msgspec.Meta(max_length=4096)] = ""
    brand: Annotated[str, msgspec.Meta(max_length=256)] | None = None
    categories: tuple[str, ...] = ()
    """The category path, from the root to the leaf."""
    price: Annotated[float, msgspec.Meta(ge=0)] | None = None
    available: bool = True
    attributes: dict[str, str] = {}
