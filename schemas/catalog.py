"""A catalogue item, as a storefront publishes it."""

from __future__ import annotations

from typing import Annotated

import msgspec

from schemas.clickstream import Identifier, Price


class CatalogItem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One item. Key of the compacted `catalog` topic: `item_id`; a null value removes the item."""

    item_id: Identifier
    """Names the item in every other message."""
    title: Annotated[str, msgspec.Meta(max_length=4096)] = ""
    """The item's name; with brand and categories, all that is known of an item still unseen."""
    brand: Annotated[str, msgspec.Meta(max_length=256)] | None = None
    """Maker or brand."""
    categories: tuple[str, ...] = ()
    """The category path, from the root to the leaf."""
    price: Price | None = None
    """Current price, in the shop's own currency."""
    available: bool = True
    """Whether it may be recommended now."""
    attributes: dict[str, str] = {}
    """Anything else worth saying, such as colour or size."""


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


def category_text(item: CatalogItem) -> str:
    """Return the item's category path as one text: levels joined by " > ", blank without any."""
    return " > ".join(item.categories)
