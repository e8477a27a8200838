"""Datasets of many formats as events and catalogue items.

`EventFile` and `open_items` read files of any format in `registry.FORMATS`, or of any other with a
column mapping. A format is one small module; `registry` is where it is listed.
"""

from producer.datasets.events import EventFile, ReadOptions, Selection
from producer.datasets.items import ItemFile, items_from_events, open_items

__all__ = [
    "EventFile",
    "ItemFile",
    "ReadOptions",
    "Selection",
    "items_from_events",
    "open_items",
]
