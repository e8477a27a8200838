"""The job in Quix Streams: `python quix_app.py ORDER.json each|batches`.

`each` is a StreamingDataFrame, which takes one record at a time through its functions. `batches`
puts the job into a sink, which gets the records of a partition at each commit.
"""

from __future__ import annotations

import sys
from pathlib import Path

from quixstreams import Application
from quixstreams.sinks import BatchingSink, SinkBatch

from worker.bench.engines.job import Job, Order, Output
from worker.threads import serving_threads


def main(order: Order, how: str) -> None:
    """Serve until killed."""
    job = Job(order)
    every = order.batch_events * order.partitions if how == "batches" else order.batch_events
    app = Application(
        broker_address=order.bootstrap_servers,
        consumer_group=order.group_id,
        auto_offset_reset="earliest",
        commit_every=every,
        commit_interval=0.25,
        state_dir=order.folder,
        producer_extra_config={"linger.ms": 5, "compression.type": "lz4"},
        loglevel="WARNING",
    )
    raw = {"key_serializer": "bytes", "value_serializer": "bytes"}
    source = app.topic(order.clickstream, key_deserializer="bytes", value_deserializer="bytes")
    recommendations, states = (
        app.topic(n, **raw) for n in (order.recommendations, order.user_state)
    )
    frame = app.dataframe(source)
    if how == "batches":
        frame.sink(_JobSink(job, app, recommendations.name, states.name))
    else:
        outputs = frame.apply(lambda value: job.process([value])[0])
        outputs.apply(lambda output: output.answer).to_topic(recommendations)
        outputs.apply(lambda output: output.state).to_topic(states)
    app.run()


class _JobSink(BatchingSink):  # type: ignore[misc]
    """Processes and publishes a partition's records at each commit."""

    def __init__(self, job: Job, app: Application, recommendations: str, states: str) -> None:
        super().__init__()
        self._job = job
        self._producer = app.get_producer()
        self._recommendations = recommendations
        self._states = states

    def write(self, batch: SinkBatch) -> None:
        """See `BatchingSink.write`."""
        outputs: list[Output] = self._job.process([item.value for item in batch])
        for output in outputs:
            self._producer.produce(self._recommendations, key=output.key, value=output.answer)
            if output.state is not None:
                self._producer.produce(self._states, key=output.key, value=output.state)
        self._producer.flush()


if __name__ == "__main__":
    told = Order.read(Path(sys.argv[1]))
    with serving_threads(told.threads):
        main(told, sys.argv[2])
