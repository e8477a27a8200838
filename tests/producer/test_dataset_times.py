from __future__ import annotations

import datetime as dt

import polars as pl
import pytest

from producer.datasets.times import parse_times

OCTOBER = 1_569_888_000_000
"""2019-10-01T00:00:00Z"""


@pytest.mark.parametrize(
    ("cell", "millis"),
    [
        ("1569888000", OCTOBER),
        (" 1569888000 ", OCTOBER),
        ("1569888000.5", OCTOBER + 500),
        ("0.5", 500),
        ("1569888000000", OCTOBER),
        ("1569888000000000", OCTOBER),
        ("1569888000000000000", OCTOBER),
        ("2019-10-01 00:00:00 UTC", OCTOBER),
        ("2019-10-01T00:00:00Z", OCTOBER),
        ("2019-10-01", OCTOBER),
        ("2019-10-01 00:00", OCTOBER),
        ("2019-10-01T02:00:00.250+02:00", OCTOBER + 250),
        ("2019-10-01T00:00:00.123456789", OCTOBER + 123),
        ("9999-12-31T23:59:59Z", 253_402_300_799_000),
        ("0", 0),
    ],
)
def test_reads_the_shapes_that_datasets_use(cell: str, millis: int) -> None:
    assert parse_times(pl.Series([cell])).to_list() == [millis]


@pytest.mark.parametrize(
    "cell", ["", "  ", "yesterday", "-5", "nan", "inf", "2019-13-01", "10/1/2019", "1 569 888 000"]
)
def test_what_is_no_time_is_null(cell: str) -> None:
    assert parse_times(pl.Series([cell])).to_list() == [None]


def test_a_column_may_mix_shapes_and_gaps() -> None:
    cells = pl.Series(["1569888000", None, "2019-10-01", "x", "1569888000.25", "2019-10-01 00:00Z"])
    assert parse_times(cells).to_list() == [
        OCTOBER,
        None,
        OCTOBER,
        None,
        OCTOBER + 250,
        OCTOBER,
    ]


@pytest.mark.parametrize(
    "cells",
    [
        pl.Series([dt.date(2019, 10, 1), None]),
        pl.Series([dt.datetime(2019, 10, 1), None]),
        pl.Series([dt.datetime(2019, 10, 1), None], dtype=pl.Datetime("ns")),
        pl.Series([dt.datetime(2019, 10, 1, tzinfo=dt.UTC), None]),
        pl.Series([1_569_888_000, None], dtype=pl.Int32),
        pl.Series([1_569_888_000_000, None]),
        pl.Series([1_569_888_000.0, None]),
    ],
)
def test_typed_columns_of_parquet(cells: pl.Series) -> None:
    assert parse_times(cells).to_list() == [OCTOBER, None]


@pytest.mark.parametrize("dtype", [pl.String, pl.Null, pl.Int64])
def test_an_empty_column(dtype: type[pl.DataType]) -> None:
    assert parse_times(pl.Series([], dtype=dtype)).to_list() == []
