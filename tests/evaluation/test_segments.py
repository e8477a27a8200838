"""Groups of users: by activity, and by a column of a users file."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from event_logs import make_log

from schemas.errors import DataError
from worker.evaluation.segments import UNKNOWN, by_activity, by_column
from worker.split import TimeCut

USERS = ["u0", "u1", "u2", "u3"]


def write(tmp_path, **columns):
    path = tmp_path / "users.csv"
    pl.DataFrame(columns).write_csv(path)
    return path


def labels_of(segments):
    return [segments.labels[place] for place in segments.of_user]


def test_activity_counts_a_users_events_after_the_cut():
    stream = make_log([(0, 1)] * 1 + [(1, 1)] * 4 + [(2, 1)] * 20 + [(3, 1)] * 21)
    cut = TimeCut(0, make_log([(0, 2)] * 9), stream, np.ones(46, np.bool_), np.zeros(46, np.int32))
    segments = by_activity(cut)
    assert segments.labels == ("1", "2-4", "5-9", "10-20", "21+")
    assert labels_of(segments) == ["1", "2-4", "10-20", "21+"]


def test_a_column_names_the_segments_and_who_is_not_in_the_file_is_unknown(tmp_path):
    path = write(tmp_path, user_id=["u2", "u0", "u1", "stranger"], tier=["b", "a", None, "c"])
    segments = by_column(path, "tier", USERS)
    assert segments.by == "tier"
    assert segments.labels == ("a", "b", "c", UNKNOWN)
    assert labels_of(segments) == ["a", UNKNOWN, "b", UNKNOWN]


def test_few_numbers_are_segments_of_their_own_in_their_order(tmp_path):
    path = write(tmp_path, user_id=USERS, age=[100, 20, 9, 20])
    segments = by_column(path, "age", USERS)
    assert segments.labels == ("9", "20", "100")
    assert labels_of(segments) == ["100", "20", "9", "20"]


def test_user_ids_that_look_like_numbers_are_text(tmp_path):
    path = write(tmp_path, user_id=["007", "8"], tier=["a", "b"])
    assert labels_of(by_column(path, "tier", ["8", "007"])) == ["b", "a"]


def test_many_numbers_are_cut_into_quarters(tmp_path):
    ids = [f"u{n}" for n in range(40)]
    segments = by_column(write(tmp_path, user_id=ids, spend=range(1, 41)), "spend", ids)
    assert segments.labels == ("up to 10.75", "up to 20.5", "up to 30.25", "above 30.25")
    assert np.bincount(segments.of_user).tolist() == [10, 10, 10, 10]


def test_too_many_different_texts_are_refused(tmp_path):
    ids = [f"u{n}" for n in range(40)]
    path = write(tmp_path, user_id=ids, email=[f"{user}@example.org" for user in ids])
    with pytest.raises(DataError, match="column email has 40 different values"):
        by_column(path, "email", ids)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"user_id": ["u1"], "other": ["a"]}, "lacks the column tier; it has user_id, other"),
        ({"user_id": ["u1", "u1"], "tier": ["a", "b"]}, "user_id 'u1' stands more than once"),
        ({"user_id": ["x"], "tier": ["a"]}, "none of its users is in the events file"),
    ],
)
def test_a_file_that_does_not_fit_is_named_with_the_reason(tmp_path, columns, message):
    with pytest.raises(DataError, match=message) as raised:
        by_column(write(tmp_path, **columns), "tier", USERS)
    assert "users.csv" in str(raised.value)
