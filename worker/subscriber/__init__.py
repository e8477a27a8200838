"""The subscribers' side: clients that keep the latest recommendation per user, and what serves it.

    from worker.subscriber import RecommendationClient

    with RecommendationClient() as client:
        answer = client.wait_for("u-7", event_id)
        print(answer.recommendation.items, answer.latency_ms)

Nothing here loads the model, nor torch.
"""

from __future__ import annotations

from worker.subscriber.async_client import AsyncRecommendationClient
from worker.subscriber.client import RecommendationClient
from worker.subscriber.latest import Received
from worker.subscriber.tokens import mint_token

__all__ = ["AsyncRecommendationClient", "Received", "RecommendationClient", "mint_token"]
