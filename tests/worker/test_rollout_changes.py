"""What each command makes of a plan, whatever was done before."""

import pytest
from msgspec.structs import replace

from schemas.errors import RolloutError
from schemas.model_rollout import BundleReference, CandidateMode, RolloutChange
from worker.rollout.changes import MOST_PREVIOUS, promoted, published, rolled_back, tried

GROUP = "workers"


def bundle(name: str) -> BundleReference:
    return BundleReference(
        version=name, folder=f"/models/{name}", manifest_sha256=f"{ord(name):02x}" * 32
    )


A, B, C = map(bundle, "ABC")


def publish(plan, reference, own=None):
    return published(plan, reference, group_id=GROUP, own=own, now_ms=5)


def try_(plan, reference, percent=10, mode=CandidateMode.SERVE):
    return tried(
        plan, reference, group_id=GROUP, mode=mode, percent=percent, variant="new", now_ms=6
    )


def test_a_first_plan_is_rolled_back_to_what_workers_were_started_with():
    plan = publish(None, B)
    assert (plan.revision, plan.primary, plan.change) == (1, B, RolloutChange.PUBLISHED)
    back = rolled_back(plan, 9)
    assert (back.revision, back.primary, back.previous, back.changed_at) == (2, None, [], 9)
    assert rolled_back(publish(None, B, own=A), 9).primary == A


def test_rollbacks_go_back_one_by_one():
    plan = publish(publish(publish(None, A), B), C)
    seen = []
    while plan.previous:
        plan = rolled_back(plan, 9)
        seen.append(plan.primary)
    assert seen == [B, A, None]
    with pytest.raises(RolloutError, match="nothing to roll back to"):
        rolled_back(plan, 9)
    with pytest.raises(RolloutError, match="nothing to roll back to"):
        rolled_back(None, 9)


def test_a_candidate_is_withdrawn_before_the_primary_is_touched():
    plan = try_(publish(publish(None, A), B), C)
    withdrawn = rolled_back(plan, 9)
    assert (withdrawn.primary, withdrawn.candidate) == (B, None)
    assert rolled_back(withdrawn, 9).primary == A


def test_a_promoted_candidate_is_the_primary_and_can_be_rolled_back():
    plan = promoted(try_(publish(None, A), B, mode=CandidateMode.SHADOW, percent=100), 9)
    assert (plan.primary, plan.candidate, plan.change) == (B, None, RolloutChange.PROMOTED)
    assert rolled_back(plan, 9).primary == A
    for nothing in (None, plan):
        with pytest.raises(RolloutError, match="no candidate to promote"):
            promoted(nothing, 9)


def test_the_same_candidate_keeps_its_salt_and_another_gets_another():
    first = try_(publish(None, A), B, percent=10)
    more = try_(first, B, percent=20)
    shadow = try_(more, B, percent=100, mode=CandidateMode.SHADOW)
    other = try_(shadow, C)
    salts = [plan.candidate.salt for plan in (first, more, shadow, other)]
    assert len(set(salts[:3])) == 1 and salts[3] != salts[0]
    assert [plan.revision for plan in (first, more, shadow, other)] == [2, 3, 4, 5]


def test_a_first_plan_may_be_one_that_tries_a_bundle():
    plan = try_(None, B)
    assert (plan.revision, plan.primary, plan.previous) == (1, None, [])
    assert promoted(plan, 9).previous == [None]


@pytest.mark.parametrize(
    ("percent", "mode"),
    [
        (0, CandidateMode.SERVE),
        (100, CandidateMode.SERVE),
        (-1, CandidateMode.SHADOW),
        (101, CandidateMode.SHADOW),
    ],
)
def test_a_share_out_of_range_is_refused(percent, mode):
    with pytest.raises(RolloutError, match=rf"percent is {percent}; it must be 1 to"):
        try_(publish(None, A), B, percent=percent, mode=mode)


def test_what_changes_nothing_is_refused():
    plan = publish(None, A)
    with pytest.raises(RolloutError, match="is the primary already"):
        publish(plan, A)
    with pytest.raises(RolloutError, match="is the primary already"):
        try_(plan, replace(A, folder="/elsewhere"))
    with pytest.raises(RolloutError, match="is tried like that already"):
        try_(try_(plan, B), B)
    # But publishing the primary again is how a candidate is withdrawn, too.
    assert publish(try_(plan, B), A).candidate is None


def test_only_so_many_primaries_are_remembered():
    plan = None
    for n in range(3 * MOST_PREVIOUS):
        plan = publish(plan, bundle(chr(65 + n)))
    assert len(plan.previous) == MOST_PREVIOUS
    assert plan.previous[0].version == chr(65 + 3 * MOST_PREVIOUS - 2)
