"""MovieLens (GroupLens): ratings and movies, as CSV or as the older `.dat` with `::`.

A rating is a `review` event. Genres are not a path from root to leaf, but they are the text that
tells movies apart besides the title, so they stand as the categories.
"""

from __future__ import annotations

import polars as pl

from producer.datasets.format import DatasetFormat, Transform
from producer.datasets.tables import ROW
from schemas.clickstream import EventType

_NO_GENRES = "(no genres listed)"


def _events(user: str, item: str, rating: str, time: str) -> Transform:
    def transform(frame: pl.LazyFrame) -> pl.LazyFrame:
        review = pl.lit(EventType.REVIEW.value)
        return frame.select(
            ROW, user_id=user, item_id=item, event_type=review, timestamp=time, rating=rating
        )

    return transform


def _items(item: str, title: str, genres: str) -> Transform:
    def transform(frame: pl.LazyFrame) -> pl.LazyFrame:
        listed = pl.when(pl.col(genres) != _NO_GENRES).then(pl.col(genres))
        return frame.select(item_id=item, title=title, categories=listed.str.split("|"))

    return transform


MOVIELENS = DatasetFormat(
    name="movielens",
    summary="MovieLens CSV: ratings.csv (userId, movieId, rating, timestamp), movies.csv",
    event_columns=frozenset({"userId", "movieId", "rating", "timestamp"}),
    events=_events("userId", "movieId", "rating", "timestamp"),
    item_columns=frozenset({"movieId", "title", "genres"}),
    items=_items("movieId", "title", "genres"),
)

MOVIELENS_DAT = DatasetFormat(
    name="movielens-dat",
    summary="MovieLens 1M/10M: ratings.dat (user::movie::rating::time), movies.dat",
    event_columns=frozenset({"column_1", "column_2", "column_3", "column_4"}),
    events=_events("column_1", "column_2", "column_3", "column_4"),
    item_columns=frozenset({"column_1", "column_2", "column_3"}),
    items=_items("column_1", "column_2", "column_3"),
)
