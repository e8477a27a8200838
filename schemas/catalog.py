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


def item_text(item: CatalogItem) -> str:
    """Return the text that stands for an item, in training and in serving alike.

    The title, then the brand and the words of the category path that the title does not hold yet
    (compared without case), joined by single spaces.
    """
    words = item.title.split()
    seen = {word.casefold() for word in words}
    for word in [*(item.brand or "").split(), *" ".join(item.categories).split()]:
        if word.casefold() not in seen:
            seen.add(word.casefold())
            words.append(word)
    return " ".join(words)
