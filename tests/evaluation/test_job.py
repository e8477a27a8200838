"""What a job may ask for, and what it is told if it asks for something else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_dataset import write_files

from schemas.errors import DataError, EvaluationError
from worker.evaluation.job import EvaluationJob, NamedBundle, load_data, parse_bundles


@pytest.fixture
def files(tmp_path):
    return write_files(tmp_path)


def test_a_single_bundle_has_the_name_of_the_product():
    assert parse_bundles(["some/bundle"]) == (NamedBundle("innerloop", Path("some/bundle")),)


def test_several_bundles_are_called_after_their_folders_or_as_told():
    bundles = parse_bundles(["runs/big", "small=runs/b"])
    assert bundles == (NamedBundle("big", Path("runs/big")), NamedBundle("small", Path("runs/b")))


def test_a_folder_may_have_an_equals_sign_in_its_name(tmp_path):
    folder = tmp_path / "lr=3e-3"
    folder.mkdir()
    assert parse_bundles([str(folder)])[0].folder == folder


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["runs/a/bundle", "runs/b/bundle"], "two bundles are called 'bundle'"),
        (["x=a", "x=b"], "two bundles are called 'x'"),
        (["=a"], "--bundle '=a' is neither"),
        (["a="], "--bundle 'a=' is neither"),
    ],
)
def test_names_that_do_not_tell_bundles_apart_are_refused(given, message):
    with pytest.raises(EvaluationError, match=message):
        parse_bundles(given)


def test_some_users_are_scored_whole_and_the_draw_depends_on_the_seed(files):
    events, items, _ = files

    def scored(seed):
        cut = load_data(EvaluationJob((), events, items, users=7, seed=seed)).cut
        return cut, np.unique(cut.stream.users[cut.scored]).tolist()

    cut, users = scored(0)
    assert len(users) == 7
    assert cut.scored[np.isin(cut.stream.users, users)].all()
    assert len(cut.stream) > cut.scored.sum()
    assert scored(0)[1] == users != scored(1)[1]


def test_a_column_groups_the_users_and_without_one_activity_does(files):
    events, items, users = files
    assert load_data(EvaluationJob((), events, items)).segments.by == "activity"
    job = EvaluationJob((), events, items, segments="country", users_file=users)
    assert load_data(job).segments.labels == ("BE", "NL")


@pytest.mark.parametrize("given", [{"segments": "country"}, {"users_file": Path("users.csv")}])
def test_a_column_needs_a_file_and_a_file_a_column(files, given):
    events, items, _ = files
    with pytest.raises(EvaluationError, match="--segments COLUMN and --users-file FILE"):
        load_data(EvaluationJob((), events, items, **given))


def test_a_missing_file_is_named(files, tmp_path):
    with pytest.raises(DataError, match=r"nothing\.csv does not exist"):
        load_data(EvaluationJob((), tmp_path / "nothing.csv", files[1]))
