"""Write events back to a file, such as the part of a log that training may see."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from schemas.clickstream import EventType
from schemas.errors import DataError
from worker.data import EventLog, ItemTable


def write_events(log: EventLog, items: ItemTable, path: Path) -> None:
    """Write events as the Parquet file that `worker.data.load_events` reads to the same log.

    Codes of users are given anew, in the order of their first events.

    Args:
        log: the events, in time order.
        items: the catalogue that their codes refer to.
        path: of the file.

    Raises:
        DataError: it cannot be written.
    """
    users = np.array(log.user_ids, np.str_)
    item_ids = np.array(items.item_ids, np.str_)
    names = np.array([kind.value for kind in EventType])
    frame = pl.DataFrame(
        {
            "user_id": users[log.users],
            "item_id": item_ids[log.items],
            "event_type": names[log.types],
            "timestamp": log.times / 1000,
        }
    )
    try:
        frame.write_parquet(path)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error}") from error
