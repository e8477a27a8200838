"""What a command makes of the plan of a group; nothing here reads or writes a topic."""

from __future__ import annotations

import secrets

from msgspec.structs import replace

from schemas.errors import RolloutError
from schemas.model_rollout import (
    BundleReference,
    CandidateMode,
    CandidateModel,
    ModelRollout,
    RolloutChange,
)

MOST_PREVIOUS = 10
"""Earlier primaries that a plan remembers."""

_SALT_BYTES = 8


def published(
    plan: ModelRollout | None,
    bundle: BundleReference,
    *,
    group_id: str,
    own: BundleReference | None,
    now_ms: int,
) -> ModelRollout:
    """Return the plan that serves a bundle to everybody; a candidate is withdrawn.

    Args:
        plan: at present; None if there is none yet.
        bundle: to be the primary.
        group_id: of the workers.
        own: the bundle that workers are started with, as far as is known; what a first plan is
            rolled back to.
        now_ms: milliseconds since the epoch.

    Raises:
        RolloutError: it is served to everybody already.
    """
    if plan is None:
        return _first(group_id, now_ms, RolloutChange.PUBLISHED, bundle, previous=[own])
    if plan.candidate is None and plan.primary == bundle:
        raise RolloutError(f"{bundle.folder} (version {bundle.version}) is the primary already")
    changed = _with_primary(plan, bundle) if plan.primary != bundle else plan
    return _next(replace(changed, candidate=None), RolloutChange.PUBLISHED, now_ms)


def tried(
    plan: ModelRollout | None,
    bundle: BundleReference,
    *,
    group_id: str,
    mode: CandidateMode,
    percent: int,
    variant: str,
    now_ms: int,
) -> ModelRollout:
    """Return the plan that tries a bundle beside the primary, in place of any other candidate.

    The same bundle in another mode, or for another share, keeps its users as far as they go.

    Args:
        plan: at present; None if there is none yet.
        bundle: to be the candidate.
        group_id: of the workers.
        mode: what the candidate does.
        percent: its share of the users.
        variant: label on its recommendations.
        now_ms: milliseconds since the epoch.

    Raises:
        RolloutError: the share is out of range, the bundle is the primary, or nothing changes.
    """
    most = 100 if mode is CandidateMode.SHADOW else 99
    if not 1 <= percent <= most:
        raise RolloutError(f"percent is {percent}; it must be 1 to {most}")
    if plan is None:
        plan = _first(group_id, now_ms, RolloutChange.TRIED, None, previous=[])
        plan = replace(plan, revision=0)
    if plan.primary is not None and plan.primary.version == bundle.version:
        raise RolloutError(f"{bundle.folder} (version {bundle.version}) is the primary already")
    known = plan.candidate
    again = known is not None and known.bundle.version == bundle.version
    salt = known.salt if known is not None and again else secrets.token_hex(_SALT_BYTES)
    candidate = CandidateModel(
        bundle=bundle, mode=mode, percent=percent, salt=salt, variant=variant
    )
    if candidate == known:
        raise RolloutError(f"{bundle.folder} (version {bundle.version}) is tried like that already")
    return _next(replace(plan, candidate=candidate), RolloutChange.TRIED, now_ms)


def promoted(plan: ModelRollout | None, now_ms: int) -> ModelRollout:
    """Return the plan that makes the candidate the primary.

    Raises:
        RolloutError: there is no candidate.
    """
    if plan is None or plan.candidate is None:
        raise RolloutError(
            "there is no candidate to promote; `innerloop models publish FOLDER --percent N` or "
            "--shadow tries one"
        )
    changed = _with_primary(plan, plan.candidate.bundle)
    return _next(replace(changed, candidate=None), RolloutChange.PROMOTED, now_ms)


def rolled_back(plan: ModelRollout | None, now_ms: int) -> ModelRollout:
    """Return the plan without the candidate or, where there is none, with the primary before.

    Raises:
        RolloutError: there is neither.
    """
    if plan is not None and plan.candidate is not None:
        return _next(replace(plan, candidate=None), RolloutChange.ROLLED_BACK, now_ms)
    if plan is None or not plan.previous:
        raise RolloutError(
            "there is nothing to roll back to: no candidate, and no primary before this one"
        )
    before, *previous = plan.previous
    changed = replace(plan, primary=before, previous=previous)
    return _next(changed, RolloutChange.ROLLED_BACK, now_ms)


def _first(
    group_id: str,
    now_ms: int,
    change: RolloutChange,
    primary: BundleReference | None,
    previous: list[BundleReference | None],
) -> ModelRollout:
    return ModelRollout(
        group_id=group_id,
        revision=1,
        changed_at=now_ms,
        change=change,
        primary=primary,
        previous=previous,
    )


def _with_primary(plan: ModelRollout, bundle: BundleReference) -> ModelRollout:
    previous = [plan.primary, *plan.previous][:MOST_PREVIOUS]
    return replace(plan, primary=bundle, previous=previous)


def _next(plan: ModelRollout, change: RolloutChange, now_ms: int) -> ModelRollout:
    return replace(plan, revision=plan.revision + 1, changed_at=now_ms, change=change)
