"""The baselines on a real click stream, where the data is at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from worker.data import EventLog, load_events, load_items
from worker.evaluation.baselines import VSKNN, VSTAN, Covisitation, Popularity

FOLDER = Path(__file__).parents[3] / "shared" / "data" / "rees46_oct2019"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FOLDER.is_dir(), reason="../shared/data/rees46_oct2019 is absent"),
]


@pytest.fixture(scope="module")
def trial():
    """Train, stream, mask and catalogue size; every fifth new user's first 21 events are scored."""
    items = load_items(FOLDER / "items.csv.gz")
    log = load_events(FOLDER / "events.csv.gz", items)
    users, first_rows = np.unique(log.users, return_index=True)
    first_times = log.times[first_rows]
    cut = np.quantile(first_times, 0.75)
    new_users = users[first_times > cut]
    before = (log.times < cut) & ~np.isin(log.users, new_users)
    scored = np.isin(log.users, new_users[::5]) & (events_so_far(log) < 21)
    return log.where(before), log.where(~before), scored[~before], len(items)


def events_so_far(log: EventLog):
    by_user = np.argsort(log.users, kind="stable")
    _, starts, counts = np.unique(log.users[by_user], return_index=True, return_counts=True)
    so_far = np.empty(len(log), dtype=np.int64)
    so_far[by_user] = np.arange(len(log)) - np.repeat(starts, counts)
    return so_far


def hit_rate(method, trial):
    ranks = method.prequential_ranks(*trial)
    scored = trial[2]
    assert ((ranks >= 0) == scored).all()
    assert ranks.max() < trial[3]
    return float(np.mean(ranks[scored] < 20))


def test_memory_beats_popularity_and_learning_from_the_stream_beats_both(trial):
    popularity = hit_rate(Popularity(), trial)
    static = hit_rate(Covisitation(), trial)
    online = hit_rate(Covisitation(online=True), trial)
    neighbours = hit_rate(VSKNN(), trial)
    sequence_aware = hit_rate(VSTAN(online=True), trial)
    assert 0.05 < popularity < 0.09
    assert 0.29 < static < 0.33
    assert 0.30 < neighbours < 0.35
    assert online > static + 0.02
    assert sequence_aware > online
