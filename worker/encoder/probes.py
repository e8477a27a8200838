"""Texts that an export is checked on: product titles, searches, other scripts, the extremes."""

from __future__ import annotations

import itertools

_BRANDS = ("Samsung", "Bosch", "LEGO", "Barnes & Noble", "xiaomi", "Le Creuset", "Nike", "no-name")
_PRODUCTS = (
    "wireless over-ear headphones",
    "electronics smartphone",
    "appliances.kitchen.washer",
    '24" LED LCD TV wall mount, full motion',
    "women's trail running shoes",
    "organic whole-bean coffee",
    "stainless steel insulated water bottle",
    "USB-C to HDMI adapter (4K@60Hz)",
    "INFLATABLE POLITICAL GLOBE",
    "paperback science-fiction novel",
    "double-sided cotton duvet cover",
)
_DETAILS = (
    "",
    "black, 2-pack",
    "128GB / 8GB RAM - unlocked",
    "size 10.5 (EU 44) €89.90",
    "for MacBook Pro 13 & 15, Dell XPS, Surface, with carrying case and two-year warranty",
)
_OTHERS = (
    "tv",
    "cheap phone under 200",
    "gift for a 5 year old",
    "наушники беспроводные Sony",
    "苹果 iPhone 15 手机壳",
    "白酒 53度 500ml",
    "سماعات لاسلكية",
    "이어폰 블루투스",
    "Kopfhörer mit Geräuschunterdrückung, größe L",
    "café crème brûlée 12×",
    "phone 😀 case",
    "1234567890 00-11-22",
    "!!! $$$ ???",
)


def probe_texts() -> list[str]:
    """Return the probe texts: the same, in the same order, at every call."""
    titles = [
        " ".join(part for part in (brand, product, detail) if part)
        for brand, product, detail in itertools.product(_BRANDS[:2], _PRODUCTS, _DETAILS)
    ]
    brands_last = [f"{_PRODUCTS[i]} {brand}" for i, brand in enumerate(_BRANDS)]
    too_long = " ".join(titles)
    return [*titles, *brands_last, *_OTHERS, too_long]
