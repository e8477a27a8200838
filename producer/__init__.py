"""The storefront's side: the SDK, the collector, and datasets that are replayed.

`Tracker` and `AsyncTracker` publish events: docs/producer.md. `PrivacyRequests` has users erased:
docs/privacy.md.
"""

from __future__ import annotations

from producer.async_outbox import AsyncReceipt
from producer.async_tracker import AsyncTracker
from producer.privacy import PrivacyRequests
from producer.tracker import Receipt, Tracker

__all__ = ["AsyncReceipt", "AsyncTracker", "PrivacyRequests", "Receipt", "Tracker"]
