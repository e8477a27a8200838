"""What a micro-batch's lists answer, a column a field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from worker.stages.adapt import Adapted
from worker.stages.decode import EventColumns
from worker.stages.fold import FoldedBatch

if TYPE_CHECKING:
    from worker.tracing.event_trace import EventTrace


@dataclass(frozen=True)
class Addressed:
    """The events that n lists answer."""

    event_ids: Sequence[str]
    user_ids: Sequence[str]
    partitions: Sequence[int]
    times: NDArray[np.int64]
    """Event times, milliseconds since the epoch, (n,)."""
    events_seen: NDArray[np.int64]
    """Events of the user up to this one, (n,)."""
    stepped: NDArray[np.bool_]
    """Whether the event took an inner-loop step, (n,)."""
    loss_before: NDArray[np.float32]
    loss_after: NDArray[np.float32]
    """Support losses in nats, (n,); NaN where no step was taken."""
    also: Sequence[Sequence[str]] = ()
    """Ids of earlier events that each list answers, too, oldest first; empty if none does."""
    traces: Sequence[Sequence[EventTrace]] = ()
    """Those of the events that each list answers, oldest first; empty if no event is traced."""

    @classmethod
    def each(cls, events: EventColumns, batch: FoldedBatch, adapted: Adapted) -> Addressed:
        """Return all events applied, each with a list of its own."""
        sources = batch.source.tolist()
        return cls(
            event_ids=[events.event_ids[source] for source in sources],
            user_ids=[events.user_ids[source] for source in sources],
            partitions=[events.partitions[source] for source in sources],
            times=np.asarray(events.times, np.int64)[batch.source],
            events_seen=batch.events_seen,
            stepped=adapted.stepped,
            loss_before=adapted.loss_before,
            loss_after=adapted.loss_after,
            traces=_each_trace(events, sources) if events.traces else (),
        )


def _each_trace(events: EventColumns, sources: Sequence[int]) -> list[list[EventTrace]]:
    found = [events.traces[source] for source in sources]
    return [[] if trace is None else [trace] for trace in found]
