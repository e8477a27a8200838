"""From a row of a canonical items file to a catalogue item.

Training reads items files and serving reads the `catalog` topic. Both must end with the same text
for an item, so both build the item here and take its text from `schemas.catalog.item_text`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from schemas.catalog import CatalogItem

TEXT_COLUMNS = ("item_id", "title", "brand", "category_code", "categories")
"""Columns to read as text, not as whatever type their first rows suggest: "007" stays "007"."""

MAX_TITLE = 4096
MAX_BRAND = 256
_CATEGORY_SEPARATOR = ">"
_CATEGORY_CODE_SEPARATOR = "."
_FALSE_WORDS = frozenset({"0", "false", "no", "n"})


def catalog_item_from_row(row: Mapping[str, object]) -> CatalogItem:
    """Build the catalogue item that a row of a canonical items file stands for.

    Columns that count: `item_id` (needed), `title`, `brand`, `categories` (a list, or text with
    `>` between the levels) else `category_code` (dots between the levels, underscores for spaces),
    `price` else `median_price`, `available`. Others are ignored; a missing column, null, NaN and
    blank text all mean "not given", and so does a price that is no number or below zero. Titles and
    brands longer than the schema allows are cut.

    Raises:
        KeyError: the row has no `item_id`.
    """
    return CatalogItem(
        item_id=str(row["item_id"]),
        title=_text(row.get("title"))[:MAX_TITLE],
        brand=_text(row.get("brand"))[:MAX_BRAND] or None,
        categories=_categories(row),
        price=_price(row),
        available=_text(row.get("available")).casefold() not in _FALSE_WORDS,
    )


def _text(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return str(value).strip()


def _categories(row: Mapping[str, object]) -> tuple[str, ...]:
    given = row.get("categories")
    if isinstance(given, list | tuple):
        levels = [_text(level) for level in given]
    elif _text(given):
        levels = [level.strip() for level in _text(given).split(_CATEGORY_SEPARATOR)]
    else:
        # Such codes write the spaces inside a level as underscores: furniture.living_room.sofa.
        code = _text(row.get("category_code")).replace("_", " ")
        levels = [level.strip() for level in code.split(_CATEGORY_CODE_SEPARATOR)]
    return tuple(level for level in levels if level)


def _price(row: Mapping[str, object]) -> float | None:
    for column in ("price", "median_price"):
        try:
            price = float(_text(row.get(column)))
        except ValueError:
            continue
        if math.isfinite(price) and price >= 0:
            return price
    return None
