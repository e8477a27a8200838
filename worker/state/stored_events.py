"""A stored user's latest events, back into the columns."""

from __future__ import annotations

import numpy as np

from schemas.user_state import UserState
from worker.rows import NO_ITEM
from worker.state.arena import UserArena
from worker.state.evidence import IS_ITEM_EVIDENCE, ItemRows, search_text
from worker.state.residents import EVENT_TYPES
from worker.state.user_columns import KEPT_AS_TEXT


def keep_events(arena: UserArena, slot: int, state: UserState, catalogue: ItemRows) -> None:
    """Put the events of a record into a slot without any, with the rows their items have now.

    Where more are stored than the arena keeps, those are dropped that would have been.
    """
    stored = state.recent
    types = np.frombuffer(stored.types, np.uint8)
    found = np.array(catalogue.rows(stored.items), np.int32)
    rows = np.where(IS_ITEM_EVIDENCE[types], found, np.int32(NO_ITEM))
    idle = ~IS_ITEM_EVIDENCE[types]
    for place, query in stored.queries.items():
        if search_text(EVENT_TYPES[types[place]], query) is not None:
            idle[place] = False
    as_text = [i for i in np.flatnonzero(found == NO_ITEM).tolist() if stored.items[i] is not None]
    found[as_text] = KEPT_AS_TEXT
    places = np.array(_kept(idle.tolist(), arena.recent_events), np.int64)
    columns, here = arena.columns, slice(0, len(places))
    columns.kept[slot] = len(places)
    columns.keys[slot, here] = np.frombuffer(stored.keys, "<u8")[places]
    columns.types[slot, here] = types[places]
    columns.times[slot, here] = np.array(stored.times(state.active), np.int64)[places]
    columns.items[slot, here] = found[places]
    columns.rows[slot, here] = rows[places]
    columns.idle[slot, here] = idle[places]
    if as_text or stored.queries:
        keys, texts = stored.event_keys(), arena.add_texts(slot)
        texts.items.update({keys[i]: item for i in as_text if (item := stored.items[i])})
        texts.queries.update({keys[place]: query for place, query in stored.queries.items()})


def _kept(idle: list[bool], most: int) -> list[int]:
    """Return the places that are kept of events of which so many may be; see `_make_room`."""
    places = list(range(len(idle)))
    while len(places) > most:
        idle_ones = [i for i, place in enumerate(places) if idle[place]]
        del places[idle_ones[0] if 2 * len(idle_ones) > most else 0]
    return places
