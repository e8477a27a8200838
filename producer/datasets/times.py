"""Times in the shapes that datasets write them, to milliseconds since the epoch."""

from __future__ import annotations

import polars as pl

LAST_TIME_MS = 253_402_300_799_999
"""The last millisecond of the year 9999."""

# What most files use, tried first because it is fast.
_COMMON = "%Y-%m-%d %H:%M:%S UTC"
# Date, optional time of day, optional zone; without a zone it is UTC.
_ISO_TIME = (
    r"^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2})(:\d{2})?(\.\d{1,9})?)?"
    r"\s*(Z|z|UTC|GMT|[+-]\d{2}:\d{2})?$"
)
_UTC = dict.fromkeys(["Z", "z", "UTC", "GMT"], "+00:00")


def time_ms(column: str) -> pl.Expr:
    """Return the column's cells as milliseconds since the epoch; see `parse_times`."""
    return pl.col(column).map_batches(parse_times, return_dtype=pl.Int64, is_elementwise=True)


def parse_times(cells: pl.Series) -> pl.Series:
    """Return times as int64 milliseconds since the epoch; null where a cell is no time.

    Understood: dates and datetimes (Parquet); a number of seconds, milliseconds, microseconds or
    nanoseconds since the epoch, told apart by size (seconds below 10^11, the year 5138, which is
    1973 in milliseconds, and so on by factors of a thousand); and ISO 8601 with `T` or a blank,
    with or without time of day, seconds, fraction and zone (`Z`, `UTC`, `GMT`, `±hh:mm`; none
    means UTC). Times before 1970 or after 9999 are none.
    """
    if cells.dtype.is_temporal():
        millis = cells.cast(pl.Datetime("ms")).cast(pl.Int64)
    elif cells.dtype.is_integer():
        millis = _scale(cells.cast(pl.Int64, strict=False))
    else:
        millis = _from_text(cells.cast(pl.String).str.strip_chars())
    return millis.set(~millis.is_between(0, LAST_TIME_MS), None)


def _from_text(cells: pl.Series) -> pl.Series:
    millis = _scale(cells.cast(pl.Int64, strict=False))
    for parse in (_from_common, _from_iso, _from_fraction):
        unread = millis.is_null() & cells.is_not_null()
        if not unread.any():
            break
        millis = millis.scatter(unread.arg_true(), parse(cells.filter(unread)))
    return millis


def _scale(numbers: pl.Series) -> pl.Series:
    """Return int64 milliseconds from numbers whose size tells their unit."""
    value = pl.col("value")
    millis = (
        pl.when(value >= 10**17)
        .then(value // 10**6)
        .when(value >= 10**14)
        .then(value // 10**3)
        .when(value >= 10**11)
        .then(value)
        .otherwise(value * 1000)
    )
    frame = numbers.rename("value").to_frame()
    return frame.select(millis.round().cast(pl.Int64, strict=False))["value"]


def _from_common(cells: pl.Series) -> pl.Series:
    return cells.str.to_datetime(_COMMON, time_unit="ms", strict=False).cast(pl.Int64)


def _from_iso(cells: pl.Series) -> pl.Series:
    parts = cells.str.extract_groups(_ISO_TIME).struct.unnest().to_dict()
    date, minutes, seconds, fraction, zone = parts.values()
    complete = (
        date
        + "T"
        + minutes.fill_null("00:00")
        + seconds.fill_null(":00")
        + fraction.fill_null("")
        + zone.fill_null("Z").replace(_UTC)
    )
    parsed = complete.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%:z", time_unit="ms", strict=False)
    return parsed.cast(pl.Int64)


def _from_fraction(cells: pl.Series) -> pl.Series:
    value = cells.cast(pl.Float64, strict=False)
    return _scale(value.set(~value.is_finite(), None))
