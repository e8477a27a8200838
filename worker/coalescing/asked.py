"""Which lists a micro-batch asks for where not every event is answered by one of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.addressed import Addressed
from worker.coalescing.owed import Owed, OwedAnswer
from worker.model.interface import AdaptationModel
from worker.rows import NO_ITEM
from worker.stages.adapt import Adapted, queries_of
from worker.stages.decode import EventColumns
from worker.stages.fold import FoldedBatch
from worker.stages.fold_kernel import recent_rows_of, recent_types_of
from worker.state.arena import UserArena

if TYPE_CHECKING:
    from worker.tracing.event_trace import EventTrace


@dataclass(frozen=True)
class Owing:
    """What a micro-batch has to know of answers that are owed."""

    owed: Owed
    due: Sequence[OwedAnswer]
    """Answers that may be given by now, to users of the model."""

    @property
    def users(self) -> tuple[list[str], list[int]]:
        """The users of these, and their partitions."""
        return [one.user_id for one in self.due], [one.partition for one in self.due]

    def divided(self, inside: Callable[[Sequence[str]], NDArray[np.bool_]]) -> tuple[Owing, Owing]:
        """Return what two models have to know of it.

        Args:
            inside: which of some users are the second one's, (n,).
        """
        theirs = inside(self.users[0]).tolist()
        first = [one for one, other in zip(self.due, theirs, strict=True) if not other]
        second = [one for one, other in zip(self.due, theirs, strict=True) if other]
        return Owing(self.owed, first), Owing(self.owed, second)


@dataclass(frozen=True)
class Asked:
    """Lists to be made, one for each of m users: those with an event in the micro-batch first."""

    answered: NDArray[np.int64]
    """Positions, rising, of the events that the first lists answer."""
    slots: NDArray[np.int64]
    """Of the users, (m,)."""
    queries: Tensor
    """(m, dim)."""
    recent_rows: NDArray[np.int64]
    """Catalogue rows of the users' recent items, newest first, (m, r)."""
    recent_types: NDArray[np.uint8]
    """What they did with these, (m, r), or without rows; see `FoldedBatch`."""
    surfaces: Sequence[str | None]
    """Where the events happened, m."""
    record_times: NDArray[np.int64]
    """Timestamps of the records of all events that are answered."""
    addressed: Addressed


def asked(
    owing: Owing,
    events: EventColumns,
    batch: FoldedBatch,
    adapted: Adapted,
    *,
    arena: UserArena,
    model: AdaptationModel,
    types: bool = False,
) -> Asked:
    """Take note of the events applied, and return the lists that are to be made now.

    Args:
        owing: whom an answer is owed; altered.
        events: of the micro-batch.
        batch: those applied; its `others` are the users of `owing`.
        adapted: what came of them.
        arena: the users, as they are after these events.
        model: gives the queries of users without an event.
        types: whether `recent_types` is wanted, as of `fold`.
    """
    answers, answered = _of_batch(owing.owed, events, batch, adapted)
    in_batch = {one.user_id for one in answers} if answers else set()
    late = [i for i, one in enumerate(owing.due) if one.user_id not in in_batch]
    for i in late:
        owing.owed.settle(owing.due[i].user_id)
        answers.append(owing.due[i])
    owing.owed.spared(sum(len(one.event_ids) - 1 for one in answers))
    others = batch.others[late]
    slots = np.concatenate([batch.slots[answered], others])
    rows, done = _recent(arena, others, types=types)
    queries = adapted.queries[arena.to_device(answered)]
    if others.size:
        with torch.inference_mode():
            queries = torch.cat([queries, queries_of(arena, others, model)])
    return Asked(
        answered=answered,
        slots=slots,
        queries=queries,
        recent_rows=np.concatenate([batch.recent_rows[answered], rows]),
        recent_types=np.concatenate([batch.recent_types[answered], done]) if types else done,
        surfaces=[one.surface for one in answers],
        record_times=np.array([t for one in answers for t in one.record_times], np.int64),
        addressed=_addressed(answers, arena.columns.events_seen[slots]),
    )


def _of_batch(
    owed: Owed, events: EventColumns, batch: FoldedBatch, adapted: Adapted
) -> tuple[list[OwedAnswer], NDArray[np.int64]]:
    """Return the answers to events of the batch, and the positions of the latest of each, rising.

    Events of users who may not be answered yet go to what these are owed.
    """
    of_user: dict[str, list[int]] = {}
    sources = batch.source.tolist()
    for place, source in enumerate(sources):
        of_user.setdefault(events.user_ids[source], []).append(place)
    found: list[tuple[int, OwedAnswer]] = []
    for user_id, places in of_user.items():
        first = sources[places[0]]
        partition, offset = events.partitions[first], events.offsets[first]
        if owed.may_answer(user_id):
            answer = owed.settle(user_id) or OwedAnswer(user_id, partition, offset, 0.0)
            found.append((places[-1], answer))
        else:
            answer = owed.put_off(user_id, partition, offset)
        answer.event_ids += [events.event_ids[sources[place]] for place in places]
        answer.record_times += [events.record_times[sources[place]] for place in places]
        if events.traces:
            _trace(answer, [events.traces[sources[place]] for place in places])
        last = sources[places[-1]]
        answer.time = events.times[last]
        answer.surface = events.surfaces[last] if events.surfaces else None
        answer.stepped = bool(adapted.stepped[places[-1]])
        answer.loss_before = float(adapted.loss_before[places[-1]])
        answer.loss_after = float(adapted.loss_after[places[-1]])
    found.sort(key=lambda one: one[0])
    return [answer for _, answer in found], np.array([place for place, _ in found], np.int64)


def _recent(
    arena: UserArena, slots: NDArray[np.int64], *, types: bool
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Return the recent items of users, (n, r), and what they did with them."""
    rows = np.full((len(slots), arena.recent_events), NO_ITEM, np.int64)
    recent_rows_of(arena.columns, slots, rows)
    done = np.zeros((len(slots) if types else 0, arena.recent_events), np.uint8)
    if types:
        recent_types_of(arena.columns, slots, done)
    return rows, done


def _addressed(answers: Sequence[OwedAnswer], events_seen: NDArray[np.int64]) -> Addressed:
    return Addressed(
        event_ids=[one.event_ids[-1] for one in answers],
        user_ids=[one.user_id for one in answers],
        partitions=[one.partition for one in answers],
        times=np.array([one.time for one in answers], np.int64),
        events_seen=events_seen,
        stepped=np.array([one.stepped for one in answers], np.bool_),
        loss_before=np.array([one.loss_before for one in answers], np.float32),
        loss_after=np.array([one.loss_after for one in answers], np.float32),
        also=[one.event_ids[:-1] for one in answers],
        traces=[one.traces for one in answers] if any(one.traces for one in answers) else (),
    )


def _trace(answer: OwedAnswer, traces: Sequence[EventTrace | None]) -> None:
    """Have traced events wait for their answer."""
    for trace in traces:
        if trace is not None:
            trace.wait()
            answer.traces.append(trace)
