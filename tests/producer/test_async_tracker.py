"""The SDK for asyncio: the event loop never waits, and acknowledgements can be waited for."""

from __future__ import annotations

import asyncio

import pytest
from tracking import away, decoded, with_kafka

from producer import AsyncTracker
from schemas.errors import BrokerError, DeliveryError, EventError, QueueFullError
from schemas.settings import Settings
from schemas.topics import Topic
from worker.kafka_admin import create_topics


@pytest.fixture
def settings(embedded_settings: Settings) -> Settings:
    create_topics(embedded_settings)
    return embedded_settings


def test_events_arrive_in_order_and_receipts_are_awaited(broker_settings, consume_all):
    create_topics(broker_settings)

    async def browse() -> list[str]:
        async with AsyncTracker(broker_settings) as tracker:
            await tracker.check()
            receipts = [await tracker.view("u", f"i{n}") for n in range(50)]
            await asyncio.gather(*receipts)
            assert all(receipt.done for receipt in receipts)
            assert (tracker.counts.delivered, tracker.counts.waiting) == (50, 0)
            receipts.append(await tracker.search("u", "boots"))
        assert tracker.counts.delivered == 51
        return [receipt.event_id for receipt in receipts]

    ids = asyncio.run(browse())
    messages = consume_all(broker_settings, Topic.CLICKSTREAM)
    assert [event.event_id for event in decoded(broker_settings, messages)] == ids
    assert dict(messages[0].headers())["ce_id"] == ids[0].encode()


def test_the_loop_goes_on_while_brokers_are_away(settings):
    full = away(settings, **{"queue.buffering.max.messages": 3, "message.timeout.ms": 500})

    async def browse() -> None:
        tracker = AsyncTracker(full)
        beats, stop = 0, False

        async def beat() -> None:
            nonlocal beats
            while not stop:
                beats += 1
                await asyncio.sleep(0)

        beating = asyncio.create_task(beat())
        receipts = [await tracker.view("u", f"i{n}") for n in range(3)]
        before = beats
        receipts.append(await tracker.view("u", "i3"))  # there is room when one is given up
        assert beats - before > 100
        told = await asyncio.gather(*receipts, return_exceptions=True)
        stop = True
        await beating
        assert all(isinstance(result, DeliveryError) for result in told)
        assert tracker.counts.failed == 4
        with pytest.raises(DeliveryError, match="4 events were given up"):
            await tracker.close()

    asyncio.run(browse())


@pytest.mark.parametrize("options", [{"when_full": "raise"}, {"full_wait_s": 0.1}])
def test_what_does_not_fit_is_refused(settings, options):
    full = away(settings, **{"queue.buffering.max.messages": 3, "message.timeout.ms": 60_000})

    async def browse() -> None:
        tracker = AsyncTracker(full, close_wait_s=0.01, **options)
        for _ in range(3):
            await tracker.view("u", "i")
        with pytest.raises(QueueFullError, match="as many messages wait"):
            await tracker.view("u", "i")
        assert (tracker.counts.refused, tracker.counts.waiting) == (1, 3)
        assert await tracker.flush(0.01) == 3

    # The end, which waits for what cannot arrive, is not what is tested.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("producer.async_outbox._AT_EXIT_S", 0.0)
        asyncio.run(browse())


def test_an_event_that_is_wrong_or_not_agreed_to_is_not_sent(settings, consume_all):
    async def browse() -> None:
        async with AsyncTracker(settings) as tracker:
            with pytest.raises(EventError, match=r"^item_id: "):
                await tracker.view("u", "")
            receipt = await tracker.view("u", "i", consent=False)
            await receipt
            assert not receipt.published
        assert (tracker.counts.invalid, tracker.counts.no_consent) == (1, 1)
        with pytest.raises(BrokerError, match="closed"):
            await tracker.view("u", "i")

    asyncio.run(browse())
    assert consume_all(settings, Topic.CLICKSTREAM) == []


def test_a_waiter_that_is_cancelled_takes_nothing_from_others(settings):
    slow = with_kafka(settings, producer_properties={"linger.ms": 300})

    async def browse() -> None:
        async with AsyncTracker(slow) as tracker:
            receipt = await tracker.view("u", "i")

            async def wait() -> None:
                await receipt

            impatient, patient = asyncio.create_task(wait()), asyncio.create_task(wait())
            await asyncio.sleep(0)
            impatient.cancel()
            await patient
            assert impatient.cancelled()

    asyncio.run(browse())


def test_a_loop_that_ends_before_the_news_does_no_harm(settings, consume_all):
    slow = with_kafka(settings, producer_properties={"linger.ms": 200})

    async def browse() -> AsyncTracker:
        tracker = AsyncTracker(slow)
        await tracker.view("u", "i")
        return tracker

    tracker = asyncio.run(browse())
    assert tracker._outbox.kafka.flush(120) == 0
    assert len(consume_all(settings, Topic.CLICKSTREAM)) == 1
