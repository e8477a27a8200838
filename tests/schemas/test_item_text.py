from __future__ import annotations

import pytest

from schemas.catalog import CatalogItem, item_text


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"title": "Trail shoe"}, "Trail shoe"),
        ({"title": "  Trail \t shoe\n"}, "Trail shoe"),
        ({"title": "Trail shoe", "brand": "Salomon"}, "Trail shoe Salomon"),
        ({"title": "SALOMON trail shoe", "brand": "Salomon"}, "SALOMON trail shoe"),
        ({"title": "Groß", "brand": "GROSS"}, "Groß"),
        ({"title": "Shoe", "brand": "Le Coq"}, "Shoe Le Coq"),
        (
            {"title": "Shoe", "categories": ("Sport", "Running shoe", "Trail running")},
            "Shoe Sport Running Trail",
        ),
        ({"title": "tick tick boom", "brand": "Tick"}, "tick tick boom"),
        ({"brand": "Salomon", "categories": ("Sport",)}, "Salomon Sport"),
        ({"title": "手机壳", "brand": "华为"}, "手机壳 华为"),
        ({"title": " ", "brand": "", "categories": ("", " ")}, ""),
        ({}, ""),
    ],
)
def test_item_text(fields: dict[str, object], text: str):
    assert item_text(CatalogItem(item_id="p1", price=9.5, **fields)) == text
