"""The job in Faust, as an agent that takes micro-batches: `python faust_app.py ORDER.json`."""

from __future__ import annotations

import sys
from pathlib import Path

import faust

from worker.bench.engines.job import Job, Order
from worker.threads import serving_threads


def main(order: Order) -> None:
    """Serve until killed."""
    job = Job(order)
    app = faust.App(
        order.group_id,
        broker=f"kafka://{order.bootstrap_servers}",
        datadir=order.folder,
        store="memory://",
        topic_partitions=order.partitions,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
        stream_wait_empty=False,
        web_enabled=False,
        producer_linger=0.005,
    )
    clickstream, recommendations, states = (
        app.topic(
            name, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
        )
        for name in (order.clickstream, order.recommendations, order.user_state)
    )

    async def serve(stream: faust.StreamT[bytes]) -> None:
        async for values in stream.take(order.batch_events, within=order.batch_wait_s):
            for output in job.process(values):
                await recommendations.send(key=output.key, value=output.answer)
                if output.state is not None:
                    await states.send(key=output.key, value=output.state)

    app.agent(clickstream)(serve)
    faust.Worker(app, loglevel="WARNING", redirect_stdouts=False).execute_from_commandline()


if __name__ == "__main__":
    told = Order.read(Path(sys.argv[1]))
    with serving_threads(told.threads):
        main(told)
