"""The storefront's side: the SDK, the collector, and datasets that are replayed.

`Tracker` and `AsyncTracker` publish events: docs/producer.md.
"""

from __future__ import annotations

from producer.async_outbox import AsyncReceipt
from producer.async_tracker import AsyncTracker
from producer.tracker import Receipt, Tracker

__all__ = ["AsyncReceipt", "AsyncTracker", "Receipt", "Tracker"]
